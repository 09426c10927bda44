#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the worker may still do once it serves: nothing that needs a privilege, in any of its threads."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from capture_case import WEB_V4, CaptureCase  # noqa: E402
from netns import Host  # noqa: E402
from nodeproxy import Daemon  # noqa: E402

NONE = "0000000000000000"
FILTERED = "2"
# Main thread, two shards, the admin server's.
THREADS_MIN = 5


def threads(pid: int) -> dict[str, dict[str, str]]:
    """Fields of /proc/PID/task/*/status by "name/tid"."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
        found[f"{fields['Name'].strip()}/{task.name}"] = {key: value.strip() for key, value in fields.items()}
    return found


class Threads(unittest.TestCase):
    def check(self, daemon: Daemon) -> None:
        found = threads(daemon.worker_pid())
        self.assertGreaterEqual(len(found), THREADS_MIN, found.keys())
        for name, status in found.items():
            with self.subTest(thread=name):
                for field in ("CapEff", "CapPrm", "CapAmb", "CapInh"):
                    self.assertEqual(status[field], NONE, field)
                self.assertEqual(status["Seccomp"], FILTERED)
                self.assertEqual(status["NoNewPrivs"], "1")
                self.assertNotIn("0", status["Uid"].split(), "no uid of root is kept")


class Root(CaptureCase, Threads):
    NAME = "npprivr"

    def test_started_by_root_no_thread_of_the_worker_has_a_capability(self) -> None:
        self.add_pods()
        self.serve("v1", source="pod")  # the thread in the proxy namespace, too
        self.assertEqual(self.client.curl(f"http://{WEB_V4}/"), "v1\n 200")
        self.check(self.daemon)
        self.daemon.kill_worker()
        self.daemon.wait_ready()
        self.check(self.daemon)


class NotRoot(Threads):
    NAME = "npprivu"

    def test_started_without_root_ambient_capabilities_are_dropped_by_every_thread(self) -> None:
        host = Host(self.NAME)
        self.addCleanup(host.close)
        host.__enter__()
        host.sysctl("net.ipv4.ip_unprivileged_port_start", 1024)
        # The admin port needs the capability, so that it must still be there when the worker begins.
        daemon = Daemon(self.NAME, "--no-capture", "--workers", "2", netns=host.netns, admin="127.0.0.1:993",
                        user="games", ambient="net_bind_service")
        self.addCleanup(daemon.close)
        daemon.start()
        supervisor = daemon.process
        assert supervisor is not None
        kept = threads(supervisor.pid).popitem()[1]
        self.assertNotEqual(kept["CapAmb"], NONE, "it was given, and the supervisor may bind gateways with it")
        self.assertTrue(host.run("curl", "-s", "http://127.0.0.1:993/livez").stdout.startswith("ok"))
        self.check(daemon)


if __name__ == "__main__":
    unittest.main(verbosity=2)
