#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The embedded mode: nodeproxyd --no-capture without root, policy from YAML files, real clients.
Each test applies the routes it is about and looks at both ends: the answer, and what the origin
saw."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from embedded import TO_V1, VIRTUAL_SERVICE, EmbeddedCase  # noqa: E402
from nodeproxy import wait_until  # noqa: E402
from origins import Arrival, HttpOrigin, answer  # noqa: E402
from wire import Message, request_bytes  # noqa: E402

TO = "route: [{destination: {host: web.internal, subset: %s}}]"
TO_1, TO_2 = TO % "v1", TO % "v2"


def rule(*lines: str) -> str:
    """One entry of spec.http from its fields."""
    return "  - " + "\n    ".join(lines) + "\n"


class Routing(EmbeddedCase):
    def origin_of(self, target: str, method: str = "GET", **headers: str) -> str:
        fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
        got = self.fetch(target, method, fields)
        return got.get("x-origin") if got.status == 200 else str(got.status)

    def test_the_daemon_runs_without_root(self) -> None:
        process = self.daemon.process
        assert process is not None
        owner = os.stat(f"/proc/{process.pid}").st_uid
        self.assertNotEqual(owner, 0)
        self.assertNotEqual(os.stat(f"/proc/{self.daemon.worker_pid()}").st_uid, 0)

    def test_the_first_rule_that_matches_counts(self) -> None:
        self.use_routes(
            rule("match: [{uri: {exact: /exact}}]", TO_2)
            + rule("match: [{uri: {prefix: /pre}}]", TO_2)
            + rule("match: [{uri: {regex: '/r[0-9]+/x'}}]", TO_2)
            + rule("match: [{headers: {x-team: {exact: blue}}}]", TO_2)
            + rule("match: [{queryParams: {debug: {exact: '1'}}}]", TO_2)
            + rule("match: [{method: {exact: PUT}}]", TO_2)
            + rule("match: [{uri: {prefix: /both}, headers: {x-a: {prefix: 'yes'}}}]", TO_2)
            + rule("match: [{uri: {prefix: /plain}}]", TO_1)
        )
        for target, expected in (
            ("/exact", "v2"),
            ("/exact?x=1", "v2"),
            ("/exact/more", "404"),
            ("/prefix", "v2"),
            ("/r12/x", "v2"),
            ("/r12/xy", "404"),
            ("/plain", "v1"),
            ("/plain?debug=1", "v2"),
            ("/plain?debug=2", "v1"),
            ("/nothing", "404"),
        ):
            self.assertEqual(self.origin_of(target), expected, target)
        self.assertEqual(self.origin_of("/plain", x_team="blue"), "v2")
        self.assertEqual(self.origin_of("/plain", x_team="blueish"), "v1")
        self.assertEqual(self.origin_of("/plain", "PUT"), "v2")
        self.assertEqual(self.origin_of("/both", x_a="yes-sir"), "v2")
        self.assertEqual(self.origin_of("/both", x_a="no"), "404")

    def test_weights(self) -> None:
        both = "{destination: {host: web.internal, subset: v1}, weight: 80}"
        both += ", {destination: {host: web.internal, subset: v2}, weight: 20}"
        self.use_routes(rule(f"route: [{both}]"))
        with self.client() as client:  # drawn per request, so also on one kept connection
            for _ in range(1000):
                client.send(request_bytes("/"))
                self.assertEqual(client.response().status, 200)
        share = len(self.v1.requests()) / 1000
        self.assertEqual(len(self.v1.requests()) + len(self.v2.requests()), 1000)
        self.assertAlmostEqual(share, 0.8, delta=0.05)

    def test_a_change_takes_effect_on_a_kept_connection(self) -> None:
        self.use_routes(TO_V1)
        with self.client() as client:
            client.send(request_bytes("/"))
            self.assertEqual(client.response().get("x-origin"), "v1")
            self.use_routes(rule(TO_2))
            client.send(request_bytes("/"))
            self.assertEqual(client.response().get("x-origin"), "v2")

    def test_redirect(self) -> None:
        self.use_routes(
            rule("match: [{uri: {prefix: /old}}]", "redirect: {uri: /new}")
            + rule(
                "match: [{uri: {prefix: /away}}]",
                "redirect: {authority: other.test, redirectCode: 302}",
            )
        )
        moved = self.fetch("/old/page?q=1")
        self.assertEqual(moved.status, 301)
        self.assertTrue(moved.get("location").endswith("/new"), moved.get("location"))
        away = self.fetch("/away/page?q=1")
        self.assertEqual(away.status, 302)
        self.assertEqual(away.get("location"), "http://other.test/away/page?q=1")
        self.assertEqual(self.v1.requests(), [])

    def test_rewrite(self) -> None:
        self.use_routes(
            rule(
                "match: [{uri: {prefix: /old/}}]",
                "rewrite: {uri: /new/, authority: inner.test}",
                TO_1,
            )
        )
        self.assertEqual(self.fetch("/old/page?q=1").status, 200)
        seen = self.v1.requests()[0]
        self.assertEqual(seen.target, "/new/page?q=1")
        self.assertEqual(seen.all("host"), ["inner.test"])

    def test_header_operations(self) -> None:
        request = "request: {set: {x-set: one}, add: {x-add: two}, remove: [x-gone]}"
        response = "response: {set: {x-from: proxy}, remove: [x-origin]}"
        self.use_routes(rule("headers: {%s, %s}" % (request, response), TO_1))
        sent = [("x-set", "zero"), ("x-add", "one"), ("x-gone", "1"), ("x-kept", "1")]
        got = self.fetch("/", headers=sent)
        self.assertEqual(got.all("x-from"), ["proxy"])
        self.assertEqual(got.all("x-origin"), [])
        seen = self.v1.requests()[0]
        self.assertEqual(seen.all("x-set"), ["one"])
        self.assertEqual(",".join(seen.all("x-add")).replace(" ", ""), "one,two")
        self.assertEqual(seen.all("x-gone"), [])
        self.assertEqual(seen.all("x-kept"), ["1"])

    def test_direct_response(self) -> None:
        self.use_routes(rule("directResponse: {status: 418, body: {string: short and stout}}"))
        got = self.fetch("/")
        self.assertEqual((got.status, got.body), (418, b"short and stout"))
        self.assertEqual(self.v1.requests(), [])

    def test_mirror(self) -> None:
        mirror = "mirror: {host: web.internal, subset: v2}"
        self.use_routes(rule(TO_1, mirror))
        got = self.fetch("/copy", "POST", body=b"payload")
        self.assertEqual((got.status, got.get("x-origin")), (200, "v1"))
        deadline = time.monotonic() + 5
        while not self.v2.requests() and time.monotonic() < deadline:
            time.sleep(0.02)
        copies = self.v2.requests()
        self.assertEqual(len(copies), 1)
        self.assertEqual((copies[0].target, copies[0].body), ("/copy", b"payload"))
        self.assertTrue(copies[0].get("host").split(":")[0].endswith("-shadow"))
        self.assertEqual(len(self.v1.requests()), 1)

    def test_cors_with_curl(self) -> None:
        origins = "allowOrigins: [{exact: 'http://good.test'}]"
        more = "allowMethods: [GET, PUT], allowHeaders: [x-a], maxAge: 24h, allowCredentials: true"
        self.use_routes(rule("corsPolicy: {%s, %s}" % (origins, more), TO_1))
        preflight = ["-i", "-X", "OPTIONS", "-H", "Access-Control-Request-Method: PUT"]
        text = self.curl("/x", *preflight, "-H", "Origin: http://good.test").lower()
        self.assertIn(" 200 ", text.splitlines()[0])
        self.assertIn("access-control-allow-origin: http://good.test", text)
        self.assertIn("access-control-max-age: 86400", text)
        self.assertIn("access-control-allow-credentials: true", text)
        self.assertIn("put", text)
        self.assertEqual(self.v1.requests(), [], "a preflight is answered by the proxy")
        text = self.curl("/x", "-i", "-H", "Origin: http://good.test").lower()
        self.assertIn("access-control-allow-origin: http://good.test", text)
        text = self.curl("/x", "-i", "-H", "Origin: http://evil.test").lower()
        self.assertNotIn("access-control-allow-origin", text)


