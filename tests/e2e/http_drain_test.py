#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What gateway clients see when the daemon ends in order, or only its worker dies: nobody waits for
an answer that cannot come, and nobody who was served is cut off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import unittest
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from capture_case import CaptureCase  # noqa: E402
from embedded import EmbeddedCase  # noqa: E402
from nodeproxy import in_netns, wait_until  # noqa: E402
from wire import Client, request_bytes  # noqa: E402


class Drain(EmbeddedCase):
    """--no-capture: supervisor and worker of one user, listeners in both."""

    def setUp(self) -> None:
        super().setUp()
        if self.daemon.process is None or self.daemon.process.poll() is not None:
            self.daemon.start()

    def tearDown(self) -> None:
        pass  # that the daemon has ended is what these tests are about

    def is_refused(self) -> bool:
        try:
            Client(("127.0.0.1", self.port), 2.0).close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            return False  # it was let in, by a worker that died the next moment
        return False

    def start_request(self) -> Client:
        """A client whose answer takes its time."""
        client = self.client()
        client.send(request_bytes("/slow/800"))
        wait_until(self.v1.requests, 5, "the request is with the origin", 0.01)
        return client

    def check_orderly_end(self, end: Callable[[], object]) -> None:
        kept = self.client()
        kept.send(request_bytes("/"))
        self.assertEqual(kept.response().status, 200)
        self.v1.forget()
        busy = self.start_request()
        silent = self.client()
        began = time.monotonic()
        end()
        wait_until(self.is_refused, 2, "new clients are refused", 0.01)
        self.assertLess(time.monotonic() - began, 0.7, "at once, not when the last request has ended")
        self.assertTrue(kept.is_closed_by_peer())
        # It connected before the end began: what it asks now is still answered.
        silent.send(request_bytes("/"))
        self.assertEqual(silent.response().status, 200)
        answer = busy.response()
        self.assertEqual((answer.status, answer.get("connection")), (200, "close"))
        assert self.daemon.process is not None
        self.assertEqual(self.daemon.process.wait(10), 0)

    def test_sigterm(self) -> None:
        assert self.daemon.process is not None
        process = self.daemon.process
        self.check_orderly_end(lambda: process.send_signal(signal.SIGTERM))

    def test_nodectl_drain(self) -> None:
        self.check_orderly_end(lambda: self.daemon.ctl("drain"))

    def test_sigterm_to_the_worker_alone(self) -> None:
        self.check_orderly_end(lambda: os.kill(self.daemon.worker_pid(), signal.SIGTERM))

    def test_a_worker_that_dies_in_its_drain_is_followed_by_one_that_listens(self) -> None:
        self.start_request()
        worker = self.daemon.worker_pid()
        os.kill(worker, signal.SIGTERM)
        wait_until(self.is_refused, 2, "new clients are refused", 0.01)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not self.is_refused(), 5, "the next worker listens", 0.01)
        self.assertEqual(self.fetch("/").status, 200)

    def test_a_worker_that_dies_refuses_nobody(self) -> None:
        for _ in range(3):
            self.daemon.kill_worker()
            until = time.monotonic() + 0.3
            while time.monotonic() < until:
                self.assertFalse(self.is_refused())
            wait_until(lambda: self.daemon.ctl("status", check=False).returncode == 0, 10, "ready again")


GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front}
spec:
  servers:
  - port: {number: 8088, name: http, protocol: HTTP}
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front}
spec:
  hosts: ["*"]
  gateways: [front]
  http:
  - route: [{destination: {host: web, subset: v1}}]
"""
# Half a request; the rest when it is told so. Prints how the clients after it fare in the end, then
# the answer. Whom the kernel lets in at the very instant when the listener ends is reset, so a reset
# says only that the end has begun: those who come later must be refused.
HALF_A_REQUEST = """
import socket, sys, time
client = socket.create_connection(('127.0.0.1', 8088), 5)
client.sendall(b'GET / HTTP/1.1\\r\\n')
print('begun', flush=True)
sys.stdin.readline()
began = time.monotonic()
how = 'connected'
while how == 'connected' and time.monotonic() - began < 3:
    try:
        socket.create_connection(('127.0.0.1', 8088), 5).close()
        time.sleep(0.01)
    except ConnectionResetError:
        continue
    except OSError as error:
        how = type(error).__name__
print(how, flush=True)
client.sendall(b'Host: web\\r\\n\\r\\n')
print(client.recv(65536).split(b'\\r\\n')[0].decode(), flush=True)
"""


@unittest.skipUnless(os.geteuid() == 0, "capture needs root")
class DrainWithCapture(CaptureCase):
    """Root: the worker has a uid of its own and cannot signal its supervisor."""

    NAME = "npdrain"

    def check(self, end: Callable[[], object]) -> None:
        self.add_pods()
        self.serve("v1")
        self.daemon.apply(GATEWAY)
        script = in_netns(self.host.netns, [sys.executable, "-c", HALF_A_REQUEST])
        with subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
            assert client.stdin and client.stdout
            self.assertEqual(client.stdout.readline(), "begun\n")
            end()
            output, _ = client.communicate("\n", timeout=20)
        self.assertEqual(output.split("\n")[:2], ["ConnectionRefusedError", "HTTP/1.1 200 OK"])
        assert self.daemon.process is not None
        self.assertEqual(self.daemon.process.wait(15), 0)
        direct = self.client.curl(f"http://{self.web['v2'].ipv4}:8080/")
        self.assertEqual(direct, "v2\n 200", "captured clients follow their fail mode")

    def test_sigterm(self) -> None:
        assert self.daemon.process is not None
        process = self.daemon.process
        self.check(lambda: process.send_signal(signal.SIGTERM))

    def test_nodectl_drain(self) -> None:
        self.check(lambda: self.daemon.ctl("drain"))


if __name__ == "__main__":
    unittest.main()
