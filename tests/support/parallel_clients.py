#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many clients that start at the same instant, each on a kept connection of its own: as a script the
process that runs them (also inside a pod), run_clients() is the test's end of it."""

from __future__ import annotations

import collections
import json
import selectors
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from nodeproxy import in_netns  # noqa: E402

PATIENCE_SECONDS = 60.0
READ_BYTES = 65536
RECONNECTS = 100


class OneClient:
    def __init__(self, number: int, requests: int, host: str) -> None:
        self.number = number
        self.left = requests
        self.host = host
        self.sent = 0
        self.sock: socket.socket | None = None
        self.buffer = b""
        self.sent_bytes = self.received_bytes = 0

    def connect(self, address: tuple[str, int]) -> None:
        self.sock = socket.create_connection(address, 10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)

    def ask(self) -> None:
        assert self.sock is not None
        target = f"/{self.number}-{self.sent}"
        request = f"GET {target} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode()
        self.sent += 1
        self.left -= 1
        self.sock.sendall(request)
        self.sent_bytes += len(request)

    def read(self) -> tuple[int, bool, str] | None:
        """An answer's status, its mark and its body; None while it is not whole."""
        assert self.sock is not None
        data = self.sock.recv(READ_BYTES)
        if not data:
            raise ConnectionError("closed")
        self.received_bytes += len(data)
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return None
        lines = head.decode("latin-1").lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:])
        length = int(fields["content-length"])
        if len(rest) < length:
            return None
        self.buffer = rest[length:]
        overloaded = fields.get("x-envoy-overloaded") == "true"
        return int(lines[0].split(" ")[1]), overloaded, rest[:length].decode("latin-1")


def goes_on(client: OneClient, address: tuple[str, int], selector: selectors.BaseSelector) -> bool:
    """After an error, on a new connection; False: there is nothing left to ask, or nobody there."""
    assert client.sock is not None
    selector.unregister(client.sock)
    client.sock.close()
    client.buffer = b""
    for _ in range(RECONNECTS):
        if client.left == 0:
            return False
        try:
            client.connect(address)
            client.ask()
        except OSError:
            time.sleep(0.05)
            continue
        selector.register(client.sock, selectors.EVENT_READ, client)
        return True
    return False


def run(address: tuple[str, int], clients: int, requests: int, host: str,
        is_stubborn: bool = False) -> dict[str, object]:
    statuses: collections.Counter[str] = collections.Counter()
    bodies: collections.Counter[str] = collections.Counter()
    overloaded, errors = 0, collections.Counter[str]()
    everyone = [OneClient(number, requests, host) for number in range(clients)]
    selector = selectors.DefaultSelector()
    for client in everyone:
        client.connect(address)
        selector.register(client.sock, selectors.EVENT_READ, client)  # type: ignore[arg-type]
    started = time.monotonic()
    for client in everyone:
        try:
            client.ask()
        except OSError:
            pass  # select() will say it again
    open_clients = len(everyone)
    while open_clients > 0:
        ready = selector.select(PATIENCE_SECONDS)
        if not ready:
            errors["no answer"] += open_clients
            break
        for key, _ in ready:
            client = key.data
            try:
                answer = client.read()
            except OSError as error:
                errors[type(error).__name__] += 1
                if is_stubborn and goes_on(client, address, selector):
                    continue
                if not is_stubborn:
                    selector.unregister(client.sock)
                open_clients -= 1
                continue
            if answer is None:
                continue
            status, marked, body = answer
            statuses[str(status)] += 1
            overloaded += marked
            if status >= 500:
                bodies[body] += 1
            if client.left > 0:
                client.ask()
            else:
                selector.unregister(client.sock)
                client.sock.close()
                open_clients -= 1
    seconds = time.monotonic() - started
    return {"status": statuses, "overloaded": overloaded, "errors": errors, "bodies": bodies,
            "seconds": seconds, "sent": sum(client.sent for client in everyone),
            "sent_bytes": sum(client.sent_bytes for client in everyone),
            "received_bytes": sum(client.received_bytes for client in everyone)}


@dataclass
class Outcome:
    status: dict[str, int] = field(default_factory=dict)
    overloaded: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    bodies: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    sent: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0


def start_clients(address: str, port: int, clients: int, requests: int, host: str = "origin.test",
                  netns: str | None = None, is_stubborn: bool = False) -> subprocess.Popen[str]:
    """`is_stubborn`: whoever loses its connection goes on with another one."""
    command = [sys.executable, "-B", str(Path(__file__).resolve()), address, str(port), str(clients),
               str(requests), host, *(["stubborn"] if is_stubborn else [])]
    return subprocess.Popen(in_netns(netns, command), stdout=subprocess.PIPE, text=True)


def finish_clients(process: subprocess.Popen[str], seconds: float = 120) -> Outcome:
    text, _ = process.communicate(timeout=seconds)
    return Outcome(**json.loads(text))


def run_clients(address: str, port: int, clients: int, requests: int, host: str = "origin.test",
                netns: str | None = None) -> Outcome:
    return finish_clients(start_clients(address, port, clients, requests, host, netns))


if __name__ == "__main__":
    print(json.dumps(run((sys.argv[1], int(sys.argv[2])), *map(int, sys.argv[3:5]), sys.argv[5],
                         "stubborn" in sys.argv[6:])))
