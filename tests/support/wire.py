# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 messages read byte by byte from a socket, without a library that would repair them: a
test must see what was on the wire, and how it ended."""

from __future__ import annotations

import enum
import socket
import time
from dataclasses import dataclass, field

READ_BYTES = 256 * 1024
HEAD_BYTES_MAX = 1024 * 1024


class End(enum.Enum):
    """How reading a message ended."""

    COMPLETE = "complete"  # by its framing
    CLOSED = "closed"  # the peer's FIN, before the framing said so
    RESET = "reset"
    TIMEOUT = "timeout"


class WireError(Exception):
    """The bytes are no HTTP/1 message."""


@dataclass
class Message:
    start_line: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    end: End = End.COMPLETE
    is_chunked: bool = False

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name: str, default: str = "") -> str:
        values = self.all(name)
        return values[0] if values else default

    @property
    def status(self) -> int:
        return int(self.start_line.split(" ", 2)[1])

    @property
    def method(self) -> str:
        return self.start_line.split(" ", 1)[0]

    @property
    def target(self) -> str:
        return self.start_line.split(" ", 2)[1]


class _Ended(Exception):
    def __init__(self, end: End) -> None:
        super().__init__(end.value)
        self.end = end


class Reader:
    """Buffered reading from one socket. `timeout_seconds` is for each wait."""

    def __init__(self, sock: socket.socket, timeout_seconds: float = 10.0) -> None:
        self.sock = sock
        self.timeout_seconds = timeout_seconds
        self.buffer = bytearray()
        self.total_bytes = 0

    def _fill(self) -> None:
        self.sock.settimeout(self.timeout_seconds)
        try:
            data = self.sock.recv(READ_BYTES)
        except TimeoutError as error:
            raise _Ended(End.TIMEOUT) from error
        except OSError as error:
            raise _Ended(End.RESET) from error
        if not data:
            raise _Ended(End.CLOSED)
        self.total_bytes += len(data)
        self.buffer += data

    def _take(self, size: int) -> bytes:
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken

    def _line(self) -> str:
        while (index := self.buffer.find(b"\r\n")) < 0:
            if len(self.buffer) > HEAD_BYTES_MAX:
                raise WireError("line without an end")
            self._fill()
        line = self._take(index)
        del self.buffer[:2]
        return line.decode("latin-1")

    def _fields(self) -> list[tuple[str, str]]:
        fields = []
        while line := self._line():
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise WireError(f"bad field line {line!r}")
            fields.append((name, value.strip(" \t")))
        return fields

    def head(self) -> Message | None:
        """The next head, or None when the peer ended before its first byte."""
        try:
            return Message(self._line(), self._fields())
        except _Ended as ended:
            if not self.buffer and ended.end is not End.TIMEOUT:
                return None
            return Message("", [], bytes(self.buffer), end=ended.end)

    def _fixed(self, message: Message, size: int) -> None:
        while len(self.buffer) < size:
            self._fill()
        message.body = self._take(size)

    def _chunked(self, message: Message) -> None:
        message.is_chunked = True
        body = bytearray()
        try:
            while True:
                size = int(self._line().split(";")[0], 16)
                if size == 0:
                    message.trailers = self._fields()
                    return
                while len(self.buffer) < size + 2:
                    self._fill()
                body += self._take(size)
                if self._take(2) != b"\r\n":
                    raise WireError("chunk without CRLF")
        finally:
            message.body = bytes(body)

    def body(self, message: Message, *, has_body: bool = True, until_close: bool = False) -> None:
        """Reads the body of `message` by its framing and notes how it ended."""
        try:
            if not has_body:
                return
            if "chunked" in message.get("transfer-encoding").lower():
                self._chunked(message)
            elif length := message.get("content-length"):
                self._fixed(message, int(length))
            elif until_close:
                while True:
                    self._fill()
        except _Ended as ended:
            if until_close and not message.is_chunked and not message.get("content-length"):
                # Framed by close: a FIN is its proper end, and only a FIN.
                message.end = End.COMPLETE if ended.end is End.CLOSED else ended.end
                message.body = self._take(len(self.buffer))
                return
            message.end = ended.end
            if not message.is_chunked:
                message.body = self._take(len(self.buffer))

    def request(self) -> Message | None:
        message = self.head()
        if message is not None and message.end is End.COMPLETE:
            self.body(message)
        return message

    def response(self, method: str = "GET") -> Message | None:
        message = self.head()
        if message is None or message.end is not End.COMPLETE:
            return message
        bare = method == "HEAD" or message.status in (204, 304) or message.status < 200
        self.body(message, has_body=not bare, until_close=True)
        return message

    def rest(self) -> tuple[bytes, End]:
        """Everything until the peer ends, and how it ended."""
        try:
            while True:
                self._fill()
        except _Ended as ended:
            return self._take(len(self.buffer)), ended.end

    def exactly(self, size: int) -> bytes:
        try:
            while len(self.buffer) < size:
                self._fill()
        except _Ended as ended:
            raise WireError(f"{ended.end.value} after {len(self.buffer)} of {size} bytes") from None
        return self._take(size)


class Client:
    """A TCP client that sends what it is told, as it is told."""

    def __init__(self, address: tuple[str, int], timeout_seconds: float = 10.0) -> None:
        self.sock = socket.create_connection(address, timeout=timeout_seconds)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = Reader(self.sock, timeout_seconds)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *ended: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send_split(self, data: bytes, size: int = 1, pause_seconds: float = 0.0) -> None:
        for start in range(0, len(data), size):
            self.sock.sendall(data[start : start + size])
            if pause_seconds:
                time.sleep(pause_seconds)

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def response(self, method: str = "GET") -> Message:
        message = self.reader.response(method)
        if message is None:
            raise WireError("the connection ended without an answer")
        return message

    def is_closed_by_peer(self, seconds: float = 3.0) -> bool:
        """Whether the peer ends the connection, and sends nothing more, within the time."""
        self.reader.timeout_seconds = seconds
        data, end = self.reader.rest()
        return not data and end in (End.CLOSED, End.RESET)

    def close(self) -> None:
        self.sock.close()

    def abort(self) -> None:
        """Ends with a reset."""
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.sock.close()


def request_bytes(
    target: str = "/",
    *,
    method: str = "GET",
    host: str = "origin.test",
    headers: list[tuple[str, str]] | None = None,
    body: bytes = b"",
) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers or []]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


LAST_CHUNK = b"0\r\n\r\n"
