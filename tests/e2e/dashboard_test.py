#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The dashboard of a real daemon in a real browser: what each section shows of a busy node, that text of
clients stays text, and what becomes of the page when there is nothing to show and when the worker dies."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import unittest
from pathlib import Path
from typing import ClassVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from browser import Browser  # noqa: E402
from dashboard_samples import HOSTILE_NAMES, Server  # noqa: E402
from dashboard_scene import MARKUP, BusyNode  # noqa: E402
from netns import inside  # noqa: E402
from nodeproxy import in_netns, wait_until  # noqa: E402
from pod_scene import VIP  # noqa: E402

PAGE = "http://127.0.0.1:15190/"
NARROW = 420
# Rows of a table as texts of its cells.
ROWS = ("[...document.querySelectorAll('#{box} tbody tr')]"
        ".map(row => [...row.cells].map(cell => cell.innerText.replace(/\\s+/g, ' ').trim()))")
RATE = re.compile(r"^\d+(\.\d+)?/s$")


class Dashboard(unittest.TestCase):
    """One node and one browser for all tests, in the order of their names."""

    node: ClassVar[BusyNode]
    browser: ClassVar[Browser]

    @classmethod
    def setUpClass(cls) -> None:
        cls.node = BusyNode()
        cls.addClassCleanup(cls.node.doCleanups)
        cls.node.setUp()
        cls.browser = cls.enterClassContext(Browser(netns=cls.node.host.netns))

    def setUp(self) -> None:
        self.browser.size(1280, 900)

    def tearDown(self) -> None:
        self.assertEqual(self.browser.complaints, [], "the page has nothing to complain of")
        self.assertNotEqual(self.browser.value("document.title"), "owned")

    def api(self, path: str) -> dict | list:
        command = ["curl", "-sS", "--fail", "-m", "5", PAGE + "api/" + path]
        return json.loads(subprocess.run(in_netns(self.node.host.netns, command), capture_output=True, text=True,
                                         check=True).stdout)

    def rows(self, box: str) -> list[list[str]]:
        self.browser.value(f"document.getElementById('{box}').scrollIntoView({{behavior: 'instant'}})")
        return self.browser.value(ROWS.replace("{box}", box))  # type: ignore[return-value]

    def row(self, box: str, *beginning: str) -> list[str]:
        """The only row whose first cells begin like this."""
        def fits(row: list[str]) -> bool:
            return all(cell.startswith(wanted) for cell, wanted in zip(row, beginning, strict=False))

        found: list[list[str]] = []

        def is_there() -> bool:
            found[:] = [row for row in self.rows(box) if fits(row)]
            return bool(found)

        wait_until(is_there, 10, lambda: f"{beginning} in {box}: {self.rows(box)}")
        self.assertEqual(len(found), 1, found)
        return found[0]

    def choose_window(self, seconds: int) -> None:
        self.browser.value(f"(document.getElementById('window').value = '{seconds}', "
                           "document.getElementById('window').dispatchEvent(new Event('change')))")

    # ---- in this order -----------------------------------------------------------------------------

    def test_1_a_node_where_nothing_has_happened(self) -> None:
        self.browser.go(PAGE)
        self.browser.wait("!document.getElementById('sections').hidden")
        self.browser.wait("document.getElementById('live').innerText === 'live'")
        for selector, words in (
            ("#graph-empty", "No requests yet Services appear here with the first request that a pod or a gateway"),
            ("#services-box", "No service has been called yet."),
            ("#faults-box", "No fault is injected."),
            ("#limits-box", "No limit is set."),
            ("#ejections-box", "No endpoint is ejected."),
        ):
            self.assertTrue(self.browser.text(selector).startswith(words), self.browser.text(selector))
        self.browser.value("document.getElementById('traces').scrollIntoView()")
        self.browser.wait("document.getElementById('traces-box').innerText.includes('No trace is kept yet.')")
        self.assertEqual(self.browser.text("#kpi-success"), "–")
        self.assertEqual(self.row("pods-box", "default/client")[1:3], ["0", "0/s"])

    def test_2_rates_of_services_and_versions(self) -> None:
        self.node.be_lively()
        self.browser.go(PAGE)
        web = self.row("services-box", "web default")
        self.browser.wait("document.getElementById('kpi-rate').innerText.match(/^[1-9]/) !== null")
        self.assertRegex(self.browser.text("#kpi-success"), r"^\d+(\.\d)? %$")
        self.assertRegex(self.browser.text("#kpi-p50"), r"^[\d.]+ m?s$")

        def is_split() -> bool:
            web[:] = self.row("services-box", "web default")
            return all(re.search(rf"\b{version} [1-9][\d.]* %", web[-1]) for version in ("v1", "v2", "v3"))

        wait_until(is_split, 10, lambda: f"web is called in three versions: {web}")
        self.assertRegex(web[1], RATE)
        self.assertEqual(web[2], "100 %", "429, 404 and injected 418 are no failures")
        self.assertRegex(web[3], r"^[\d.]+ ms$")
        self.assertRegex(web[5], r"^\d+ ms$", "p99 lies among the delayed ones")
        self.assertRegex(self.row("services-box", "raw default")[1], r"^[\d.]+ conn/s$")
        self.assertEqual(self.row("services-box", "raw default")[2:4], ["100 %", "–"], "connections have no latency")
        wait_until(lambda: self.row("services-box", "web default")[6] != "–", 15, "some are over the rate limit")
        # What was repeated before the broken endpoint was ejected is in the sum since the start.
        self.choose_window(0)
        self.assertNotEqual(self.row("services-box", "stock default")[7], "–")
        graph: list[str] = []
        # It is drawn anew when its data has come, and only while it is in sight.
        self.browser.value("document.getElementById('graph').scrollIntoView({behavior: 'instant'})")

        def is_drawn() -> bool:
            graph[:] = [self.browser.text("#graph-scroll")]
            return all(name in graph[0] for name in ("client", "front", "web", "stock", "raw", "1 out"))

        wait_until(is_drawn, 10, lambda: f"everybody is in the graph: {graph}")

    def test_3_faults_limits_and_ejections(self) -> None:
        self.browser.go(PAGE)
        delay = self.row("faults-box", "VirtualService default/web web-slow → web")
        self.assertEqual(delay[1], "delay 150 ms for all")
        self.assertEqual(self.row("faults-box", "VirtualService default/web web-broken")[1], "abort 418 for all")
        wait_until(lambda: self.row("faults-box", "VirtualService default/web web-slow")[2] not in ("–", "0/s"), 10,
                   "delays are injected")
        self.assertEqual(sorted(row[1] for row in self.rows("faults-box") if row[0].startswith("TrafficPolicy")),
                         ["cut the connection for all", "cut the connection for all, shadow: only counted"])
        ejected = self.row("ejections-box", "stock")
        self.assertIn(f"{self.node.broken.address}:8080 default/stock-v3", ejected[0])
        self.assertEqual(ejected[1], "ejected")
        self.assertIn("consecutive 5xx: HTTP 503", ejected[2])
        self.assertRegex(ejected[4], r"^in 14 min \d+ s$")
        held = self.node.fill_stock()
        wait_until(lambda: self.row("limits-box", "stock", "connections")[2] == "2 of 2 full", 10, "all taken")
        self.assertEqual(self.row("limits-box", "stock", "pending")[2], "1 of 1 full")
        self.browser.value("document.getElementById('graph').scrollIntoView({behavior: 'instant'})")
        self.browser.wait("document.getElementById('graph-scroll').textContent.includes('limit full')")
        wait_until(lambda: self.row("limits-box", "stock", "connections")[3] != "–", 10, "one was refused")
        self.node.empty_stock(held)
        wait_until(lambda: "full" not in self.row("limits-box", "stock", "connections")[2], 10, "free again")

    def test_4_policies_and_pods(self) -> None:
        self.browser.go(PAGE)
        for kind, name, hosts, status in (
            ("VirtualService", "web default", "web", "in effect"), ("DestinationRule", "web", "web", "in effect"),
            ("TrafficPolicy", "stock default", "stock", "in effect"), ("Gateway", "front", "*", "in effect"),
            ("RateLimit", "searches default", "web", "in effect, per node"),
        ):
            self.assertEqual(self.row("policies-box", kind, name)[2:4], [hosts, status])
        wait_until(lambda: self.row("policies-box", "VirtualService", "web")[4] not in ("–", "0/s"), 10, "decides")
        # Left out of the answers in between, policies stay; a change is there with the next one.
        before = self.browser.text("#revision")
        self.node.daemon.ctl("delete", "ratelimit", "searches")
        self.browser.wait(f"document.getElementById('revision').innerText !== '{before}'")
        kinds = [row[0] for row in self.rows("policies-box")]
        self.assertNotIn("RateLimit", kinds)
        self.assertIn("TrafficPolicy", kinds)
        wait_until(lambda: RATE.match(self.row("pods-box", "default/client")[2]) is not None, 10, "a rate")
        client = self.row("pods-box", "default/client")
        self.assertNotIn(client[2], ("0/s", "–"))
        self.assertRegex(client[5], r"^[\d.<]+ %$")
        self.assertNotEqual(client[5], "0 %")

    def open_trace_with(self, spans: int, tag: str) -> str:
        """The identity of a trace that is told by the API to have these."""
        for trace in self.api("traces?limit=200"):
            if trace["spans"] >= spans and tag in json.dumps(self.api("traces/" + trace["id"])):
                return str(trace["id"])
        return ""

    def test_5_a_trace_and_its_waterfall(self) -> None:
        """By clicks: the list, a trace of several services, a span; what clients wrote is there as text."""
        self.browser.go(PAGE)
        wait_until(lambda: len(self.rows("traces-box")) > 10, 10, "a list of traces")
        wait_until(lambda: self.open_trace_with(6, "onerror") != "", 10, "a trace through both services")
        chosen = self.open_trace_with(6, "onerror")
        self.browser.value(f"(document.getElementById('trace-text').value = '{chosen}', document"
                           ".getElementById('trace-text').dispatchEvent(new Event('input')))")
        self.browser.wait("document.querySelectorAll('#traces-box tbody tr').length === 1")
        self.browser.click("#traces-box tbody button")
        self.browser.wait("document.querySelectorAll('.span-row').length >= 6")
        names = self.browser.value("[...document.querySelectorAll('.span-name b')].map(name => name.innerText)")
        self.assertEqual(names, ["client.default"] + ["web.default"] + ["web.default", "stock.default"] * 2)
        self.browser.value("document.querySelectorAll('.span-row').forEach(row => row.click())")
        tags = self.browser.text(".spans")
        self.assertIn("guid:x-request-id " + MARKUP, tags)
        self.assertEqual(self.browser.value("document.querySelectorAll('main script, main img').length"), 0)
        bars = self.browser.value("[...document.querySelectorAll('.span-bar')].map(bar => "
                                  "bar.getBoundingClientRect().width)")
        self.assertTrue(all(width >= 2 for width in bars), bars)  # type: ignore[union-attr]
        self.assertGreater(bars[0], bars[2])  # type: ignore[index]
        self.browser.size(NARROW, 900, dark=True)
        self.browser.wait(f"document.documentElement.scrollWidth <= {NARROW}")
        self.browser.click("#trace-close")
        self.browser.wait("document.getElementById('trace-detail').hidden")

    def test_6_markup_never_gets_further_than_text(self) -> None:
        """Where a client may not write it, it is refused before it is told; the page calls that by name."""
        self.assertIn(" 400", self.node.client.curl(f"http://{VIP}/", "-H", "Host: <script>"))
        self.assertIn(" 400", self.node.client.curl(f"http://{VIP}/a?<b>", "-H", "Host: web"))
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": {"version": MARKUP}},
               "status": {"podIP": "10.244.0.99", "phase": "Running"}}
        refused = self.node.daemon.ctl("apply", "-f", "-", stdin=json.dumps(pod), check=False)
        self.assertIn("not a legal label value", refused.stderr)
        self.browser.go(PAGE)
        self.row("services-box", "no service")
        self.assertEqual(self.browser.value("document.querySelectorAll('main script, main img').length"), 0)

    def test_6_names_that_no_daemon_would_let_pass(self) -> None:
        """The page itself relies on nobody: an answer full of markup, and one with nothing in it."""
        server = inside(self.node.host.netns, lambda: Server(step_s=2))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        for scene, box, count in (("hostile", "policies-box", len(HOSTILE_NAMES)), ("bare", "policies-box", 0)):
            self.browser.go(f"http://127.0.0.1:{server.server_port}/{scene}/")
            self.browser.wait("!document.getElementById('sections').hidden")
            wait_until(lambda: len(self.rows(box)) == count, 5, f"{count} rows")
            self.rows("traces-box")
            self.browser.wait("document.getElementById('kpi-rate').innerText !== ''")
            markup = "document.querySelectorAll('main script, main img, #top b, #instance h1').length"
            self.assertEqual(self.browser.value(markup), 0)
            self.assertEqual(self.browser.complaints, [])

    def counted(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for one in self.api("overview")["requests"]:  # type: ignore[call-overload]
            key = json.dumps([value for value in one.values() if isinstance(value, str)] + [one["status"]])
            counts[key] = one["requests"]
        return counts

    def test_7_the_page_lives_through_a_new_worker(self) -> None:
        self.browser.go(PAGE)
        self.browser.wait("document.getElementById('kpi-rate').innerText.match(/^[1-9]/) !== null")
        self.choose_window(0)
        before = self.counted()
        policies = [row[:2] for row in self.rows("policies-box")]
        uptime = int(self.api("overview")["started_unix_ms"])  # type: ignore[call-overload]
        self.browser.value("window.stays = true")
        self.node.kill_worker()
        self.browser.wait("document.getElementById('live').innerText === 'live'", 15)
        wait_until(lambda: self.api("overview")["started_unix_ms"] > uptime, 5, "another worker")
        after = self.counted()
        for key, value in before.items():
            self.assertGreaterEqual(after.get(key, -1), value, key)
        self.choose_window(10)
        self.browser.wait("document.getElementById('uptime').innerText.match(/^\\d+\\s+s$/) !== null", 15)
        self.browser.wait("document.getElementById('kpi-rate').innerText.match(/^[1-9]/) !== null", 15)
        self.assertLess(float(re.split(r"[/\s]", self.browser.text("#kpi-rate"))[0]), 1000, "no sum as a rate")
        self.assertTrue(self.browser.value("window.stays"), "the same page")
        self.assertEqual([row[:2] for row in self.rows("policies-box")], policies)
        self.assertEqual(self.row("ejections-box", "stock")[1], "ejected")
        # What failed while nobody answered was told, and is over.
        self.assertTrue(all("ERR_CONNECTION" in one or "Failed to fetch" in one or "ERR_EMPTY" in one
                            for one in self.browser.complaints), self.browser.complaints)
        self.browser.complaints.clear()
        self.assertTrue(self.browser.value("document.getElementById('banner').hidden"))


if __name__ == "__main__":
    unittest.main()
