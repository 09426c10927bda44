# SPDX-License-Identifier: Apache-2.0
"""The origin of a run (conf/origin.conf), and its own count of connections."""

from __future__ import annotations

import socket
from pathlib import Path

from netns import inside
from nodeproxy import wait_until

from .render import render_file
from .sandbox import Sandbox

GROUP = "origin"
PORT = 19000
STATUS_PORT = 18999
SMALL_BODY_BYTES = 128
BODY_BYTES = (1024, 16 * 1024, 1024 * 1024, 100 * 1024 * 1024)
SPARE_FILES = 200


class Origin:
    """`group` is its control group and its folder."""

    def __init__(self, sandbox: Sandbox, files: int, netns: str | None = None, group: str = GROUP) -> None:
        self._sandbox, self._group = sandbox, group
        self.netns = netns or sandbox.netns
        folder = sandbox.dir / group
        folder.mkdir()
        _make_bodies(sandbox.dir)
        text = render_file("origin.conf", {
            "dir": folder, "bodies": sandbox.dir, "files": files, "connections": files - SPARE_FILES,
            "port": PORT, "status_port": STATUS_PORT, "body": "x" * SMALL_BODY_BYTES})
        config = folder / "origin.conf"
        config.write_text(text)
        sandbox.start(group, sandbox.load_cpus, ["nginx", "-c", str(config), "-e", str(folder / "log")],
                      netns=self.netns)
        wait_until(self._answers, 10, "the origin answers")

    def _answers(self) -> bool:
        try:
            return self.connections_accepted() > 0
        except OSError:
            return False

    def connections_accepted(self) -> int:
        """Since it started, the one that asks included."""
        text = inside(self.netns, lambda: http_get("127.0.0.1", STATUS_PORT, "/")).decode()
        # "Active connections: ...", "server accepts handled requests", and then the numbers.
        return int(text.split("requests")[-1].split()[0])

    def end(self) -> None:
        self._sandbox.end(self._group)


def _make_bodies(folder: Path) -> None:
    bodies = folder / "body"
    bodies.mkdir(exist_ok=True)
    for size in BODY_BYTES:
        path = bodies / str(size)
        if not path.exists():
            path.write_bytes(b"x" * size)


def http_get(address: str, port: int, path: str, seconds: float = 2.0) -> bytes:
    """Body of the answer, on a connection of its own, whatever the status."""
    with socket.create_connection((address, port), timeout=seconds) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: bench.test\r\nConnection: close\r\n\r\n".encode())
        text = b""
        while piece := sock.recv(65536):
            text += piece
    return text.partition(b"\r\n\r\n")[2]
