# SPDX-License-Identifier: Apache-2.0
"""The embedded mode for tests: nodeproxyd --no-capture as an ordinary user, one gateway listener,
and origins on 127.0.0.1 that policy reaches as the host `web.internal` with subsets v1 and v2."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import unittest
from typing import ClassVar

from nodeproxy import Daemon
from origins import HttpOrigin
from wire import Client, Message, request_bytes

# Below those that the kernel gives to clients: one of these could take a port before it is listened on.
PORTS = range(10_000, 30_000)
PROBES_ABOVE_ADMIN = 1000

UNPRIVILEGED_USER = "daemon"  # an account that every Debian has, with a group of the same name

GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: front}}
spec:
  servers:
  - port: {{number: {port}, name: http, protocol: HTTP}}
    hosts: ["*"]
"""
REGISTRY = GATEWAY + """---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: web}}
spec:
  hosts: [web.internal]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
  - {{number: 80, name: http, protocol: HTTP}}
  endpoints:
  - {{address: 127.0.0.1, ports: {{http: {v1}}}, labels: {{version: v1}}}}
  - {{address: 127.0.0.1, ports: {{http: {v2}}}, labels: {{version: v2}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web}}
spec:
  host: web.internal
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
---
"""
VIRTUAL_SERVICE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web}}
spec:
  hosts: ["*"]
  gateways: [front]
  http:
{routes}
"""
TO_V1 = """
  - route:
    - destination: {host: web.internal, subset: v1}
"""


def free_port() -> int:
    """Free on every address, and so is the one that a daemon takes for its probes when this is for its admin page."""
    while True:
        port = random.choice(PORTS)
        if is_free(port) and is_free(port + PROBES_ABOVE_ADMIN):
            return port


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::", port))
        except OSError:
            return False
    return True


class EmbeddedCase(unittest.TestCase):
    """One daemon and two origins for all tests of a class."""

    routes: ClassVar[str] = TO_V1
    instance: ClassVar[str] = "npe2e"
    workers: ClassVar[int] = 1
    port: ClassVar[int]
    daemon: ClassVar[Daemon]
    v1: ClassVar[HttpOrigin]
    v2: ClassVar[HttpOrigin]

    @classmethod
    def setUpClass(cls) -> None:
        cls.v1, cls.v2 = HttpOrigin("v1"), HttpOrigin("v2")
        cls.addClassCleanup(cls.v1.close)
        cls.addClassCleanup(cls.v2.close)
        cls.port = free_port()
        user = UNPRIVILEGED_USER if os.geteuid() == 0 else None
        admin = f"127.0.0.1:{free_port()}"
        flags = ["--no-capture", "--workers", str(cls.workers), "--drain-time", "1s"]
        cls.daemon = Daemon(cls.instance, *flags, admin=admin, user=user)
        cls.daemon.__enter__()
        cls.addClassCleanup(cls.daemon.close)
        registry = REGISTRY.format(port=cls.port, v1=cls.v1.port, v2=cls.v2.port)
        cls.daemon.apply(registry + VIRTUAL_SERVICE.format(routes=cls.routes))

    def setUp(self) -> None:
        self.v1.forget()
        self.v2.forget()

    def tearDown(self) -> None:
        # A daemon that died under a test is that test's failure, whatever it asserted.
        process = self.daemon.process
        if process is not None and process.poll() is not None:
            self.fail(f"nodeproxyd ended with {process.returncode}:\n{self.daemon.log()[-3000:]}")
        problems = self.v1.problems + self.v2.problems
        self.v1.problems.clear()
        self.v2.problems.clear()
        self.assertEqual(problems, [], "what reached an origin was no HTTP/1.1")

    @classmethod
    def use_routes(cls, routes: str) -> None:
        cls.daemon.apply(VIRTUAL_SERVICE.format(routes=routes))

    def client(self, timeout_seconds: float = 10.0) -> Client:
        client = Client(("127.0.0.1", self.port), timeout_seconds)
        self.addCleanup(client.close)
        return client

    def fetch(
        self,
        target: str = "/",
        method: str = "GET",
        headers: list[tuple[str, str]] | None = None,
        body: bytes = b"",
        host: str = "web.test",
    ) -> Message:
        """One request on a connection of its own."""
        with self.client() as client:
            client.send(request_bytes(target, method=method, host=host, headers=headers, body=body))
            return client.response(method)

    def curl(self, path: str, *arguments: str) -> str:
        """A real client."""
        command = ["curl", "-sS", "-m", "20", "--path-as-is", *arguments]
        command.append(f"http://127.0.0.1:{self.port}{path}")
        done = subprocess.run(command, text=True, capture_output=True, timeout=30, check=False)
        self.assertEqual(done.returncode, 0, f"{' '.join(command)}: {done.stderr}")
        return done.stdout
