#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every count is the same wherever it is read: clients, daemon, kernel, /metrics and the access log, after
many requests with faults, limits and retries, and with workers that die under them (design, section 6)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from nodeproxy import in_netns, wait_until  # noqa: E402
from np_conn import Totals, read_totals  # noqa: E402
from parallel_clients import Outcome, finish_clients, start_clients  # noqa: E402
from pod_scene import VIP, PodsCase  # noqa: E402

POLICY = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http:
  - fault:
      delay: {percentage: {value: 2}, fixedDelay: 5ms}
      abort: {percentage: {value: 10}, httpStatus: 418}
    retries: {attempts: 2, retryOn: 5xx}
    route: [{destination: {host: web}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec:
  host: web
  trafficPolicy:
    connectionPool:
      tcp: {maxConnections: 6}
      http: {http1MaxPendingRequests: 4}
"""
CLIENTS = 16
REQUESTS = 25_008  # twice, so many for each client
KILLS = 2
RING_RECORDS_MAX = 4096  # what a worker that dies may have had to tell, per shard
SHARDS = 2


class Identities(PodsCase):
    NAME = "npids"

    def daemon_flags(self) -> list[str]:
        self.access_log = Path(f"/tmp/{self.name}-access.log")
        self.access_log.unlink(missing_ok=True)
        self.addCleanup(lambda: self.access_log.unlink(missing_ok=True))
        return ["--access-log", str(self.access_log), "--access-log-format", "%RESPONSE_CODE% %RESPONSE_FLAGS%"]

    def setUp(self) -> None:
        super().setUp()
        self.good = self.add_origin("web1", 21)
        self.bad = self.add_origin("web2", 22, status=503)
        self.daemon.apply(POLICY)
        self.printed: list[str] = []

    # ---- the places ----------------------------------------------------------------------------

    def load(self, is_stubborn: bool = False) -> subprocess.Popen[str]:
        return start_clients(VIP, 80, CLIENTS, REQUESTS // CLIENTS, "web", self.client.netns, is_stubborn)

    def metrics(self) -> dict[str, float]:
        command = ["curl", "-sS", "--fail", "-m", "5", "http://127.0.0.1:15190/metrics"]
        text = subprocess.run(in_netns(self.host.netns, command), capture_output=True, text=True, check=True).stdout
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
                for line in text.splitlines() if not line.startswith("#")}

    def metric(self, name: str, *labels: str) -> int:
        return int(sum(value for key, value in self.metrics().items()
                       if key.partition("{")[0] == name and all(label in key for label in labels)))

    def np_conn(self) -> Totals:
        return read_totals(Path(f"/sys/fs/bpf/{self.name}/v1/maps"))

    def pod_totals(self) -> dict[str, int]:
        """np_podst of the client, as bpftool shows it."""
        path = f"/sys/fs/bpf/{self.name}/v1/maps/np_podst"
        done = subprocess.run(["bpftool", "-j", "map", "dump", "pinned", path], capture_output=True, text=True, check=True)
        rows = [entry["formatted"]["value"] for entry in json.loads(done.stdout)]
        most = max(rows, key=lambda row: row["tx_bytes"])
        return {name: value for name, value in most.items() if isinstance(value, int)}

    def log_statuses(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for line in self.access_log.read_text().splitlines():
            match = re.fullmatch(r"(\d+|-) (\S+)", line)
            assert match, f"a line of the log is {line!r}"
            counts[match.group(1)] = counts.get(match.group(1), 0) + 1
        return counts

    def settled(self) -> Totals:
        """When nothing is under way any more, and everything has been told."""
        def is_still() -> bool:
            now = self.np_conn()
            ended = now.completed + now.refused + now.aborted + self.counter("shard_lost_requests")
            return now.started == ended

        wait_until(is_still, 10, "nothing is under way")
        time.sleep(0.3)
        return self.np_conn()

    # ---- both sides ----------------------------------------------------------------------------

    def same(self, what: str, left: int, right: int) -> None:
        self.printed.append(f"{what}: {left} = {right}")
        print(self.printed[-1])
        self.assertEqual(left, right, what)

    def within(self, what: str, low: int, value: int, high: int) -> None:
        self.printed.append(f"{what}: {low} <= {value} <= {high}")
        print(self.printed[-1])
        self.assertLessEqual(low, value, what)
        self.assertLessEqual(value, high, what)

    def check_always(self, conn: Totals) -> None:
        ended = conn.completed + conn.refused + conn.aborted
        lost = self.counter("shard_lost_requests")
        self.same("np_conn started = completed + refused + aborted + lost", conn.started, ended + lost)
        for name in ("started", "completed", "refused", "aborted"):
            self.same(f"np_conn {name} = daemon {name}", getattr(conn, name), self.counter(f"downstream_rq_{name}"))
        self.same("np_conn started = /metrics downstream_rq_total", conn.started,
                  self.metric("envoy_http_downstream_rq_total"))
        self.same("np_conn ended = /metrics istio_requests_total of the source", ended,
                  self.metric("istio_requests_total", 'reporter="source"'))
        self.same("np_conn ended = /metrics requests of the pod", ended,
                  self.metric("nodeproxy_pod_requests_total", 'pod="client"'))
        for digit in "245":
            self.same(f"np_conn {digit}xx = /metrics {digit}xx", getattr(conn, f"status_{digit}xx"),
                      self.metric("envoy_http_downstream_rq_xx", f'envoy_response_code_class="{digit}"'))
        self.same("np_conn retries = /metrics retries", conn.retries, self.metric("nodeproxy_upstream_rq_retry_total"))
        self.same("np_conn aborts injected = /metrics", conn.fault_aborts, self.metric("envoy_http_fault_aborts_injected"))
        self.same("np_conn delays injected = /metrics", conn.delays, self.metric("envoy_http_fault_delays_injected"))

    def check_exact(self, conn: Totals, seen: Outcome) -> None:
        """Nobody died, and no client left early."""
        told = self.log_statuses()
        for status, count in sorted(seen.status.items()):
            self.same(f"clients' {status} = /metrics {status}", count,
                      self.metric("istio_requests_total", 'reporter="source"', f'response_code="{status}"'))
            self.same(f"clients' {status} = log lines {status}", count, told[status])
        self.same("clients' answers = completed + refused", sum(seen.status.values()), conn.completed + conn.refused)
        kernel = self.pod_totals()
        self.same("clients' bytes sent = kernel's", seen.sent_bytes, kernel["tx_bytes"])
        self.same("clients' bytes sent = daemon's", seen.sent_bytes, conn.bytes_up)
        self.same("clients' bytes received = kernel's", seen.received_bytes, kernel["rx_bytes"])
        self.same("clients' bytes received = daemon's", seen.received_bytes, conn.bytes_down)
        self.same("connections opened = np_conn records", kernel["opened"], conn.records)

    def test_after_fifty_thousand_requests(self) -> None:
        first = finish_clients(self.load())
        self.assertEqual(first.errors, {})
        self.assertEqual(sum(first.status.values()), REQUESTS // CLIENTS * CLIENTS)
        for status in ("200", "418", "503"):
            self.assertGreater(first.status[status], 100, "everything that the policy does has happened")
        print(f"-- {REQUESTS} requests with delays, aborts, limits and retries")
        conn = self.settled()
        self.check_always(conn)
        self.check_exact(conn, first)
        lines = sum(self.log_statuses().values())
        self.same("log lines = ended", lines, conn.completed + conn.refused + conn.aborted)

        print(f"-- {REQUESTS} more, while the worker is killed {KILLS} times")
        clients = self.load(is_stubborn=True)
        for _ in range(KILLS):
            time.sleep(1.0)
            self.kill_worker()
        second = finish_clients(clients)
        conn = self.settled()
        self.check_always(conn)
        ok = sum(first.status.values()) + sum(second.status.values())
        failed = sum(second.errors.values())
        self.assertGreater(failed, 0, "a killed worker was noticed")
        self.within("client_ok <= completed + refused <= client_ok + client_failed", ok, conn.completed + conn.refused,
                    ok + failed)
        ended = conn.completed + conn.refused + conn.aborted
        dropped = self.counter("records_lost") + self.counter("log_lines_lost")
        lines = sum(self.log_statuses().values())
        self.within("ended - counted drops - lost tail <= log lines <= ended",
                    ended - dropped - KILLS * SHARDS * RING_RECORDS_MAX, lines, ended)


if __name__ == "__main__":
    unittest.main()
