#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mixer's rate limits and denials end to end: the published files unchanged, real pods, the real
daemon. NP_RATE_SECONDS=60 measures the band for a minute."""

from __future__ import annotations

import os
import sys
import time
import unittest
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from embedded import EmbeddedCase  # noqa: E402
from netns import Host, Pod  # noqa: E402
from nginx import Nginx  # noqa: E402
from nodeproxy import ROOT, Daemon, load, wait_until  # noqa: E402
from wire import request_bytes  # noqa: E402

SAMPLES = ROOT / "tests" / "support" / "samples" / "istio-v1alpha2"
RATINGS = "10.96.0.2"
REVIEWS = "10.96.0.3"
BAND_SECONDS = int(os.environ.get("NP_RATE_SECONDS", "5"))
BODY = "RESOURCE_EXHAUSTED:Quota is exhausted for: requestcount 429"
SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: ratings}
spec: {selector: {app: ratings}, clusterIP: 10.96.0.2, ports: [{name: http, port: 9080, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, clusterIP: 10.96.0.3, ports: [{name: http, port: 9080, targetPort: 8080}]}
"""


class Bookinfo(unittest.TestCase):
    """reviews v2 and v3 call ratings v1; only the pods' namespaces and nginx play the application."""

    NAME = "nprate"

    def setUp(self) -> None:
        self.host = Host(self.NAME)
        self.addCleanup(self.host.close)
        self.host.__enter__()
        self.pods: dict[str, Pod] = {}
        for number, name in enumerate(("reviews-v2", "reviews-v3", "ratings-v1"), 21):
            self.pods[name] = self.host.routed_pod(name, number)
            origin = Nginx({"0.0.0.0:8080": name, "[::]:8080": name}, netns=self.pods[name].netns, access_log=True)
            self.addCleanup(origin.close)
            origin.__enter__()
            if name == "ratings-v1":
                self.ratings = origin
        self.daemon = Daemon(self.NAME, "--workers", "2", netns=self.host.netns)
        self.addCleanup(self.daemon.close)
        self.daemon.start()
        for name, pod in self.pods.items():
            app, version = name.split("-")
            self.daemon.ctl("-n", "istio-system", "pod", "add", name, "--ip", f"{pod.ipv4},{pod.ipv6}",
                            "--ifname", pod.veth, "-l", f"app={app},version={version}")
        self.daemon.apply(SERVICES, "istio-system")

    def ctl(self, *arguments: str) -> str:
        done = self.daemon.ctl("-n", "istio-system", *arguments)
        return done.stdout + done.stderr

    def ask(self, pod: str, *flags: str, service: str = RATINGS) -> str:
        return self.pods[pod].curl(f"http://{service}:9080/", *flags)

    def reached(self) -> int:
        """Requests in ratings' own log, those of the start apart."""
        lines = self.ratings.access_log.read_text().splitlines()
        return sum(1 for line in lines if not line.endswith("127.0.0.1"))

    def test_both_published_files_limit_reviews_to_one_per_second(self) -> None:
        for name in ("mixer-rule-ratings-ratelimit.yaml", "mixer-rule-ratings-ratelimit.0.4.0.yaml"):
            with self.subTest(name):
                path = str(SAMPLES / name)
                self.ctl("create", "-f", path)
                self.assertIn("in effect, per node", self.ctl("get", "memquota"))
                reached = self.reached()
                answers = Counter(self.ask("reviews-v3") for _ in range(20))
                self.assertEqual(set(answers), {"ratings-v1\n 200", BODY})
                self.assertLessEqual(answers["ratings-v1\n 200"], 3)
                self.assertEqual(self.reached() - reached, answers["ratings-v1\n 200"])
                # Each version has a counter of its own.
                self.assertEqual(self.ask("reviews-v2"), "ratings-v1\n 200")
                # No override fits calls to reviews: 5000 per second.
                others = Counter(self.ask("reviews-v3", service=REVIEWS).split()[-1] for _ in range(20))
                self.assertEqual(others, {"200": 20})
                self.ctl("delete", "-f", path)
                answers = Counter(self.ask("reviews-v3") for _ in range(20))
                self.assertEqual(answers, {"ratings-v1\n 200": 20})

    def test_the_answer_says_when_to_come_back(self) -> None:
        self.ctl("create", "-f", str(SAMPLES / "mixer-rule-ratings-ratelimit.yaml"))
        self.ask("reviews-v3")
        head = self.ask("reviews-v3", "-i").lower()
        self.assertIn("http/1.1 429 too many requests", head)
        self.assertIn("\nretry-after: 1\n", head)
        self.assertIn("\nx-envoy-ratelimited: true\n", head)
        counters = self.daemon.status()["counters"]
        self.assertEqual(counters["ended_rate_limited"], 1)
        self.assertEqual(counters["rate_limit_ok"], 1)

    def test_the_band_of_istios_own_test(self) -> None:
        self.ctl("create", "-f", str(SAMPLES / "mixer-rule-ratings-ratelimit.0.4.0.yaml"))
        report = load(f"{RATINGS}:9080", "-c", "2", "--rate", "10", "--duration", str(BAND_SECONDS), "--host",
                      "ratings", "--path", "/", netns=self.pods["reviews-v3"].netns)
        granted, refused = report["status"].get("200", 0), report["status"].get("429", 0)
        print(f"10/s for {BAND_SECONDS} s against 1/s: {granted} granted, {refused} refused")
        self.assertGreaterEqual(granted, 0.5 * BAND_SECONDS)
        self.assertLessEqual(granted, 1.25 * BAND_SECONDS)
        self.assertGreaterEqual(refused, 0.75 * 9 * BAND_SECONDS)

    def test_the_published_denial(self) -> None:
        path = str(SAMPLES / "mixer-rule-ratings-denial.yaml")
        self.ctl("create", "-f", path)
        self.assertEqual(self.ask("reviews-v3"), "PERMISSION_DENIED:handler.denier.istio-system:Not allowed 403")
        self.assertEqual(self.ask("reviews-v3", "-H", "x-user: jason"), "ratings-v1\n 200")
        self.ctl("delete", "-f", path)
        self.assertEqual(self.ask("reviews-v3"), "ratings-v1\n 200")

    def test_what_is_missing_is_said(self) -> None:
        text = (SAMPLES / "mixer-rule-ratings-ratelimit.yaml").read_text()
        rule = next(part for part in text.split("---") if "kind: rule" in part)
        shown = self.daemon.ctl("apply", "-f", "-", stdin=rule)
        self.assertIn("rule istio-system/quota is inactive: there is no memquota istio-system/handler",
                      shown.stdout + shown.stderr)
        self.assertIn("inactive", self.ctl("get", "rule"))
        self.assertIn("there is no memquota istio-system/handler", self.ctl("describe", "rule", "quota"))

    def test_a_limit_outlives_a_replace_and_not_its_worker(self) -> None:
        path = str(SAMPLES / "mixer-rule-ratings-ratelimit.yaml")
        slow = (SAMPLES / "mixer-rule-ratings-ratelimit.yaml").read_text().replace("validDuration: 1s", "validDuration: 1h")
        self.daemon.apply(slow)
        self.assertEqual(self.ask("reviews-v3"), "ratings-v1\n 200")
        self.assertEqual(self.ask("reviews-v3"), BODY)
        self.daemon.apply(slow.replace("maxAmount: 5000", "maxAmount: 6000"))
        self.assertEqual(self.ask("reviews-v3"), BODY)
        before = self.daemon.kill_worker()
        wait_until(lambda: self.daemon.has_new_worker(before), 10, "another worker")
        wait_until(lambda: self.ask("reviews-v3") in ("ratings-v1\n 200", BODY), 10, "it serves")
        self.ctl("delete", "-f", path)


