#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""HTTP between awkward peers: what a proxy must keep whole, and what it must never pretend."""

from __future__ import annotations

import hashlib
import socket
import sys
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from embedded import EmbeddedCase  # noqa: E402
from nodeproxy import wait_until  # noqa: E402
from origins import PATTERN, Arrival  # noqa: E402
from wire import LAST_CHUNK, End, chunk, request_bytes  # noqa: E402

GIB = 1 << 30
WARM_UP_ROUNDS_MAX = 20
WARM_UP_BYTES = 64 << 20
SLOW_SECONDS = 4.0
RSS_GROWTH_MAX = 256 * 1024
CHUNKED_HEAD = b"POST %s HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\n\r\n"


class Bodies(EmbeddedCase):
    def test_single_bytes_both_ways(self) -> None:
        with self.client() as client:
            client.send_split(request_bytes("/bytewise", method="POST", body=b"drop by drop"))
            got = client.response()
        self.assertEqual((got.status, got.body, got.end), (200, b"drip drop", End.COMPLETE))
        self.assertEqual(self.v1.requests()[0].body, b"drop by drop")

    def test_splits_at_every_place(self) -> None:
        data = CHUNKED_HEAD % b"/split" + chunk(b"one") + chunk(b"two") + b"0\r\nx-t: 3\r\n\r\n"
        with self.client() as client:
            for place in range(1, len(data)):
                client.send(data[:place])
                time.sleep(0.0005)
                client.send(data[place:])
                self.assertEqual(client.response().status, 200, f"split at {place}")
        self.assertEqual({one.body for one in self.v1.requests()}, {b"onetwo"})
        self.assertEqual(len(self.v1.requests()), len(data) - 1)

    def test_half_close_behind_a_request(self) -> None:
        with self.client() as client:
            client.send(request_bytes("/slow/300"))
            client.half_close()
            got = client.response()
            self.assertEqual((got.status, got.body), (200, b"slow but sure"))
            self.assertTrue(client.is_closed_by_peer())

    def test_half_close_a_while_behind_a_request(self) -> None:
        """It may be the end of a client that gave up: a 100 finds out that this one is still there."""
        with self.client() as client:
            client.send(request_bytes("/slow/600"))
            time.sleep(0.2)
            client.half_close()
            self.assertEqual(client.response().status, 100)
            got = client.response()
            self.assertEqual((got.status, got.body), (200, b"slow but sure"))
            self.assertTrue(client.is_closed_by_peer())

    def test_a_client_that_gives_up_takes_its_request_along(self) -> None:
        gone = self.daemon.status()["counters"]["ended_client_gone"]
        client = self.client()
        client.send(request_bytes("/slow/3000"))
        time.sleep(0.2)
        began = time.monotonic()
        client.close()  # a FIN, as for a half-close
        wait_until(lambda: self.daemon.status()["counters"]["ended_client_gone"] == gone + 1, 2, "it has ended")
        self.assertLess(time.monotonic() - began, 1.0)

    def test_chunks_and_trailers(self) -> None:
        got = self.fetch("/chunked/50", headers=[("TE", "trailers")])
        self.assertEqual(got.body, b"".join(b"part %d;" % index for index in range(50)))
        self.assertIs(got.end, End.COMPLETE)

    def test_framed_by_close(self) -> None:
        got = self.fetch("/until-close")
        self.assertEqual((got.body, got.end), (b"framed by the end", End.COMPLETE))
        self.assertTrue(got.is_chunked, "an HTTP/1.1 client must see where it ends")

    def test_answers_without_a_body(self) -> None:
        with self.client() as client:
            for method, target, status in (
                ("HEAD", "/", 200),
                ("GET", "/status/204", 204),
                ("GET", "/status/304", 304),
                ("GET", "/", 200),
            ):
                client.send(request_bytes(target, method=method))
                got = client.response(method)
                self.assertEqual(got.status, status, target)
                if status == 204:
                    self.assertEqual(got.all("content-length"), [])

    def test_interim_answer(self) -> None:
        with self.client() as client:
            client.send(request_bytes("/interim"))
            first = client.response()
            while first.status < 200:
                self.assertEqual(first.status, 103)
                first = client.response()
            self.assertEqual(first.body, b"after the hint")

    def test_continue(self) -> None:
        text = self.curl("/continue", "-H", "Expect: 100-continue", "-d", "x" * 3000)
        self.assertIn('"method": "POST"', text)
        self.assertEqual(len(self.v1.requests()[0].body), 3000)

    def test_http_1_0(self) -> None:
        with self.client() as client:
            client.send(b"GET /chunked/3 HTTP/1.0\r\nHost: web.test\r\n\r\n")
            got = client.response()
            self.assertFalse(got.is_chunked)
            self.assertEqual(got.body, b"part 0;part 1;part 2;")

    def test_a_large_upload_arrives_whole(self) -> None:
        body = PATTERN * 256  # 16 MiB
        got = self.fetch("/upload", "POST", body=body)
        self.assertEqual(got.status, 200)
        digests = [hashlib.sha256(data).digest() for data in (self.v1.requests()[0].body, body)]
        self.assertEqual(digests[0], digests[1])


