#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tests' own collectors of traces and the real Prometheus, before anything relies on them: they
take what is right, refuse what is wrong, and say what it was."""

from __future__ import annotations

import copy
import json
import os
import sys
import tempfile
import threading
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from netns import inside, loopback_netns  # noqa: E402
from origins import Arrival, HttpOrigin, answer  # noqa: E402
from prometheus import JOB, Prometheus, check_metrics, check_rules  # noqa: E402
from trace_collectors import Collector, OtlpCollector, ZipkinCollector  # noqa: E402
from wire import Client, Message, request_bytes  # noqa: E402

TRACE, SHORT_TRACE = "463ac35c9f6413ad48485a3953bb6124", "48485a3953bb6124"
PARENT, CHILD = "a2fb4a1d1a96d312", "b2fb4a1d1a96d313"
START_US, TOOK_US = 1_700_000_000_000_000, 7_003_250

ZIPKIN = [{
    "traceId": TRACE, "id": CHILD, "parentId": PARENT, "name": "ratings-delay", "kind": "CLIENT",
    "timestamp": START_US, "duration": TOOK_US, "shared": False,
    "localEndpoint": {"serviceName": "reviews", "ipv4": "10.1.0.4"},
    "remoteEndpoint": {"serviceName": "ratings", "ipv6": "fd00::5", "port": 9080},
    "annotations": [{"timestamp": START_US + 5, "value": "wr"}],
    "tags": {"http.status_code": "504", "error": "true", "fault.delay_ms": "7000"},
}]
OTLP = {"resourceSpans": [{
    "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "reviews"}}]},
    "scopeSpans": [{
        "scope": {"name": "nodeproxy", "version": "1"},
        "spans": [{
            "traceId": TRACE, "spanId": CHILD, "parentSpanId": PARENT, "name": "ratings-delay", "kind": 3,
            "startTimeUnixNano": f"{START_US}000", "endTimeUnixNano": f"{START_US + TOOK_US}900",
            "attributes": [
                {"key": "http.status_code", "value": {"intValue": "504"}},
                {"key": "error", "value": {"boolValue": True}},
                {"key": "fault.delay_ms", "value": {"stringValue": "7000"}},
            ],
            "status": {"code": 2, "message": "504"},
        }],
    }],
}]}

ZIPKIN_BREAKS: dict[str, Callable[[dict], object]] = {
    "'traceid'": lambda span: span.update(traceid=TRACE),
    "traceId: ": lambda span: span.update(traceId=TRACE.upper()),
    "id: all zero": lambda span: span.update(id="0" * 16),
    "no field 'duration'": lambda span: span.pop("duration"),
    "duration: 0 ": lambda span: span.update(duration=0),
    "timestamp: ": lambda span: span.update(timestamp=START_US // 1000),
    "000.0 is no integer": lambda span: span.update(timestamp=float(START_US)),
    "kind: 'SERVER '": lambda span: span.update(kind="SERVER "),
    "no field 'serviceName'": lambda span: span["localEndpoint"].pop("serviceName"),
    "port: '80'": lambda span: span["remoteEndpoint"].update(port="80"),
    "ipv4: 'fd00::5'": lambda span: span["remoteEndpoint"].update(ipv4="fd00::5"),
    "status_code: 504": lambda span: span["tags"].update({"http.status_code": 504}),
    "shared: 'no'": lambda span: span.update(shared="no"),
    "annotations[0]: no field": lambda span: span["annotations"][0].pop("value"),
    "its own parent": lambda span: span.update(parentId=CHILD),
}
OTLP_BREAKS: dict[str, Callable[[dict], object]] = {
    "'trace_id'": lambda span: span.update(trace_id=TRACE),
    "traceId: ": lambda span: span.update(traceId=SHORT_TRACE),
    "spanId: all zero": lambda span: span.update(spanId="0" * 16),
    "kind: 'SPAN_KIND": lambda span: span.update(kind="SPAN_KIND_CLIENT"),
    "kind: 0 ": lambda span: span.update(kind=0),
    "startTimeUnixNano: 17": lambda span: span.update(startTimeUnixNano=START_US * 1000),
    "startTimeUnixNano: '17": lambda span: span.update(startTimeUnixNano=str(START_US)),
    "ends before": lambda span: span.update(endTimeUnixNano=f"{START_US - 1}000"),
    "intValue: 504": lambda span: span["attributes"][0].update(value={"intValue": 504}),
    "0 values": lambda span: span["attributes"][0].update(value={}),
    "the key 'error' twice": lambda span: span["attributes"].append(span["attributes"][1]),
    "code: 3 ": lambda span: span["status"].update(code=3),
    "parentSpanId: ": lambda span: span.update(parentSpanId="1"),
}


def post(collector: Collector, body: bytes, *more: tuple[str, str], target: str = "") -> Message:
    kind = [("Content-Type", "application/json")] if not more else list(more)
    client = Client((collector.address, collector.port))
    try:
        client.send(request_bytes(target or collector.path, method="POST", headers=kind, body=body))
        return client.response("POST")
    finally:
        client.close()


class Collectors(unittest.TestCase):
    def collector(self, kind: type[Collector], **where: str) -> Collector:
        collector = kind(**where)  # type: ignore[arg-type]
        self.addCleanup(collector.close)
        return collector

    def refused(self, collector: Collector, body: bytes, why: str, *more: tuple[str, str], target: str = "") -> None:
        collector.forget()
        self.assertEqual(post(collector, body, *more, target=target).status, 400, why)
        self.assertEqual(collector.spans(), [], why)
        self.assertEqual(len(collector.violations), 1, why)
        self.assertIn(why, collector.violations[0])

    def test_both_tell_the_same_span(self) -> None:
        zipkin, otlp = self.collector(ZipkinCollector), self.collector(OtlpCollector)
        taken = post(zipkin, json.dumps(ZIPKIN).encode())
        self.assertEqual((taken.status, taken.body), (202, b""))
        taken = post(otlp, json.dumps(OTLP).encode())
        self.assertEqual((taken.status, json.loads(taken.body)), (200, {"partialSuccess": {}}))
        (span,) = zipkin.wait_for(1)
        self.assertEqual([span], otlp.wait_for(lambda spans: any(one.error for one in spans)))
        self.assertEqual((span.trace_id, span.id, span.parent), (TRACE, CHILD, PARENT))
        self.assertEqual((span.name, span.kind, span.service), ("ratings-delay", "CLIENT", "reviews"))
        self.assertEqual((span.start_us, span.duration_us, span.error), (START_US, TOOK_US, True))
        self.assertEqual(span.tags, {"http.status_code": "504", "error": "true", "fault.delay_ms": "7000"})
        self.assertEqual(zipkin.violations + otlp.violations, [])

    def test_a_root_and_a_short_trace_id(self) -> None:
        zipkin = self.collector(ZipkinCollector)
        root = {key: value for key, value in ZIPKIN[0].items() if key not in ("parentId", "tags")}
        self.assertEqual(post(zipkin, json.dumps([root | {"traceId": SHORT_TRACE}]).encode()).status, 202)
        (span,) = zipkin.spans()
        self.assertEqual((span.trace_id, span.parent, span.error), (SHORT_TRACE.rjust(32, "0"), "", False))

    def test_zipkin_refuses(self) -> None:
        zipkin = self.collector(ZipkinCollector)
        for why, damage in ZIPKIN_BREAKS.items():
            document = copy.deepcopy(ZIPKIN)
            damage(document[0])
            # A good span beside it: a document is taken whole or not at all.
            self.refused(zipkin, json.dumps(ZIPKIN + document).encode(), why)

    def test_otlp_refuses(self) -> None:
        otlp = self.collector(OtlpCollector)
        for why, damage in OTLP_BREAKS.items():
            document = copy.deepcopy(OTLP)
            damage(document["resourceSpans"][0]["scopeSpans"][0]["spans"][0])  # type: ignore[index,arg-type]
            self.refused(otlp, json.dumps(document).encode(), why)
        nameless = json.dumps(OTLP).replace("service.name", "service.nom").encode()
        self.refused(otlp, nameless, "no service.name")

    def test_what_is_no_document(self) -> None:
        zipkin, good = self.collector(ZipkinCollector), json.dumps(ZIPKIN).encode()
        self.refused(zipkin, good[:-1], "no JSON")
        self.refused(zipkin, good.replace(b'"shared": false', b'"id": "1"'), "'id' twice")
        self.refused(zipkin, good.replace(b"504", b"\xff"), "no JSON")
        self.refused(zipkin, b"{}", "no list")
        self.refused(zipkin, good, "Content-Type", ("Content-Type", "text/plain"))
        self.refused(zipkin, good, "instead of POST", target="/api/v1/spans")

    def test_refusing(self) -> None:
        zipkin, good = self.collector(ZipkinCollector), json.dumps(ZIPKIN).encode()
        zipkin.refuse_next(2)
        self.assertEqual([post(zipkin, good).status for _ in range(3)], [503, 503, 202])
        self.assertEqual((zipkin.refused, zipkin.documents, len(zipkin.spans())), (2, 1, 1))
        self.assertRaises(AssertionError, zipkin.wait_for, 2, 0.1)

    def test_stalling(self) -> None:
        zipkin, good = self.collector(ZipkinCollector), json.dumps(ZIPKIN).encode()
        zipkin.stall(0.3)
        started = time.monotonic()
        self.assertEqual(post(zipkin, good).status, 202)
        self.assertGreaterEqual(time.monotonic() - started, 0.3)
        zipkin.stall(60)
        with Client((zipkin.address, zipkin.port)) as impatient:
            headers = [("Content-Type", "application/json")]
            impatient.send(request_bytes(zipkin.path, method="POST", headers=headers, body=good))
            self.assertRaises(AssertionError, zipkin.wait_for, lambda spans: zipkin.abandoned, 0.2)
        self.assertRaises(AssertionError, zipkin.wait_for, 2, 0.2)
        self.assertEqual((zipkin.abandoned, zipkin.documents), (1, 1))
        patient = threading.Thread(target=post, args=[zipkin, good])
        patient.start()
        zipkin.stall(0)
        self.assertEqual(len(zipkin.wait_for(2)), 2)
        patient.join()

    @unittest.skipUnless(os.geteuid() == 0, "network namespaces need root")
    def test_in_a_namespace(self) -> None:
        netns = self.enterContext(loopback_netns("npcollect"))
        zipkin, good = self.collector(ZipkinCollector, netns=netns), json.dumps(ZIPKIN).encode()
        self.assertRaises(OSError, post, zipkin, good)
        self.assertEqual(inside(netns, lambda: post(zipkin, good)).status, 202)
        self.assertEqual(len(zipkin.spans()), 1)


METRICS = """# HELP np_pages_total Pages.
# TYPE np_pages_total counter
np_pages_total{{code="200"}} {pages}
np_pages_total{{code="500"}} 3
"""
RULES = """
groups:
- name: pages
  rules:
  - {record: pages:all, expr: sum(np_pages_total)}
  - {alert: BrokenPages, expr: 'np_pages_total{code="500"} > 2', labels: {severity: page}}
  - {alert: Silence, expr: np_pages_total < 0}
