#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The user's story, as a person starts it: `tools/demo lab` must end with 0 and leave nothing
behind."""

from __future__ import annotations

import os
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from embedded import free_port  # noqa: E402
from nodeproxy import wait_until  # noqa: E402

LAB_SECONDS = 280


def shown(command: list[str]) -> str:
    return subprocess.run(command, text=True, capture_output=True, check=True).stdout


@unittest.skipUnless(os.geteuid() == 0, "makes network namespaces and loads eBPF: needs root")
class Lab(unittest.TestCase):
    def test_every_step_that_this_version_claims(self) -> None:
        command = ["/usr/bin/python3", "-B", "-m", "lab.main", "lab", "--port", str(free_port())]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "tools")},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LAB_SECONDS,
            check=False,
        )
        print(done.stdout)
        self.assertEqual(done.returncode, 0)
        # The kernel takes interfaces away a moment after their namespace.
        for command in (["ip", "netns"], ["ip", "link"]):
            wait_until(lambda c=command: "npdemo" not in shown(c), 5, f"{' '.join(command)} shows nothing of it")
        self.assertFalse(Path("/sys/fs/bpf/npdemo").exists())
        self.assertFalse(Path("/run/npdemo").exists())


if __name__ == "__main__":
    unittest.main()
