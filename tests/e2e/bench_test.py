#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tools/bench as a person runs it, one tiny row: what it prints and what it leaves behind. Nothing here
depends on how fast anything was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from nodeproxy import BUILD, ROOT, wait_until  # noqa: E402

TOOL = str(ROOT / "tools" / "bench")
ENVIRONMENT = {**os.environ, "NP_BUILD_DIR": str(BUILD)}
TINY = ("--rounds", "1", "--seconds", "0.5")
FIGURES = {"rps", "cpu_us", "user_us", "kernel_us", "machine_us", "p50_us", "p99_us", "p999_us", "opened", "errors"}


def left_behind(pid: int) -> list[str]:
    """Namespaces, control groups, folders and processes with the run's name."""
    name = f"npbench{pid}"
    namespaces = [line.split()[0] for line in subprocess.run(
        ["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.splitlines() if line]
    groups = [mount.split()[1] for mount in Path("/proc/mounts").read_text().splitlines()
              if mount.split()[2] == "cgroup2"]
    found = [one for one in namespaces if one.startswith((name, f"nb{pid % 100_000}-"))]
    found += [str(path) for group in groups for path in Path(group).glob(f"{name}*")]
    found += [str(path) for path in Path("/dev/shm").glob(f"{name}*")]
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if name.encode() in line.read_bytes():
                found.append(str(line))
        except OSError:
            continue  # it has just ended
    return found


class Bench(unittest.TestCase):
    def run_rows(self, pattern: str) -> dict:
        process = subprocess.Popen([TOOL, "--rows", pattern, *TINY, "--json", "-"], env=ENVIRONMENT, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        output, told = process.communicate(timeout=200)
        self.assertEqual(process.returncode, 0, told)
        self.assertEqual(left_behind(process.pid), [])
        made = json.loads(output)
        self.assertEqual(made["schema"], 1)
        self.assertIn("kernel", made["conditions"])
        for row in made["rows"]:
            self.assertIn(row["id"], told, "the table, beside the JSON")
        return made

    def test_a_row_has_every_figure_of_each_contestant(self) -> None:
        (row,) = self.run_rows("^keepalive-32$")["rows"]
        self.assertEqual(list(row["contestants"]), ["nodeproxy", "nginx", "haproxy"])
        for label, contestant in row["contestants"].items():
            metrics = contestant["metrics"]
            self.assertLessEqual(FIGURES, set(metrics), label)
            self.assertEqual(metrics["errors"]["median"], 0, f"{label}: {row['notes']}")
            for key in FIGURES - {"errors", "opened", "user_us"}:
                self.assertGreater(metrics[key]["median"], 0, f"{label}: {key}")
            self.assertEqual(len(metrics["rps"]["rounds"]), 1)
        ours, nginx = (row["contestants"][name] for name in ("nodeproxy", "nginx"))
        self.assertAlmostEqual(nginx["ours_to_it"]["cpu_us"]["median"],
                               ours["metrics"]["cpu_us"]["median"] / nginx["metrics"]["cpu_us"]["median"])

    def test_every_feature_is_accepted_by_all(self) -> None:
        (row,) = self.run_rows("^feature-all$")["rows"]
        for label, contestant in row["contestants"].items():
            self.assertEqual(contestant["metrics"]["errors"]["median"], 0, f"{label}: {row['notes']}")

    def test_pods(self) -> None:
        (row,) = self.run_rows("^captured$")["rows"]
        self.assertEqual(set(row["contestants"]), {"nodeproxy", "nginx", "haproxy", "direct", "nodeproxy, gateway"})
        for label, contestant in row["contestants"].items():
            self.assertEqual(contestant["metrics"]["errors"]["median"], 0, f"{label}: {row['notes']}")

    def test_interrupted_it_leaves_nothing(self) -> None:
        # A shell's background job ignores SIGINT, and so would everything below it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen([TOOL, "--rows", "^keepalive-32$", "--seconds", "60"], env=ENVIRONMENT, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        wait_until(lambda: any("np_load" in Path(f"/proc/{pid}/comm").read_text() for pid in self.members(process)),
                   60, "it measures")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, output)
        self.assertEqual(left_behind(process.pid), [])

    @staticmethod
    def members(process: subprocess.Popen[str]) -> list[int]:
        mounts = [mount.split()[1] for mount in Path("/proc/mounts").read_text().splitlines()
                  if mount.split()[2] == "cgroup2"]
        found = []
        for mount in mounts:
            for procs in Path(mount).glob(f"npbench{process.pid}/*/cgroup.procs"):
                found += [int(pid) for pid in procs.read_text().split()]
        return [pid for pid in found if Path(f"/proc/{pid}/comm").exists()]


if __name__ == "__main__":
    unittest.main()
