# SPDX-License-Identifier: Apache-2.0
"""The scene of the tests about limits and ejection without capture: one daemon with two workers,
one gateway listener, and per test a service of its own, so that no endpoint's past is another
test's."""

from __future__ import annotations

import json
import os
import time
import unittest
from typing import ClassVar

from counted_origin import CountedOrigin
from embedded import GATEWAY, UNPRIVILEGED_USER, free_port
from nodeproxy import Daemon, wait_until
from parallel_clients import Outcome, run_clients
from wire import Client, Message, request_bytes

SERVICE = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.internal]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
  - {{number: 80, name: http, protocol: HTTP}}
  endpoints:
{endpoints}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: ["{name}.test"]
  gateways: [front]
  http:
  - route:
    - destination: {{host: {name}.internal}}
    retries: {{attempts: 0}}
"""
ENDPOINT = "  - {{address: {address}, ports: {{http: {port}}}, labels: {{version: v1}}}}\n"

# simpleCb and today's fields for the same words.
OLD_WORDS = {
    "connections": "maxConnections",
    "pending": "httpMaxPendingRequests",
    "requests": "httpMaxRequests",
    "errors": "httpConsecutiveErrors",
    "sleep": "sleepWindow",
    "interval": "httpDetectionInterval",
    "percent": "httpMaxEjectionPercent",
}
NEW_WORDS = {
    "connections": ("connectionPool", "tcp", "maxConnections"),
    "pending": ("connectionPool", "http", "http1MaxPendingRequests"),
    "requests": ("connectionPool", "http", "http2MaxRequests"),
    "errors": ("outlierDetection", "consecutive5xxErrors"),
    "sleep": ("outlierDetection", "baseEjectionTime"),
    "interval": ("outlierDetection", "interval"),
    "percent": ("outlierDetection", "maxEjectionPercent"),
}


def old_policy(name: str, destination: str, **words: object) -> str:
    """A DestinationPolicy."""
    breaker = {OLD_WORDS[word]: value for word, value in words.items()}
    spec = {"destination": json.loads(destination), "circuitBreaker": {"simpleCb": breaker}}
    return _object("config.istio.io/v1alpha2", "DestinationPolicy", name, spec)


def new_policy(name: str, host: str, more: dict | None = None, **words: object) -> str:
    """A DestinationRule; `more` is put beside what the words make of trafficPolicy."""
    policy: dict = json.loads(json.dumps(more or {}))
    for word, value in words.items():
        *path, last = NEW_WORDS[word]
        place = policy
        for step in path:
            place = place.setdefault(step, {})
        place[last] = value
    spec = {"host": host, "trafficPolicy": policy}
    return _object("networking.istio.io/v1", "DestinationRule", name, spec)


def _object(version: str, kind: str, name: str, spec: dict) -> str:
    # JSON is YAML.
    value = {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}
    return "---\n" + json.dumps(value) + "\n"


class LimitsCase(unittest.TestCase):
    """One daemon for all tests of a class."""

    INSTANCE: ClassVar[str] = "nplimits"
    WORKERS: ClassVar[int] = 2
    port: ClassVar[int]
    daemon: ClassVar[Daemon]

    @classmethod
    def setUpClass(cls) -> None:
        cls.port = free_port()
        user = UNPRIVILEGED_USER if os.geteuid() == 0 else None
        flags = ["--no-capture", "--workers", str(cls.WORKERS), "--drain-time", "1s"]
        cls.daemon = Daemon(cls.INSTANCE, *flags, admin=f"127.0.0.1:{free_port()}", user=user)
        cls.daemon.__enter__()
        cls.addClassCleanup(cls.daemon.close)
        cls.daemon.apply(GATEWAY.format(port=cls.port))

    def setUp(self) -> None:
        self.name = self._testMethodName.removeprefix("test_").replace("_", "-")[:40].rstrip("-")
        self.host = f"{self.name}.test"
        self.internal = f"{self.name}.internal"

    def tearDown(self) -> None:
        process = self.daemon.process
        if process is not None and process.poll() is not None:
            self.fail(f"nodeproxyd ended with {process.returncode}:\n{self.daemon.log()[-3000:]}")
        for kind in ("destinationrule", "destinationpolicy", "virtualservice", "serviceentry"):
            self.daemon.ctl("delete", kind, self.name, check=False)

    # ---- what a test says ------------------------------------------------------------------------

    def origin(self, **mode: object) -> CountedOrigin:
        origin = CountedOrigin(**mode)
        self.addCleanup(origin.close)
        return origin

    def serve(self, *origins: CountedOrigin) -> None:
        endpoints = "".join(ENDPOINT.format(address=one.address, port=one.port) for one in origins)
        self.daemon.apply(SERVICE.format(name=self.name, endpoints=endpoints))

    def use(self, more: dict | None = None, **words: object) -> None:
        self.daemon.apply(new_policy(self.name, self.internal, more, **words))

    def use_old(self, **words: object) -> None:
        destination = json.dumps({"service": self.internal, "labels": {"version": "v1"}})
        self.daemon.apply(old_policy(self.name, destination, **words))

    def clients(self, clients: int, requests: int) -> Outcome:
        return run_clients("127.0.0.1", self.port, clients, requests, self.host)

    def client(self, seconds: float = 10.0) -> Client:
        client = Client(("127.0.0.1", self.port), seconds)
        self.addCleanup(client.close)
        return client

    def ask(self, target: str = "/") -> Client:
        """A client that has sent a request."""
        client = self.client()
        client.send(request_bytes(target, host=self.host))
        return client

    def fetch(self, target: str = "/") -> Message:
        with self.ask(target) as client:
            return client.response()

    # ---- what it looks at ------------------------------------------------------------------------

    def counter(self, name: str) -> int:
        return int(self.daemon.status()["counters"][name])

    def wait_counter(self, name: str, value: int) -> None:
        wait_until(lambda: self.counter(name) >= value, 5, f"{name} reaches {value}", 0.005)

    def endpoints(self) -> list[dict]:
        return json.loads(self.daemon.ctl("endpoints", self.internal, "-o", "json").stdout)

    def endpoint(self, origin: CountedOrigin) -> dict:
        address = f"{origin.address}:{origin.port}"
        found = [one for one in self.endpoints() if one["address"] == address]
        self.assertEqual(len(found), 1, address)
        return found[0]

    def wait_open(self, origin: CountedOrigin, count: int) -> None:
        wait_until(lambda: origin.report()["now"] == count, 5, f"{count} requests open", 0.005)


def seconds_of(action) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started
