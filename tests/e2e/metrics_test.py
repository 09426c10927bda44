#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""/metrics as a real Prometheus reads it: the names that dashboards ask for, no count that goes back, and
counts that agree with what the clients saw."""

from __future__ import annotations

import re
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from nodeproxy import in_netns, wait_until  # noqa: E402
from pod_scene import PodsCase  # noqa: E402
from prometheus import Prometheus, check_metrics  # noqa: E402

RULES = """
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: web-default}
spec:
  destination: {name: web}
  precedence: 1
  route:
  - labels: {version: v1}
---
apiVersion: config.istio.io/v1alpha2
kind: DestinationPolicy
metadata: {name: web-ejection}
spec:
  destination: {name: web, labels: {version: v1}}
  circuitBreaker:
    simpleCb: {maxConnections: 100, httpConsecutiveErrors: 1, sleepWindow: 15m, httpDetectionInterval: 500ms}
"""
EJECTIONS = "envoy_cluster_out_web_default_svc_cluster_local_http_version_v1_outlier_detection_ejections_active"
# Istio's own name; the checker wants seconds.
KNOWN_COMPLAINT = 'istio_request_duration_milliseconds use base unit "seconds" instead of "milliseconds"'
SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? (\S+)$")


class Metrics(PodsCase):
    NAME = "npmet"

    def setUp(self) -> None:
        super().setUp()
        self.origin = self.add_origin("web1", 21)
        self.other = self.add_origin("web2", 22)

    def scrape(self, path: str = "/metrics") -> str:
        command = ["curl", "-sS", "--fail", "-m", "5", f"http://127.0.0.1:15190{path}"]
        return subprocess.run(in_netns(self.host.netns, command), capture_output=True, text=True, check=True).stdout

    @staticmethod
    def samples(text: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for line in text.splitlines():
            if line.startswith("#"):
                continue
            match = SAMPLE.match(line)
            assert match, line
            key = match.group(1) + (match.group(2) or "")
            assert key not in found, f"twice: {key}"
            found[key] = float(match.group(3))
        return found

    @staticmethod
    def counters(text: str) -> set[str]:
        """Names of everything that may only go up."""
        types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
        upward = {name for name, kind in types.items() if kind in ("counter", "histogram")}
        return upward

    def sum(self, text: str, name: str, **labels: str) -> float:
        total = 0.0
        for key, value in self.samples(text).items():
            if key.split("{")[0] == name and all(f'{label}="{wanted}"' in key for label, wanted in labels.items()):
                total += value
        return total

    def test_counts_agree_with_the_clients_and_the_checker_has_nothing_new_to_say(self) -> None:
        self.assertEqual(self.clients(4, 100).status, {"200": 400})
        text = self.scrape()
        self.assertEqual(check_metrics(text), [KNOWN_COMPLAINT])
        for name, labels in (
            ("istio_requests_total", {"reporter": "source", "source_app": "client", "response_code": "200",
                                      "destination_service_name": "web", "destination_version": "v1"}),
            ("istio_requests_total", {"reporter": "destination", "destination_app": "web"}),
            ("istio_request_count", {"source_service": "client"}),
            ("istio_request_duration_milliseconds_count", {"reporter": "source"}),
            ("istio_request_duration_count", {}),
            ("envoy_cluster_upstream_rq_total", {"envoy_cluster_name": "outbound|80||web.default.svc.cluster.local"}),
            ("envoy_cluster_upstream_rq_xx", {"cluster_name": "outbound|80||web.default.svc.cluster.local",
                                              "response_code_class": "2xx"}),
            ("envoy_cluster_upstream_rq_time_count", {}),
            ("envoy_http_downstream_rq_xx", {"envoy_response_code_class": "2"}),
            ("nodeproxy_route_requests_total", {"object": "VirtualService default/web", "response_code": "200"}),
            ("nodeproxy_pod_requests_total", {"pod": "client", "namespace": "default"}),
            ("nodeproxy_requests_ended_total", {"how": "completed"}),
        ):
            self.assertEqual(self.sum(text, name, **labels), 400, (name, labels))
        self.assertGreater(self.sum(text, "nodeproxy_pod_cpu_seconds_total", pod="client"), 0)
        self.assertEqual(self.sum(text, "nodeproxy_pod_cpu_seconds_total", pod="web1"), 0)
        # Each of 4 clients has one connection, of which the kernel knows, too.
        self.assertEqual(self.sum(text, "nodeproxy_pod_flows_opened_total", pod="client"), 4)
        self.assertEqual(text.split("# HELP", 1)[0], "", "the format begins with a family")
        self.assertEqual(set(self.samples(self.scrape("/stats/prometheus"))), set(self.samples(text)))

    def test_no_count_goes_back(self) -> None:
        """Not when policy changes, not when the worker dies."""
        self.clients(4, 100)
        before = self.scrape()
        self.daemon.apply(RULES)
        after_change = self.scrape()
        self.assert_nothing_went_back(before, after_change)
        self.kill_worker()
        after_kill = self.scrape()
        self.assert_nothing_went_back(after_change, after_kill)
        self.assertEqual(self.clients(4, 100).status, {"200": 400})
        at_last = self.scrape()
        self.assert_nothing_went_back(after_kill, at_last)
        self.assertEqual(self.sum(at_last, "istio_requests_total", reporter="source"), 800)
        self.assertEqual(self.sum(at_last, "nodeproxy_pod_requests_total", pod="client"), 800)

    def test_pods_whose_long_names_begin_alike_are_two(self) -> None:
        names = ["payments-settlement-and-reconciliation-of-several-currencies." + end for end in ("one", "two")]
        for number, name in enumerate(names, 31):
            pod = self.host.routed_pod(f"long{number}", number)
            self.daemon.ctl("pod", "add", name, "--ip", f"{pod.ipv4},{pod.ipv6}", "--ifname", pod.veth)
            self.assertEqual(self.clients(1, number, pod).status, {"200": number})
        text = self.scrape()
        for number, name in enumerate(names, 31):
            self.assertEqual(self.sum(text, "nodeproxy_pod_requests_total", pod=name), number)

    def test_a_pod_that_comes_back_goes_on_counting(self) -> None:
        self.clients(4, 100)
        before = self.scrape()
        self.daemon.ctl("pod", "remove", "client")
        self.assertEqual(self.sum(self.scrape(), "nodeproxy_pod_flows_opened_total", pod="client"), 0, "it left")
        self.register(self.client, "app=client")
        after = self.scrape()
        self.assert_nothing_went_back(before, after)
        self.assertEqual(self.sum(after, "nodeproxy_pod_flows_opened_total", pod="client"), 4)

    def assert_nothing_went_back(self, before: str, after: str) -> None:
        earlier, later = self.samples(before), self.samples(after)
        upward = self.counters(before)
        self.assertGreater(len(upward), 100)
        for key, value in earlier.items():
            family = re.sub(r"_(bucket|sum|count)$", "", key.split("{")[0])
            if key.split("{")[0] in upward or family in upward:
                self.assertGreaterEqual(later.get(key, -1), value, key)

    def test_the_expression_of_the_lab_in_a_real_prometheus(self) -> None:
        self.daemon.ctl("delete", "virtualservice", "web")
        self.daemon.apply(RULES)
        with Prometheus("127.0.0.1:15190", netns=self.host.netns) as prometheus:
            prometheus.wait_for(f"{EJECTIONS} == 0", seconds=30)
            self.other.set(status=503)
            self.clients(1, 20)
            prometheus.wait_for(f"{EJECTIONS} == 1", seconds=10)
            self.assertEqual(self.endpoint(self.other)["state"], "ejected")
            self.daemon.ctl("uneject", "web", f"{self.other.address}:8080")
            prometheus.wait_for(f"{EJECTIONS} == 0", seconds=10)
            self.clients(1, 20)  # of a series that appeared with its first value, a rate knows nothing
            rate = 'sum(rate(istio_requests_total{reporter="source",destination_service_name="web"}[30s]))'
            prometheus.wait_for(rate, lambda samples: bool(samples) and samples[0].value > 0, 20)

    def test_scrapes_change_nothing_for_requests_under_way(self) -> None:
        def scrape_often() -> None:
            for _ in range(20):
                self.scrape()

        scrape_often()
        self.assertEqual(self.clients(8, 200).status, {"200": 1600})
        wait_until(lambda: self.sum(self.scrape(), "istio_requests_total", reporter="source") == 1600, 5, "all told")


if __name__ == "__main__":
    unittest.main()
