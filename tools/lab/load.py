# SPDX-License-Identifier: Apache-2.0
"""An HTTP client that counts what a person would see. Used from the node's namespace, and as a
program inside a pod's namespace: reads a LoadSpec as JSON, writes a LoadResult as JSON.
Self-contained, for it runs there without the rest of the package."""

from __future__ import annotations

import collections
import dataclasses
import http.client
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

VERSION_FORM = re.compile(r'data-reviews-version="([^"]*)"')
COLOR_FORM = re.compile(r'data-color="([^"]*)"')
SORRY = "Sorry, product reviews are currently unavailable for this book"
TEXT_BYTES = 200
RATINGS_MISSING = "Ratings service is currently unavailable"


@dataclass
class LoadSpec:
    host: str
    port: int
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    requests: int = 1
    parallel: int = 1
    keep_alive: bool = False
    timeout_seconds: float = 20.0
    rate: float = 0.0  # requests per second, whatever the answers take; 0: as fast as they come

    def to_json(self) -> dict[str, object]:
        return dataclasses.asdict(self)


@dataclass
class Observation:
    status: int
    seconds: float
    version: str = ""  # of reviews
    stars: str = ""  # none, black, red, sorry or missing
    error: str = ""
    overloaded: bool = False  # the proxy says so: x-envoy-overloaded
    text: str = ""  # of an answer that is not 200

    @property
    def key(self) -> str:
        if self.error:
            return f"failed: {self.error}"
        if self.status != 200:
            return f"HTTP {self.status}"
        return f"{self.version or '-'} {self.stars}"


@dataclass
class LoadResult:
    observations: list[Observation]
    connections: int
    seconds: float

    @staticmethod
    def from_json(value: dict[str, object]) -> LoadResult:
        rows = value["observations"]
        assert isinstance(rows, list)
        return LoadResult(
            [Observation(**row) for row in rows],
            int(str(value["connections"])),
            float(str(value["seconds"])),
        )

    def counts(self) -> dict[str, int]:
        return dict(collections.Counter(one.key for one in self.observations).most_common())

    def versions(self) -> dict[str, int]:
        good = [one.version for one in self.observations if one.status == 200 and one.version]
        return dict(collections.Counter(good))

    def slowest(self) -> float:
        return max((one.seconds for one in self.observations), default=0.0)


def _stars_of(colors: set[str], has_missing: bool) -> str:
    if has_missing:
        return "missing"
    return "+".join(sorted(colors)) if colors else "none"


def read_page(text: str) -> tuple[str, str]:
    """Version and stars that the product page shows."""
    found = VERSION_FORM.search(text)
    if SORRY in text:
        return "", "sorry"
    stars = _stars_of(set(COLOR_FORM.findall(text)), RATINGS_MISSING in text)
    return (found.group(1) if found else ""), stars


def read_json(text: str) -> tuple[str, str]:
    """The same of an answer of reviews; other services have neither."""
    value = json.loads(text)
    if not isinstance(value, dict):
        return "", ""
    colors: set[str] = set()
    has_missing = False
    for entry in value.get("reviews", []):
        rating = entry.get("rating") or {}
        has_missing = has_missing or "error" in rating
        if "color" in rating:
            colors.add(rating["color"])
    stars = _stars_of(colors, has_missing) if "reviews" in value else ""
    return str(value.get("version", "")), stars


class Client:
    """One client: a connection per request, or one for all of them."""

    def __init__(self, spec: LoadSpec) -> None:
        self._spec = spec
        self._connection: http.client.HTTPConnection | None = None
        self.connections = 0

    def _open(self) -> http.client.HTTPConnection:
        spec = self._spec
        connection = http.client.HTTPConnection(spec.host, spec.port, timeout=spec.timeout_seconds)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A kept connection that the other side closes must show, not be replaced behind our back.
        connection.auto_open = 0
        self.connections += 1
        return connection

    def get(self) -> Observation:
        started = time.monotonic()
        try:
            if self._connection is None:
                self._connection = self._open()
            self._connection.request("GET", self._spec.path, headers=self._spec.headers)
            response = self._connection.getresponse()
            text = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            self.close()
            seconds = time.monotonic() - started
            return Observation(0, seconds, error=str(error) or type(error).__name__)
        seconds = time.monotonic() - started
        if not self._spec.keep_alive or response.will_close:
            self.close()
        return self._observe(response, text, seconds)

    @staticmethod
    def _observe(response: http.client.HTTPResponse, text: str, seconds: float) -> Observation:
        version, stars = "", ""
        kind = response.headers.get_content_type()
        if response.status == 200 and kind == "text/html":
            version, stars = read_page(text)
        elif response.status == 200 and kind == "application/json":
            version, stars = read_json(text)
        overloaded = response.headers.get("x-envoy-overloaded") == "true"
        shown = "" if response.status == 200 else text[:TEXT_BYTES]
        return Observation(
            response.status, seconds, version, stars, overloaded=overloaded, text=shown
        )

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


Progress = Callable[[int, int], None]


def send(spec: LoadSpec, progress: Progress | None = None) -> LoadResult:
    """Sends all requests, `parallel` at a time; progress(done, all) is called now and then."""
    lock = threading.Lock()
    taken = 0
    observations: list[Observation] = []
    clients = [Client(spec) for _ in range(spec.parallel)]

    def take() -> int:
        nonlocal taken
        with lock:
            taken += 1
            return taken - 1

    def work(client: Client) -> None:
        while (number := take()) < spec.requests:
            if spec.rate > 0:
                time.sleep(max(0.0, started + number / spec.rate - time.monotonic()))
            seen = client.get()
            with lock:
                observations.append(seen)
        client.close()

    started = time.monotonic()
    threads = [threading.Thread(target=work, args=[client]) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.3)
            if progress is not None:
                progress(len(observations), spec.requests)
    seconds = time.monotonic() - started
    return LoadResult(observations, sum(client.connections for client in clients), seconds)


def main() -> None:
    result = send(LoadSpec(**json.load(sys.stdin)))
    json.dump(dataclasses.asdict(result), sys.stdout)


if __name__ == "__main__":
    main()
