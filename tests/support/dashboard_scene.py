# SPDX-License-Identifier: Apache-2.0
"""A node with everything that the dashboard shows at once: two services in three versions, one of which
asks the other within the same trace, a gateway, opaque connections, faults, a full limit, an ejected
endpoint, retries, a rate limit, and clients that write markup wherever they may."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable

from counted_origin import CountedOrigin
from netns import Pod, inside
from nodeproxy import wait_until
from origins import Arrival, HttpOrigin, answer
from pod_scene import TCP_VIP, VIP, WEB_PORT, PodsCase
from wire import Client, Message, WireError, request_bytes

STOCK_VIP = "10.96.7.20"
GATEWAY_PORT = 18080
MARKUP = "<script>document.title='owned'</script><img src=x onerror=alert(1)>"
PODS = ("web-v1", "web-v2", "web-v3", "stock-v1", "stock-v2", "stock-v3", "raw-v1")
EVERY_SECONDS = 0.02
TRACE_HEADERS = ("x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "traceparent", "x-request-id")
OBJECTS = f"""
apiVersion: v1
kind: Service
metadata: {{name: stock}}
spec:
  selector: {{app: stock}}
  clusterIPs: [{STOCK_VIP}]
  ports: [{{name: http, port: 80, targetPort: {WEB_PORT}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web}}
spec:
  host: web
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
  - {{name: v3, labels: {{version: v3}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web}}
spec:
  hosts: [web]
  http:
  - name: web-slow
    match: [{{uri: {{prefix: /slow}}}}]
    fault: {{delay: {{percentage: {{value: 100}}, fixedDelay: 150ms}}}}
    route: [{{destination: {{host: web, subset: v1}}}}]
  - name: web-broken
    match: [{{uri: {{prefix: /broken}}}}]
    fault: {{abort: {{percentage: {{value: 100}}, httpStatus: 418}}}}
    route: [{{destination: {{host: web, subset: v1}}}}]
  - name: web-split
    retries: {{attempts: 0}}
    route:
    - {{destination: {{host: web, subset: v1}}, weight: 50}}
    - {{destination: {{host: web, subset: v2}}, weight: 30}}
    - {{destination: {{host: web, subset: v3}}, weight: 20}}
---
apiVersion: nodeproxy.dev/v1
kind: TrafficPolicy
metadata: {{name: stock}}
spec:
  host: stock
  limits: {{maxConnections: 2, maxPendingRequests: 1}}
  ejection: {{consecutive5xx: 3, interval: 200ms, baseEjectionTime: 15m, maxEjectionPercent: 100}}
  faults:
  - {{match: [{{uri: {{prefix: /shaken}}}}], abort: {{reset: true}}, mode: shadow}}
  - {{match: [{{uri: {{prefix: /cut}}}}], abort: {{reset: true}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: stock}}
spec:
  hosts: [stock]
  http:
  - name: stock-main
    retries: {{attempts: 2, retryOn: 5xx}}
    route: [{{destination: {{host: stock}}}}]
---
apiVersion: nodeproxy.dev/v1
kind: RateLimit
metadata: {{name: searches}}
spec:
  services: [{{host: web}}]
  rules:
  - name: searches
    match: [{{uri: {{prefix: /search}}}}]
    windows: [{{requests: 5, per: 10s}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: front}}
spec:
  servers:
  - port: {{number: {GATEWAY_PORT}, name: http, protocol: HTTP}}
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: outside}}
spec:
  hosts: ["*"]
  gateways: [front]
  http:
  - name: from-outside
    route: [{{destination: {{host: web, subset: v1}}}}]
"""


class BusyNode(PodsCase):
    """Quiet until be_lively() is called."""

    NAME = "npdash"

    def daemon_flags(self) -> list[str]:
        return ["--trace-sampling", "100"]

    def setUp(self) -> None:
        """The pods are there before a browser is: it drops what it loads whenever an interface comes."""
        super().setUp()
        self.pods = {name: self.host.routed_pod(name, number) for number, name in enumerate(PODS, 21)}
        tentative = ["ip", "-6", "address", "show", "tentative"]
        wait_until(lambda: self.host.run(*tentative).stdout == "", 10, "no address is tentative")

    def be_lively(self) -> None:
        self.webs = [self.add_web(version) for version in (1, 2, 3)]
        self.stocks = [self.add_counted(f"stock-v{version}") for version in (1, 2)]
        self.broken = self.add_counted("stock-v3", status=503)
        self.add_counted("raw-v1", echo=True)
        for name, pod in self.pods.items():
            app, _, version = name.partition("-")
            self.register(pod, f"app={app},version={version}")
        self.daemon.apply(OBJECTS)
        self.stopping = threading.Event()
        self.addCleanup(self.rest)
        self.threads = [threading.Thread(target=self.repeat, args=[work], daemon=True)
                        for work in (self.ask_web, self.ask_as_told, self.ask_outside, self.ask_raw)]
        for thread in self.threads:
            thread.start()
        wait_until(lambda: self.endpoint(self.broken, "stock")["state"] == "ejected", 10, "an ejected endpoint")

    def rest(self) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(15)

    # ---- pods -----------------------------------------------------------------------------------

    def add_counted(self, name: str, **mode: object) -> CountedOrigin:
        origin = CountedOrigin("0.0.0.0", WEB_PORT, netns=self.pods[name].netns, **mode)
        self.addCleanup(origin.close)
        origin.address = self.pods[name].ipv4
        return origin

    def add_web(self, version: int) -> HttpOrigin:
        pod = self.pods[f"web-v{version}"]
        server = inside(pod.netns, lambda: HttpOrigin(pod.name, "0.0.0.0", WEB_PORT))
        self.addCleanup(server.close)
        def buy(arrival: Arrival, request: Message) -> bool:
            """Asks stock first, as part of the same trace."""
            headers = [(name, value) for name in TRACE_HEADERS if (value := request.get(name))]
            for path in ("/count", "/take"):
                self.ask(pod, STOCK_VIP, path, headers, "stock")
            arrival.send(answer(200, b"bought"))
            return True

        server.paths["buy"] = buy
        return server

    def ask(self, pod: Pod, address: str, path: str, headers: list[tuple[str, str]] | None = None,
            host: str = "web") -> int:
        with inside(pod.netns, lambda: Client((address, 80))) as client:
            client.send(request_bytes(path, host=host, headers=headers or []))
            return client.response().status

    # ---- clients --------------------------------------------------------------------------------

    def repeat(self, work: Callable[[], None]) -> None:
        while not self.stopping.wait(EVERY_SECONDS):
            try:
                work()
            except (OSError, WireError):
                time.sleep(0.2)  # the worker was just replaced

    def ask_web(self) -> None:
        path = random.choice(["/", "/", "/", "/", "/search", "/slow", "/broken", "/status/404"])
        self.ask(self.client, VIP, path)

    def ask_as_told(self) -> None:
        """With markup where a client may write it."""
        identity = random.getrandbits(64)
        self.ask(self.client, VIP, "/buy", [
            ("x-b3-traceid", f"{identity | 1:016x}"), ("x-b3-spanid", f"{identity | 1:016x}"),
            ("x-b3-sampled", "1"), ("x-request-id", MARKUP), ("user-agent", MARKUP)])

    def ask_outside(self) -> None:
        with inside(self.host.netns, lambda: Client(("127.0.0.1", GATEWAY_PORT))) as client:
            client.send(request_bytes("/status/200", host="shop.example"))
            client.response()

    def ask_raw(self) -> None:
        with inside(self.client.netns, lambda: socket.create_connection((TCP_VIP, 9000), 10)) as sock:
            sock.sendall(b"ping")
            sock.recv(100)
            time.sleep(0.2)

    def fill_stock(self) -> list[Client]:
        """Takes all connections and places that stock allows to this caller; closed by the test."""
        for origin in self.stocks:
            origin.set(gate=True)
        clients = []
        for _ in range(4):
            client = inside(self.client.netns, lambda: Client((STOCK_VIP, 80)))
            client.send(request_bytes("/held", host="stock"))
            clients.append(client)
        return clients

    def empty_stock(self, clients: list[Client]) -> None:
        for origin in self.stocks:
            origin.set(gate=False)
            origin.let_go(len(clients) + 2 * len(self.webs))  # those that had come before
        for client in clients:
            client.close()