class BrokenOrigins(EmbeddedCase):
    """An answer that broke off must never look whole."""

    def check_broken(self, target: str) -> None:
        with self.client() as client:
            client.send(request_bytes(target))
            got = client.reader.response()
            if got is None or got.end is End.RESET:
                return
            self.assertEqual(got.status, 200)
            self.assertIsNot(got.end, End.COMPLETE, "looks like a whole answer")
            self.assertIsNot(got.end, End.TIMEOUT, "left hanging")
            self.assertLessEqual(len(got.body), 5000)

    def test_fin_inside_a_length(self) -> None:
        self.check_broken("/die-fixed")

    def test_fin_between_chunks(self) -> None:
        self.check_broken("/die-chunked")

    def test_reset_inside_a_body(self) -> None:
        self.check_broken("/die-reset")

    def test_curl_reports_it(self) -> None:
        with self.assertRaisesRegex(AssertionError, "curl: \\((18|56|52)\\)"):
            self.curl("/die-fixed", "-o", "/dev/null")

    def test_no_answer_at_all(self) -> None:
        got = self.fetch("/die-before", "POST", body=b"x")
        self.assertEqual(got.status, 503)
        self.assertEqual(len(self.v1.requests()), 1, "a POST that arrived is not repeated")

    def test_two_framings(self) -> None:
        self.assertEqual(self.fetch("/both-framings").status, 502)

    def test_an_unasked_answer_reaches_nobody(self) -> None:
        with self.client() as client:
            client.send(request_bytes("/poison"))
            self.assertEqual(client.response().body, b"first")
            for _ in range(5):
                client.send(request_bytes("/next"))
                self.assertIn(b'"/next"', client.response().body)

    def test_early_answer_to_a_long_upload(self) -> None:
        with self.client() as client:
            head = b"POST /early HTTP/1.1\r\nHost: web.test\r\nContent-Length: 50000000\r\n\r\n"
            client.send(head)

            def upload() -> None:
                try:
                    for _ in range(100):
                        client.send(PATTERN)
                        time.sleep(0.005)
                except OSError:
                    pass  # the proxy need not read what nobody wants

            sender = threading.Thread(target=upload)
            sender.start()
            got = client.response()
            sender.join()
            self.assertEqual((got.status, got.body), (413, b"too much"))

    def test_a_client_that_leaves_ends_the_upstream_request(self) -> None:
        client = self.client()
        client.send(request_bytes("/slow/1500"))
        time.sleep(0.2)
        client.abort()
        arrival = self.v1.arrivals[-1]
        arrival.sock.settimeout(1.0)
        try:
            self.assertEqual(arrival.sock.recv(1, socket.MSG_PEEK), b"")
        except TimeoutError:
            self.fail("the origin works on for nobody")
        except ConnectionResetError:
            pass


def end_all(arrivals: list[Arrival]) -> None:
    for arrival in arrivals:
        try:
            arrival.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it had ended


