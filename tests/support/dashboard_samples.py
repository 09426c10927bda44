#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Serves the dashboard page with made-up data: the Bookinfo lab with everything happening at once,
and the cases that a page gets wrong. Each scene has its own path, for example /lab/ or /empty/.

Run it and open the printed address. Tests import Server and scene() instead."""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dashboard_traces import hostile_traces, lab_traces

PAGE = Path(__file__).resolve().parents[2] / "daemon" / "admin" / "page"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript"}
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
          "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
          "require-trusted-types-for 'script'")
BOUNDS_MS = [0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000]
UPTIME_S = 11_520
WARM_UP_S = 600
DRAWN_LATENCIES = 12  # per kind and advance; the rest of the requests repeat them

# Names that break pages: markup, prototype keys, direction overrides, length, control characters.
HOSTILE_NAMES = [
    "<img src=x onerror=alert(1)>",
    "\"><script>document.title='owned'</script>",
    "__proto__",
    "constructor",
    "javascript:alert(1)",
    "pay\u202egnp.exe",
    "tab\tnew\nline\u0000nul",
    "x" * 300,
    "𝕊𝕖𝕣𝕧𝕚𝕔𝕖 ☃️ خدمة",
    "a b&amp;c|d/e#f?g=h",
]


class Kind:
    """One series: a kind of request with its mean rate and latency."""

    def __init__(self, source: str, host: str, version: str, per_second: float, millis: float,
                 **labels: object) -> None:
        name, _, source_version = source.partition(" ")
        self.per_second = per_second
        self.millis = millis
        self.row: dict[str, object] = {
            "source": name, "source_namespace": "default", "source_version": source_version,
            "host": host if "." in host else f"{host}.default.svc.cluster.local",
            "workload": host.split(".")[0] if version else "", "version": version, "route": "",
            "object": "", "status": 200, "flags": "", "protocol": "http", **labels}
        self.reset()

    def reset(self) -> None:
        self.counts = dict.fromkeys(("opened", "requests", "delays", "aborts", "retries",
                                     "duration_us", "request_bytes", "response_bytes"), 0)
        self.buckets = [0] * (len(BOUNDS_MS) + 1)

    def advance(self, seconds: float, rng: random.Random) -> None:
        mean = self.per_second * seconds
        done = max(0, round(rng.gauss(mean, mean ** 0.5)))
        if self.row["protocol"] == "tcp":
            self.counts["opened"] += done
            return
        self.counts["requests"] += done
        flags = str(self.row["flags"]).split(",")
        self.counts["delays"] += done if "DI" in flags else 0
        self.counts["aborts"] += done if "FI" in flags else 0
        self.counts["retries"] += done // 2 if "URX" in flags else 0
        self.counts["request_bytes"] += done * 180
        self.counts["response_bytes"] += done * 2400
        self.take_time(done, rng)

    def take_time(self, done: int, rng: random.Random) -> None:
        drawn = min(done, DRAWN_LATENCIES)
        for i in range(drawn):
            share = done // drawn + (1 if i < done % drawn else 0)
            spread = 0.02 if self.millis >= 3000 else 0.5
            millis = self.millis * rng.lognormvariate(0, spread)
            place = next((b for b, bound in enumerate(BOUNDS_MS) if millis <= bound), -1)
            self.buckets[place] += share
            self.counts["duration_us"] += round(millis * 1000) * share

    def json(self) -> dict[str, object]:
        return {**self.row, **self.counts, "buckets": list(self.buckets)}


class Scene:
    """One made-up daemon: kinds of requests that add up over time, and what else it reports."""

    def __init__(self, kinds: list[Kind], extra: Callable[[Scene], dict[str, object]],
                 traces: list[dict] | None = None, restart_every_s: float = 0) -> None:
        self.kinds = kinds
        self.extra = extra
        self.traces = traces or []
        self.restart_every_s = restart_every_s
        self.rng = random.Random(7)
        self.now = time.time()
        self.started = self.now - UPTIME_S
        self.advance(WARM_UP_S)

    def advance(self, seconds: float) -> None:
        for kind in self.kinds:
            kind.advance(seconds, self.rng)

    def move_to(self, now: float) -> None:
        if self.restart_every_s and now - self.now_of_start() > self.restart_every_s:
            self.started = self.now = now - 0.5
            for kind in self.kinds:
                kind.reset()
        self.advance(max(0.0, now - self.now))
        self.now = now

    def now_of_start(self) -> float:
        return max(self.started, self.now - self.restart_every_s)

    def total(self, field: str) -> int:
        return sum(kind.counts[field] for kind in self.kinds)

    def overview(self) -> dict[str, object]:
        requests = [kind.json() for kind in self.kinds if kind.counts["requests"]
                    or kind.counts["opened"]]
        base: dict[str, object] = {
            "now_unix_ms": int(self.now * 1000), "started_unix_ms": int(self.started * 1000),
            "instance": "nodeproxy", "version": "0.1.0", "shards": 2, "overloaded": False,
            "open_connections": 0, "revision": 0, "logs_lost": 0, "traces_lost": 0,
            "duration_bounds_ms": BOUNDS_MS, "requests": requests, "clusters": [],
            "endpoints": [], "policies": [], "faults": [], "limits": [], "pods": []}
        return {**base, **self.extra(self)}


def host_of(name: str) -> str:
    return f"{name}.default.svc.cluster.local"


def policy(kind: str, name: str, hosts: list[str], status: str = "in effect", reason: str = "",
           warnings: list[str] | None = None) -> dict[str, object]:
    return {"kind": kind, "namespace": "default", "name": name, "status": status,
            "reason": reason, "warnings": warnings or [], "hosts": [host_of(h) for h in hosts]}


def lab_kinds() -> list[Kind]:
    test = {"route": "reviews-test-v2", "object": "RouteRule default/reviews-test-v2"}
    half = {"route": "reviews-default", "object": "RouteRule default/reviews-default"}
    delay = {"route": "ratings-test-delay", "object": "RouteRule default/ratings-test-delay"}
    plain = {"route": "ratings-default", "object": "RouteRule default/ratings-default"}
    quota = {"object": "quota istio-system/requestcount"}
    return [
        Kind("istio-ingress", "productpage", "v1", 38, 24, source_namespace=""),
        Kind("istio-ingress", "productpage", "v1", 2.1, 6020, source_namespace="",
             route="productpage-default"),
        Kind("productpage v1", "details", "v1", 40, 2.2, object="RouteRule default/details-v1"),
        Kind("productpage v1", "reviews", "v1", 19, 4, **half),
        Kind("productpage v1", "reviews", "v3", 18.5, 11, **half),
        Kind("productpage v1", "reviews", "v2", 0.4, 12, **test),
        Kind("productpage v1", "reviews", "v2", 4.1, 3001, status=0, flags="DC", **test),
        Kind("reviews v2", "ratings", "v1", 4.1, 7003, flags="DI", **delay),
        Kind("reviews v3", "ratings", "v1", 15.8, 1.8, **plain),
        Kind("reviews v3", "ratings", "", 1.6, 0.4, status=503, flags="UO", **plain),
        Kind("reviews v3", "ratings", "", 3.1, 0.3, status=429, flags="RL", **quota),
        Kind("details v1", "www.googleapis.com", "", 0.6, 84, workload="www.googleapis.com"),
        Kind("ratings v1", "mongodb", "v1", 2.5, 0, protocol="tcp", status=0),
    ]


def lab_endpoints(now_ms: int) -> list[dict[str, object]]:
    pods = ["productpage-v1", "details-v1", "reviews-v1", "reviews-v2", "reviews-v3", "ratings-v1"]
    rows: list[dict[str, object]] = [
        {"service": f"{host_of(pod.split('-')[0])}:9080", "address": f"10.1.0.{i + 2}:9080",
         "pod": f"default/{pod}", "state": "in service", "reason": "", "since_unix_ms": 0,
         "until_unix_ms": 0, "failures": []} for i, pod in enumerate(pods)]
    ratings = f"{host_of('ratings')}:9080"
    rows.append({"service": ratings, "address": "10.1.0.9:9080", "pod": "default/ratings-v1-broken",
                 "state": "ejected", "reason": "1 consecutive error of 1 allowed",
                 "since_unix_ms": now_ms - 192_000, "until_unix_ms": now_ms + 708_000,
                 "failures": ["500"]})
    rows.append({"service": ratings, "address": "10.1.0.11:9080", "pod": "default/ratings-v1-slow",
                 "state": "on probation", "reason": "back after 15 min; one request at a time",
                 "since_unix_ms": now_ms - 7_000, "until_unix_ms": 0,
                 "failures": ["503", "503", "timeout"]})
    return rows


def lab_policies() -> list[dict[str, object]]:
    replaced = "a VirtualService for reviews exists: the RouteRules of that host are inactive"
    return [
        policy("RouteRule", "productpage-default", ["productpage"]),
        policy("RouteRule", "details-v1", ["details"]),
        policy("RouteRule", "reviews-default", ["reviews"]),
        policy("RouteRule", "reviews-test-v2", ["reviews"]),
        policy("RouteRule", "ratings-default", ["ratings"]),
        policy("RouteRule", "ratings-test-delay", ["ratings"]),
        policy("DestinationPolicy", "ratings-cb", ["ratings"],
               warnings=["maxConnections 1 is far below the rate of this service"]),
        policy("RouteRule", "reviews-old", ["reviews"], "inactive", replaced),
        policy("EgressRule", "google-apis", [], "accepted, not yet in effect",
               "external hosts without a fixed address are not captured in this version"),
        {**policy("quota", "requestcount", ["ratings", "reviews", "details", "productpage"]),
         "namespace": "istio-system"},
    ]


def lab_extra(scene: Scene) -> dict[str, object]:
    ratings = f"outbound|9080|v1|{host_of('ratings')}"
    reviews = f"outbound|9080|v3|{host_of('reviews')}"
    overflow = sum(k.counts["requests"] for k in scene.kinds if k.row["flags"] == "UO")
    requests = scene.total("requests")
    costs = {"productpage": 0.45, "reviews-v1": 0.05, "reviews-v2": 0.06, "reviews-v3": 0.25,
             "ratings-v1": 0.02, "details-v1": 0.03}
    return {
        "open_connections": 23 + scene.rng.randint(-3, 3), "revision": 12, "traces_lost": 3,
        "clusters": [
            {"cluster": ratings, "host": host_of("ratings"), "subset": "v1", "cx_active": 1,
             "rq_active": 1, "cx_overflow": 0, "rq_pending_overflow": overflow,
             "ejections_active": 1},
            {"cluster": reviews, "host": host_of("reviews"), "subset": "v3", "cx_active": 7,
             "rq_active": 3, "cx_overflow": 0, "rq_pending_overflow": 0, "ejections_active": 0}],
        "limits": [
            {"cluster": ratings, "host": host_of("ratings"), "what": "connections", "max": 1, "used": 1,
             "refused": overflow},
            {"cluster": ratings, "host": host_of("ratings"), "what": "pending", "max": 1,
             "used": scene.rng.randint(0, 1), "refused": overflow},
            {"cluster": reviews, "what": "connections", "max": 1024, "used": 87},
            {"cluster": reviews, "what": "pending", "max": 0, "used": 0}],
        "faults": [{"object": "RouteRule default/ratings-test-delay", "route": "ratings-test-delay",
                    "hosts": [host_of("ratings")], "shadow": False,
                    "delay_ms": 7000, "delay_percent": 100, "abort_status": 0,
                    "abort_percent": 0}],
        "endpoints": lab_endpoints(int(scene.now * 1000)),
        "policies": lab_policies(),
        "pods": [{"pod": f"default/{name}", "open": 2 + len(name) % 5,
                  "requests": round(requests * share), "bytes": round(requests * share * 2900),
                  "cpu_us": round(requests * share * 21)} for name, share in costs.items()],
    }


def hostile_kinds() -> list[Kind]:
    kinds = []
    for i, name in enumerate(HOSTILE_NAMES):
        other = HOSTILE_NAMES[(i + 3) % len(HOSTILE_NAMES)]
        kind = Kind("", name, HOSTILE_NAMES[i - 1], 3, 4, workload=name,
                    object=f"RouteRule default/{name}", flags="<b>DI</b>" if i % 2 else "",
                    status=200 if i % 3 else 500)
        kind.row.update(source=other, source_version=name, host=name)
        kinds.append(kind)
    return kinds


def hostile_extra(scene: Scene) -> dict[str, object]:
    now_ms = int(scene.now * 1000)
    first = HOSTILE_NAMES[0]
    return {
        "instance": "<h1>" + "i" * 200, "version": "<b>1</b>",
        "policies": [{"kind": name[:40], "namespace": "<i>", "name": name, "status": first,
                      "reason": name, "warnings": [name], "hosts": [name]}
                     for name in HOSTILE_NAMES],
        "faults": [{"object": name, "route": name, "delay_ms": 1e12, "delay_percent": 33.3,
                    "abort_status": 503, "abort_percent": 1} for name in HOSTILE_NAMES],
        "limits": [{"cluster": name, "what": first, "max": 3, "used": 9} for name in HOSTILE_NAMES],
        "endpoints": [{"service": name, "address": name, "pod": name, "state": first,
                       "reason": name, "since_unix_ms": now_ms + 10 ** 9, "until_unix_ms": 1,
                       "failures": [first] * 30} for name in HOSTILE_NAMES],
        "pods": [{"pod": name, "open": -1, "requests": "12", "bytes": None, "cpu_us": 1e300}
                 for name in HOSTILE_NAMES],
        "clusters": "not a list",
    }


def large_kinds(services: int = 200, series: int = 1000) -> list[Kind]:
    """A layered mesh: each service is called by some of the layer before it."""
    rng = random.Random(3)
    names = [f"svc-{i:03d}" for i in range(services)]
    layers = [names[i::7] for i in range(7)]
    kinds = [Kind("gateway", name, "v1", 20, 8, source_namespace="") for name in layers[0]]
    while len(kinds) < series:
        layer = rng.randrange(1, 7)
        source, target = rng.choice(layers[layer - 1]), rng.choice(layers[layer][:24])
        if len(kinds) < services * 1.3:
            source = layers[layer - 1][hash_of(target) % len(layers[layer - 1])]
            target = layers[layer][len(kinds) // 7 % len(layers[layer])]
        is_failure = target.endswith("17") and rng.random() < 0.5
        kinds.append(Kind(f"{source} v1", target, rng.choice(["v1", "v1", "v2"]),
                          rng.uniform(0.5, 9), rng.uniform(1, 60), route=f"r{len(kinds)}",
                          status=503 if is_failure else 200))
    return kinds


def hash_of(name: str) -> int:
    return sum(name.encode())


def large_extra(scene: Scene) -> dict[str, object]:
    names = [f"svc-{i:03d}" for i in range(200)]
    requests = scene.total("requests")
    return {
        "revision": 4711, "open_connections": 2841,
        "policies": [policy("HTTPRoute", f"route-{i:04d}", [names[i % 200]]) for i in range(2000)],
        "limits": [{"cluster": f"outbound|80||{host_of(name)}", "what": what, "max": i % 3 * 512,
                    "used": i * 2} for i, name in enumerate(names)
                   for what in ("connections", "pending")],
        "endpoints": [{"service": host_of(name), "address": f"10.2.{i}.4:80", "pod": name,
                       "state": "in service", "failures": []} for i, name in enumerate(names)],
        "pods": [{"pod": f"default/{name}-v1", "open": i, "requests": requests // 200,
                  "bytes": requests * 9, "cpu_us": requests * (i + 5) // 900}
                 for i, name in enumerate(names)],
    }


def nothing(_: Scene) -> dict[str, object]:
    return {}


def scene(name: str) -> Scene:
    makers: dict[str, Callable[[], Scene]] = {
        "lab": lambda: Scene(lab_kinds(), lab_extra, lab_traces()),
        "empty": lambda: Scene([], nothing),
        "hostile": lambda: Scene(hostile_kinds(), hostile_extra, hostile_traces(HOSTILE_NAMES)),
        "large": lambda: Scene(large_kinds(), large_extra, lab_traces(200)),
        "restart": lambda: Scene(lab_kinds(), lab_extra, restart_every_s=20),
        "bare": lambda: Scene([], lambda _: {}),
    }
    return makers[name]()


SCENES = ("lab", "empty", "hostile", "large", "restart", "bare")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.split("/")[1:]]
        name, rest = parts[0], parts[1:]
        if name not in SCENES or not rest:
            return self.reply(404, "text/plain", ("one of: " + " ".join(SCENES)).encode())
        if rest[0] == "api":
            return self.reply_json(name, rest[1:])
        file = PAGE / (rest[0] or "index.html")
        if len(rest) > 1 or file.parent != PAGE or not file.is_file():
            return self.reply(404, "text/plain", b"no such file")
        return self.reply(200, TYPES.get(file.suffix, "text/plain"), file.read_bytes())

    def reply_json(self, name: str, rest: list[str]) -> None:
        body = self.server.answer(name, rest)
        status = 404 if body is None else 200
        self.reply(status, "application/json", json.dumps(body).encode())

    def reply(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        for header, value in (("Content-Type", kind), ("Content-Length", str(len(body))),
                              ("Content-Security-Policy", POLICY), ("Cache-Control", "no-store"),
                              ("X-Content-Type-Options", "nosniff")):
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """With step_s each poll moves the clock of its scene by so much, whatever the time is."""

    def __init__(self, port: int = 0, step_s: float = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.step_s = step_s
        self.scenes: dict[str, Scene] = {}

    def answer(self, name: str, rest: list[str]) -> object:
        if name not in self.scenes:
            self.scenes[name] = scene(name)
        shown = self.scenes[name]
        if rest == ["overview"]:
            shown.move_to(shown.now + self.step_s if self.step_s else time.time())
            return {} if name == "bare" else shown.overview()
        if rest[:1] == ["traces"]:
            if len(rest) == 1:
                return [trace["row"] for trace in shown.traces]
            found = (t["trace"] for t in shown.traces if t["row"]["id"] == rest[1])
            return next(found, None)
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8099)
    parser.add_argument("--step", type=float, default=0, help="seconds per poll; 0: real time")
    options = parser.parse_args()
    server = Server(options.port, options.step)
    for name in SCENES:
        print(f"http://127.0.0.1:{server.server_port}/{name}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
