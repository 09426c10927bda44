#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Connection limits for captured calls: who shares one (D9), opaque TCP, and the kernel's view."""

from __future__ import annotations

import json
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from limits_scene import new_policy, old_policy  # noqa: E402
from nodeproxy import in_netns, wait_until  # noqa: E402
from parallel_clients import finish_clients, start_clients  # noqa: E402
from pod_scene import TCP_VIP, VIP, PodsCase  # noqa: E402

CLIENTS = 64
REQUESTS = 8
HOLD_SECONDS = 0.004
COMBINATIONS = ((1, 1), (1, 8), (3, 2), (8, 1), (8, 8))

# Opens connections one by one, says how each went, and holds the good ones until its input ends.
TCP_CLIENT = """
import socket, sys
kept = []
for number in range(int(sys.argv[3])):
    s = None
    try:  # a reset that comes at once may be what connect() returns
        s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
        s.settimeout(3)
        s.sendall(b'hello')
        said = 'open' if s.recv(5) == b'hello' else 'fin'
    except OSError as error:
        said = type(error).__name__
    kept.append(s)
    print(said, flush=True)
sys.stdin.read()
"""


class TcpClients:
    def __init__(self, netns: str, count: int) -> None:
        command = [sys.executable, "-c", TCP_CLIENT, TCP_VIP, "9000", str(count)]
        self._process = subprocess.Popen(in_netns(netns, command), stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.said = [self._process.stdout.readline().strip() for _ in range(count)]

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class PodLimits(PodsCase):
    NAME = "nplimp"

    def use(self, more: dict | None = None, **words: object) -> None:
        self.daemon.apply(new_policy("web", "web", more, **words))

    def check(self, outcome, counted: int, asked: int, what: str) -> None:
        refused = outcome.status.get("503", 0)
        self.assertEqual(outcome.errors, {}, what)
        self.assertEqual((outcome.overloaded, counted), (refused, refused), what)
        self.assertEqual(outcome.status.get("200", 0) + refused, asked, what)

    def test_limits_of_captured_calls(self) -> None:
        origin = self.add_origin("web1", 21, hold=HOLD_SECONDS)
        for use in (
            lambda c, p: self.use(connections=c, pending=p),
            lambda c, p: self.daemon.apply(
                old_policy("web", json.dumps({"name": "web"}), connections=c, pending=p)),
        ):
            for connections, pending in COMBINATIONS:
                what = f"maxConnections {connections}, pending {pending}"
                use(connections, pending)
                origin.forget()
                before = self.counter("upstream_rq_pending_overflow")
                outcome = self.clients(CLIENTS, REQUESTS)
                counted = self.counter("upstream_rq_pending_overflow") - before
                self.check(outcome, counted, CLIENTS * REQUESTS, what)
                report = origin.report()
                self.assertEqual(report["most"], connections, what)
                self.assertEqual(len(report["requests"]), outcome.status["200"], what)
            self.daemon.ctl("delete", "destinationrule", "web", check=False)
            self.daemon.ctl("delete", "destinationpolicy", "web", check=False)

    def test_each_calling_workload_has_the_limit_for_itself(self) -> None:
        """D9: pods of one workload share it, another one has its own."""
        twin = self.add_pod("twin", 12, "app=client")
        other = self.add_pod("other", 13, "app=other")
        origin = self.add_origin("web1", 21, hold=0.02)
        self.use(connections=2, pending=CLIENTS)
        for pods, most in (((self.client, twin), 2), ((self.client, other), 4)):
            origin.forget()
            loads = [start_clients(VIP, 80, 16, 20, "web", netns=pod.netns) for pod in pods]
            for load in loads:
                self.assertEqual(finish_clients(load).status, {"200": 320})
            self.assertEqual(origin.report()["most"], most)

    def test_np_limit_shows_it(self) -> None:
        origin = self.add_origin("web1", 21, gate=True)
        self.use(connections=2, pending=3)
        load = start_clients(VIP, 80, 8, 1, "web", netns=self.client.netns)
        wait_until(lambda: origin.report()["now"] == 2, 5, "two are served")
        wait_until(lambda: self.counter("upstream_rq_pending_overflow") == 3, 5, "three refused")
        path = f"/sys/fs/bpf/{self.name}/v1/maps/np_limit"
        shown = subprocess.run(["bpftool", "-j", "map", "lookup", "pinned", path, "key", "0", "0",
                                "0", "0"], capture_output=True, text=True, check=True).stdout
        value = json.loads(shown)["formatted"]["value"]
        seen = {name: value[name] for name in ("active", "max", "rejected", "pending")}
        self.assertEqual(seen, {"active": 2, "max": 2, "rejected": 3, "pending": 3})
        origin.let_go(5)
        self.assertEqual(finish_clients(load).status, {"200": 5, "503": 3})

    def test_opaque_connections_above_the_limit_are_reset(self) -> None:
        origin = self.add_origin("raw1", 31, labels="app=raw", echo=True)
        self.daemon.apply(new_policy("raw", "raw", connections=3))
        first = TcpClients(self.client.netns, 5)
        self.addCleanup(first.close)
        self.assertEqual(first.said, ["open"] * 3 + ["ConnectionResetError"] * 2)
        self.assertEqual(origin.report()["most_connections"], 3)
        self.assertEqual(self.counter("ended_tcp_overflow"), 2)
        first.close()
        wait_until(lambda: origin.report()["now_connections"] == 0, 5, "the first three have left")
        second = TcpClients(self.client.netns, 3)
        self.addCleanup(second.close)
        self.assertEqual(second.said, ["open"] * 3)
        self.assertEqual(origin.report()["most_connections"], 3)

    def test_an_opaque_overflow_is_no_failure_of_the_endpoint(self) -> None:
        origin = self.add_origin("raw1", 31, labels="app=raw", echo=True)
        self.daemon.apply(new_policy("raw", "raw", connections=1, errors=1, percent=100,
                                     sleep="15m"))
        clients = TcpClients(self.client.netns, 4)
        self.addCleanup(clients.close)
        self.assertEqual(clients.said, ["open"] + ["ConnectionResetError"] * 3)
        self.assertEqual(self.endpoint(origin, "raw")["state"], "ready")


if __name__ == "__main__":
    unittest.main(verbosity=2)
