# SPDX-License-Identifier: Apache-2.0
"""The demo (Bookinfo as pods on this machine) and the walk through the lab."""
