#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tests' browser, before anything relies on it: pictures have the size and the colours asked
for, scripts run and are given their time, and what fails is told."""

from __future__ import annotations

import os
import sys
import tempfile
import unittest
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from chromium import console, dump_dom, screenshot  # noqa: E402
from embedded import free_port  # noqa: E402
from netns import inside, loopback_netns  # noqa: E402
from origins import Arrival, HttpOrigin, answer  # noqa: E402
from wire import Message  # noqa: E402

PAGE = """<!doctype html><title>page</title>
<style>
  body { background: #ffeedd } p { position: fixed; bottom: 0 }
  @media (prefers-color-scheme: dark) { body { background: #001122 } }
</style>
<p id="size"></p><p id="polls"></p>
<script>
  size.textContent = `${innerWidth} x ${innerHeight}`;
  let count = 0;
  setInterval(() => { polls.textContent = `${++count} polls` }, 1000);
</script>
"""


def size_and_corner(path: Path) -> tuple[int, int, str]:
    """Width, height and the colour of the first pixel, which no filter of PNG changes."""
    data, offset, pixels = path.read_bytes(), 8, b""
    while offset < len(data):
        length = int.from_bytes(data[offset:offset + 4], "big")
        if data[offset + 4:offset + 8] == b"IDAT":
            pixels += data[offset + 8:offset + 8 + length]
        offset += length + 12
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    return width, height, zlib.decompress(pixels)[1:4].hex()


class Browser(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="np-page-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def page(self, text: str = PAGE) -> str:
        path = self.folder / "page.html"
        path.write_text(text)
        return path.as_uri()

    def test_light_and_dark(self) -> None:
        url, light, dark = self.page(), self.folder / "light.png", self.folder / "dark.png"
        screenshot(url, light, 800, 600)
        screenshot(url, dark, 390, 844, dark=True)  # narrower than a window can be
        self.assertEqual(size_and_corner(light), (800, 600, "ffeedd"))
        self.assertEqual(size_and_corner(dark), (390, 844, "001122"))

    def test_the_page_has_its_size_and_its_time(self) -> None:
        text = dump_dom(self.page(), 5500, width=390, height=844)
        self.assertIn("390 x 844", text)
        self.assertIn("5 polls", text)
        self.assertNotIn("polls</p>", dump_dom(self.page(), 500))

    def test_the_console(self) -> None:
        lines = console(self.page("<script>console.log('own words'); nowhere()</script>"))
        self.assertEqual(len(lines), 2, lines)
        self.assertIn("own words", lines[0])
        self.assertIn("nowhere is not defined", lines[1])
        self.assertEqual(console(self.page()), [])

    def test_failures_are_told(self) -> None:
        closed = f"http://127.0.0.1:{free_port()}/"
        self.assertRaisesRegex(AssertionError, "ERR_CONNECTION_REFUSED", dump_dom, closed)
        self.assertRaisesRegex(AssertionError, "no picture", screenshot, closed, self.folder / "no.png", 100, 100)

    @unittest.skipUnless(os.geteuid() == 0, "network namespaces need root")
    def test_in_a_namespace(self) -> None:
        def serve(arrival: Arrival, request: Message) -> bool:
            arrival.send(answer(200, PAGE.encode(), [("Content-Type", "text/html")]))
            return True

        netns = self.enterContext(loopback_netns("npchrome"))
        server = inside(netns, HttpOrigin)
        self.addCleanup(server.close)
        server.paths["page"] = serve
        self.assertIn("2 polls", dump_dom(f"http://127.0.0.1:{server.port}/page", 2500, netns=netns))


if __name__ == "__main__":
    unittest.main()
