#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A pod that takes all it can get, beside one that asks now and then: the second loses nothing. How
long it waits is the benchmark's to tell (tests/bench/fair_share.py)."""

from __future__ import annotations

import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from fair_scene import ADDRESS, PORT, FairCase  # noqa: E402
from netns import Pod  # noqa: E402
from nodeproxy import finish_load, in_netns, load, start_load, wait_until  # noqa: E402

CONNECTIONS = 8000
UPLOADS = 6000
RING_BYTES = 2 * 2048 * 32768  # receive buffers of both shards
# Takes connections and never reads: what comes stays with whoever sent it.
SILENT_ORIGIN = """
import socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(('0.0.0.0', 8090))
listener.listen(4096)
print('done', flush=True)
kept = []
while True:
    kept.append(listener.accept()[0])
"""
# Sends as much of a large body as is taken, on many connections; reads nothing.
UPLOADER = """
import socket, sys
head = b'POST / HTTP/1.1\\r\\nHost: sink\\r\\nContent-Length: 10000000\\r\\n\\r\\n'
kept = []
for _ in range(int(sys.argv[2])):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    sock.settimeout(10)
    sock.connect((sys.argv[1], 80))
    sock.setblocking(False)
    sock.send(head + bytes(100000))
    kept.append(sock)
print('done', flush=True)
sys.stdin.read()
"""
SINK = """
apiVersion: v1
kind: Service
metadata: {name: sink, annotations: {nodeproxy.dev/fail-mode: closed}}
spec:
  selector: {app: noisy}
  clusterIPs: [10.96.0.23]
  ports: [{name: http, port: 80, targetPort: 8090}]
"""


class FairShare(FairCase):
    NAME = "npfair"

    def check_quiet_pod(self, seconds: int) -> None:
        quiet = load(f"{ADDRESS['quiet']}:{PORT}", "--rate", "200", "-c", "16", "--duration", str(seconds),
                     netns=self.client.netns)
        self.assertEqual(quiet["status"], {"200": quiet["sent"]})
        self.assertEqual(sum(quiet["errors"].values()), 0)
        print(f"\nquiet pod: {quiet['sent']} of {quiet['sent']}, latency us {quiet['latency_us']}")

    def test_many_connections_at_full_speed(self) -> None:
        noisy = start_load(f"{ADDRESS['noisy']}:{PORT}", "-c", str(CONNECTIONS), "--duration", "12",
                           netns=self.noisy.netns)
        wait_until(lambda: self.use_of(self.noisy)["flows_open"] >= CONNECTIONS, 10, "all are open")
        self.check_quiet_pod(4)
        report = finish_load(noisy)
        use = self.use_of(self.noisy)
        print(f"noisy pod: {report['completed']} answers, {use}")
        self.assertEqual(sum(report["errors"].values()), 0)
        # nginx's accept queue is shorter than 8 000: whoever found no place there in time has a 503.
        self.assertGreater(report["status"]["200"], report["completed"] * 0.95)
        self.assertGreater(use["turns_waited"], 0, "it had to take turns")
        self.assertGreater(use["units"], self.use_of(self.client)["units"])
        listed = self.daemon.ctl("pod", "list", "-o", "wide").stdout
        for title in ("FLOWS", "WORK", "WAITED", "HELD"):
            self.assertIn(title, listed)

    def start(self, pod: Pod, script: str, *arguments: str) -> subprocess.Popen[str]:
        command = in_netns(pod.netns, [sys.executable, "-c", script, *arguments])
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        assert process.stdout
        self.assertEqual(process.stdout.readline(), "done\n")
        return process

    def test_uploads_that_nobody_takes(self) -> None:
        self.daemon.apply(SINK)
        sink = self.start(self.web["v1"], SILENT_ORIGIN)
        self.start(self.noisy, UPLOADER, "10.96.0.23", str(UPLOADS))
        wait_until(lambda: self.use_of(self.noisy)["receives_held"] > 0, 10, "its share is used up")
        self.check_quiet_pod(3)
        use = self.use_of(self.noisy)
        print(f"uploading pod: {use}")
        self.assertGreater(use["held_bytes"], RING_BYTES // 8)
        self.assertLess(use["held_bytes"], RING_BYTES * 3 // 4)
        sink.kill()
        wait_until(lambda: self.use_of(self.noisy)["held_bytes"] == 0, 10, "what it held is free again")
        self.check_quiet_pod(1)


if __name__ == "__main__":
    unittest.main()