class Faults(EmbeddedCase):
    def test_delay_then_the_request_goes_on(self) -> None:
        fault = "fault: {delay: {fixedDelay: 500ms, percentage: {value: 100}}}"
        self.use_routes(rule(fault, TO_1))
        started = time.monotonic()
        got = self.fetch("/")
        took = time.monotonic() - started
        self.assertEqual(got.status, 200)
        self.assertGreaterEqual(took, 0.5)
        self.assertLess(took, 0.75)

    def test_abort_reaches_no_origin(self) -> None:
        fault = "fault: {abort: {httpStatus: 555, percentage: {value: 100}}}"
        self.use_routes(rule(fault, TO_1))
        got = self.fetch("/", "POST", body=b"x" * 1000)
        self.assertEqual((got.status, got.body), (555, b"fault filter abort"))
        self.assertEqual(self.v1.requests(), [])

    def test_half_of_the_requests(self) -> None:
        self.use_routes(rule("fault: {abort: {httpStatus: 503, percentage: {value: 50}}}", TO_1))
        refused = 0
        with self.client() as client:
            for _ in range(1000):
                client.send(request_bytes("/"))
                refused += client.response().status == 503
        self.assertAlmostEqual(refused / 1000, 0.5, delta=0.05)

    def test_a_fault_is_not_retried_nor_timed_out(self) -> None:
        fault = "fault: {delay: {fixedDelay: 600ms, percentage: {value: 100}}}"
        self.use_routes(rule(fault, "timeout: 200ms", TO_1))
        started = time.monotonic()
        self.assertEqual(self.fetch("/").status, 200)
        self.assertGreaterEqual(time.monotonic() - started, 0.6)

    def test_timeout(self) -> None:
        self.use_routes(rule("timeout: 300ms", TO_1))
        started = time.monotonic()
        got = self.fetch("/slow/3000")
        took = time.monotonic() - started
        self.assertEqual((got.status, got.body), (504, b"upstream request timeout"))
        self.assertGreaterEqual(took, 0.3)
        self.assertLess(took, 0.6)
        self.assertEqual(self.fetch("/slow/50").status, 200)


