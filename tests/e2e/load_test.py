#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Behaviour under load, through a gateway listener: weights, mass delays, policy replaces, a killed worker.

Runs in a network namespace of its own; the origin is nginx, the clients are np_load. Counts and rules
are checked, never speed; timings are printed.
"""

from __future__ import annotations

import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from embedded import REGISTRY  # noqa: E402
from nginx import Nginx  # noqa: E402
from nodeproxy import Daemon, finish_load, load, start_load, wait_until  # noqa: E402
from own_netns import run_in_own_netns  # noqa: E402

GATEWAY = "127.0.0.1:8081"
BASE = REGISTRY.format(port=8081, v1=9001, v2=9002)
VIRTUAL_SERVICE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web}}
spec:
  hosts: ["*"]
  gateways: [front]
  http:
  - route:
    - {{destination: {{host: web.internal, subset: v1}}, weight: {v1}}}
    - {{destination: {{host: web.internal, subset: v2}}, weight: {v2}}}
    {extra}
"""


def weights(v1: int, v2: int, extra: str = "") -> str:
    return VIRTUAL_SERVICE.format(v1=v1, v2=v2, extra=extra)


def errors(report: dict) -> int:
    return sum(report["errors"].values())


class LoadTest(unittest.TestCase):
    def setUp(self) -> None:
        self.origins = Nginx({"127.0.0.1:9001": "v1", "127.0.0.1:9002": "v2"}, access_log=True)
        self.origins.__enter__()
        self.addCleanup(self.origins.close)
        self.daemon = Daemon("npload", "--no-capture")
        self.addCleanup(self.daemon.close)
        self.daemon.start()
        self.daemon.apply(BASE + weights(50, 50))

    def versions(self, connections: int, requests: int) -> dict[str, int]:
        before = self.counts()
        report = load(GATEWAY, "-c", str(connections), "--requests", str(requests))
        self.assertEqual(errors(report), 0, report)
        self.assertEqual(report["status"], {"200": requests})
        after = self.counts()
        return {name: after[name] - before[name] for name in after}

    def counts(self) -> dict[str, int]:
        """Requests that each origin logged; nginx tells them apart by the port it was reached at."""
        time.sleep(0.2)
        lines = self.origins.access_log.read_text().splitlines()
        return {name: sum(f'" 200 3 {port} ' in line for line in lines)
                for name, port in (("v1", "9001"), ("v2", "9002"))}

    def test_weights_are_drawn_per_request(self) -> None:
        for connections in (10, 1):  # ten at a time, and all on one kept connection
            seen = self.versions(connections, 2000)
            print(f"weights 50:50 over {connections} connections: {seen}")
            self.assertEqual(sum(seen.values()), 2000)
            self.assertAlmostEqual(seen["v1"] / 2000, 0.5, delta=0.05)
        self.daemon.apply(weights(90, 10))
        seen = self.versions(10, 2000)
        print(f"weights 90:10: {seen}")
        self.assertAlmostEqual(seen["v1"] / 2000, 0.9, delta=0.05)

    def test_replacing_policies_under_load_fails_no_request(self) -> None:
        client = start_load(GATEWAY, "-c", "32", "--rate", "2000", "--duration", "20")
        for i in range(200):
            text = weights(100, 0) if i % 2 else weights(0, 100, "headers: {response: {set: {x-round: \"%d\"}}}" % i)
            self.daemon.ctl("replace", "-f", "-", stdin=text)
        self.assertIsNone(client.poll(), "the load ended before the replaces: nothing was shown")
        report = finish_load(client)
        print(f"200 replaces under 2000 requests/s: {report['status']}, errors {report['errors']}, "
              f"p99 {report['latency_us']['p99']} us")
        self.assertEqual(errors(report), 0, report)
        self.assertEqual(report["status"], {"200": 40000})

    def test_eight_thousand_delays_then_aborts(self) -> None:
        self.daemon.apply(weights(50, 50, "fault: {delay: {fixedDelay: 3s, percentage: {value: 100}}, "
                                          "abort: {httpStatus: 555, percentage: {value: 100}}}"))
        load(GATEWAY, "-c", "200", "--requests", "200", "--method", "HEAD")  # warms every buffer ring
        before = self.daemon.worker_rss_bytes()
        seen = self.origins.requests_seen()
        client = start_load(GATEWAY, "-c", "8000", "--rate", "4000", "--requests", "8000")
        peak = before
        while client.poll() is None:
            peak = max(peak, self.daemon.worker_rss_bytes())
            time.sleep(0.05)
        report = finish_load(client)
        counters = self.daemon.status()["counters"]
        lateness = {name: value for name, value in counters.items() if "lateness" in name and value}
        print(f"8000 delayed and aborted: {report['status']}, min {report['latency_us']['min'] / 1e6:.4f} s, "
              f"max {report['latency_us']['max'] / 1e6:.4f} s, worker +{(peak - before) / 1e6:.1f} MB, {lateness}")
        self.assertEqual(errors(report), 0, report)
        self.assertEqual(report["status"], {"555": 8000})
        self.assertGreaterEqual(report["latency_us"]["min"], 3_000_000)
        # Of that, each request itself takes less than 5 kB; a failed one is kept as a trace, about 1 kB.
        self.assertLess(peak - before, 8000 * (5000 + 1200))
        self.assertEqual(self.origins.requests_seen(), seen, "an aborted request reached an origin")

    def test_killed_worker_resets_and_serves_again_within_a_second(self) -> None:
        client = start_load(GATEWAY, "-c", "32", "--rate", "1000", "--duration", "8")
        time.sleep(2)
        old = self.daemon.kill_worker()
        killed_at = time.monotonic()

        def served() -> bool:
            done = subprocess.run(["curl", "-s", "-m", "1", "-o", "/dev/null", "-w", "%{http_code}", f"http://{GATEWAY}/"],
                                  capture_output=True, text=True, check=False)
            return done.stdout == "200"

        wait_until(served, 1.0, "a new connection is served within 1 s", every=0.02)
        recovered = time.monotonic() - killed_at
        self.assertNotEqual(self.daemon.worker_pid(), old)
        report = finish_load(client)
        print(f"worker killed: served again after {recovered * 1000:.0f} ms; {report['status']}, {report['errors']}")
        self.assertEqual(report["errors"]["connect"], 0, "a connection was refused")
        self.assertEqual(report["errors"]["truncated"], 0, "a truncated body looked like an end")
        self.assertEqual(report["errors"]["unanswered_close"], 0, "a broken exchange ended with FIN, not RST")
        self.assertEqual(report["errors"]["timeout"], 0)
        self.assertEqual(list(report["status"]), ["200"])


if __name__ == "__main__":
    run_in_own_netns()
