#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""TrafficPolicy, end to end: what each of its features does to real calls between pods, and that shadow
mode does nothing but count."""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
import time
import unittest
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from counted_origin import CountedOrigin  # noqa: E402
from netns import Pod  # noqa: E402
from nodeproxy import wait_until  # noqa: E402
from parallel_clients import finish_clients, start_clients  # noqa: E402
from pod_scene import NO_RETRIES, VIP, PodsCase  # noqa: E402
from wire import Client, End, request_bytes  # noqa: E402

CLIENTS = 8
DRAWS = 20
USERS = 60
AS_NEW = {"status": 200, "hold": 0.0, "gate": False, "pad": 0}
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
ALL = {"maxEjectionPercent": 100, "baseEjectionTime": "15m"}

# What is drawn; what each request waits at least, the quickest at most, the slowest at least. Twenty
# draws miss one of these less than once in a million runs.
DELAYS = (
    ({"fixed": "150ms"}, 0.15, 1.0, 0.15),
    ({"uniform": {"min": "50ms", "max": "300ms"}}, 0.05, 0.25, 0.15),
    ({"normal": {"mean": "200ms", "stddev": "30ms"}}, 0.05, 0.3, 0.2),
    ({"exponential": {"mean": "200ms"}}, 0.0, 0.15, 0.1),
)


@contextmanager
def inside(pod: Pod) -> Iterator[None]:
    """This thread's new sockets are the pod's."""
    with open("/proc/thread-self/ns/net", "rb") as home, open(f"/run/netns/{pod.netns}", "rb") as there:
        if LIBC.setns(there.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        try:
            yield
        finally:
            LIBC.setns(home.fileno(), CLONE_NEWNET)


@dataclass
class Answer:
    status: int  # 0: none
    seconds: float


def object_of(kind: str, spec: dict, version: str = "nodeproxy.dev/v1") -> str:
    return json.dumps({"apiVersion": version, "kind": kind, "metadata": {"name": "web"}, "spec": spec})


def istio(kind: str, spec: dict) -> str:
    return object_of(kind, spec, "networking.istio.io/v1")


class Scene(PodsCase):
    NAME = "nptraf"

    def setUp(self) -> None:
        super().setUp()
        self.other = self.add_pod("other", 12, "app=other")
        self.first = self.add_origin("first", 21, "app=web,version=v1")
        self.second = self.add_origin("second", 22, "app=web,version=v2")


class TrafficCase(unittest.TestCase):
    """One scene for all tests of a class; each finds the endpoints as new and without policies."""

    scene: ClassVar[Scene]

    @classmethod
    def setUpClass(cls) -> None:
        cls.scene = Scene()
        cls.addClassCleanup(cls.scene.doCleanups)
        cls.scene.setUp()

    def setUp(self) -> None:
        self.daemon, self.client = self.scene.daemon, self.scene.client
        self.first, self.second = self.scene.first, self.scene.second
        self.origins = (self.first, self.second)
        for version, origin in enumerate(self.origins, 1):
            origin.set(**AS_NEW)
            origin.forget()
            self.scene.join_again(origin, f"app=web,version=v{version}")
        self.began = self.daemon.status()["counters"]

    def tearDown(self) -> None:
        for kind in ("trafficpolicy", "ratelimit", "destinationrule"):
            self.daemon.ctl("delete", kind, "web", "--ignore-not-found")
        self.daemon.apply(NO_RETRIES)

    # ---- what a test says ------------------------------------------------------------------------

    def use(self, **spec: object) -> None:
        self.daemon.apply(object_of("TrafficPolicy", {"host": "web", **spec}))

    def use_fault(self, **fault: object) -> None:
        self.use(faults=[fault])

    def use_route(self, **http: object) -> None:
        route = {"retries": {"attempts": 0}, "route": [{"destination": {"host": "web"}}], **http}
        self.daemon.apply(istio("VirtualService", {"hosts": ["web"], "http": [route]}))

    def connect(self, pod: Pod | None = None) -> Client:
        with inside(pod or self.client):
            return Client((VIP, 80), 20)

    def ask(self) -> Answer:
        """One request on a connection of its own, which ends well or by a reset."""
        with self.connect() as client:
            started = time.monotonic()
            client.send(request_bytes(host="web", headers=[("connection", "close")]))
            data, end = client.reader.rest()
            self.assertIs(end, End.CLOSED if data else End.RESET)
            return Answer(int(data.split(b" ")[1]) if data else 0, time.monotonic() - started)

    def statuses(self, count: int) -> list[int]:
        return [self.ask().status for _ in range(count)]

    def start(self, pod: Pod, clients: int = CLIENTS, requests: int = 1):
        process = start_clients(VIP, 80, clients, requests, "web", netns=pod.netns)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    # ---- what it looks at ------------------------------------------------------------------------

    def moved(self, name: str) -> int:
        """How far a counter came in this test."""
        return self.scene.counter(name) - int(self.began[name])

    def open_now(self) -> int:
        return sum(origin.report()["now"] for origin in self.origins)

    def seen(self, *origins: CountedOrigin) -> int:
        return sum(len(origin.report()["requests"]) for origin in origins or self.origins)

    def wait_open(self, count: int) -> None:
        wait_until(lambda: self.open_now() >= count, 20, f"{count} requests are open")

    def shut(self) -> None:
        for origin in self.origins:
            origin.set(gate=True)

    def let_all_go(self) -> None:
        for origin in self.origins:
            origin.let_go(100)


class Limits(TrafficCase):
    def outcome_of_two_pods(self, limits: dict) -> tuple[int, int]:
        """How many of two workloads' requests were open at once, and how many were refused."""
        self.shut()
        self.use(limits=limits)
        loads = [self.start(pod) for pod in (self.client, self.scene.other)]
        wait_until(lambda: self.open_now() + self.moved("upstream_rq_pending_overflow") == 2 * CLIENTS, 20,
                   "everyone is served or refused")
        were_open = self.open_now()
        self.let_all_go()
        refused = 0
        for load in loads:
            outcome = finish_clients(load)
            self.assertEqual(outcome.errors, {})
            refused += outcome.status.get("503", 0)
        return were_open, refused

    def test_each_caller_has_the_limit_for_itself(self) -> None:
        limits = {"scope": "caller", "maxConnections": 2, "maxPendingRequests": 0}
        self.assertEqual(self.outcome_of_two_pods(limits), (4, 12))

    def test_all_callers_of_the_node_share_the_limit(self) -> None:
        limits = {"scope": "node", "maxConnections": 2, "maxPendingRequests": 0}
        self.assertEqual(self.outcome_of_two_pods(limits), (2, 14))