class Flaky:
    """Fails `failures` times, then succeeds."""

    def __init__(self, failures: int, status: int = 503) -> None:
        self.left = failures
        self.status = status

    def __call__(self, arrival: Arrival, request: Message) -> bool:
        self.left -= 1
        if self.left >= 0:
            arrival.send(answer(self.status, b"not now"))
        else:
            arrival.send(answer(200, b"at last"))
        return True


class Retries(EmbeddedCase):
    def use(self, retries: str, *more: str) -> None:
        self.use_routes(rule(f"retries: {{{retries}}}", *more, TO_1))

    def test_until_it_succeeds(self) -> None:
        self.use("attempts: 3, retryOn: 5xx")
        self.v1.paths["flaky"] = Flaky(2)
        self.assertEqual(self.fetch("/flaky").body, b"at last")
        self.assertEqual(len(self.v1.requests()), 3)

    def test_the_last_answer_when_tries_are_used_up(self) -> None:
        self.use("attempts: 2, retryOn: 5xx")
        self.v1.paths["flaky"] = Flaky(9)
        got = self.fetch("/flaky")
        self.assertEqual((got.status, got.body), (503, b"not now"))
        self.assertEqual(len(self.v1.requests()), 3)

    def test_a_post_that_reached_the_server_is_not_repeated(self) -> None:
        self.use("attempts: 3, retryOn: 5xx")
        self.v1.paths["flaky"] = Flaky(1)
        self.assertEqual(self.fetch("/flaky", "POST", body=b"pay 5").status, 503)
        self.assertEqual(len(self.v1.requests()), 1)

    def test_off(self) -> None:
        self.use("attempts: 0")
        self.v1.paths["flaky"] = Flaky(1)
        self.assertEqual(self.fetch("/flaky").status, 503)
        self.assertEqual(len(self.v1.requests()), 1)

    def test_each_try_has_its_time(self) -> None:
        self.use("attempts: 2, perTryTimeout: 200ms, retryOn: 5xx")
        started = time.monotonic()
        self.assertEqual(self.fetch("/slow/3000").status, 504)
        took = time.monotonic() - started
        self.assertEqual(len(self.v1.requests()), 3)
        self.assertGreaterEqual(took, 0.6)
        self.assertLess(took, 1.5)


