# SPDX-License-Identifier: Apache-2.0
"""What all four Bookinfo services share: a threaded HTTP/1.1 server on IPv4 and IPv6, one log
line per request, /health, and calls to other services that pass the caller's identity on.

A service is a function from Request to Response. Nothing here knows of a proxy: a name such as
`reviews` is looked up as in any application, and the Host header carries that name.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SERVICE_PORT = 9080
BODY_BYTES_MAX = 64 * 1024
IDLE_SECONDS = 75.0

# Passed from the incoming request to every outgoing one: without the trace headers a tracer cannot
# join the hops, without cookie and end-user a rule on the person cannot work further down.
FORWARDED_HEADERS = (
    "cookie",
    "end-user",
    "x-request-id",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "b3",
    "traceparent",
    "tracestate",
    "x-ot-span-context",
)


@dataclass
class Request:
    method: str
    path: str
    query: str
    headers: Message
    body: bytes = b""

    def forwarded(self) -> dict[str, str]:
        """The headers that a call made on behalf of this request carries."""
        found = {}
        for name in FORWARDED_HEADERS:
            value = self.headers.get(name)
            if value is not None:
                found[name] = value
        return found


@dataclass
class Response:
    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Answer:
    """What a call to another service gave: a status, or why there is none."""

    status: int
    body: bytes
    problem: str = ""

    def json(self) -> object:
        try:
            return json.loads(self.body)
        except ValueError:
            return None


Service = Callable[[Request], Response]


def json_response(value: object, status: int = 200) -> Response:
    return Response(status, json.dumps(value).encode() + b"\n")


def call(url: str, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
    """One GET. The time limit is for the whole exchange, not for each read as in http.client."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(
        parts.hostname or "", parts.port or 80, timeout=timeout_seconds
    )
    deadline = time.monotonic() + timeout_seconds
    expired = threading.Event()
    timer: threading.Timer | None = None

    def expire(sock: socket.socket) -> None:
        expired.set()
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    try:
        connection.connect()
        timer = threading.Timer(deadline - time.monotonic(), expire, [connection.sock])
        timer.daemon = True
        timer.start()
        connection.request("GET", parts.path or "/", headers=dict(headers))
        response = connection.getresponse()
        body = response.read()
        if expired.is_set():
            return Answer(0, b"", "timeout")
        return Answer(response.status, body)
    except (OSError, http.client.HTTPException) as error:
        late = expired.is_set() or isinstance(error, TimeoutError)
        return Answer(0, b"", "timeout" if late else str(error) or type(error).__name__)
    finally:
        if timer is not None:
            timer.cancel()
        connection.close()


class Log:
    """One line per request, written whole by one thread at a time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        with self._lock:
            sys.stdout.write(f"{stamp}Z {self._name} {text}\n")
            sys.stdout.flush()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True
    wbufsize = -1
    service: Service
    log: Log

    def version_string(self) -> str:
        return "bookinfo"

    def log_message(self, format: str, *args: object) -> None:
        """Replaced by one line per request, below."""

    def _body(self) -> bytes:
        length = int(self.headers.get("content-length") or 0)
        if length > BODY_BYTES_MAX:
            self.close_connection = True
            return b""
        return self.rfile.read(length)

    def _serve(self) -> None:
        started = time.monotonic()
        parts = urlsplit(self.path)
        request = Request(self.command, parts.path, parts.query, self.headers, self._body())
        if request.path == "/health":
            response = json_response({"status": "healthy"})
        else:
            response = type(self).service(request)
        self._send(response)
        took_ms = (time.monotonic() - started) * 1000
        client = self.client_address[0].removeprefix("::ffff:")
        user = self.headers.get("end-user", "-")
        identity = self.headers.get("x-request-id", "-")
        self.log.line(
            f"{client} {self.command} {self.path} {response.status} "
            f"{took_ms:.1f}ms user={user} request-id={identity}"
        )

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers:
            self.send_header(name, value)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)
        self.wfile.flush()

    do_GET = _serve
    do_HEAD = _serve
    do_POST = _serve


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True
    request_queue_size = 512

    def server_bind(self) -> None:
        # One socket for both families.
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is not worth a stack trace."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def arguments(default_version: str = "v1") -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=SERVICE_PORT)
    parser.add_argument("--version", default=os.environ.get("SERVICE_VERSION", default_version))
    parser.add_argument("--pod", default=os.environ.get("POD_NAME", socket.gethostname()))
    return parser


def serve(port: int, log_name: str, service: Service) -> None:
    handler = type(
        "ServiceHandler", (Handler,), {"service": staticmethod(service), "log": Log(log_name)}
    )
    with Server(("::", port), handler) as server:
        try:
            server.serve_forever(poll_interval=0.5)
        except KeyboardInterrupt:
            pass