class Faults(TrafficCase):
    def test_delays_have_the_bounds_of_their_shape(self) -> None:
        for number, (delay, least, quickest, slowest) in enumerate(DELAYS, 1):
            with self.subTest(next(iter(delay))), ThreadPoolExecutor(DRAWS) as threads:
                self.use_fault(delay=delay)
                answers = [one.result() for one in [threads.submit(self.ask) for _ in range(DRAWS)]]
                self.assertEqual({answer.status for answer in answers}, {200})
                took = sorted(answer.seconds for answer in answers)
                self.assertGreaterEqual(took[0], least)
                self.assertLessEqual(took[0], quickest)
                self.assertGreaterEqual(took[-1], slowest)
                self.assertEqual(self.moved("fault_delays_injected"), number * DRAWS)

    def test_a_reset_is_one_for_the_client_and_no_origin_is_asked(self) -> None:
        self.assertEqual(self.statuses(2), [200, 200])
        self.use_fault(abort={"reset": True})
        self.assertEqual(self.statuses(2), [0, 0])
        self.assertEqual((self.seen(), self.moved("fault_resets_injected")), (2, 2))

    def test_an_answer_is_whole_and_flows_at_its_rate(self) -> None:
        for number, size in enumerate((100_000, 2_000), 1):  # the small one arrives with its head
            for origin in self.origins:
                origin.set(pad=size)
            self.use_fault(bandwidth={"bytesPerSecond": size})
            with self.subTest(size), self.connect() as client:
                client.send(request_bytes(host="web"))
                message = client.reader.head()
                started = time.monotonic()
                client.reader.body(message)
                self.assertGreater(time.monotonic() - started, 0.9, "a second's bytes, by and by")
                self.assertEqual((message.status, message.end, len(message.body)), (200, End.COMPLETE, size + 11))
                self.assertEqual(self.moved("fault_bandwidth_injected"), number)

    def test_a_fault_ends_by_itself_after_the_last_change(self) -> None:
        fault = {"abort": {"status": 418}, "for": "2s"}
        started = time.monotonic()
        self.use_fault(**fault)
        self.assertEqual(self.statuses(1), [418])
        wait_until(lambda: self.ask().status == 200, 20, "it has ended")
        self.assertGreater(time.monotonic() - started, 1.9)
        self.use_fault(**fault)
        self.assertEqual(self.statuses(1), [200], "nothing was changed")
        self.use_fault(**{**fault, "abort": {"status": 419}})
        self.assertEqual(self.statuses(1), [419])

    def test_the_routes_timeout_cuts_a_delay_that_takes_part(self) -> None:
        self.use_route(timeout="300ms")
        self.use_fault(delay={"fixed": "700ms"})
        answer = self.ask()
        self.assertEqual(answer.status, 200, "otherwise the timeout leaves faults alone")
        self.assertGreaterEqual(answer.seconds, 0.7)
        self.use_fault(delay={"fixed": "1m"}, withinTimeoutAndRetry=True)
        answer = self.ask()
        self.assertEqual((answer.status, self.seen()), (504, 1))
        self.assertGreaterEqual(answer.seconds, 0.3)

    def test_the_routes_retries_repeat_an_abort_that_takes_part(self) -> None:
        self.use_route(retries={"attempts": 1, "retryOn": "5xx"})
        for number, (abort, status) in enumerate((({"status": 503}, 503), ({"reset": True}, 0)), 1):
            self.use_fault(abort=abort)
            self.assertEqual(self.statuses(1), [status], "otherwise the retries leave faults alone")
            self.use_fault(abort=abort, withinTimeoutAndRetry=True)
            self.assertEqual(self.statuses(1), [200])
            self.assertEqual((self.seen(), self.moved("upstream_rq_retry")), (number, number))


