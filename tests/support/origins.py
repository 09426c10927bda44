# SPDX-License-Identifier: Apache-2.0
"""Origin servers for tests: they record what reached them and answer as a test needs, well or
badly. A behaviour is a function of one connection; those that speak HTTP are chosen by path."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from wire import LAST_CHUNK, End, Message, Reader, chunk

WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PATTERN = bytes(range(256)) * 256  # 64 KiB in which a shift by one shows


@dataclass
class Arrival:
    """One connection that reached the origin."""

    sock: socket.socket
    reader: Reader
    number: int
    requests: list[Message] = field(default_factory=list)
    accepted_at: float = 0.0

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def reset(self) -> None:
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.sock.close()


Behaviour = Callable[[Arrival], None]


class TcpServer:
    """Accepts on 127.0.0.1 (or another address) and runs one thread per connection."""

    def __init__(self, behaviour: Behaviour, address: str = "127.0.0.1", port: int = 0) -> None:
        self._behaviour = behaviour
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((address, port))
        self._listener.listen(1024)
        self.address = address
        self.port = int(self._listener.getsockname()[1])
        self.arrivals: list[Arrival] = []
        self.problems: list[str] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                number = len(self.arrivals)
                arrival = Arrival(sock, Reader(sock, 60.0), number, accepted_at=time.monotonic())
                self.arrivals.append(arrival)
            threading.Thread(target=self._serve, args=[arrival], daemon=True).start()

    def _serve(self, arrival: Arrival) -> None:
        try:
            self._behaviour(arrival)
        except OSError:
            pass  # the proxy closed: what the test looks at says whether that was right
        except Exception as error:  # noqa: BLE001 - shown by the test, else it would be lost
            self.problems.append(f"{type(error).__name__}: {error}")
        finally:
            arrival.sock.close()

    def requests(self) -> list[Message]:
        """All requests, by connection and then in order."""
        with self._lock:
            arrivals = list(self.arrivals)
        return [request for arrival in arrivals for request in list(arrival.requests)]

    def bytes_seen(self) -> int:
        return sum(arrival.reader.total_bytes for arrival in self.arrivals)

    def forget(self) -> None:
        """Forgets requests, keeps connections: the proxy may have kept them too."""
        for arrival in self.arrivals:
            arrival.requests.clear()
            arrival.reader.total_bytes = 0

    def close(self) -> None:
        # shutdown first: close alone does not wake a thread that waits in accept.
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        for arrival in self.arrivals:
            try:
                arrival.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def answer(
    status: int = 200,
    body: bytes = b"",
    headers: list[tuple[str, str]] | None = None,
    reason: str = "OK",
) -> bytes:
    lines = [f"HTTP/1.1 {status} {reason}"]
    lines += [f"{name}: {value}" for name, value in headers or []]
    if status in (204, 304) or status < 200:
        body = b""
    else:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


Answerer = Callable[[Arrival, Message], bool]  # says whether the connection goes on


class HttpOrigin(TcpServer):
    """Records every request and answers by the first part of the path. Without a behaviour of that
    name it answers 200 with a JSON text that says who it is and what it saw."""

    def __init__(self, name: str = "origin", address: str = "127.0.0.1", port: int = 0) -> None:
        self.name = name
        self.paths: dict[str, Answerer] = dict(STANDARD_PATHS)
        super().__init__(self._http, address, port)

    def _http(self, arrival: Arrival) -> None:
        goes_on = True
        while goes_on:
            request = arrival.reader.head()
            if request is None or request.end is not End.COMPLETE:
                return
            part = request.target.split("?")[0].strip("/").split("/")[0]
            if part not in HEAD_ONLY_PATHS:
                arrival.reader.body(request)
            arrival.requests.append(request)
            if request.end is not End.COMPLETE:
                return
            goes_on = self.paths.get(part, self._echo)(arrival, request)

    def _echo(self, arrival: Arrival, request: Message) -> bool:
        value = {
            "origin": self.name,
            "method": request.method,
            "target": request.target,
            "headers": request.headers,
            "trailers": request.trailers,
            "body": request.body.decode("latin-1"),
        }
        text = json.dumps(value).encode()
        shown = b"" if request.method == "HEAD" else text
        head = answer(200, text, [("Content-Type", "application/json"), ("X-Origin", self.name)])
        arrival.send(head[: len(head) - len(text)] + shown)
        return True


# ---- behaviours by path ---------------------------------------------------------------------------


def _number(request: Message, index: int = 1, default: int = 0) -> int:
    parts = request.target.split("?")[0].strip("/").split("/")
    return int(parts[index]) if len(parts) > index else default


def status(arrival: Arrival, request: Message) -> bool:
    """/status/NNN"""
    code = _number(request)
    arrival.send(answer(code, f"status {code}\n".encode()))
    return True


def slow(arrival: Arrival, request: Message) -> bool:
    """/slow/MILLISECONDS: the answer's head comes that late."""
    time.sleep(_number(request) / 1000)
    arrival.send(answer(200, b"slow but sure"))
    return True


