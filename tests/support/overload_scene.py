# SPDX-License-Identifier: Apache-2.0
"""For tests of overload: a gateway in front of nginx, in a network namespace of its own, and clients that make the
daemon hold memory. Requests to /hold wait there for as long as the test lasts, with what came of their body."""

from __future__ import annotations

import resource
import socket
import struct
import subprocess
import unittest

from embedded import REGISTRY, VIRTUAL_SERVICE
from nginx import Nginx
from nodeproxy import Daemon

GATEWAY = ("127.0.0.1", 8081)
HOLDING = """
  - match: [{uri: {prefix: /hold}}]
    fault: {delay: {fixedDelay: 600s, percentage: {value: 100}}}
    route: [{destination: {host: web.internal}}]
  - route: [{destination: {host: web.internal}}]
"""
POLICY = REGISTRY.format(port=GATEWAY[1], v1=9001, v2=9001) + VIRTUAL_SERVICE.format(routes=HOLDING)
MEBI = 1024 * 1024


def connect(timeout_seconds: float = 5.0) -> socket.socket:
    return socket.create_connection(GATEWAY, timeout_seconds)


def get(client: socket.socket, path: str = "/") -> str:
    """The answer as text; "" when the connection ended without one."""
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: web\r\n\r\n".encode())
    return read_answer(client)


def read_answer(client: socket.socket) -> str:
    try:
        return client.recv(65536).decode()
    except ConnectionError:
        return ""


class Holders:
    """Clients whose requests wait in the daemon with a body that is not complete."""

    BODY_BYTES = 1_000_000

    def __init__(self) -> None:
        self.clients: list[socket.socket] = []

    def add(self, count: int, body_bytes: int) -> None:
        for _ in range(count):
            client = connect()
            head = f"POST /hold HTTP/1.1\r\nHost: web\r\nContent-Length: {self.BODY_BYTES}\r\n\r\n"
            client.sendall(head.encode() + b"x" * body_bytes)
            self.clients.append(client)

    def send_more(self, body_bytes: int) -> None:
        for client in self.clients:
            client.setblocking(False)
            try:
                client.send(b"x" * body_bytes)
            except OSError:
                pass  # ended by the daemon

    def answers(self) -> list[str]:
        """Of those that were ended."""
        found = []
        for client in self.clients:
            client.setblocking(False)
            try:
                found.append(client.recv(65536).decode())
            except BlockingIOError:
                pass
            except OSError:
                found.append("reset")
        return found

    def close(self) -> None:
        """By resets: the daemon hears of them at once, also of those that it does not read from."""
        for client in self.clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        self.clients.clear()


class OverloadCase(unittest.TestCase):
    NAME = "npovl"
    WORKERS = "2"

    def setUp(self) -> None:
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        origin = Nginx({"127.0.0.1:9001": "v1"})
        origin.__enter__()
        self.addCleanup(origin.close)
        self.holders = Holders()
        self.addCleanup(lambda: self.holders.close())

    def start(self, *flags: str, through: tuple[str, ...] = ()) -> Daemon:
        daemon = Daemon(self.NAME, "--no-capture", "--workers", self.WORKERS, *flags, through=through)
        self.addCleanup(daemon.close)
        daemon.start()
        daemon.apply(POLICY)
        return daemon

    def load_of(self, daemon: Daemon) -> dict:
        return daemon.status()["overload"]

    def stage(self, daemon: Daemon) -> str:
        return self.load_of(daemon)["memory_stage"]

    def metrics(self) -> str:
        return subprocess.run(["curl", "-s", "http://127.0.0.1:15190/metrics"], capture_output=True, text=True,
                              check=True).stdout

    def metric(self, name: str) -> float:
        for line in self.metrics().splitlines():
            if line.startswith(name + " ") or line.startswith(name + "{"):
                return float(line.rsplit(" ", 1)[1])
        raise AssertionError(f"no metric {name}")
