#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`nodectl top` against real traffic: its rates, its screen, and what it does without a daemon."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from nodeproxy import NODECTL, in_netns, load, wait_until  # noqa: E402
from pod_scene import VIP, PodsCase  # noqa: E402

RATE = 200
SECONDS = 9


class Top(PodsCase):
    NAME = "nptop"

    def setUp(self) -> None:
        super().setUp()
        self.origin = self.add_origin("web1", 21)

    def traffic(self) -> threading.Thread:
        thread = threading.Thread(target=lambda: load(
            f"{VIP}:80", "--host", "web", "-c", "8", "--rate", str(RATE), "--duration", str(SECONDS),
            netns=self.client.netns))
        thread.start()
        self.addCleanup(thread.join)
        time.sleep(0.5)
        return thread

    def rows(self, kind: str, *flags: str) -> list[dict]:
        said = self.daemon.ctl("top", kind, "--interval", "2s", "-o", "json", *flags).stdout
        return json.loads(said)["rows"]

    def test_rates_are_those_of_the_traffic(self) -> None:
        traffic = self.traffic()
        service = next(row for row in self.rows("services") if row["version"] == "v1")
        self.assertEqual(service["service"], "web.default")
        self.assertAlmostEqual(service["req/s"], RATE, delta=RATE / 5)
        self.assertEqual(service["ok%"], 100)
        pod = next(row for row in self.rows("pods") if row["pod"] == "default/client")
        self.assertAlmostEqual(pod["req/s"], RATE, delta=RATE / 5)
        self.assertEqual(pod["open"], 8)
        self.assertGreater(pod["cpu%"], 0)
        connections = [row for row in self.rows("connections", "--sort", "req") if row["state"] == "EST"]
        self.assertEqual(len(connections), 8)
        self.assertTrue(all(row["client"].startswith("default/client:") for row in connections), connections)
        self.assertGreater(sum(row["req"] for row in connections), 3 * RATE)
        self.assertEqual([row["req"] for row in connections], sorted((row["req"] for row in connections), reverse=True))
        traffic.join()
        idle = [row for row in self.rows("routes") if row["rule"].startswith("VirtualService default/web")]
        self.assertEqual([row["req/s"] for row in idle], [0])

    def test_plain_text_fits_and_repeats(self) -> None:
        self.traffic()
        said = self.daemon.ctl("top", "services", "--interval", "500ms", "--count", "2").stdout
        self.assertEqual(said.count("SERVICE"), 2)
        self.assertNotIn("\x1b", said)
        self.assertLessEqual(max(map(len, said.splitlines())), 80)
        refused = self.daemon.ctl("top", "pods", "--sort", "nonsense", check=False)
        self.assertEqual(refused.returncode, 2)
        self.assertIn("allowed: pod, open, new/s", refused.stderr)

    def test_a_screen_is_redrawn_and_given_back(self) -> None:
        self.traffic()
        terminal, other = pty.openpty()
        command = [str(NODECTL), "--run-dir", str(self.daemon.run_dir), "top", "services", "--interval", "500ms"]
        process = subprocess.Popen(command, stdin=other, stdout=other, stderr=other)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        os.close(other)
        seen, reader = self.watch(terminal)
        wait_until(lambda: seen.count(b"web.default") >= 3, 10, "three pictures")
        os.write(terminal, b"q")
        self.assertEqual(process.wait(5), 0)
        reader.join()
        os.close(terminal)
        self.assertTrue(seen.startswith(b"\x1b[?1049h\x1b[?25l"), bytes(seen[:40]))
        self.assertTrue(seen.endswith(b"\x1b[?25h\x1b[?1049l"), bytes(seen[-40:]))

    def test_a_small_screen_a_daemon_that_goes_and_a_signal(self) -> None:
        terminal, other = pty.openpty()
        self.resize(terminal, 5)
        command = [str(NODECTL), "--run-dir", str(self.daemon.run_dir), "top", "pods", "--interval", "500ms"]
        process = subprocess.Popen(command, stdin=other, stdout=other, stderr=other, start_new_session=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        os.close(other)
        seen, reader = self.watch(terminal)
        wait_until(lambda: seen.count(b"q ends this") >= 2, 10, "two pictures")
        for picture in bytes(seen).split(b"\x1b[H\x1b[2J")[1:]:
            self.assertLessEqual(picture.count(b"\n"), 4, "a fifth would scroll the title away")
        self.assertIn(b"more (--limit)", seen)
        self.daemon.stop()
        wait_until(lambda: b"trying again" in seen, 10, "that it does not answer")
        self.daemon.start()
        at = len(seen)
        wait_until(lambda: b"q ends this" in seen[at:], 15, "pictures again")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(5), 0)
        reader.join()
        os.close(terminal)
        self.assertTrue(seen.endswith(b"\x1b[?25h\x1b[?1049l"), bytes(seen[-40:]))

    @staticmethod
    def watch(terminal: int) -> tuple[bytearray, threading.Thread]:
        """What is drawn there, as it comes; the thread ends with the other side."""
        seen = bytearray()

        def read() -> None:
            try:
                while data := os.read(terminal, 4096):
                    seen.extend(data)
            except OSError:
                pass  # the other end is closed

        reader = threading.Thread(target=read)
        reader.start()
        return seen, reader

    @staticmethod
    def resize(terminal: int, rows: int) -> None:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 80, 0, 0))

    def requests_told(self) -> float:
        """By /metrics."""
        command = in_netns(self.host.netns, ["curl", "-sS", "--fail", "-m", "5", "http://127.0.0.1:15190/metrics"])
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return sum(float(line.rsplit(" ", 1)[1]) for line in said.splitlines()
                   if line.startswith("istio_requests_total{") and 'reporter="source"' in line)

    def test_sums_agree_with_metrics(self) -> None:
        self.traffic()
        started, before = time.monotonic(), self.requests_told()
        shown = sum(row["req/s"] for row in self.rows("services"))
        told = (self.requests_told() - before) / (time.monotonic() - started)
        self.assertGreater(told, 0)
        self.assertAlmostEqual(shown, told, delta=told / 5)

    def test_without_a_daemon(self) -> None:
        self.daemon.stop()
        refused = self.daemon.ctl("top", "services", "--interval", "200ms", check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("error:", refused.stderr)


if __name__ == "__main__":
    unittest.main()
