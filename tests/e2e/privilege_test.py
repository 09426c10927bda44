#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the worker may still do once it serves: nothing that needs a privilege, in any of its threads."""

from __future__ import annotations

import grp
import os
import stat
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from capture_case import WEB_V4, CaptureCase  # noqa: E402
from netns import Host  # noqa: E402
from nodeproxy import NODECTL, Daemon  # noqa: E402

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
        for port in (993, 1993):  # the pages', and the probes' own
            self.assertEqual(host.run("curl", "-s", f"http://127.0.0.1:{port}/readyz").stdout, "ok\n", port)
        self.check(daemon)


class RunDirectory(unittest.TestCase):
    """design.md 8.13. The group exists for the daemon under test alone, in a mount namespace."""

    NAME = "npprivd"
    GROUP = 64400

    def setUp(self) -> None:
        self.host = Host(self.NAME)
        self.addCleanup(self.host.close)
        self.host.__enter__()
        groups = tempfile.NamedTemporaryFile("w", prefix="np-group-")
        self.addCleanup(groups.close)
        groups.write(Path("/etc/group").read_text().replace("nodeproxy:", "other:") + f"nodeproxy:x:{self.GROUP}:\n")
        groups.flush()
        os.chmod(groups.name, 0o644)
        self.with_group = ("unshare", "--mount", "--propagation", "private", "sh", "-c",
                           'mount --bind "$0" /etc/group && exec "$@"', groups.name)

    def daemon(self, *flags: str, through: tuple[str, ...] = ()) -> Daemon:
        daemon = Daemon(self.NAME, "--no-capture", "--workers", "1", *flags, netns=self.host.netns, through=through)
        self.addCleanup(daemon.close)
        return daemon

    def check(self, daemon: Daemon, group: int) -> os.stat_result:
        directory, socket = daemon.run_dir.stat(), (daemon.run_dir / "control.sock").stat()
        self.assertEqual((stat.S_IMODE(directory.st_mode), directory.st_uid, directory.st_gid), (0o750, 0, group))
        self.assertTrue(stat.S_ISSOCK(socket.st_mode))
        self.assertEqual((stat.S_IMODE(socket.st_mode), socket.st_uid, socket.st_gid), (0o660, 0, group))
        self.assertNotEqual(os.stat(f"/proc/{daemon.worker_pid()}").st_uid, 0, "the worker is not root")
        return socket

    def as_user(self, groups: str, daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["setpriv", "--reuid", "games", "--regid", "games", groups, str(NODECTL), "--run-dir",
                   str(daemon.run_dir), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def test_root_owns_it_and_the_group_may_use_it(self) -> None:
        daemon = self.daemon(through=self.with_group)
        daemon.run_dir.mkdir(mode=0o700, parents=True)
        os.chown(daemon.run_dir, 64321, 64321)  # as an earlier version left it
        daemon.start()
        self.check(daemon, self.GROUP)
        member, outsider = f"--groups={self.GROUP}", "--clear-groups"
        self.assertEqual(self.as_user(member, daemon, "status").returncode, 0)
        policy = daemon.dir / "policy.yaml"
        policy.write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n")
        done = self.as_user(member, daemon, "apply", "-f", str(policy))
        self.assertEqual(done.returncode, 0, done.stderr)
        refused = self.as_user(outsider, daemon, "status")
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("Permission denied", refused.stderr)

    def test_a_worker_that_is_started_again_serves_the_same_socket(self) -> None:
        daemon = self.daemon(through=self.with_group)
        daemon.start()
        before = self.check(daemon, self.GROUP)
        for _ in range(3):
            killed = daemon.kill_worker()
            self.assertEqual(daemon.ctl("status").returncode, 0, "nodectl waits in the queue meanwhile")
            self.assertNotEqual(daemon.worker_pid(), killed)
        self.assertEqual(self.check(daemon, self.GROUP).st_ino, before.st_ino)

    def test_without_the_group_it_is_roots_alone(self) -> None:
        if any(entry.gr_name == "nodeproxy" for entry in grp.getgrall()):
            self.skipTest("this machine has a group nodeproxy")
        daemon = self.daemon()
        daemon.start()
        self.check(daemon, 0)

    def test_a_second_daemon_on_the_same_directory_is_refused(self) -> None:
        first = self.daemon()
        first.start()
        second = self.daemon()
        second.flags[second.flags.index("--run-dir") + 1] = str(first.run_dir)
        with self.assertRaisesRegex(AssertionError, "another daemon answers on it"):
            second.start()
        self.assertEqual(first.ctl("status").returncode, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
