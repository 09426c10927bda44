#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Connection limits, end to end, as they are seen from outside: by clients, by an origin that
counts for itself, and by the counters. Two workers share each limit."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from limits_scene import LimitsCase, seconds_of  # noqa: E402
from nodeproxy import wait_until  # noqa: E402
from parallel_clients import Outcome  # noqa: E402
from wire import WireError, request_bytes  # noqa: E402

CLIENTS = 64
REQUESTS = 8
HOLD_SECONDS = 0.004
OVERFLOWS = ("upstream_rq_pending_overflow", "upstream_rq_overflow")
OVERFLOW_BODY = "upstream connect error or disconnect/reset before headers. reset reason: overflow"


class Limits(LimitsCase):
    def overflows(self) -> int:
        return sum(self.counter(name) for name in OVERFLOWS)

    def check_outcome(self, outcome: Outcome, counted: int, asked: int, what: str) -> None:
        self.assertEqual(outcome.errors, {}, what)
        self.assertEqual(set(outcome.status) - {"200", "503"}, set(), what)
        refused = outcome.status.get("503", 0)
        self.assertEqual(outcome.overloaded, refused, f"{what}: each 503 says why")
        self.assertEqual(set(outcome.bodies) - {OVERFLOW_BODY}, set(), what)
        self.assertEqual(counted, refused, f"{what}: counted, and seen")
        self.assertEqual(outcome.status.get("200", 0) + refused, asked, what)

    # ---- (a), (b): exact over two workers --------------------------------------------------------

    def test_all_limits(self) -> None:
        origin = self.origin(hold=HOLD_SECONDS)
        self.serve(origin)
        served = refused = 0
        for connections, pending in itertools.product(range(1, 9), range(1, 9)):
            what = f"maxConnections {connections}, pending {pending}"
            self.use(connections=connections, pending=pending)
            origin.forget()
            origin.set(fill=connections)
            before = self.overflows()
            outcome = self.clients(CLIENTS, REQUESTS)
            self.check_outcome(outcome, self.overflows() - before, CLIENTS * REQUESTS, what)
            report = origin.report()
            self.assertEqual(report["most"], connections, f"{what}: reached, never passed")
            self.assertEqual(len(report["requests"]), outcome.status["200"], what)
            # All came at once: what had a place at first was served, and more later.
            self.assertGreaterEqual(outcome.status["200"], connections + pending, what)
            self.assertGreater(outcome.overloaded, 0, what)
            served += outcome.status["200"]
            refused += outcome.overloaded
        print(f"\n64 combinations: {served} x 200, {refused} x 503")
        self.check_rest()

    def test_nobody_is_refused_when_all_find_a_place(self) -> None:
        origin = self.origin(hold=HOLD_SECONDS, fill=3)
        self.serve(origin)
        self.use(connections=3, pending=CLIENTS)
        before = self.overflows()
        outcome = self.clients(CLIENTS, REQUESTS)
        self.check_outcome(outcome, self.overflows() - before, CLIENTS * REQUESTS, "all wait")
        self.assertEqual(outcome.status, {"200": CLIENTS * REQUESTS})
        self.assertEqual(origin.report()["most"], 3)

    def test_origins_that_close_each_time(self) -> None:
        """Connections come and go; the limit and the places stay exact."""
        origin = self.origin(hold=HOLD_SECONDS, fill=4, close=True)
        self.serve(origin)
        self.use(connections=4, pending=CLIENTS)
        outcome = self.clients(CLIENTS, REQUESTS)
        self.assertEqual(outcome.status, {"200": CLIENTS * REQUESTS})
        self.assertEqual(origin.report()["most"], 4)

    def test_three_origins_share_one_limit(self) -> None:
        origins = [self.origin(hold=HOLD_SECONDS) for _ in range(3)]
        self.serve(*origins)
        self.use(connections=2, pending=CLIENTS)
        outcome = self.clients(CLIENTS, REQUESTS)
        self.assertEqual(outcome.status, {"200": CLIENTS * REQUESTS})
        reports = [one.report() for one in origins]
        self.assertLessEqual(max(one["most"] for one in reports), 2)
        self.assertEqual(sum(len(one["requests"]) for one in reports), CLIENTS * REQUESTS)
        # No origin keeps a connection of its own beside the limit: once it is quiet, two are open.
        wait_until(lambda: sum(one.report()["now_connections"] for one in origins) <= 2, 3,
                   "at most two connections are open")

    def test_requests_are_limited_too(self) -> None:
        origin = self.origin(hold=HOLD_SECONDS, fill=5)
        self.serve(origin)
        self.use(requests=5)
        before = self.overflows()
        outcome = self.clients(CLIENTS, REQUESTS)
        self.check_outcome(outcome, self.overflows() - before, CLIENTS * REQUESTS, "requests 5")
        self.assertEqual(origin.report()["most"], 5)

    def test_the_old_api(self) -> None:
        origin = self.origin(hold=HOLD_SECONDS, fill=2)
        self.serve(origin)
        self.use_old(connections=2, pending=3)
        before = self.overflows()
        outcome = self.clients(CLIENTS, REQUESTS)
        self.check_outcome(outcome, self.overflows() - before, CLIENTS * REQUESTS, "simpleCb")
        self.assertEqual(origin.report()["most"], 2)
        self.assertGreater(outcome.overloaded, 0)

    def check_rest(self) -> None:
        status = self.daemon.status()["counters"]
        ended = sum(status[f"downstream_rq_{how}"] for how in ("completed", "refused", "aborted"))
        self.assertEqual(status["downstream_rq_started"], ended)

    # ---- the line --------------------------------------------------------------------------------

    def test_served_in_order_of_arrival(self) -> None:
        origin = self.origin(gate=True)
        self.serve(origin)
        self.use(connections=1, pending=20)
        clients = [self.ask("/0")]
        self.wait_open(origin, 1)
        for number in range(1, 21):
            waited = self.counter("upstream_rq_waited")
            clients.append(self.ask(f"/{number}"))  # on either worker
            self.wait_counter("upstream_rq_waited", waited + 1)
        self.assertEqual(self.fetch("/21").status, 503, "the line is full")
        origin.let_go(21)
        for client in clients:
            self.assertEqual(client.response().status, 200)
        self.assertEqual(origin.targets(), [f"/{number}" for number in range(21)])
        self.assertEqual(origin.report()["most"], 1)

    def test_who_leaves_the_line_frees_its_place_at_once(self) -> None:
        origin = self.origin(gate=True)
        self.serve(origin)
        self.use(connections=1, pending=1)
        running = self.ask("/running")
        self.wait_open(origin, 1)
        for round_number in range(10):
            waited = self.counter("upstream_rq_waited")
            waiting = self.ask(f"/waiting-{round_number}")
            self.wait_counter("upstream_rq_waited", waited + 1)
            self.assertEqual(self.fetch("/refused").status, 503)
            cancelled = self.counter("upstream_rq_cancelled")
            waiting.abort()
            self.wait_counter("upstream_rq_cancelled", cancelled + 1)
        waited = self.counter("upstream_rq_waited")
        last = self.ask("/last")
        self.wait_counter("upstream_rq_waited", waited + 1)
        origin.let_go(2)
        self.assertEqual((running.response().status, last.response().status), (200, 200))
        self.assertEqual(origin.targets(), ["/running", "/last"], "who left is not asked for")

    def test_who_leaves_while_served_frees_its_place(self) -> None:
        origin = self.origin(gate=True)
        self.serve(origin)
        self.use(connections=1, pending=1)
        running = self.ask("/running")
        self.wait_open(origin, 1)
        waited = self.counter("upstream_rq_waited")
        waiting = self.ask("/waiting")
        self.wait_counter("upstream_rq_waited", waited + 1)
        running.abort()
        wait_until(lambda: "/waiting" in origin.targets(), 2, "the next in line is served")
        origin.let_go(1)
        self.assertEqual(waiting.response().status, 200)

    def test_a_kept_connection_that_has_ended_costs_nobody_the_place(self) -> None:
        """The origin closes its kept connections under the proxy's hands, again and again."""
        origin = self.origin()
        self.serve(origin)
        self.use(connections=1, pending=CLIENTS)
        for _ in range(5):
            outcome = self.clients(8, 5)
            self.assertEqual(outcome.status, {"200": 40})
            origin.set(close=True)
            self.assertEqual(self.clients(8, 5).status, {"200": 40})
            origin.set(close=False)
        self.assertEqual(origin.report()["most"], 1)

    def test_a_changed_limit_holds_for_who_waits_already(self) -> None:
        origin = self.origin(gate=True)
        self.serve(origin)
        self.use(connections=1, pending=10)
        clients = [self.ask("/0")]
        self.wait_open(origin, 1)
        for number in range(1, 6):
            waited = self.counter("upstream_rq_waited")
            clients.append(self.ask(f"/{number}"))
            self.wait_counter("upstream_rq_waited", waited + 1)
        self.use(connections=4, pending=10)
        self.wait_open(origin, 4)
        self.daemon.ctl("delete", "destinationrule", self.name)
        self.wait_open(origin, 6)
        origin.let_go(6)
        for client in clients:
            self.assertEqual(client.response().status, 200)

    def test_a_route_timeout_in_the_line(self) -> None:
        origin = self.origin(gate=True)
        self.serve(origin)
        self.use(connections=1, pending=5)
        self.ask("/running")
        self.wait_open(origin, 1)
        self.daemon.apply(ROUTE_TIMEOUT.format(name=self.name))
        waited = seconds_of(lambda: self.assertEqual(self.fetch("/late").status, 504))
        self.assertLess(waited, 1.0)
        self.assertGreaterEqual(waited, 0.3)
        self.assertEqual(origin.targets(), ["/running"])

    # ---- (f): overflow is nobody's failure -------------------------------------------------------

    def no_ejection_by_overflow(self) -> None:
        origin = self.origin(hold=HOLD_SECONDS)
        self.serve(origin)
        ejected = self.counter("outlier_ejections_enforced_total")
        outcome = self.clients(CLIENTS, REQUESTS)
        self.assertGreater(outcome.overloaded, 0)
        self.assertGreater(outcome.status["200"], 1)
        self.assertEqual(self.counter("outlier_ejections_enforced_total"), ejected)
        self.assertEqual(self.endpoint(origin)["state"], "ready")
        self.assertEqual(self.endpoint(origin)["failures"], [])
        self.assertEqual(self.fetch().status, 200)

    def test_overflow_ejects_nobody(self) -> None:
        self.use(connections=1, pending=1, errors=1, sleep="15m", interval="10s", percent=100)
        self.no_ejection_by_overflow()

    def test_overflow_ejects_nobody_with_the_old_api(self) -> None:
        self.use_old(connections=1, pending=1, errors=1, sleep="15m", interval="10s", percent=100)
        self.no_ejection_by_overflow()

    def test_overflow_is_never_repeated(self) -> None:
        origin = self.origin(gate=True)
        self.serve(origin)
        self.use(connections=1, pending=1)
        self.daemon.apply(RETRIES.format(name=self.name))
        self.ask("/running")
        self.wait_open(origin, 1)
        waited = self.counter("upstream_rq_waited")
        self.ask("/waiting")
        self.wait_counter("upstream_rq_waited", waited + 1)
        repeats = self.counter("upstream_rq_retry")
        took = seconds_of(lambda: self.assertEqual(self.fetch().status, 503))
        self.assertLess(took, 0.5)
        self.assertEqual(self.counter("upstream_rq_retry"), repeats)

    # ---- (h): the rest of connectionPool ---------------------------------------------------------

    def test_max_requests_per_connection(self) -> None:
        origin = self.origin()
        self.serve(origin)
        self.use({"connectionPool": {"http": {"maxRequestsPerConnection": 3}}}, connections=1,
                 pending=10)
        with self.client() as client:
            for number in range(9):
                client.send(request_bytes(f"/{number}", host=self.host))
                self.assertEqual(client.response().status, 200)
        used = [one["connection"] for one in origin.report()["requests"]]
        self.assertEqual([used.count(one) for one in sorted(set(used))], [3, 3, 3])

    def test_idle_timeout(self) -> None:
        origin = self.origin()
        self.serve(origin)
        self.use({"connectionPool": {"http": {"idleTimeout": "1s"}}})
        self.assertEqual(self.fetch().status, 200)
        answered = origin.report()["requests"][0]["at"]
        wait_until(lambda: origin.report()["closed"], 5, "the idle connection is closed")
        closed = origin.report()["closed"][0]
        self.assertEqual(closed["how"], "fin")
        self.assertGreaterEqual(closed["at"] - answered, 1.0)
        self.assertLess(closed["at"] - answered, 1.5)

    def test_max_connection_duration(self) -> None:
        origin = self.origin()
        self.serve(origin)
        self.use({"connectionPool": {"tcp": {"maxConnectionDuration": "500ms"}}})
        with self.client() as client:
            until = time.monotonic() + 1.8
            while time.monotonic() < until:
                client.send(request_bytes("/", host=self.host))
                self.assertEqual(client.response().status, 200)
                time.sleep(0.02)
        seen = origin.report()["requests"]
        used = sorted({one["connection"] for one in seen})
        self.assertIn(len(used), (3, 4))
        for number in used:
            times = [one["at"] for one in seen if one["connection"] == number]
            self.assertLess(times[-1] - times[0], 0.6)

    def test_connect_timeout(self) -> None:
        silent = SilentListener()
        self.addCleanup(silent.close)
        self.serve(silent)  # type: ignore[arg-type]
        self.use({"connectionPool": {"tcp": {"connectTimeout": "300ms"}}})
        took = seconds_of(lambda: self.assertEqual(self.fetch().status, 503))
        self.assertGreaterEqual(took, 0.3)
        self.assertLess(took, 0.8)
        self.assertEqual(self.counter("upstream_cx_connect_timeout"), 1)

    def test_tcp_keepalive(self) -> None:
        origin = self.origin()
        self.serve(origin)
        keepalive = {"time": "25s", "interval": "7s", "probes": 4}
        self.use({"connectionPool": {"tcp": {"tcpKeepalive": keepalive}}})
        self.assertEqual(self.fetch().status, 200)
        shown = self.upstream_socket(origin.port)
        self.assertRegex(shown, r"timer:\(keepalive,2[0-9]sec")
        self.use()
        other = self.origin()
        self.serve(other)
        self.assertEqual(self.fetch().status, 200)
        self.assertNotIn("keepalive", self.upstream_socket(other.port))

    def upstream_socket(self, port: int) -> str:
        command = ["ss", "-Htno", "state", "established", "dst", f"127.0.0.1:{port}"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        self.assertEqual(len(shown.splitlines()), 1, shown)
        return shown


class SilentListener:
    """Takes no connection: its queue is full, and further SYNs are not answered."""

    def __init__(self) -> None:
        import socket

        self.address = "127.0.0.1"
        self._listener = socket.socket()
        self._listener.bind((self.address, 0))
        self._listener.listen(0)
        self.port = int(self._listener.getsockname()[1])
        self._fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((self.address, self.port))
            self._fillers.append(filler)
        time.sleep(0.1)

    def close(self) -> None:
        for one in [*self._fillers, self._listener]:
            one.close()


ROUTE_TIMEOUT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: ["{name}.test"]
  gateways: [front]
  http:
  - timeout: 300ms
    route:
    - destination: {{host: {name}.internal}}
"""
RETRIES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: ["{name}.test"]
  gateways: [front]
  http:
  - retries: {{attempts: 5, retryOn: "5xx,gateway-error,reset,connect-failure"}}
    route:
    - destination: {{host: {name}.internal}}
"""


if __name__ == "__main__":
    unittest.main(verbosity=2)