class Sticky(TrafficCase):
    def split(self, canary: int) -> None:
        weights = {"v1": 100 - canary, "v2": canary}
        self.use_route(route=[{"destination": {"host": "web", "subset": name}, "weight": weight}
                              for name, weight in weights.items()])

    def on_canary(self) -> set[str]:
        """Users whose requests went there; each asks twice, and finds the same side."""
        for origin in self.origins:
            origin.forget()
        with self.connect() as client:
            for user in list(range(USERS)) * 2:
                client.send(request_bytes(f"/{user}", host="web", headers=[("cookie", f"a=b; user={user}")]))
                self.assertEqual(client.response().status, 200)
        old, new = (set(origin.targets()) for origin in self.origins)
        self.assertEqual((old & new, len(old | new)), (set(), USERS))
        return new

    def test_a_user_keeps_the_canary_while_its_weight_moves(self) -> None:
        subsets = [{"name": name, "labels": {"version": name}} for name in ("v1", "v2")]
        self.daemon.apply(istio("DestinationRule", {"host": "web", "subsets": subsets}))
        self.use(sticky={"cookie": "user"})
        sides = []
        for canary in (10, 40, 70, 40):
            self.split(canary)
            sides.append(self.on_canary())
        few, half, many, again = sides
        self.assertTrue(set() < few < half < many, sides)
        self.assertEqual(half, again)
        self.assertLess(len(many), USERS)


