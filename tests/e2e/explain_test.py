#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""nodectl explain against a live daemon: it says what becomes of a request, then the request is made
and becomes just that. Verdicts come from the kernel's maps, fills and ejections from the shards."""

from __future__ import annotations

import json
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from counted_origin import CountedOrigin  # noqa: E402
from netns import Pod  # noqa: E402
from nodeproxy import in_netns, wait_until  # noqa: E402
from pod_scene import VIP, WEB_PORT, PodsCase  # noqa: E402

COLUMNS = 80
RULES = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec:
  host: web
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http:
  - name: testers
    match: [{headers: {user: {exact: jason}}}]
    route: [{destination: {host: web, subset: v2}}]
  - name: broken
    match: [{uri: {prefix: /broken}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: web, subset: v1}}]
  - name: moved
    match: [{uri: {exact: /old}}]
    redirect: {uri: /new}
  - name: others
    timeout: 700ms
    retries: {attempts: 0}
    route: [{destination: {host: web, subset: v1}}]
"""
POLICY = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web}}
spec:
  host: web
  trafficPolicy: {policy}
"""
RATE_LIMIT = """
apiVersion: nodeproxy.dev/v1
kind: RateLimit
metadata: {name: few}
spec:
  services: [{host: web}]
  rules:
  - name: two-a-minute
    countBy: [{header: user}]
    windows: [{requests: 2, per: 60s}]
"""


class Explain(PodsCase):
    NAME = "npexp"

    def explain(self, to: str, *flags: str, caller: str = "client") -> dict:
        done = self.daemon.ctl("explain", "--from", caller, "--to", to, *flags, "-o", "json")
        return json.loads(done.stdout)

    def text(self, to: str, *flags: str, caller: str = "client") -> str:
        """As people read it, without its line breaks."""
        text = self.daemon.ctl("explain", "--from", caller, "--to", to, *flags).stdout
        wide = [line for line in text.splitlines() if len(line) > COLUMNS]
        self.assertEqual(wide, [], "80 columns")
        return " ".join(text.split())

    def verdict(self, to: str, caller: str = "client") -> tuple[str, str]:
        capture = self.explain(to, caller=caller)["capture"]
        return capture["verdict"], capture.get("counter", "")

    def counted(self, name: str) -> int:
        return int(self.daemon.status()["counters"][name])

    def status(self, path: str = "/", *flags: str, pod: Pod | None = None) -> str:
        out = (pod or self.client).curl(f"http://{VIP}{path}", "-o", "/dev/null", *flags)
        return out.strip()

    def start(self, path: str = "/") -> subprocess.Popen[bytes]:
        """A request that stays open."""
        command = ["curl", "-gs", "-m", "30", "-o", "/dev/null", f"http://{VIP}{path}"]
        process = subprocess.Popen(in_netns(self.client.netns, command))
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    # ---- captured, and why not ---------------------------------------------------------------

    def test_captured_or_not_as_the_maps_say(self) -> None:
        web = self.add_origin("web1", 21)
        self.assertEqual(self.verdict("web:80"), ("captured", "captured"))
        before = self.counted("captured")
        self.assertEqual(self.status(), "200")
        self.assertGreater(self.counted("captured"), before)

        # Nothing covers that port of the pod.
        server = CountedOrigin("0.0.0.0", 7777, netns=web.pod.netns)
        self.addCleanup(server.close)
        address = f"{web.pod.ipv4}:7777"
        self.assertEqual(self.verdict(address), ("direct", "bypass"))
        captured, passed = self.counted("captured"), self.counted("bypass")
        self.assertTrue(self.client.curl(f"http://{address}/").endswith("200"))
        self.assertEqual(self.counted("captured"), captured)
        self.assertGreater(self.counted("bypass"), passed)
        self.assertIn("nodeproxy does nothing to it", self.text(address))

        # The pod's own port is under the service's rules.
        self.assertEqual(self.verdict(f"{web.pod.ipv4}:{WEB_PORT}"), ("captured", "captured"))

    def test_a_removed_policy_and_an_unknown_pod(self) -> None:
        self.add_origin("web1", 21)
        self.daemon.ctl("delete", "service", "web")
        self.assertEqual(self.verdict(f"{VIP}:80"), ("direct", "bypass_drain"))
        before = self.counted("bypass_drain")
        self.client.curl(f"http://{VIP}/", seconds=1)
        self.assertGreater(self.counted("bypass_drain"), before)

        said = self.explain("raw:9000", caller="nobody")
        self.assertFalse(said["from"]["known"])
        self.assertIn("no pod nobody is known: an unknown caller", said["notes"])
        self.assertEqual(said["capture"]["verdict"], "direct")
        self.assertIn("not a known pod", self.text("raw:9000", caller="nobody"))

    def test_every_map_that_was_read_is_named(self) -> None:
        self.add_origin("web1", 21)
        steps = "\n".join(self.explain("web:80")["capture"]["steps"])
        for map_name in ("np_svc", "np_pods", "np_live", "np_listeners", "np_podst"):
            self.assertIn(map_name, steps)
        self.assertIn("fails open", steps)

    # ---- rules -------------------------------------------------------------------------------

    def test_the_rule_that_matches_and_those_before_it(self) -> None:
        first = self.add_origin("web1", 21)
        second = self.add_origin("web2", 22, "app=web,version=v2")
        self.daemon.apply(RULES)

        said = self.explain("web:80", "-H", "user: jason")
        self.assertEqual([rule["rule"] for rule in said["rules"]], ["testers"])
        self.assertEqual(said["destinations"][0]["subset"], "v2")
        self.assertEqual(self.status("/", "-H", "user: jason"), "200")
        self.assertEqual((len(first.targets()), len(second.targets())), (0, 1))

        said = self.explain("web:80")
        tried = [(rule["rule"], rule["matched"], rule["why_not"]) for rule in said["rules"]]
        self.assertEqual(tried, [
            ("testers", False, 'header user is absent, wanted: exact "jason"'),
            ("broken", False, 'path is "/", wanted: prefix "/broken"'),
            ("moved", False, 'path is "/", wanted: exact "/old"'),
            ("others", True, ""),
        ])
        self.assertEqual(said["timeout_ms"], 700)
        self.assertEqual(self.status(), "200")
        self.assertEqual((len(first.targets()), len(second.targets())), (1, 1))

        text = self.text("web:80")
        places = [text.index(word) for word in
                  ("REQUEST", "CAPTURED", "SERVICE", "RULES", "ROUTE", "GOES TO", "TIMEOUT",
                   "RETRIES", "OBJECTS")]
        self.assertEqual(places, sorted(places), "from the top down")

    def test_faults_redirects_and_timeouts_come_true(self) -> None:
        self.add_origin("web1", 21, hold=2.0)
        self.daemon.apply(RULES)
        said = self.explain("web:80", "--path", "/broken/x?y=1")
        self.assertEqual(said["destinations"][0]["fault"]["abort"], {"percent": 100.0, "status": 418})
        self.assertEqual(self.status("/broken/x?y=1"), "418")
        said = self.explain("web:80", "--path", "/old")
        self.assertEqual((said["outcome"], said["status"]), ("redirect", 301))
        seen = self.client.curl(f"http://{VIP}/old", "-o", "/dev/null", "-H", "Host: web",
                                "-w", " %{redirect_url}")
        self.assertIn(said["location"], seen)
        self.assertEqual(self.status(), "504", "the origin takes longer than the 700 ms that were said")
        self.assertIn("700 ms", self.text("web:80"))

    def test_files_say_the_same_as_the_daemon(self) -> None:
        self.add_origin("web1", 21)
        self.daemon.apply(RULES)
        path = self.daemon.dir / "rules.yaml"
        path.write_text(RULES)
        for flags in (["-H", "user: jason"], ["--path", "/broken"], ["--path", "/old"], []):
            live = self.explain("web:80", *flags)
            offline = self.explain("web:80", *flags, "-f", str(path))
            self.assertTrue(live["live"])
            self.assertFalse(offline["live"])
            for part in ("outcome", "timeout_ms"):
                self.assertEqual(live.get(part), offline.get(part))
            for part in ("rule", "wants", "matched", "why_not"):
                self.assertEqual([rule[part] for rule in live["rules"]],
                                 [rule[part] for rule in offline["rules"]])
            self.assertEqual([one.get("subset") for one in live["destinations"]],
                             [one.get("subset") for one in offline["destinations"]])

    # ---- what is live ------------------------------------------------------------------------

    def fill(self) -> tuple[int, int, str]:
        limits = self.explain("web:80")["destinations"][0]["limits"]
        return limits["fill"]["running"], limits["fill"]["waiting"], limits["now"]

    def test_limits_fill_while_requests_are_open(self) -> None:
        origin = self.add_origin("web1", 21, gate=True)
        self.daemon.apply(POLICY.format(policy="{connectionPool: {tcp: {maxConnections: 2}, "
                                               "http: {http1MaxPendingRequests: 1}}}"))
        self.assertEqual(self.fill(), (0, 0, "goes on at once"))
        open_requests = [self.start() for _ in range(2)]
        wait_until(lambda: origin.report()["now"] == 2, 5, "two are open")
        self.assertEqual(self.fill(), (2, 0, "waits for a place"))
        open_requests.append(self.start())
        wait_until(lambda: self.fill()[1] == 1, 5, "one waits")
        self.assertEqual(self.fill(), (2, 1, "refused, 503: too many wait"))
        self.assertIn("connections 2 of 2, waiting 1 of 1", self.text("web:80"))
        self.assertEqual(self.status(), "503")
        origin.let_go(3)
        for process in open_requests:
            self.assertEqual(process.wait(10), 0)
        self.assertEqual(self.fill(), (0, 0, "goes on at once"))
        refused = self.explain("web:80")["destinations"][0]["limits"]["fill"]["rejected"]
        self.assertEqual(refused, 1)

    def test_an_ejected_endpoint_is_shown_and_not_used(self) -> None:
        good = self.add_origin("web1", 21)
        bad = self.add_origin("web2", 22, status=500)
        self.daemon.apply(POLICY.format(policy="{outlierDetection: {consecutive5xxErrors: 1, "
                                               "baseEjectionTime: 10m, maxEjectionPercent: 100}}"))
        wait_until(lambda: self.status() is not None and len(bad.targets()) == 1, 5, "one failure")
        endpoints = {one["address"]: one for one in self.explain("web:80")["destinations"][0]["endpoints"]}
        self.assertEqual(endpoints[f"{bad.address}:{WEB_PORT}"]["state"], "ejected")
        self.assertTrue(endpoints[f"{bad.address}:{WEB_PORT}"]["out"])
        self.assertFalse(endpoints[f"{good.address}:{WEB_PORT}"]["out"])
        text = self.text("web:80")
        self.assertIn("1 of 2 in use", text)
        self.assertIn("ejected for", text)
        for _ in range(6):
            self.assertEqual(self.status(), "200")
        self.assertEqual(len(bad.targets()), 1)

    def test_rate_limits_show_what_is_spent(self) -> None:
        self.add_origin("web1", 21)
        self.daemon.apply(RATE_LIMIT)

        def spent(user: str) -> tuple[int, bool]:
            check = self.explain("web:80", "-H", f"user: {user}")["destinations"][0]["checks"][0]
            self.assertEqual(check["dimensions"], [user])
            return check["spent"], check["exhausted"]

        self.assertEqual(spent("ann"), (0, False))
        self.assertEqual(self.status("/", "-H", "user: ann"), "200")
        self.assertEqual(spent("ann"), (1, False), "and asking costs nothing")
        self.assertEqual(spent("bob"), (0, False))
        self.assertEqual(self.status("/", "-H", "user: ann"), "200")
        self.assertEqual(spent("ann"), (2, True))
        self.assertIn("now 429", self.text("web:80", "-H", "user: ann"))
        self.assertEqual(self.status("/", "-H", "user: ann"), "429")

    # ---- what is refused ---------------------------------------------------------------------

    def test_wrong_questions_are_answered_with_what_is_allowed(self) -> None:
        for flags, part in ((["--to", "web"], "HOST:PORT"),
                            (["--to", "web:0"], "HOST:PORT"),
                            (["--to", "web:80", "-H", "no colon"], "'name: value'"),
                            (["--to", "web:80", "-H", "Connection: close"], "end-to-end"),
                            (["--to", "web:80", "--path", "x"], "begins with"),
                            (["--to", "web:80", "--method", "G T"], "a method")):
            done = self.daemon.ctl("explain", "--from", "client", *flags, check=False)
            self.assertEqual(done.returncode, 1, flags)
            self.assertIn(part, done.stderr, flags)
            self.assertEqual(done.stdout, "")
        self.assertEqual(self.daemon.ctl("explain", "--from", "client", check=False).returncode, 2)


if __name__ == "__main__":
    unittest.main()