class Connections(EmbeddedCase):
    def test_pipelined_requests_are_answered_in_order(self) -> None:
        targets = ["/slow/200", "/one", "/slow/50", "/two"]
        with self.client() as client:
            client.send(b"".join(request_bytes(target) for target in targets))
            bodies = [client.response().body for _ in targets]
        self.assertEqual([bodies[0], bodies[2]], [b"slow but sure"] * 2)
        self.assertIn(b'"/one"', bodies[1])
        self.assertIn(b'"/two"', bodies[3])

    def test_an_origin_that_closes_kept_connections(self) -> None:
        """The close may meet the next request on its way; a GET is then sent again."""
        with self.client() as client:
            for turn in range(300):
                client.send(request_bytes("/close-after"))
                self.assertEqual(client.response().body, b"bye", f"turn {turn}")

    def test_an_origin_that_closes_all_kept_connections_at_once(self) -> None:
        """As its restart does, while requests are on their way to several of them."""
        clients = [self.client() for _ in range(6)]
        for turn in range(40):
            for client in clients:
                client.send(request_bytes("/slow/20"))
            for client in clients:
                self.assertEqual(client.response().status, 200)
            closing = threading.Thread(target=end_all, args=[list(self.v1.arrivals)])
            closing.start()
            for client in clients:
                client.send(request_bytes("/"))
            self.assertEqual([c.response().status for c in clients], [200] * 6, f"turn {turn}")
            closing.join()

    def test_upstream_connections_are_reused(self) -> None:
        for _ in range(20):
            self.assertEqual(self.fetch("/").status, 200)
        used = sum(1 for one in self.v1.arrivals if one.requests)
        self.assertLessEqual(used, 2)

    def test_close_is_honoured(self) -> None:
        with self.client() as client:
            client.send(request_bytes("/", headers=[("Connection", "close")]))
            got = client.response()
            self.assertEqual(got.get("connection").lower(), "close")
            self.assertTrue(client.is_closed_by_peer())

    def test_websocket(self) -> None:
        fields = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]
        with self.client() as client:
            # Bytes right behind the head belong to the tunnel too.
            client.send(request_bytes("/websocket", headers=fields) + b"early")
            head = client.reader.head()
            assert head is not None
            self.assertEqual(head.status, 101)
            self.assertEqual(head.get("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
            self.assertEqual(client.reader.exactly(22), b"hello-from-originearly")
            for size in (1, 125, 70000, 3):
                client.send(PATTERN[:size] if size < len(PATTERN) else (PATTERN * 2)[:size])
                self.assertEqual(client.reader.exactly(size), (PATTERN * 2)[:size])
            client.half_close()
            self.assertTrue(client.is_closed_by_peer())


class Fields(EmbeddedCase):
    routes = """
  - timeout: 5s
    retries: {attempts: 2, retryOn: connect-failure}
    route:
    - destination: {host: web.internal, subset: v1}
"""

    def test_fields_in_our_name_end_at_the_edge(self) -> None:
        forged = ["x-envoy-upstream-rq-timeout-ms", "x-envoy-max-retries", "X-Envoy-Retry-On"]
        forged += ["x-envoy-expected-rq-timeout-ms", "x-envoy-attempt-count", "X-NodeCtl-Anything"]
        forged += ["X-Forwarded-For", "Forwarded"]
        headers = [(name, "1") for name in forged] + [("x-mine", "1")]
        self.assertEqual(self.fetch("/slow/50", headers=headers).status, 200)
        seen = self.v1.requests()[-1]
        self.assertIn(int(seen.get("x-envoy-expected-rq-timeout-ms")), range(4000, 5001))
        self.assertEqual(seen.all("x-envoy-attempt-count"), ["1"])
        self.assertEqual(seen.all("x-forwarded-for"), ["127.0.0.1"])
        self.assertEqual(seen.all("x-mine"), ["1"])
        for name in ("x-envoy-upstream-rq-timeout-ms", "x-envoy-max-retries", "x-envoy-retry-on",
                     "x-nodectl-anything", "forwarded"):  # fmt: skip
            self.assertEqual(seen.all(name), [], name)


class SlowReader(EmbeddedCase):
    def test_memory_does_not_follow_a_slow_reader(self) -> None:
        before = self.warm_up()
        peak = self.download(GIB, SLOW_SECONDS)
        print(f"1 GiB to a slow reader: worker RSS {before >> 10} KiB, peak {peak >> 10} KiB")
        self.assertLess(peak - before, RSS_GROWTH_MAX)

    def warm_up(self) -> int:
        """Until all of the shard's receive buffers that one connection may hold, and the slow way's code, are in
        memory: three rounds have added nothing. Returns the RSS."""
        settled, before = 0, 0
        for _ in range(WARM_UP_ROUNDS_MAX):
            for slow_seconds in (0.0, 0.2):
                self.download(WARM_UP_BYTES, slow_seconds)
            rss = self.daemon.worker_rss_bytes()
            settled = settled + 1 if rss <= before else 0
            before = max(rss, before)
            if settled == 3:
                break
        return before

    def download(self, size: int, slow_seconds: float) -> int:
        """Reads slowly at first, then to the end; checks every byte's place; gives the peak RSS."""
        client = self.client(30.0)
        client.send(request_bytes(f"/big/{size}"))
        head = client.reader.head()
        assert head is not None
        self.assertEqual(head.get("content-length"), str(size))
        got = len(client.reader.buffer)
        self.assertEqual(bytes(client.reader.buffer), (PATTERN * 8)[:got])
        slow_until = time.monotonic() + slow_seconds
        peak = sampled_at = 0.0
        buffer = memoryview(bytearray(1 << 20))
        while got < size:
            now = time.monotonic()
            is_slow = now < slow_until
            count = client.sock.recv_into(buffer[: 4096 if is_slow else len(buffer)])
            self.assertGreater(count, 0, f"ended after {got} of {size}")
            place = got % len(PATTERN)
            self.assertEqual(buffer[:1], PATTERN[place : place + 1], f"at byte {got}")
            got += count
            if now - sampled_at > 0.05:
                sampled_at = now
                peak = max(peak, self.daemon.worker_rss_bytes())
            if is_slow:
                time.sleep(0.02)
        client.close()
        return int(max(peak, self.daemon.worker_rss_bytes()))


class SlowUpload(EmbeddedCase):
    def test_the_origin_sees_chunks_as_they_come(self) -> None:
        with self.client() as client:
            client.send(CHUNKED_HEAD % b"/upload")
            for part in (b"first", b"second"):
                client.send(chunk(part))
                time.sleep(0.15)
            client.send(LAST_CHUNK)
            self.assertEqual(client.response().status, 200)
        self.assertEqual(self.v1.requests()[0].body, b"firstsecond")


if __name__ == "__main__":
    unittest.main()
