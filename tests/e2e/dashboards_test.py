#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""deploy/grafana and deploy/prometheus against a real Prometheus that scrapes a daemon on which everything
happens: each query of the dashboard and each rule has data, alerts fire and stop."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from deployed import ALERTS, LABEL_VALUES, as_regex, dashboard, fill, hurried_rules, panels, queries, rules  # noqa: E402
from monitored_scene import OLD_VIP, MonitoredCase, Repeated  # noqa: E402
from nodeproxy import NODECTL, wait_until  # noqa: E402
from pod_scene import WEB_PORT  # noqa: E402
from prometheus import Prometheus, Sample, check_rules  # noqa: E402

INSTANCE = "127.0.0.1:15190"
WINDOW, WAIT = "6s", "1s"
CHOSEN = ("Rate A", "Success ratio A", "Retries A", "Limits: fill A", "Requests by rule A")  # with one service
TOPICS = {"Overview", "Services", "Policies", "Pods", "Node"}
# What a lab without trouble lacks; without it some panels would be shown to work by zeroes only.
HAPPENED = (
    'nodeproxy_fault_resets_injected_total', 'nodeproxy_fault_bandwidth_injected_total',
    'nodeproxy_route_delays_injected_total{object="VirtualService default/web"}',
    'nodeproxy_route_aborts_injected_total{object="VirtualService default/web"}',
    'nodeproxy_route_delays_injected_total{object="RouteRule default/old-test-abort"}',
    'nodeproxy_route_aborts_injected_total{object="RouteRule default/old-test-abort"}',
    'istio_requests_total{response_flags="UT"}', 'istio_requests_total{response_flags="UO"}',
    'istio_requests_total{response_flags="RL",destination_service_name="web"}',
    'istio_requests_total{response_flags="RL",destination_service_name="old"}',
    'istio_requests_total{destination_service_name="web",destination_version="v2"}',
    'envoy_cluster_upstream_rq_retry{envoy_cluster_name=~".*flaky.*"}',
    'envoy_cluster_upstream_rq_pending_overflow{envoy_cluster_name=~".*slow.*"}',
    'envoy_cluster_upstream_rq_timeout{envoy_cluster_name=~".*slow.*"}',
    'envoy_cluster_outlier_detection_ejections_active{envoy_cluster_name=~".*old.*"}',
    'istio_tcp_received_bytes_total', 'nodeproxy_pod_cpu_seconds_total{pod="client"}',
    'nodeproxy_kernel_packets_total{reason="failopen"}', 'nodeproxy_kernel_packets_total{reason="failclosed"}',
    'nodeproxy_told_spans_lost_total', 'nodeproxy_told_log_lines_total',
)


def numbers(samples: list[Sample]) -> list[float]:
    return [sample.value for sample in samples if not math.isnan(sample.value)]


