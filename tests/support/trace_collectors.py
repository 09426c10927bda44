# SPDX-License-Identifier: Apache-2.0
"""Two collectors of traces, Zipkin v2 and OTLP/HTTP, both in JSON: they check what arrives strictly,
remember each violation, and keep the accepted spans in one form, so that a test can compare them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

from counted_origin import is_gone
from netns import inside
from origins import Arrival, TcpServer, answer
from trace_schema import Span, Violation, otlp_spans, zipkin_spans
from wire import End, Message, WireError

Predicate = Callable[[list[Span]], bool]
JSON = [("Content-Type", "application/json")]


class Collector(TcpServer):
    """The common part. `violations` is what a test must find empty; `documents` counts accepted ones,
    `refused` those that refuse_next() answered, `abandoned` those whose sender left while they waited."""

    path = ""

    def __init__(self, address: str = "127.0.0.1", port: int = 0, netns: str | None = None) -> None:
        self.violations: list[str] = []
        self.documents = self.refused = self.abandoned = 0
        self._spans: list[Span] = []
        self._refuse = 0
        self._stall_seconds = 0.0
        self._is_closed = False
        self._changed = threading.Condition()
        start = super().__init__
        inside(netns, lambda: start(self._requests, address, port))

    @property
    def url(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}{self.path}"

    # ---- for tests ------------------------------------------------------------------------------

    def spans(self) -> list[Span]:
        with self._changed:
            return list(self._spans)

    def wait_for(self, wanted: int | Predicate, seconds: float = 10.0) -> list[Span]:
        """The spans, once there are that many, or once the predicate says yes to them."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not (len(self._spans) >= wanted if isinstance(wanted, int) else wanted(list(self._spans))):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"not within {seconds} s at {self.path}: {self._tell()}")
                self._changed.wait(left)
            return list(self._spans)

    def refuse_next(self, count: int) -> None:
        """The next documents are answered 503 and not looked at."""
        with self._changed:
            self._refuse = count

    def stall(self, seconds: float) -> None:
        """From now on each document waits that long; 0 lets those that wait go on. A sender that has
        left meanwhile has not delivered: accepted is only what was answered."""
        with self._changed:
            self._stall_seconds = seconds
            self._changed.notify_all()

    def forget(self) -> None:
        super().forget()
        with self._changed:
            self._spans.clear()
            self.violations.clear()
            self.documents = self.refused = self.abandoned = 0

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        super().close()

    def _tell(self) -> str:
        lines = [f"{len(self._spans)} spans, {self.documents} documents, {self.refused} refused"]
        lines += [f"violation: {one}" for one in self.violations[:5]]
        lines += [str(span) for span in self._spans[-20:]]
        return "\n".join(lines)

    # ---- a connection ---------------------------------------------------------------------------

    def _requests(self, arrival: Arrival) -> None:
        try:
            while (request := arrival.reader.request()) is not None and request.end is End.COMPLETE:
                reply = self._reply(arrival, request)
                if reply is None:
                    return
                arrival.send(reply)
        except (WireError, ValueError) as error:
            self._violation(f"no HTTP/1.1: {error}")
            arrival.send(answer(400, b"", [("Connection", "close")], "Bad Request"))

    def _reply(self, arrival: Arrival, request: Message) -> bytes | None:
        if not self._waited(arrival):
            return None
        with self._changed:
            if self._refuse > 0:
                self._refuse -= 1
                self.refused += 1
                return answer(503, b"not now", reason="Service Unavailable")
        try:
            self._check_head(request)
            spans = self._read(request.body)
        except Violation as violation:
            self._violation(str(violation))
            return answer(400, json.dumps({"message": str(violation)}).encode(), JSON, "Bad Request")
        with self._changed:
            self.documents += 1
            self._spans += spans
            self._changed.notify_all()
        return self._accepted()

    def _waited(self, arrival: Arrival) -> bool:
        """Waits as stall() says; false when the sender left meanwhile."""
        arrived = time.monotonic()
        with self._changed:
            while not self._is_closed and (left := arrived + self._stall_seconds - time.monotonic()) > 0:
                if is_gone(arrival.sock):
                    self.abandoned += 1
                    return False
                self._changed.wait(min(left, 0.05))
            return not self._is_closed

    def _violation(self, what: str) -> None:
        with self._changed:
            self.violations.append(what)

    def _check_head(self, request: Message) -> None:
        if (request.method, request.target) != ("POST", self.path):
            raise Violation(f"{request.method} {request.target} instead of POST {self.path}")
        if len(request.all("host")) != 1:
            raise Violation(f"Host: {request.all('host')}")
        kind, _, parameter = request.get("content-type").lower().partition(";")
        if kind.strip() != "application/json" or parameter.strip() not in ("", "charset=utf-8"):
            raise Violation(f"Content-Type: {request.get('content-type')!r} is not application/json")
        if request.get("content-encoding"):
            raise Violation(f"Content-Encoding: {request.get('content-encoding')!r}")

    def _read(self, body: bytes) -> list[Span]:
        raise NotImplementedError

    def _accepted(self) -> bytes:
        raise NotImplementedError


class ZipkinCollector(Collector):
    path = "/api/v2/spans"

    def _read(self, body: bytes) -> list[Span]:
        return zipkin_spans(body)

    def _accepted(self) -> bytes:
        return answer(202, b"", reason="Accepted")


class OtlpCollector(Collector):
    path = "/v1/traces"

    def _read(self, body: bytes) -> list[Span]:
        return otlp_spans(body)

    def _accepted(self) -> bytes:
        return answer(200, b'{"partialSuccess":{}}', JSON)
