# SPDX-License-Identifier: Apache-2.0
"""nodeproxy beside nginx and haproxy, in one run, on the same CPUs, in one namespace (tools/bench)."""
