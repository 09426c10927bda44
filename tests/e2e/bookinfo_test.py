#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The demo application alone, without any proxy: the lab's observations mean nothing unless the
application itself does what lab and README say of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
sys.path.insert(0, str(ROOT / "tools"))

from embedded import free_port  # noqa: E402
from lab.load import Client as Visitor  # noqa: E402
from lab.load import LoadSpec, Observation  # noqa: E402
from nodeproxy import wait_until  # noqa: E402
from origins import Arrival, HttpOrigin, answer  # noqa: E402
from wire import Client, Message, request_bytes  # noqa: E402

APPLICATION = ROOT / "deploy" / "bookinfo"
TRACE = {"x-request-id": "r1", "x-b3-traceid": "a" * 32, "traceparent": "00-1-2-01", "b3": "0"}


class BookinfoCase(unittest.TestCase):
    def start(self, service: str, version: str = "v1", **environment: str) -> str:
        """Starts one service; gives its URL."""
        port = free_port()
        process = subprocess.Popen(
            ["/usr/bin/python3", "-B", str(APPLICATION / f"{service}.py"), "--port", str(port)],
            env={**os.environ, "SERVICE_VERSION": version, "POD_NAME": service, **environment},
            stdout=subprocess.DEVNULL,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        wait_until(lambda: self.is_healthy(port), 10, f"{service} answers")
        return f"http://127.0.0.1:{port}"

    @staticmethod
    def is_healthy(port: int) -> bool:
        try:
            with Client(("127.0.0.1", port)) as client:
                client.send(request_bytes("/health"))
                return client.response().status == 200
        except OSError:
            return False

    def origin(self) -> HttpOrigin:
        origin = HttpOrigin()
        self.addCleanup(origin.close)
        return origin

    def page(self, url: str, user: str = "", cookie: str = "") -> Observation:
        headers = {"Cookie": cookie or f"user={user}"} if user or cookie else {}
        headers.update(TRACE)
        port = int(url.rsplit(":", 1)[1])
        return Visitor(LoadSpec("127.0.0.1", port, "/productpage", headers)).get()

    def application(self, version: str, ratings: str) -> str:
        reviews = self.start("reviews", version, RATINGS_URL=ratings)
        details = self.start("details")
        return self.start("productpage", DETAILS_URL=details, REVIEWS_URL=reviews)


class Versions(BookinfoCase):
    def test_stars(self) -> None:
        ratings = self.start("ratings")
        for version, stars in (("v1", "none"), ("v2", "black"), ("v3", "red")):
            seen = self.page(self.application(version, ratings))
            self.assertEqual((seen.version, seen.stars), (version, stars))

    def test_v1_never_calls_ratings(self) -> None:
        ratings = self.origin()
        self.page(self.application("v1", f"http://127.0.0.1:{ratings.port}"))
        self.assertEqual(ratings.arrivals, [])

    def test_broken_ratings(self) -> None:
        ratings = self.start("ratings", RATINGS_FAIL="1")
        self.assertEqual(self.page(self.application("v3", ratings)).stars, "missing")


class Identity(BookinfoCase):
    def test_cookie_user_and_trace_reach_the_last_service(self) -> None:
        ratings = self.origin()
        url = self.application("v2", f"http://127.0.0.1:{ratings.port}")
        self.page(url, cookie="theme=dark; user=jason; z=1")
        seen = ratings.requests()[0]
        self.assertEqual(seen.get("cookie"), "user=jason; theme=dark; z=1")
        self.assertEqual(seen.get("end-user"), "jason")
        for name, value in TRACE.items():
            self.assertEqual(seen.get(name), value)

    def test_nobody_can_claim_a_user_by_header(self) -> None:
        reviews = self.origin()
        url = self.start("productpage", REVIEWS_URL=f"http://127.0.0.1:{reviews.port}")
        with Client(("127.0.0.1", int(url.rsplit(":", 1)[1]))) as client:
            client.send(request_bytes("/productpage", headers=[("end-user", "jason")]))
            self.assertEqual(client.response().status, 200)
        self.assertEqual(reviews.requests()[0].all("end-user"), [])

    def test_signing_in_and_out(self) -> None:
        url = self.start("productpage")
        with Client(("127.0.0.1", int(url.rsplit(":", 1)[1]))) as client:
            form = [("Content-Type", "application/x-www-form-urlencoded")]
            login = request_bytes("/login", method="POST", headers=form, body=b"username=jason")
            client.send(login)
            got = client.response()
            self.assertEqual((got.status, got.get("location")), (303, "/productpage"))
            self.assertTrue(got.get("set-cookie").startswith("user=jason;"))
            client.send(request_bytes("/login?username=%0d%0aSet-Cookie:x"))
            self.assertEqual(client.response().status, 400)
            client.send(request_bytes("/logout"))
            self.assertIn("Max-Age=0", client.response().get("set-cookie"))


class DeliberateBug(BookinfoCase):
    def test_slow_ratings_break_the_page_after_six_seconds(self) -> None:
        ratings = self.origin()

        def slow(arrival: Arrival, request: Message) -> bool:
            time.sleep(7)
            arrival.send(answer(200, b'{"ratings": {}}'))
            return True

        ratings.paths["ratings"] = slow
        seen = self.page(self.application("v2", f"http://127.0.0.1:{ratings.port}"), "jason")
        self.assertEqual(seen.stars, "sorry")
        self.assertGreaterEqual(seen.seconds, 6.0)
        self.assertLess(seen.seconds, 6.6)
        self.assertEqual(len(ratings.requests()), 2)


if __name__ == "__main__":
    unittest.main()
