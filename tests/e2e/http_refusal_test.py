#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every request of the refusal table, over the wire: the status that is due, the connection closed
where its framing is in doubt, and an origin that sees nothing of it."""

from __future__ import annotations

import socket
import ssl
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from embedded import EmbeddedCase  # noqa: E402
from refusals import ALL, Refusal  # noqa: E402
from wire import End, Message, request_bytes  # noqa: E402

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: web.test\r\n\r\n"


class Refusals(EmbeddedCase):
    def send(self, refusal: Refusal, behind: bytes) -> Message | None:
        with self.client(5.0) as client:
            client.send(refusal.data + behind)
            got = client.reader.response()
            if not refusal.may_stay_open and got is not None:
                self.assertTrue(client.is_closed_by_peer(), "the connection stays open")
            return got

    def check(self, refusal: Refusal, behind: bytes = b"") -> None:
        self.v1.forget()
        got = self.send(refusal, behind)
        assert got is not None, "closed without an answer"
        self.assertIs(got.end, End.COMPLETE)
        self.assertIn(got.status, refusal.statuses)
        if refusal.is_body_fault:
            whole = [one for one in self.v1.requests() if one.end is End.COMPLETE]
            self.assertEqual(whole, [], "the origin saw a complete request")
        else:
            self.assertEqual(self.v1.bytes_seen(), 0, "the origin saw bytes")

    def test_each_is_refused(self) -> None:
        for refusal in ALL:
            with self.subTest(refusal.name):
                self.check(refusal)

    def test_a_request_behind_it_is_never_served(self) -> None:
        for refusal in ALL:
            if refusal.may_stay_open:
                continue
            with self.subTest(refusal.name):
                self.check(refusal, SMUGGLED)
                targets = [one.target for one in self.v1.requests()]
                self.assertNotIn("/smuggled", targets)

    def test_in_single_bytes(self) -> None:
        """A parser that looks at what came with one read must not decide otherwise."""
        for refusal in ALL:
            if len(refusal.data) > 500:
                continue
            with self.subTest(refusal.name), self.client(5.0) as client:
                self.v1.forget()
                try:
                    client.send_split(refusal.data, 1)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # answered and closed before the last byte
                got = client.reader.response()
                # A reset may overtake the answer when bytes were still under way.
                if got is not None and got.end is End.COMPLETE:
                    self.assertIn(got.status, refusal.statuses)
                whole = [one for one in self.v1.requests() if one.end is End.COMPLETE]
                self.assertEqual(whole, [])

    def test_a_tls_client_is_told_at_once(self) -> None:
        context = ssl.create_default_context()
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.port), 5.0) as plain:
            with self.assertRaises(ssl.SSLError):
                context.wrap_socket(plain, server_hostname="web.test")
        self.assertLess(time.monotonic() - began, 2.0)

    def test_the_daemon_serves_on(self) -> None:
        self.assertEqual(self.fetch("/fine").status, 200)


class Sanitising(EmbeddedCase):
    """What is accepted, and must reach the origin in one unambiguous form."""

    def seen(self, data: bytes) -> tuple[Message, Message]:
        self.v1.forget()
        with self.client() as client:
            client.send(data)
            got = client.response()
        requests = self.v1.requests()
        self.assertEqual(len(requests), 1, f"answer {got.start_line}")
        return got, requests[0]

    def test_hop_by_hop_fields_stay_here(self) -> None:
        fields = [
            ("Connection", "keep-alive, x-hop"),
            ("X-Hop", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("TE", "gzip"),
            ("X-End", "1"),
        ]
        _, seen = self.seen(request_bytes("/", headers=fields))
        for name in ("x-hop", "keep-alive", "proxy-connection", "te"):
            self.assertEqual(seen.all(name), [], name)
        self.assertEqual(seen.all("x-end"), ["1"])

    def test_connection_cannot_strip_what_policy_reads(self) -> None:
        for name in ("Host", "Cookie", "Content-Length", "X-Forwarded-For", "Authorization"):
            self.v1.forget()
            with self.subTest(name):
                fields = [("Connection", name), ("Cookie", "user=jason"), ("Authorization", "x")]
                got = self.fetch("/", headers=fields)
                if got.status == 200:  # the other lawful answer is 400
                    seen = self.v1.requests()[0]
                    self.assertEqual(seen.all("cookie"), ["user=jason"])
                    self.assertEqual(seen.all("authorization"), ["x"])
                    self.assertEqual(len(seen.all("host")), 1)
                else:
                    self.assertEqual(got.status, 400)

    def test_the_path_is_normalised_once(self) -> None:
        for target, expected in (
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/../../etc", "/etc"),
            ("/a\\b", "/a/b"),
            ("/%61bc", "/abc"),
            ("/a%2Fb", "/a%2Fb"),
            ("/a%252e", "/a%252e"),
            ("/a?x=/../y", "/a?x=/../y"),
        ):
            with self.subTest(target):
                _, seen = self.seen(request_bytes(target))
                self.assertEqual(seen.target, expected)

    def test_absolute_form_wins_over_host(self) -> None:
        data = b"GET http://right.test/x HTTP/1.1\r\nHost: wrong.test\r\n\r\n"
        _, seen = self.seen(data)
        self.assertEqual((seen.target, seen.all("host")), ("/x", ["right.test"]))

    def test_chunk_extensions_and_framing_trailers_are_dropped(self) -> None:
        data = b"POST / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\n\r\n"
        data += b"5;name=value\r\nhello\r\n0\r\nContent-Length: 99\r\nHost: evil\r\n\r\n"
        got, seen = self.seen(data)
        self.assertEqual((got.status, seen.body), (200, b"hello"))
        names = [name.lower() for name, _ in seen.trailers]
        self.assertNotIn("content-length", names)
        self.assertNotIn("host", names)

    def test_h2c_upgrade_is_not_passed_on(self) -> None:
        fields = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c")]
        _, seen = self.seen(request_bytes("/", headers=[*fields, ("HTTP2-Settings", "AAMA")]))
        self.assertEqual(seen.all("upgrade"), [])
        self.assertEqual(seen.all("http2-settings"), [])

    def test_empty_lines_before_a_request(self) -> None:
        got, _ = self.seen(b"\r\n\r\n" + request_bytes("/"))
        self.assertEqual(got.status, 200)


if __name__ == "__main__":
    unittest.main()
