# SPDX-License-Identifier: Apache-2.0
"""The main of tests whose daemon and peers have a network namespace of their own, with fixed ports."""

from __future__ import annotations

import os
import subprocess
import sys
import unittest


def run_in_own_netns() -> None:
    if os.environ.get("NP_IN_NETNS") != "1":
        os.environ["NP_IN_NETNS"] = "1"
        os.execvp("unshare", ["unshare", "-n", sys.executable, *sys.argv])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    unittest.main(verbosity=2)