class Files(EmbeddedCase):
    """nodectl with files, as people keep them."""

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory(prefix="np-files-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, name: str, text: str) -> str:
        file = self.folder / name
        file.write_text(text)
        return str(file)

    def test_a_refused_object_changes_nothing(self) -> None:
        self.use_routes(TO_V1)
        good = VIRTUAL_SERVICE.format(routes=rule(TO_2))
        bad = good.replace("name: web", "name: other").replace("http:", "htp:")
        file = self.write("two.yaml", good + "---" + bad)
        done = self.daemon.ctl("apply", "-f", file, check=False)
        self.assertEqual(done.returncode, 1)
        said = done.stdout + done.stderr
        self.assertIn(file, said)
        self.assertIn("htp", said)
        self.assertEqual(self.fetch("/").get("x-origin"), "v1")

    def test_delete_by_file_and_a_directory(self) -> None:
        routes = rule("match: [{uri: {prefix: /two}}]", TO_2) + rule(TO_1)
        self.write("10-routes.yaml", VIRTUAL_SERVICE.format(routes=routes))
        self.daemon.ctl("apply", "-f", str(self.folder))
        self.assertEqual(self.fetch("/two").get("x-origin"), "v2")
        self.daemon.ctl("delete", "-f", str(self.folder / "10-routes.yaml"))
        self.assertEqual(self.fetch("/two").status, 404)

    def test_create_replace_get(self) -> None:
        text = VIRTUAL_SERVICE.format(routes=rule(TO_2))
        file = self.write("web.yaml", text)
        self.daemon.ctl("delete", "virtualservice", "web", check=False)
        self.assertNotEqual(self.daemon.ctl("replace", "-f", file, check=False).returncode, 0)
        self.daemon.ctl("create", "-f", file)
        self.assertNotEqual(self.daemon.ctl("create", "-f", file, check=False).returncode, 0)
        self.daemon.ctl("replace", "-f", file)
        listed = json.loads(self.daemon.ctl("get", "virtualservice", "web", "-o", "json").stdout)
        self.assertIn("web.internal", json.dumps(listed))
        self.assertEqual(self.daemon.ctl("frobnicate", check=False).returncode, 2)

    def test_objects_survive_a_restart(self) -> None:
        self.use_routes(rule(TO_2))
        self.assertEqual(self.daemon.stop(), 0)
        self.daemon.start()
        self.assertEqual(self.fetch("/").get("x-origin"), "v2")


class KilledWorker(EmbeddedCase):
    def test_it_is_replaced_and_no_new_connection_is_refused(self) -> None:
        old = self.daemon.kill_worker()
        # Until its last thread has ended a ring may still accept: such a connection was open and is
        # reset. The supervisor reaps it after that.
        wait_until(lambda: not Path(f"/proc/{old}").exists(), 5, "the worker is gone", 0.001)
        started = time.monotonic()
        self.assertEqual(self.fetch("/").status, 200)
        self.assertLess(time.monotonic() - started, 2.0)
        self.assertNotEqual(self.daemon.worker_pid(), old)


class Upstreams(EmbeddedCase):
    def test_a_dead_origin_is_503_and_its_return_is_noticed(self) -> None:
        self.use_routes(rule(TO_2))
        port = self.v2.port
        self.v2.close()
        self.assertEqual(self.fetch("/").status, 503)
        type(self).v2 = HttpOrigin("v2", port=port)
        self.addClassCleanup(self.v2.close)
        self.assertEqual(self.fetch("/").status, 200)


if __name__ == "__main__":
    unittest.main()
