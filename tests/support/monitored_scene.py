# SPDX-License-Identifier: Apache-2.0
"""A node on which everything happens that a dashboard shows: old and today's policies with faults, limits,
retries, timeouts, rate limits and ejections, and clients that run into each of them."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from counted_origin import CountedOrigin
from netns import inside
from nodeproxy import in_netns
from parallel_clients import run_clients
from pod_scene import TCP_VIP, VIP, PodsCase
from wire import Client, request_bytes

SLOW_VIP, FLAKY_VIP, OLD_VIP = "10.96.7.12", "10.96.7.13", "10.96.7.14"
SERVICES = "".join(f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, annotations: {{nodeproxy.dev/fail-mode: {fail_mode}}}}}
spec:
  selector: {{{selector}}}
  clusterIPs: [{vip}]
  ports: [{{name: http, port: 80, targetPort: 8080}}]
---""" for name, vip, selector, fail_mode in (
    ("slow", SLOW_VIP, "app: slow", "open"),
    ("flaky", FLAKY_VIP, 'flaky: "yes"', "open"),
    ("old", OLD_VIP, "app: old", "closed"),
))
TODAY = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec:
  host: web
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 50}, http: {http1MaxPendingRequests: 50, http2MaxRequests: 60, maxRetries: 5}}
    outlierDetection: {consecutive5xxErrors: 5, interval: 1s, baseEjectionTime: 15m, maxEjectionPercent: 100}
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http:
  - name: delayed
    match: [{uri: {prefix: /delayed}}]
    fault: {delay: {percentage: {value: 100}, fixedDelay: 20ms}}
    route: [{destination: {host: web, subset: v1}}]
  - name: aborted
    match: [{uri: {prefix: /aborted}}]
    fault: {abort: {percentage: {value: 100}, httpStatus: 503}}
    route: [{destination: {host: web, subset: v1}}]
  - name: main
    route:
    - {destination: {host: web, subset: v1}, weight: 80}
    - {destination: {host: web, subset: v2}, weight: 20}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: slow}
spec:
  hosts: [slow]
  http:
  - name: short
    timeout: 100ms
    retries: {attempts: 0}
    route: [{destination: {host: slow}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: slow}
spec:
  host: slow
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: flaky}
spec:
  hosts: [flaky]
  http:
  - name: repeated
    retries: {attempts: 1, retryOn: 5xx, backoff: 25ms}
    route: [{destination: {host: flaky}}]
---
apiVersion: nodeproxy.dev/v1
kind: TrafficPolicy
metadata: {name: web-game-day}
spec:
  host: web
  faults:
  - name: cut
    match: [{headers: {x-cut: {exact: "yes"}}}]
    abort: {reset: true}
  - name: narrow
    match: [{headers: {x-narrow: {exact: "yes"}}}]
    bandwidth: {bytesPerSecond: 100000}
---
apiVersion: nodeproxy.dev/v1
kind: RateLimit
metadata: {name: web-limited}
spec:
  services: [{host: web}]
  rules:
  - name: limited
    match: [{uri: {prefix: /limited}}]
    windows: [{requests: 1, per: 1m}]
---
"""
OLD = """
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: old-default}
spec:
  destination: {name: old}
  precedence: 1
  route: [{labels: {version: v1}}]
  httpReqTimeout: {simpleTimeout: {timeout: 5s}}
  httpReqRetries: {simpleRetry: {attempts: 1, perTryTimeout: 2s}}
---
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: old-test-abort}
spec:
  destination: {name: old}
  precedence: 2
  match: {request: {headers: {x-user: {exact: jason}}}}
  route: [{labels: {version: v1}}]
  httpFault:
    delay: {percent: 100, fixedDelay: 10ms}
    abort: {percent: 100, httpStatus: 500}
---
apiVersion: config.istio.io/v1alpha2
kind: DestinationPolicy
metadata: {name: old-ejection}
spec:
  destination: {name: old, labels: {version: v1}}
  circuitBreaker:
    simpleCb: {maxConnections: 10, httpConsecutiveErrors: 1, sleepWindow: 15m, httpDetectionInterval: 500ms,
               httpMaxEjectionPercent: 100}