POLICY = """
apiVersion: config.istio.io/v1alpha2
kind: memquota
metadata: {{name: handler, namespace: istio-system}}
spec: {{quotas: [{{name: hits.quota, maxAmount: {amount}, validDuration: {window}}}]}}
---
apiVersion: config.istio.io/v1alpha2
kind: quota
metadata: {{name: hits, namespace: istio-system}}
spec: {{dimensions: {dimensions}}}
---
apiVersion: config.istio.io/v1alpha2
kind: rule
metadata: {{name: limit, namespace: istio-system}}
spec: {{match: {match}, actions: [{{handler: handler.memquota, instances: [hits.quota]}}]}}
"""


RATE_LIMIT = """
apiVersion: nodeproxy.dev/v1
kind: RateLimit
metadata: {{name: own}}
spec:
  mode: {mode}
  services: [{{host: web.internal}}]
  rules:
  - name: {name}
    match: [{{uri: {{prefix: /limited}}}}]
    countBy: [{{cookie: session}}]
    cost: {cost}
    {limits}
"""


class Gateway(EmbeddedCase):
    """The same without pods: rules act on the service that a gateway's route leads to."""

    instance = "npratee"
    workers = 2

    def limit(self, amount: int, window: str, match: str = '""', dimensions: str = "{}") -> None:
        self.daemon.ctl("delete", "memquota", "handler", "-n", "istio-system", "--ignore-not-found")
        self.daemon.apply(POLICY.format(amount=amount, window=window, match=match, dimensions=dimensions))

    def statuses(self, count: int, *headers: tuple[str, str], target: str = "/") -> list[int]:
        with self.client() as client:
            seen = []
            for _ in range(count):
                client.send(request_bytes(target, headers=list(headers)))
                seen.append(client.response().status)
            return seen

    def test_both_shards_together_grant_exactly_the_limit(self) -> None:
        for window in ("61s", "62s", "63s"):  # each a counter of its own
            self.limit(500, window)
            report = load(f"127.0.0.1:{self.port}", "-c", "16", "--requests", "3000", "--path", "/")
            self.assertEqual(report["status"], {"200": 500, "429": 2500})
            self.assertEqual(sum(report["errors"].values()), 0)

    def own(self, name: str, limits: str, mode: str = "enforce", cost: int = 1) -> None:
        self.daemon.ctl("delete", "memquota", "handler", "-n", "istio-system", "--ignore-not-found")
        self.daemon.apply(RATE_LIMIT.format(name=name, limits=limits, mode=mode, cost=cost))
        self.addCleanup(self.daemon.ctl, "delete", "ratelimit", "own")

    def test_own_kind_two_windows_and_cookies(self) -> None:
        self.own("two", "windows: [{requests: 3, per: 600ms}, {requests: 5, per: 1m}]")
        self.assertIn("in effect, per node", self.daemon.ctl("get", "ratelimit").stdout)
        limited = {"target": "/limited/x"}
        self.assertEqual(self.statuses(4, ("cookie", "session=a"), **limited), [200, 200, 200, 429])
        self.assertEqual(self.statuses(1, ("cookie", "x=y; session=b"), **limited), [200])
        self.assertEqual(self.statuses(6, ("cookie", "session=a")), [200] * 6)
        time.sleep(0.7)
        self.assertEqual(self.statuses(3, ("cookie", "session=a"), **limited), [200, 200, 429])
        got = self.fetch("/limited/x", headers=[("cookie", "session=a")])
        self.assertEqual(got.body, b"RESOURCE_EXHAUSTED:Quota is exhausted for: two")

    def test_own_kind_bucket_cost_and_shadow(self) -> None:
        self.own("bucket", "bucket: {requests: 1, per: 1m, burst: 6}", cost=2)
        self.assertEqual(self.statuses(4, target="/limited"), [200, 200, 200, 429])
        head = self.fetch("/limited")
        self.assertEqual((head.status, head.get("x-envoy-ratelimited")), (429, "true"))
        self.assertIn(int(head.get("retry-after")), range(110, 121))
        before = self.daemon.status()["counters"]["rate_limit_shadowed"]
        self.daemon.apply(RATE_LIMIT.format(name="bucket", mode="shadow", cost=2,
                                            limits="bucket: {requests: 1, per: 1m, burst: 6}"))
        self.assertEqual(self.statuses(4, target="/limited"), [200] * 4)
        self.assertEqual(self.daemon.status()["counters"]["rate_limit_shadowed"] - before, 4)

    def test_headers_select_and_count(self) -> None:
        self.limit(2, "70s", match="""'request.headers["x-team"] != ""'""",
                   dimensions="""{team: 'request.headers["x-team"]', path: request.path}""")
        self.assertEqual(self.statuses(3, ("x-team", "a")), [200, 200, 429])
        self.assertEqual(self.statuses(3, ("x-team", "b")), [200, 200, 429])
        self.assertEqual(self.statuses(1, ("x-team", "a"), target="/other"), [200])
        self.assertEqual(self.statuses(5), [200] * 5)

    def test_an_outside_client_cannot_hide_behind_a_request_id(self) -> None:
        self.limit(1, "80s")
        self.assertEqual(self.statuses(4, ("x-request-id", "same")), [200, 429, 429, 429])

    def test_one_client_cannot_fill_the_tables_for_others(self) -> None:
        self.limit(1, "90s", dimensions="""{user: 'request.headers["x-user"]'}""")
        started = time.monotonic()
        with self.client() as client:
            for number in range(10_050):
                client.send(request_bytes("/", headers=[("x-user", f"u{number}")]))
                self.assertEqual(client.response().status, 200)
        self.assertEqual(self.statuses(1, ("x-user", "u5")), [429], "a known one is still limited")
        untracked = self.daemon.status()["counters"]["rate_limit_untracked"]
        print(f"10 050 names in {time.monotonic() - started:.1f} s, {untracked} of them untracked")
        self.assertGreaterEqual(untracked, 50)


if __name__ == "__main__":
    unittest.main()