"""


class CountingServer(HttpOrigin):
    """A tiny server of metrics: counts its scrapes."""

    def __init__(self) -> None:
        super().__init__("metrics")
        self.scrapes = 0
        self.paths["metrics"] = self._metrics

    def _metrics(self, arrival: Arrival, request: Message) -> bool:
        self.scrapes += 1
        kind = [("Content-Type", "text/plain; version=0.0.4")]
        arrival.send(answer(200, METRICS.format(pages=self.scrapes).encode(), kind))
        return True


class PrometheusItself(unittest.TestCase):
    """One here and one in a namespace: they are started together, since each looks for its targets first
    after five seconds."""

    server: ClassVar[CountingServer]
    prometheus: ClassVar[Prometheus]
    netns: ClassVar[str | None] = None
    inner: ClassVar[Prometheus]

    @classmethod
    def setUpClass(cls) -> None:
        if os.geteuid() == 0:
            cls.netns = cls.enterClassContext(loopback_netns("npprom"))
            server = inside(cls.netns, CountingServer)
            cls.addClassCleanup(server.close)
            cls.inner = cls.enterClassContext(Prometheus(f"127.0.0.1:{server.port}", netns=cls.netns))
        folder = tempfile.TemporaryDirectory(prefix="np-rules-")
        cls.addClassCleanup(folder.cleanup)
        rules = Path(folder.name) / "rules.yml"
        rules.write_text(RULES)
        cls.server = CountingServer()
        cls.addClassCleanup(cls.server.close)
        cls.prometheus = cls.enterClassContext(Prometheus(f"127.0.0.1:{cls.server.port}", rules=[rules]))

    def test_it_scrapes_every_second(self) -> None:
        (sample,) = self.prometheus.wait_for('np_pages_total{code="200"}', lambda found: found and found[0].value >= 3)
        self.assertEqual((sample.labels["code"], sample.labels["job"]), ("200", JOB))
        self.assertEqual(self.prometheus.value('np_pages_total{code="500"}'), 3)
        self.assertEqual(self.prometheus.query("1 + 1")[0].value, 2)
        self.assertEqual(self.prometheus.query("np_nothing"), [])
        self.assertEqual([one["health"] for one in self.prometheus.targets()], ["up"])
        self.assertEqual(self.server.problems, [])

    def test_in_a_namespace(self) -> None:
        if self.netns is None:
            self.skipTest("network namespaces need root")
        self.inner.wait_for("np_pages_total")

    def test_a_wrong_expression_and_a_wait_in_vain(self) -> None:
        self.assertRaisesRegex(AssertionError, "parse error", self.prometheus.query, "sum(")
        self.assertRaisesRegex(AssertionError, "np_nothing is", self.prometheus.wait_for, "np_nothing", seconds=0.3)

    def test_rules_and_alerts(self) -> None:
        self.prometheus.wait_for("pages:all", lambda found: found and found[0].value > 3)
        self.prometheus.wait_for('ALERTS{alertname="BrokenPages", alertstate="firing"}')
        self.assertEqual([rule["name"] for rule in self.prometheus.rules()], ["pages:all", "BrokenPages", "Silence"])
        (alert,) = self.prometheus.alerts()
        self.assertEqual((alert["labels"]["alertname"], alert["labels"]["severity"]), ("BrokenPages", "page"))
        self.assertEqual(alert["state"], "firing")


class Promtool(unittest.TestCase):
    def test_metrics(self) -> None:
        good = METRICS.format(pages=1)
        self.assertEqual(check_metrics(good), [])
        self.assertIn("no help text", check_metrics("np_bare 1\n")[0])
        self.assertIn("_total", check_metrics(good.replace("counter", "gauge"))[0])
        self.assertIn("line 4", check_metrics(good.replace('code="500"', "code="))[0])

    def test_rules(self) -> None:
        with tempfile.TemporaryDirectory(prefix="np-rules-") as folder:
            path = Path(folder) / "rules.yml"
            path.write_text(RULES)
            self.assertEqual(check_rules(path), [])
            path.write_text(RULES.replace("expr: sum(", "expr: sum(("))
            self.assertIn("pages:all", "\n".join(check_rules(path)))


if __name__ == "__main__":
    unittest.main()