---
apiVersion: config.istio.io/v1alpha2
kind: memquota
metadata: {name: handler, namespace: istio-system}
spec: {quotas: [{name: hits.quota, maxAmount: 1, validDuration: 60s}]}
---
apiVersion: config.istio.io/v1alpha2
kind: quota
metadata: {name: hits, namespace: istio-system}
spec: {dimensions: {destination: destination.service}}
---
apiVersion: config.istio.io/v1alpha2
kind: rule
metadata: {name: limit, namespace: istio-system}
spec: {match: 'request.headers["x-limited"] == "yes"', actions: [{handler: handler.memquota, instances: [hits.quota]}]}
"""

# Holds as many connections as it is given, each after one answer; says so, and waits.
HOLDING_CLIENT = """
import socket, sys
held = []
for _ in range(int(sys.argv[2])):
    s = socket.create_connection((sys.argv[1], 80), 5)
    s.sendall(b'GET / HTTP/1.1\\r\\nHost: web\\r\\n\\r\\n')
    assert s.recv(65536).startswith(b'HTTP/1.1 200'), 'not served'
    held.append(s)
print('held', flush=True)
sys.stdin.readline()
"""
NOBODY_PORT = 9  # where no collector listens


class MonitoredCase(PodsCase):
    """With so few descriptors that the daemon can be filled, and a collector that is not there."""

    DESCRIPTORS: ClassVar[int] = 400
    CONNECTIONS: ClassVar[int] = 2 * DESCRIPTORS // 2  # two shards, half of their sockets for clients
    THROUGH = ("prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}")

    def daemon_flags(self) -> list[str]:
        access_log = Path(f"/tmp/{self.name}-access.log")
        self.addCleanup(lambda: access_log.unlink(missing_ok=True))
        return ["--access-log", str(access_log), "--trace-sampling", "100", "--zipkin",
                f"http://127.0.0.1:{NOBODY_PORT}/api/v2/spans"]

    def setUp(self) -> None:
        super().setUp()
        self.web: CountedOrigin = self.add_origin("web1", 21)
        self.add_origin("web2", 22, labels="app=web,version=v2,flaky=yes")
        self.add_origin("flaky1", 23, labels="app=flaky,version=v1,flaky=yes", status=500)
        self.add_origin("slow1", 24, labels="app=slow,version=v1", hold=0.3)
        self.add_origin("old1", 25, labels="app=old,version=v1")
        self.broken: CountedOrigin = self.add_origin("old2", 26, labels="app=old,version=v1", status=500)
        self.add_origin("raw1", 27, labels="app=raw,version=v1", echo=True)
        self.daemon.ctl("delete", "virtualservice", "web")
        self.daemon.apply(SERVICES + TODAY + OLD)

    # ---- clients ---------------------------------------------------------------------------------

    def get(self, vip: str, host: str, path: str = "/", **headers: str) -> int:
        """The status; 0 when the connection was cut."""
        with inside(self.client.netns, lambda: Client((vip, 80))) as client:
            given = [(name.replace("_", "-"), value) for name, value in headers.items()]
            client.send(request_bytes(path, host=host, headers=given))
            answer = client.reader.response()
            return answer.status if answer is not None and answer.start_line else 0

    def talk_opaquely(self) -> None:
        with inside(self.client.netns, lambda: Client((TCP_VIP, 9000))) as client:
            client.send(b"hello")
            client.reader.exactly(5)

    def everything_once(self) -> None:
        """Every kind of thing that a request can meet, in about a second."""
        for path in ("/", "/", "/", "/", "/", "/delayed", "/aborted", "/limited", "/limited"):
            self.get(VIP, "web", path)
        self.get(VIP, "web", x_cut="yes")
        self.get(VIP, "web", x_narrow="yes")
        run_clients(SLOW_VIP, 80, 6, 1, "slow", netns=self.client.netns)
        for _ in range(4):
            self.get(FLAKY_VIP, "flaky")
            self.get(OLD_VIP, "old")
        self.get(OLD_VIP, "old", x_user="jason")
        for _ in range(2):
            self.get(OLD_VIP, "old", x_limited="yes")
        self.talk_opaquely()

    def calm(self) -> None:
        """Requests that all go well."""
        for _ in range(5):
            self.get(VIP, "web")

    def fill(self) -> Callable[[], object]:
        """Holds so many connections that the daemon sheds new ones; returns how to let them go."""
        command = in_netns(self.client.netns, [sys.executable, "-c", HOLDING_CLIENT, VIP,
                                               str(self.CONNECTIONS * 15 // 16)])
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (holder.kill(), holder.communicate()))
        assert holder.stdout
        self.assertEqual(holder.stdout.readline().strip(), "held")
        return lambda: holder.communicate("\n")


class Repeated:
    """Does the same in a thread, over and over, while the context lasts; what went wrong is raised at its end."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._action = action
        self._end = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            while not self._end.wait(0.2):
                self._action()
        except BaseException as error:  # pylint: disable=broad-exception-caught
            self._failure = error

    def __enter__(self) -> "Repeated":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure
