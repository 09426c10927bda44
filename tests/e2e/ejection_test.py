#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ejection, end to end: what a broken origin's own log says, what clients get, what people are
told, and what survives a changed policy and a killed worker."""

from __future__ import annotations

import json
import sys
import time
import unittest
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from kernel_events import EventReader  # noqa: E402
from limits_scene import LimitsCase, new_policy, old_policy  # noqa: E402
from nodeproxy import wait_until  # noqa: E402
from parallel_clients import finish_clients, start_clients  # noqa: E402
from pod_scene import NO_RETRIES, VIP, PodsCase  # noqa: E402

CLIENTS = 8
ROUNDS = 10
KILLS = 5  # more in a row are a crash loop, which is held back
BREAKER = {"errors": 1, "sleep": "15m", "interval": "10s", "percent": 100}
NOBODY = "no healthy upstream"


class Shares:
    """Who got how many requests."""

    def seen(self, origin) -> int:
        return len(origin.report()["requests"])

    def many(self) -> None:
        """Load that would reach each endpoint in service many times."""
        outcome = self.clients(CLIENTS, 10)
        self.assertEqual((outcome.errors, set(outcome.status)), ({}, {"200"}))

    def expect_its_share(self, endpoint) -> None:
        """It serves again. Of the first requests it may get few: who answers faster gets more."""
        wait_until(lambda: self.many() or self.seen(endpoint) > 10, 10, "it serves again")


class Ejection(Shares, LimitsCase):
    INSTANCE = "npeject"

    # ---- (c): one good, one broken ---------------------------------------------------------------

    def one_good_one_broken(self, use) -> None:
        for number in range(ROUNDS):
            good, broken = self.origin(hold=0.002), self.origin(status=500, hold=0.002)
            self.serve(good, broken)
            use()
            outcome = self.clients(CLIENTS, 10)
            self.assertEqual(outcome.errors, {})
            self.assertEqual(self.seen(broken), 1, f"round {number}")
            self.assertEqual(outcome.status, {"200": CLIENTS * 10 - 1, "500": 1})
            self.assertEqual(self.endpoint(broken)["state"], "ejected")
            self.assertEqual(self.endpoint(good)["state"], "ready")

    def test_the_broken_one_sees_one_request(self) -> None:
        self.one_good_one_broken(lambda: self.use(**BREAKER))

    def test_the_broken_one_sees_one_request_with_the_old_api(self) -> None:
        self.one_good_one_broken(lambda: self.use_old(**BREAKER))

    def test_both_broken_is_nobody_for_a_destination_rule(self) -> None:
        broken = [self.origin(status=500), self.origin(status=503)]
        self.serve(*broken)
        self.use(**BREAKER)
        outcome = self.clients(CLIENTS, 20)
        self.assertEqual([self.seen(one) for one in broken], [1, 1])
        self.assertEqual(outcome.status["500"], 1)
        self.assertEqual(outcome.status["503"], CLIENTS * 20 - 1)
        self.assertEqual(outcome.bodies[NOBODY], CLIENTS * 20 - 2)
        self.assertEqual(outcome.overloaded, 0, "that is no overload")

    def test_both_broken_is_panic_for_simple_cb(self) -> None:
        broken = [self.origin(status=500), self.origin(status=500)]
        self.serve(*broken)
        self.use_old(**BREAKER)
        panics = self.counter("lb_healthy_panic")
        outcome = self.clients(CLIENTS, 20)
        self.assertEqual(outcome.status, {"500": CLIENTS * 20})
        self.assertGreater(min(self.seen(one) for one in broken), 20, "both are still asked")
        self.assertGreater(self.counter("lb_healthy_panic"), panics)

    def test_three_failures_are_forgiven_twice(self) -> None:
        good, broken = self.origin(hold=0.002), self.origin(status=503, hold=0.002)
        self.serve(good, broken)
        self.use(**{**BREAKER, "errors": 3})
        outcome = self.clients(CLIENTS, 20)
        self.assertEqual(self.seen(broken), 3)
        self.assertEqual(outcome.status["200"], CLIENTS * 20 - 3)

    def test_a_proven_one_that_breaks_is_ejected(self) -> None:
        first, second = self.origin(), self.origin()
        self.serve(first, second)
        self.use(**BREAKER)
        self.assertEqual(self.clients(CLIENTS, 10).status, {"200": 80})
        second.set(status=500)
        second.forget()
        outcome = self.clients(1, 40)
        self.assertEqual((self.seen(second), outcome.status["500"]), (1, 1))

    def test_other_failures_than_5xx_answers(self) -> None:
        """A refused connect and a reset before the answer count too, a 404 does not."""
        good, gone, missing = self.origin(), self.origin(), self.origin(status=404)
        gone.close()
        self.serve(good, gone, missing)
        self.use(**BREAKER)
        outcome = self.clients(CLIENTS, 10)
        self.assertEqual(outcome.status["503"], 1)
        self.assertEqual(outcome.status["200"] + outcome.status["404"], CLIENTS * 10 - 1)
        self.assertIn("connect failed", self.endpoint(gone)["reason"])
        self.assertEqual(self.endpoint(missing)["state"], "ready")

    def test_gateway_errors_alone(self) -> None:
        """500 is no gateway error: it ejects nobody, and holds back nobody either."""
        good, broken = self.origin(hold=0.02), self.origin(status=500, hold=0.02)
        self.serve(good, broken)
        detection = {"consecutive5xxErrors": 0, "consecutiveGatewayErrors": 2,
                     "maxEjectionPercent": 100, "baseEjectionTime": "15m"}
        self.use({"outlierDetection": detection})
        outcome = self.clients(CLIENTS, 10)
        self.assertGreater(outcome.status["500"], 20)
        self.assertEqual(self.endpoint(broken)["state"], "ready")
        self.assertGreater(broken.report()["most"], 2, "a 500 is an answer as good as any here")
        broken.set(status=502, hold=0)
        broken.forget()
        self.clients(1, 40)
        self.assertEqual(self.seen(broken), 2)
        self.assertIn("gateway", self.endpoint(broken)["reason"])

    # ---- it comes back ---------------------------------------------------------------------------

    def test_it_comes_back_and_is_tried_once_each_time(self) -> None:
        good, broken = self.origin(hold=0.002), self.origin(status=500)
        self.serve(good, broken)
        self.use(**{**BREAKER, "sleep": "600ms", "interval": "100ms"})
        self.clients(CLIENTS, 5)
        self.assertEqual(self.seen(broken), 1)
        wait_until(lambda: self.endpoint(broken)["state"] == "on probation", 3, "it is back")
        self.clients(CLIENTS, 5)
        self.assertEqual(self.seen(broken), 2)
        self.assertEqual(self.endpoint(broken)["ejections"], 2)
        left = self.endpoint(broken)["until_unix_ns"] / 1e9 - time.time()
        self.assertGreater(left, 0.6, "twice as long")
        broken.set(status=200)
        wait_until(lambda: self.endpoint(broken)["state"] == "on probation", 5, "back again")
        self.assertEqual(self.clients(CLIENTS, 10).status, {"200": 80})
        self.assertEqual(self.endpoint(broken)["state"], "ready")
        self.expect_its_share(broken)

    def test_a_shorter_interval_holds_at_once(self) -> None:
        good, broken = self.origin(), self.origin(status=500)
        self.serve(good, broken)
        self.use(**{**BREAKER, "sleep": "500ms", "interval": "60s"})
        self.clients(CLIENTS, 5)
        self.assertEqual(self.endpoint(broken)["state"], "ejected")
        self.use(**{**BREAKER, "sleep": "500ms", "interval": "100ms"})
        wait_until(lambda: self.endpoint(broken)["state"] == "on probation", 3, "it is back")

    def test_an_endpoint_that_left_and_joined_again_is_a_new_one(self) -> None:
        good, broken = self.origin(), self.origin(status=500)
        self.serve(good, broken)
        self.use(**BREAKER)
        self.clients(CLIENTS, 5)
        self.assertEqual(self.endpoint(broken)["state"], "ejected")
        self.serve(good)
        self.clients(1, 2)
        broken.set(status=200)
        self.serve(good, broken)
        self.assertEqual(self.clients(CLIENTS, 10).status, {"200": 80})
        self.expect_its_share(broken)
        self.assertEqual(self.endpoint(broken)["state"], "ready")

    # ---- (e): what people are told ---------------------------------------------------------------

    def broken_scene(self):
        good, broken = self.origin(), self.origin(status=500)
        self.serve(good, broken)
        self.use(**BREAKER)
        self.clients(CLIENTS, 5)
        return good, broken

    def test_endpoints_says_who_why_and_until_when(self) -> None:
        good, broken = self.broken_scene()
        table = self.daemon.ctl("endpoints", self.internal).stdout
        head, *rows = table.splitlines()
        self.assertEqual(head.split(), ["SERVICE", "SUBSET", "ADDRESS", "POD", "WEIGHT", "STATE",
                                        "UNTIL", "REASON"])
        row = next(one for one in rows if f":{broken.port} " in one)
        self.assertRegex(row, r" ejected +in 14m(\d+s)? +consecutive 5xx: HTTP 500 .* ago")
        self.assertIn(" ready ", next(one for one in rows if f":{good.port} " in one))
        wide = self.daemon.ctl("endpoints", self.internal, "-o", "wide").stdout
        self.assertRegex(wide.splitlines()[0], r"EJECTIONS +SINCE +FAILURES$")
        self.assertIn("HTTP 500", wide)
        told = self.endpoint(broken)
        self.assertEqual((told["state"], told["ejections"], told["unanswered"]), ("ejected", 1, 0))
        self.assertAlmostEqual(told["until_unix_ns"] - told["since_unix_ns"], 900e9, delta=1e6)
        self.assertAlmostEqual(told["since_unix_ns"] / 1e9, time.time(), delta=5)
        self.assertEqual(len(told["failures"]), 1)
        self.assertIn("ejected", self.daemon.ctl("endpoints", self.internal, "-o", "yaml").stdout)
        log = [line for line in self.daemon.log().splitlines() if f":{broken.port} " in line]
        self.assertRegex(log[-1], rf"{self.internal}:80.*ejected for 900s: consecutive 5xx, the "
                                  r"last one HTTP 500; ejection 1")

    def test_uneject(self) -> None:
        good, broken = self.broken_scene()
        address = f"127.0.0.1:{broken.port}"
        said = self.daemon.ctl("uneject", self.internal, address).stdout
        self.assertEqual(said, f"endpoint/{address} unejected\n")
        self.assertEqual(self.endpoint(broken)["state"], "on probation")
        self.assertIn("brought back by hand", self.daemon.log())
        self.clients(CLIENTS, 5)
        self.assertEqual(self.seen(broken), 2, "it is tried once more")
        self.daemon.ctl("uneject", self.internal, "127.0.0.1")  # every port of this address
        self.assertEqual(self.endpoint(broken)["state"], "on probation")
        self.assertEqual(self.endpoint(good)["state"], "ready")

    def test_uneject_refuses_what_is_not_ejected(self) -> None:
        good, broken = self.broken_scene()
        for service, address, words in (
            (self.internal, f"127.0.0.1:{good.port}", "is not ejected"),
            (self.internal, f"127.0.0.9:{broken.port}", "is not ejected"),
            (self.internal, "127.0.0.9", "is not ejected"),
            (self.internal, "seven", "allowed: ADDRESS:PORT or ADDRESS"),
            ("nowhere.internal", f"127.0.0.1:{broken.port}", 'service "nowhere.internal" not found'),
        ):
            done = self.daemon.ctl("uneject", service, address, check=False)
            self.assertEqual(done.returncode, 1, address)
            self.assertIn(words, done.stderr)
        self.assertEqual(self.endpoint(broken)["state"], "ejected")
        done = self.daemon.ctl("endpoints", "nowhere.internal", check=False)
        self.assertEqual((done.returncode, 'not found' in done.stderr), (1, True))
        self.assertEqual(self.daemon.ctl("uneject", self.internal, check=False).returncode, 2)


# ---- (d): what survives -------------------------------------------------------------------------


class Survival(Shares, PodsCase):
    NAME = "npsurv"

    def use(self, **words: object) -> None:
        self.daemon.apply(new_policy("web", "web", **{**BREAKER, **words}))

    def scene(self, **broken_mode: object):
        good = self.add_origin("good", 21)
        broken = self.add_origin("broken", 22, **broken_mode)
        return good, broken

    def test_np_events_has_each_change(self) -> None:
        _, broken = self.scene(status=500)
        self.use()
        address = f"{broken.address}:8080"
        maps = Path(f"/sys/fs/bpf/{self.name}/v1/maps")
        with closing(EventReader(maps)) as reader:
            self.clients(CLIENTS, 10)
            events = []

            def has(kind: str) -> bool:
                events.extend(reader.read())
                return any(event.kind == kind and event.endpoint == address for event in events)

            wait_until(lambda: has("ejected"), 5, "the ejection is told")
            broken.set(status=200)
            self.daemon.ctl("uneject", "web", address)
            wait_until(lambda: has("returned"), 5, "the return is told")
        changes = [event for event in events if event.endpoint == address]
        self.assertEqual([(event.kind, event.count) for event in changes], [("ejected", 1), ("returned", 0)])
        self.assertEqual(len({event.service_id for event in changes}), 1)
        kinds = [event.kind for event in events]
        self.assertEqual(kinds.count("open"), CLIENTS, "and the flows of the clients")

    def check_still_out(self, broken) -> None:
        self.many()
        self.assertEqual(self.seen(broken), 1)
        self.assertEqual(self.endpoint(broken)["state"], "ejected")

    def test_an_ejection_survives_every_change_of_policy(self) -> None:
        good, broken = self.scene(status=500)
        self.use()
        self.clients(CLIENTS, 10)
        self.check_still_out(broken)
        self.use(sleep="10m")
        self.check_still_out(broken)
        self.daemon.apply(NO_RETRIES.replace("attempts: 0", "attempts: 1"))
        self.check_still_out(broken)
        self.daemon.ctl("delete", "destinationrule", "web")
        self.use()
        self.check_still_out(broken)
        self.daemon.ctl("delete", "destinationrule", "web")
        self.daemon.apply(old_policy("web", json.dumps({"name": "web"}), **BREAKER))
        self.check_still_out(broken)
        self.assertGreater(self.seen(good), 300)

    def test_an_ejection_survives_a_killed_worker(self) -> None:
        _, broken = self.scene(status=500)
        self.use()
        self.clients(CLIENTS, 10)
        before = self.endpoint(broken)
        for _ in range(3):
            self.kill_worker()
            self.check_still_out(broken)
        after = self.endpoint(broken)
        self.assertAlmostEqual(after["until_unix_ns"], before["until_unix_ns"], delta=50e6)
        self.assertIn("before the worker restarted", after["reason"])
        self.daemon.ctl("uneject", "web", f"{broken.address}:8080")
        broken.set(status=200)
        self.expect_its_share(broken)

    def test_an_ejection_survives_a_restart_of_both(self) -> None:
        _, broken = self.scene(status=500)
        self.use()
        self.clients(CLIENTS, 10)
        self.daemon.stop()
        self.daemon.start()
        self.check_still_out(broken)

    def hang(self, good, broken) -> None:
        """Eight at once; the broken one has one of them and does not answer it."""
        load = start_clients(VIP, 80, CLIENTS, 5, "web", netns=self.client.netns)
        self.addCleanup(load.communicate)
        self.addCleanup(load.kill)
        wait_until(lambda: broken.report()["now"] == 1 and self.seen(good) >= 7 * 5, 5, "one hangs")
        self.load = load

    def test_a_request_without_an_answer_survives_a_killed_worker(self) -> None:
        good, broken = self.scene(gate=True)
        self.use()
        self.hang(good, broken)
        self.kill_worker()
        self.assertEqual(finish_clients(self.load).errors, {"ConnectionResetError": 1})
        self.assertEqual(self.endpoint(broken)["state"], "ejected", "before anybody asks for it")
        self.many()
        self.assertEqual(self.seen(broken), 1, "killed while it was unanswered: that was a failure")
        self.assertEqual(self.endpoint(broken)["state"], "ejected")
        self.assertEqual(self.counter("outlier_detection_ejections_active"), 1)
        for lossless in "outlier_detection_events_lost", "outlier_detection_writes_failed":
            self.assertEqual(self.counter(lossless), 0)
        self.assertIn("ejected for 900s: consecutive 5xx, the last one reset before the answer",
                      self.daemon.log())

    def test_a_kill_at_any_moment(self) -> None:
        """Whoever has not answered its first request by then counts as failed, the good one too
        (design: that was a local-origin failure); the broken one is not asked twice."""
        good, broken = self.scene(status=500, hold=0.01)
        self.use()
        seen = []
        for number in range(KILLS):
            load = start_clients(VIP, 80, CLIENTS, 20, "web", netns=self.client.netns)
            wait_until(lambda: self.seen(good) + self.seen(broken) > 0, 5, "one is asked", 0.0005)
            time.sleep(0.004 * number)
            self.kill_worker()
            load.communicate()
            self.assertEqual(self.clients(CLIENTS, 10).errors, {})
            seen.append(self.seen(broken))
            for one in (good, broken):
                one.forget()
                self.join_again(one)
        print(f"\nrequests to the broken pod, by kill: {seen}")
        self.assertLessEqual(max(seen), 1)
        self.assertGreater(sum(seen), 0)

    def test_probation_survives_a_changed_policy(self) -> None:
        good, broken = self.scene(gate=True)
        self.use()
        self.hang(good, broken)
        for _ in range(3):
            self.use(sleep="10m")
            self.daemon.ctl("delete", "destinationrule", "web")
            self.use()
            self.many()
        self.assertEqual(self.seen(broken), 1)
        broken.set(status=500)  # that is what the one that hangs is not told any more
        broken.let_go(1)

    def test_of_three_forgiven_failures_one_was_at_the_kill(self) -> None:
        good, broken = self.scene(gate=True)
        self.use(errors=3)
        load = start_clients(VIP, 80, CLIENTS, 5, "web", netns=self.client.netns)
        self.addCleanup(load.communicate)
        self.addCleanup(load.kill)
        wait_until(lambda: broken.report()["now"] == 3, 5, "three hang, as many as are forgiven")
        self.kill_worker()
        load.kill()
        self.many()
        self.assertEqual(self.seen(broken), 3)
        self.assertEqual(self.endpoint(broken)["state"], "ejected")


if __name__ == "__main__":
    unittest.main(verbosity=2)
