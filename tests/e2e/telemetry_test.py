#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the daemon tells about requests between pods: log lines, spans at collectors, and that neither a
slow disk nor a dead collector costs a request."""

from __future__ import annotations

import json
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from nodeproxy import in_netns, wait_until  # noqa: E402
from pod_scene import VIP, PodsCase  # noqa: E402
from trace_collectors import OtlpCollector, ZipkinCollector  # noqa: E402
from traffic_policy_test import inside  # noqa: E402
from trace_schema import Span  # noqa: E402
from wire import Client, Message, request_bytes  # noqa: E402

DELAY_AND_ABORT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http:
  - name: broken
    match: [{uri: {prefix: /broken}}]
    fault:
      delay: {percentage: {value: 100}, fixedDelay: 200ms}
      abort: {percentage: {value: 100}, httpStatus: 418}
    route: [{destination: {host: web}}]
  - name: main
    retries: {attempts: 0}
    route: [{destination: {host: web}}]
"""
TRACE_ID = "463ac35c9f6413ad48485a3953bb6124"
CALLER_SPAN = "a2fb4a1d1a96d312"


class Telemetry(PodsCase):
    NAME = "nptel"

    def daemon_flags(self) -> list[str]:
        self.zipkin = ZipkinCollector(netns=self.host.netns)
        self.addCleanup(self.zipkin.close)
        self.otlp = OtlpCollector(netns=self.host.netns)
        self.addCleanup(self.otlp.close)
        self.access_log = f"/tmp/{self.name}-access.log"
        Path(self.access_log).unlink(missing_ok=True)
        self.addCleanup(lambda: Path(self.access_log).unlink(missing_ok=True))
        return ["--access-log", self.access_log, "--access-log-format", "json", "--trace-sampling", "100",
                "--zipkin", self.zipkin.url, "--otlp", self.otlp.url]

    def setUp(self) -> None:
        super().setUp()
        self.origin = self.add_origin("web1", 21)

    def get(self, path: str, headers: list[tuple[str, str]] | None = None) -> Message:
        with inside(self.client), Client((VIP, 80)) as client:
            client.send(request_bytes(path, host="web", headers=headers or []))
            return client.response()

    def log_lines(self, count: int) -> list[dict]:
        wait_until(lambda: Path(self.access_log).read_text().count("\n") >= count, 5, f"{count} log lines")
        return [json.loads(line) for line in Path(self.access_log).read_text().splitlines()]

    def by_kind(self, kind: str, spans: list[Span]) -> Span:
        found = [span for span in spans if span.kind == kind]
        self.assertEqual(len(found), 1, spans)
        return found[0]

    def test_one_request_told_in_three_places(self) -> None:
        self.daemon.apply(DELAY_AND_ABORT)
        headers = [("x-b3-traceid", TRACE_ID), ("x-b3-spanid", CALLER_SPAN), ("x-b3-sampled", "1"),
                   ("x-request-id", "the-request")]
        self.assertEqual(self.get("/hello?a=1", headers).status, 200)
        spans = self.zipkin.wait_for(2)
        same = [(span.trace_id, span.id, span.parent, span.name, span.kind, span.service, span.start_us,
                 span.duration_us) for span in self.otlp.wait_for(2)]
        self.assertEqual(same, [(span.trace_id, span.id, span.parent, span.name, span.kind, span.service,
                                 span.start_us, span.duration_us) for span in spans])
        client, server = self.by_kind("CLIENT", spans), self.by_kind("SERVER", spans)
        self.assertEqual((client.trace_id, client.parent), (TRACE_ID, CALLER_SPAN))
        self.assertEqual((client.service, client.name), ("client.default", "main"))
        self.assertEqual((server.parent, server.service), (client.id, "web.default"))
        self.assertEqual(client.tags["nodeproxy.object"], "VirtualService default/web")
        self.assertEqual(client.tags["nodeproxy.endpoint_pod"], "default/web1")
        self.assertEqual(client.tags["guid:x-request-id"], "the-request")
        line = self.log_lines(1)[0]
        told = {key: line[key] for key in ("method", "path", "response_code", "trace_id", "request_id", "policy",
                                           "route_name", "upstream_pod", "source_pod", "bytes_sent")}
        self.assertEqual(told, {
            "method": "GET", "path": "/hello?a=1", "response_code": 200, "trace_id": TRACE_ID,
            "request_id": "the-request", "policy": "VirtualService default/web", "route_name": "main",
            "upstream_pod": "default/web1", "source_pod": "client", "bytes_sent": 11})

    def test_an_injected_fault_is_told_as_one(self) -> None:
        self.daemon.apply(DELAY_AND_ABORT)
        self.assertEqual(self.get("/broken").status, 418)
        span = self.by_kind("CLIENT", self.zipkin.wait_for(1))
        self.assertEqual(span.tags["response_flags"], "DI,FI")
        self.assertGreaterEqual(span.duration_us, 200_000)
        line = self.log_lines(1)[0]
        self.assertEqual((line["response_code"], line["response_flags"]), (418, "DI,FI"))
        self.assertIsNone(line["upstream_host"])

    def test_dead_collectors_cost_spans_and_no_request(self) -> None:
        self.zipkin.stall(60)
        self.otlp.close()
        outcome = self.clients(4, 500)
        self.assertEqual(outcome.status, {"200": 2000})
        self.assertEqual(len(self.log_lines(2000)), 2000)
        wait_until(lambda: self.counter("spans_lost") > 0, 20, "lost spans are counted")
        self.assertEqual(self.counter("log_lines"), 2000)
        self.assertEqual(self.counter("log_lines_lost") + self.counter("records_lost"), 0)

    def admin(self, path: str) -> str:
        command = ["curl", "-sS", "--fail", "-m", "5", f"http://127.0.0.1:15190{path}"]
        return subprocess.run(in_netns(self.host.netns, command), capture_output=True, text=True, check=True).stdout

    def traces(self) -> set[str]:
        return {trace["id"] for trace in json.loads(self.admin("/api/traces"))}

    def test_a_request_that_is_not_sampled_is_kept_here_when_it_failed(self) -> None:
        def ask(digit: str) -> None:
            self.get("/", [("x-b3-traceid", digit * 32), ("x-b3-spanid", digit * 16), ("x-b3-sampled", "0")])

        ask("1")
        self.origin.set(status=503)
        ask("2")
        wait_until(lambda: "2" * 32 in self.traces(), 5, "the failed one is kept")
        self.assertNotIn("1" * 32, self.traces())
        self.assertEqual(self.zipkin.spans(), [])


if __name__ == "__main__":
    unittest.main()