class Shadow(TrafficCase):
    def test_a_limit_holds_nobody_back(self) -> None:
        self.shut()
        self.use(limits={"maxConnections": 1, "maxPendingRequests": 0, "mode": "shadow"})
        load = self.start(self.client)
        self.wait_open(CLIENTS)
        self.let_all_go()
        self.assertEqual(finish_clients(load).status, {"200": CLIENTS})
        self.assertEqual(self.moved("limit_shadow"), CLIENTS - 1)
        told = r"shadow: TrafficPolicy default/web: \w+ would have (?:held back|refused) (\d+) re"
        wait_until(lambda: sum(map(int, re.findall(told, self.daemon.log()))) == self.scene.counter("limit_shadow"),
                   20, "the lines of all tests so far add up")

    def test_a_limit_beside_one_in_force_leaves_it_there(self) -> None:
        self.shut()
        pool = {"tcp": {"maxConnections": 2}, "http": {"http1MaxPendingRequests": 1}}
        self.daemon.apply(istio("DestinationRule", {"host": "web", "trafficPolicy": {"connectionPool": pool}}))
        self.use(limits={"maxConnections": 1, "mode": "shadow"})
        load = self.start(self.client)
        wait_until(lambda: self.open_now() + self.moved("upstream_rq_pending_overflow") == CLIENTS - 1, 20,
                   "two are served, one waits, the rest is refused")
        self.let_all_go()
        self.assertEqual(finish_clients(load).status, {"200": 3, "503": CLIENTS - 3})
        self.assertEqual(self.moved("limit_shadow"), CLIENTS - 1)

    def test_repeats_are_counted_and_not_refused(self) -> None:
        for origin in self.origins:
            origin.set(status=503)
        self.use_route(retries={"attempts": 1, "retryOn": "5xx"})
        self.use(limits={"maxRetries": 0, "mode": "shadow"})
        self.assertEqual(self.statuses(3), [503] * 3)
        self.assertEqual((self.moved("upstream_rq_retry"), self.moved("limit_shadow")), (3, 3))
        wait_until(lambda: "TrafficPolicy default/web: maxRetries would have refused" in self.daemon.log(), 5,
                   "the log says so")

    def test_health_checks_act_while_ejection_is_rehearsed(self) -> None:
        self.second.set(status=500)
        self.use(ejection={"mode": "shadow", **ALL},
                 healthCheck={"http": {"path": "/healthz"}, "interval": "100ms"})
        wait_until(lambda: self.scene.endpoint(self.second)["state"] == "unhealthy", 20, "its checks fail")
        self.assertEqual(self.statuses(2 * CLIENTS), [200] * (2 * CLIENTS))

    def test_a_broken_endpoint_stays(self) -> None:
        self.second.set(status=500)
        self.use(ejection={"consecutive5xx": 1, "mode": "shadow", **ALL})
        self.assertEqual(set(self.statuses(4 * CLIENTS)), {200, 500})
        self.assertGreater(self.seen(self.second), 3)
        self.assertEqual(self.moved("outlier_ejections_shadow"), self.seen(self.second))
        self.assertEqual(self.moved("outlier_ejections_enforced_total"), 0)
        shown = self.scene.endpoint(self.second)
        self.assertEqual(shown["state"], "ready")
        self.assertRegex(shown["reason"], r"^would be ejected \(shadow, [\d.]+m?s ago\): consecutive 5xx$")
        self.assertIn(f"{self.second.address}:8080 would be ejected (shadow)", self.daemon.log())

    def test_ejection_in_force_goes_on_beside_one_that_looks_on(self) -> None:
        self.second.set(status=500)
        detection = {"consecutive5xxErrors": 3, "interval": "10s", **ALL}
        self.daemon.apply(istio("DestinationRule", {"host": "web", "trafficPolicy": {"outlierDetection": detection}}))
        self.use(ejection={"consecutive5xx": 1, "mode": "shadow", **ALL})
        self.statuses(4 * CLIENTS)
        self.assertEqual(self.seen(self.second), 3, "it is ejected after three")
        self.assertEqual(self.moved("outlier_ejections_enforced_total"), 1)
        self.assertEqual(self.moved("outlier_ejections_shadow"), 3)
        self.assertEqual(self.scene.endpoint(self.second)["state"], "ejected")
        self.daemon.ctl("uneject", "web", f"{self.second.address}:8080")

    def test_a_rate_limit_refuses_nothing(self) -> None:
        rule = {"name": "few", "windows": [{"requests": 3, "per": "10m"}]}
        for mode, statuses in (("shadow", [200] * 8), ("enforce", [429] * 2)):
            self.daemon.apply(object_of("RateLimit", {"mode": mode, "services": [{"host": "web"}], "rules": [rule]}))
            self.assertEqual(self.statuses(len(statuses)), statuses)
            self.assertEqual(self.moved("rate_limit_shadowed"), 5)

    def test_a_fault_injects_nothing(self) -> None:
        self.use_fault(delay={"fixed": "1m"}, abort={"status": 503}, mode="shadow")
        self.assertEqual(self.statuses(4), [200] * 4)
        self.assertEqual((self.seen(), self.moved("fault_shadow")), (4, 4))
        self.use_fault(abort={"status": 503, "percent": 0}, mode="shadow")
        self.assertEqual(self.statuses(4), [200] * 4)
        self.assertEqual(self.moved("fault_shadow"), 4, "it would have hit nobody")
        self.assertEqual(self.moved("fault_delays_injected") + self.moved("fault_aborts_injected"), 0)
        told = "shadow: TrafficPolicy default/web: faults would have hit"
        wait_until(lambda: told in self.daemon.log(), 5, "the log says so")


