# SPDX-License-Identifier: Apache-2.0
"""Holds connections open that do nothing: `python3 -m compare.holder ADDRESS PORT COUNT`. Each makes
one request. Says "ready" when all have their answer; at the end of its input, how many the server
has closed meanwhile."""

from __future__ import annotations

import select
import socket
import sys

REQUEST = b"GET / HTTP/1.1\r\nHost: bench.test\r\n\r\n"
SECONDS = 10.0


def open_one(address: str, port: int) -> socket.socket:
    sock = socket.create_connection((address, port), timeout=SECONDS)
    sock.sendall(REQUEST)
    text = b""
    while b"\r\n\r\n" not in text:
        piece = sock.recv(65536)
        if not piece:
            raise ConnectionError("closed before its answer")
        text += piece
    head, _, body = text.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split()[0])
    while len(body) < length:
        piece = sock.recv(65536)
        if not piece:
            raise ConnectionError("closed within its answer")
        body += piece
    return sock


def count_closed(sockets: list[socket.socket]) -> int:
    poll = select.poll()
    for sock in sockets:
        poll.register(sock, select.POLLIN | select.POLLRDHUP)
    return len(poll.poll(0))


def main() -> None:
    address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    sockets = [open_one(address, port) for _ in range(count)]
    print("ready", flush=True)
    sys.stdin.read()
    print(count_closed(sockets), flush=True)


if __name__ == "__main__":
    main()