class Files(unittest.TestCase):
    """What can be seen without a daemon."""

    def test_the_dashboard_is_complete(self) -> None:
        board = dashboard()
        self.assertIsNone(board["id"], "a number would be another Grafana's")
        self.assertGreaterEqual(board["schemaVersion"], 36)
        names = {variable["name"] for variable in board["templating"]["list"]}
        self.assertEqual(names, {"datasource", "instance", "source", "destination"})
        self.assertEqual({row["title"] for row in board["panels"] if row["type"] == "row"}, TOPICS)
        ids = [panel["id"] for panel in [*board["panels"], *panels(board)] if panel["type"] != "row"]
        self.assertEqual(len(set(ids)), len(list(panels(board))))
        for panel in panels(board):
            with self.subTest(panel=panel["title"]):
                self.assertTrue(panel["description"])
                self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
                self.assertLessEqual(panel["gridPos"]["x"] + panel["gridPos"]["w"], 24)
                self.assertEqual(panel["datasource"]["uid"], "${datasource}")
                for target in panel["targets"]:
                    self.assertTrue(target["legendFormat"])
                    self.assertEqual(target["datasource"]["uid"], "${datasource}")
                    self.assertIn('instance=~"$instance"', target["expr"])

    def test_no_panel_lies_on_another(self) -> None:
        board = dashboard()
        groups = [[one for one in board["panels"]], *(row["panels"] for row in board["panels"] if row.get("panels"))]
        for group in groups:
            taken: set[tuple[int, int]] = set()
            for panel in group:
                place = panel["gridPos"]
                cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                         for y in range(place["y"], place["y"] + place["h"])}
                self.assertFalse(cells & taken, panel["title"])
                taken |= cells

    def test_each_alert_tells_a_person_what_to_do(self) -> None:
        self.assertEqual(check_rules(ALERTS), [])
        text = ALERTS.read_text()
        self.assertEqual(len(rules()), text.count("- alert:") + text.count("- record:"), "all are read")
        alerts = [rule for rule in rules() if rule.kind == "alert"]
        self.assertEqual(len({rule.name for rule in alerts}), len(alerts))
        for rule in alerts:
            with self.subTest(alert=rule.name):
                self.assertRegex(rule.rest, r"severity: (warning|critical)\b")
                for annotation in ("summary", "description", "runbook"):
                    self.assertRegex(rule.rest, rf'      {annotation}: "\S')
                self.assertRegex(rule.rest, r'runbook: ".*nodectl ')
                self.assertNotEqual(rule.measured(), rule.expression, "it has a threshold")

    def test_the_commands_of_the_runbooks_exist(self) -> None:
        commands = {match for rule in rules() for match in re.findall(r"nodectl ([a-z]+)", rule.rest)}
        self.assertGreater(len(commands), 4)
        for command in commands:
            done = subprocess.run([NODECTL, command, "--help"], capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, command)

    def test_the_configurations_are_accepted(self) -> None:
        """The other discovery cannot be compiled into Debian's package: all but that part of it."""
        for name in ("scrape.yaml", "scrape-kubernetes.yaml"):
            text = (ALERTS.parent / name).read_text()
            known = re.sub(r"  kubernetes_sd_configs:\n(  [- ] .*\n)+(?=  relabel_configs)", "", text)
            self.assertEqual(known == text, name == "scrape.yaml")
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "alerts.yaml").write_text(ALERTS.read_text())
                (Path(folder) / name).write_text(known)
                done = subprocess.run(["promtool", "check", "config", f"{folder}/{name}"], capture_output=True,
                                      text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class Lab(MonitoredCase):
    NAME = "npgraf"

    def setUp(self) -> None:
        super().setUp()
        hurried = self.daemon.dir / "alerts.yaml"
        hurried.write_text(hurried_rules(WINDOW, WAIT))
        self.assertEqual(check_rules(hurried), [])
        self.prometheus = Prometheus(INSTANCE, rules=[hurried], netns=self.host.netns)
        self.addCleanup(self.prometheus.close)
        self.prometheus.__enter__()

    # ---- alerts ------------------------------------------------------------------------------------

    def firing(self) -> set[str]:
        return {str(alert["labels"]["alertname"]) for alert in self.prometheus.alerts() if alert["state"] == "firing"}

    def wait_firing(self, *names: str) -> None:
        try:
            wait_until(lambda: set(names) <= self.firing(), 15, "alerts fire", 0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}: {set(names) - self.firing()}") from None

    def wait_stopped(self, *names: str) -> None:
        try:
            wait_until(lambda: not set(names) & self.firing(), 20, "alerts stop", 0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}: {set(names) & self.firing()}") from None

    # ---- data --------------------------------------------------------------------------------------

    def variables(self) -> dict[str, str]:
        """As Grafana fills them in when "All" is chosen."""
        values = {"__rate_interval": "10s", "__interval": "10s", "datasource": "lab"}
        for variable in dashboard()["templating"]["list"]:
            if variable["type"] != "query":
                continue
            match = LABEL_VALUES.fullmatch(variable["definition"])
            assert match, variable["definition"]
            series, label = fill(match.group(1), values), match.group(2)
            found = sorted({sample.labels[label] for sample in self.prometheus.query(series)})
            self.assertTrue(found, variable["name"])
            values[variable["name"]] = variable.get("allValue") or as_regex(found)
        return values

    def lacking(self, expressions: dict[str, str]) -> dict[str, str]:
        return {name: text for name, text in expressions.items() if not numbers(self.prometheus.query(text))}

    def expect_data(self, expressions: dict[str, str]) -> None:
        left = dict(expressions)

        def is_complete() -> bool:
            nonlocal left
            left = self.lacking(left)
            return not left

        try:
            wait_until(is_complete, 20, "all have data", 0.5)
        except AssertionError:
            raise AssertionError(f"{len(left)} of {len(expressions)} have no data: {left}") from None
        print(f"{len(expressions)} expressions have data")

    def shed(self) -> None:
        """One connection to each kind of service while the daemon sheds new ones."""
        self.client.run("curl", "-s", "-m", "2", f"http://{self.web.address}:{WEB_PORT}/")
        self.client.run("curl", "-s", "-m", "2", f"http://{OLD_VIP}/")

    def test_every_query_has_data_and_alerts_fire_and_stop(self) -> None:
        self.prometheus.wait_for("up == 1", seconds=20)
        let_go = self.fill()
        with Repeated(self.shed):
            self.wait_firing("NodeproxyOverloaded", "NodeproxyFailOpen", "NodeproxyFailClosed")
        let_go()
        self.wait_stopped("NodeproxyOverloaded")
        with Repeated(self.everything_once):
            self.wait_firing("NodeproxyErrors", "NodeproxyMostlyErrors", "NodeproxyEndpointsEjected",
                             "NodeproxyLimitRefusals", "NodeproxyRateLimited", "NodeproxyRetries", "NodeproxySpansLost")
            self.expect_data({text: f"{text} > 0" for text in HAPPENED})
            self.daemon.ctl("delete", "trafficpolicy", "web-game-day")  # a change of policy, to be marked
            values = self.variables()
            self.expect_data({name: fill(text, values) for name, text in queries(dashboard())})
            chosen = {**values, "source": "client", "destination": as_regex(["web.default.svc.cluster.local"])}
            self.expect_data({name: fill(text, chosen) for name, text in queries(dashboard()) if name in CHOSEN})
            self.expect_data({rule.name: rule.measured() for rule in rules()})
            self.assertEqual([rule["lastError"] for rule in self.prometheus.rules() if rule["health"] != "ok"], [])
        self.broken.set(status=200)
        self.daemon.ctl("uneject", "old", f"{self.broken.address}:{WEB_PORT}")
        with Repeated(self.calm):
            self.wait_stopped("NodeproxyErrors", "NodeproxyMostlyErrors", "NodeproxyEndpointsEjected",
                              "NodeproxyLimitRefusals", "NodeproxyRateLimited", "NodeproxyRetries",
                              "NodeproxyFailOpen", "NodeproxyFailClosed")
        self.kill_worker()
        self.wait_firing("NodeproxyWorkerRestarted")
        self.wait_stopped("NodeproxyWorkerRestarted")
        self.daemon.stop()
        self.wait_firing("NodeproxyDown")
        self.daemon.start()
        self.wait_stopped("NodeproxyDown")


if __name__ == "__main__":
    unittest.main()