class Ejection(TrafficCase):
    def test_a_slow_endpoint_is_ejected_for_its_latency(self) -> None:
        self.second.set(hold=0.3)
        latency = {"threshold": "100ms", "percentile": 50, "requestVolume": 3}
        self.use(ejection={**ALL, "latency": latency, "interval": "500ms", "maxEjectionPercent": 50})

        def is_out() -> bool:
            self.assertEqual(self.scene.clients(CLIENTS, 4).status, {"200": 4 * CLIENTS})
            return self.scene.endpoint(self.second)["state"] == "ejected"

        wait_until(is_out, 20, "the slow one is ejected")
        measured = r"latency p50 [\d.]+ ms over its limit 100 ms"
        self.assertRegex(self.scene.endpoint(self.second)["reason"], f"^{measured}$")
        self.assertRegex(self.daemon.log(), rf"{self.second.address}:8080 ejected for 900s: {measured}; ejection 1")
        self.assertEqual(self.moved("outlier_ejections_latency"), 1)
        self.second.forget()
        self.assertEqual(self.scene.clients(CLIENTS, 4).status, {"200": 4 * CLIENTS})
        self.assertEqual(self.seen(self.second), 0)
        self.assertEqual(self.scene.endpoint(self.first)["state"], "ready")

    def test_who_comes_back_half_open_gets_one_request_until_it_has_answered(self) -> None:
        self.second.set(status=500)
        ejection = {**ALL, "consecutive5xx": 3, "halfOpen": True, "interval": "100ms", "baseEjectionTime": "300ms"}
        self.use(ejection=ejection)
        wait_until(lambda: self.ask() and self.scene.endpoint(self.second)["state"] == "ejected", 20, "it is ejected")
        self.second.set(status=200, gate=True)
        self.second.forget()
        wait_until(lambda: self.scene.endpoint(self.second)["state"] == "on probation", 20, "it is back")
        load = self.start(self.client, requests=10)
        wait_until(lambda: self.second.report()["now"] == 1, 20, "it is tried")
        enough = 10 * (CLIENTS - 1)
        wait_until(lambda: self.seen(self.first) >= enough, 20, "everyone else is served elsewhere")
        self.assertEqual((self.second.report()["most"], self.seen(self.second)), (1, 1))
        self.second.set(gate=False)
        self.second.let_go()
        self.assertEqual(finish_clients(load).status, {"200": 10 * CLIENTS})
        self.assertEqual(self.scene.endpoint(self.second)["state"], "ready")
        self.scene.clients(CLIENTS, 10)
        self.assertGreater(self.seen(self.second), CLIENTS, "it has its share again")


if __name__ == "__main__":
    unittest.main(verbosity=2)
