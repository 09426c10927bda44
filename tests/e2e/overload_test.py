#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the daemon does when it has no room left, end to end: it sheds what is new, by each destination's
fail mode, and keeps what it has."""

from __future__ import annotations

import socket
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from capture_case import WEB_V4, CaptureCase  # noqa: E402
from kept import Kept, connect_ms  # noqa: E402
from nodeproxy import in_netns, wait_until  # noqa: E402

# Holds as many kept connections as it is given, each after one answer; says so, and waits.
HOLDING_CLIENT = """
import socket, sys
held = []
for _ in range(int(sys.argv[3])):
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
    s.sendall(b'GET / HTTP/1.1\\r\\nHost: web\\r\\n\\r\\n')
    assert s.recv(65536).startswith(b'HTTP/1.1 200'), 'not served'
    held.append(s)
print('held', flush=True)
sys.stdin.readline()
"""
CLOSED_SERVICE = """
apiVersion: v1
kind: Service
metadata:
  name: strict
  annotations: {nodeproxy.dev/fail-mode: closed}
spec:
  selector: {app: web}
  clusterIPs: [10.96.0.30]
  ports: [{name: http, port: 80, targetPort: 8080}]
"""


class Shedding(CaptureCase):
    def set_the_scene(self) -> None:
        self.add_pods()
        self.serve("v1")
        self.daemon.apply(CLOSED_SERVICE)
        self.open_url = f"http://{self.web['v2'].ipv4}:8080/"
        # The route says v1, so that "v2" is the dialled pod itself: directly.
        self.assertEqual(self.client.curl(self.open_url), "v1\n 200")
        self.assertEqual(self.client.curl("http://10.96.0.30/").split()[-1], "200")

    def probe(self, name: str) -> str:
        """Body and status; "000" as a probe that times out."""
        url = f"http://127.0.0.1:15190/{name}"
        return self.host.run("curl", "-s", "-m", "1", "-w", " %{http_code}", url).stdout

    def kept(self) -> Kept:
        client = Kept(self.client.netns, WEB_V4, 80)
        self.addCleanup(client.close)
        return client

    def expect_shedding(self, kept: Kept) -> None:
        how, took = connect_ms(self.client, self.web["v2"].ipv4, 8080)
        print(f"overloaded, open: {how} after {took:.2f} ms")
        self.assertEqual((how, took < 500), ("connected", True))
        self.assertEqual(self.client.curl(self.open_url), "v2\n 200", "directly")
        how, took = connect_ms(self.client, "10.96.0.30", 80)
        print(f"overloaded, closed: {how} after {took:.2f} ms")
        self.assertEqual((how, took < 500), ("ConnectionRefusedError", True))
        self.assertEqual(kept.get(), "HTTP/1.1 200 OK", "existing connections are unaffected")

    def expect_recovery(self, kept: Kept) -> None:
        wait_until(lambda: self.client.curl(self.open_url, seconds=1) == "v1\n 200", 5, "captured again")
        self.assertEqual(self.client.curl("http://10.96.0.30/").split()[-1], "200")
        self.assertEqual(kept.get(), "HTTP/1.1 200 OK")
        self.assertTrue(self.probe("readyz").endswith("200"))
        self.assertTrue(self.probe("livez").endswith("200"))


class Connections(Shedding):
    """With so few descriptors that the limit of connections, which derives from them, can be reached."""

    NAME = "npoverc"
    DESCRIPTORS = 400
    CONNECTIONS = 2 * DESCRIPTORS // 2  # two shards, half of their sockets for clients
    THROUGH = ("prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}")

    def hold(self, count: int) -> subprocess.Popen[str]:
        command = in_netns(self.client.netns, [sys.executable, "-c", HOLDING_CLIENT, WEB_V4, "80", str(count)])
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (holder.kill(), holder.communicate()))
        assert holder.stdout
        self.assertEqual(holder.stdout.readline().strip(), "held")
        return holder

    def test_r43_at_the_limit_of_connections_new_ones_follow_their_fail_mode(self) -> None:
        self.set_the_scene()
        kept = self.kept()
        self.assertEqual(kept.get(), "HTTP/1.1 200 OK")
        before = self.stats()
        holder = self.hold(self.CONNECTIONS * 15 // 16)
        self.expect_shedding(kept)
        after = self.stats()
        for counter in ("overload", "failopen", "failclosed"):
            self.assertGreater(after[counter], before[counter], counter)
        self.assertIn("overloaded", self.probe("readyz"))
        self.assertTrue(self.probe("livez").endswith("200"), "a full house is no reason for a restart")
        holder.communicate("\n")
        self.expect_recovery(kept)


class Descriptors(Shedding):
    """With a few descriptors more than the worker has open, which clients of the control socket use up."""

    NAME = "npoverd"
    SPARE = 24

    def open_descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.daemon.worker_pid()}/fd").iterdir()))

    def use_up(self, limit: int) -> list[socket.socket]:
        """Until no more can be accepted; the daemon drops them after ten seconds of silence."""
        held = []
        while (used := self.open_descriptors()) < limit:
            one = socket.socket(socket.AF_UNIX)
            self.addCleanup(one.close)
            one.connect(str(self.daemon.run_dir / "control.sock"))
            held.append(one)
            wait_until(lambda: self.open_descriptors() > used, 1, "the client is accepted", 0.01)
        return held

    def test_r43_without_descriptors_it_sheds_and_fails_liveness(self) -> None:
        limit = self.open_descriptors() + self.SPARE
        self.daemon.stop()
        self.daemon.through = ("prlimit", f"--nofile={limit}:{limit}")
        self.daemon.start()
        self.set_the_scene()
        kept = self.kept()
        self.assertEqual(kept.get(), "HTTP/1.1 200 OK")
        held = self.use_up(limit)
        waiting = self.kept()  # the one that finds out: it was let in
        # The admin server has no descriptor either: the probe gets no answer, or 503.
        self.assertFalse(self.probe("livez").endswith("200"))
        self.expect_shedding(kept)
        self.assertFalse(self.probe("readyz").endswith("200"))
        self.expect_shedding(kept)  # it does not try with the next client
        for one in held:
            one.close()
        self.expect_recovery(kept)
        self.assertEqual(waiting.get(), "HTTP/1.1 200 OK", "what had waited is served")


if __name__ == "__main__":
    unittest.main(verbosity=2)