def big(arrival: Arrival, request: Message) -> bool:
    """/big/BYTES with Content-Length."""
    left = _number(request)
    arrival.send(f"HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n".encode())
    while left > 0:
        part = PATTERN[: min(left, len(PATTERN))]
        arrival.send(part)
        left -= len(part)
    return True


def chunked(arrival: Arrival, request: Message) -> bool:
    """/chunked/COUNT: that many chunks, and a trailer."""
    arrival.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n")
    for index in range(_number(request)):
        arrival.send(chunk(f"part {index};".encode()))
    arrival.send(b"0\r\nx-sum: 42\r\n\r\n")
    return True


def byte_by_byte(arrival: Arrival, request: Message) -> bool:
    """/bytewise: head and chunked body in writes of one byte."""
    text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for byte in text + chunk(b"drip drop") + LAST_CHUNK:
        arrival.send(bytes([byte]))
    return True


def until_close(arrival: Arrival, request: Message) -> bool:
    """/until-close: neither length nor chunks."""
    arrival.send(b"HTTP/1.1 200 OK\r\n\r\nframed by the end")
    return False


def die_fixed(arrival: Arrival, request: Message) -> bool:
    """/die-fixed: promises 100 000 bytes, sends 5 000, ends with a FIN."""
    arrival.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + PATTERN[:5000])
    return False


def die_chunked(arrival: Arrival, request: Message) -> bool:
    """/die-chunked: ends with a FIN between two chunks."""
    arrival.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(PATTERN[:5000]))
    return False


def die_reset(arrival: Arrival, request: Message) -> bool:
    """/die-reset: a reset in the middle of a body."""
    arrival.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + PATTERN[:5000])
    time.sleep(0.1)  # lets the bytes pass: a reset discards what the peer has not read
    arrival.reset()
    return False


def die_before(arrival: Arrival, request: Message) -> bool:
    """/die-before: ends without a byte of an answer."""
    return False


def early(arrival: Arrival, request: Message) -> bool:
    """/early: answers before the body has come, and reads no more of it."""
    arrival.send(answer(413, b"too much", [("Connection", "close")], "Content Too Large"))
    time.sleep(0.3)
    return False


def close_after(arrival: Arrival, request: Message) -> bool:
    """/close-after: a complete answer that announces no close, and then the close."""
    arrival.send(answer(200, b"bye"))
    return False


def poison(arrival: Arrival, request: Message) -> bool:
    """/poison: a complete answer and, unasked, a second one behind it."""
    arrival.send(answer(200, b"first") + answer(200, b"POISON"))
    return True


def interim(arrival: Arrival, request: Message) -> bool:
    """/interim: 103 first."""
    arrival.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
    arrival.send(answer(200, b"after the hint"))
    return True


def both_framings(arrival: Arrival, request: Message) -> bool:
    """/both-framings: Content-Length and chunked in one answer."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    arrival.send(head + chunk(b"hello") + LAST_CHUNK)
    return True


def websocket(arrival: Arrival, request: Message) -> bool:
    """/websocket: the handshake of RFC 6455, then bytes are echoed until a FIN."""
    digest = hashlib.sha1((request.get("sec-websocket-key") + WEBSOCKET_GUID).encode()).digest()
    accept = base64.b64encode(digest).decode()
    arrival.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept.encode() + b"\r\n\r\nhello-from-origin"
    )
    if arrival.reader.buffer:
        arrival.send(bytes(arrival.reader.buffer))
        arrival.reader.buffer.clear()
    while data := arrival.sock.recv(65536):
        arrival.send(data)
    return False


STANDARD_PATHS: dict[str, Answerer] = {
    "status": status,
    "slow": slow,
    "big": big,
    "chunked": chunked,
    "bytewise": byte_by_byte,
    "until-close": until_close,
    "die-fixed": die_fixed,
    "die-chunked": die_chunked,
    "die-reset": die_reset,
    "die-before": die_before,
    "early": early,
    "close-after": close_after,
    "poison": poison,
    "interim": interim,
    "both-framings": both_framings,
    "websocket": websocket,
}
HEAD_ONLY_PATHS = {"early", "websocket"}


# ---- behaviours without HTTP ----------------------------------------------------------------------


def server_first(banner: bytes) -> Behaviour:
    """Speaks first, as SMTP and MySQL do; then echoes."""

    def behave(arrival: Arrival) -> None:
        arrival.send(banner)
        echo(arrival)

    return behave


def echo(arrival: Arrival) -> None:
    while data := arrival.sock.recv(65536):
        arrival.send(data)
    arrival.sock.shutdown(socket.SHUT_WR)


def never_answer(arrival: Arrival) -> None:
    while arrival.sock.recv(65536):
        pass
