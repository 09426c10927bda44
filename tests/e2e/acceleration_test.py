#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Acceleration end to end: a policy asks for it, this kernel is tested beside the data path, what came of it is
told, and traffic goes on as before. What this kernel answers is not the test's matter, but that every place says
the same, and that nothing is redirected."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

import doctor  # noqa: E402
from capture_case import WEB_V4, WEB_V6, CaptureCase  # noqa: E402
from nodeproxy import NODECTL, Daemon, wait_until  # noqa: E402

ASKS = """
apiVersion: nodeproxy.dev/v1
kind: TrafficPolicy
metadata: {name: fast}
spec: {host: web, acceleration: sockmap}
"""
CHECKS = {"enrolment", "order", "half-close", "memory", "epoll", "peek", "fionread", "wait-all", "splice",
          "close-unread", "urgent", "partial-read", "io_uring"}
RULES = {"enrolment", "order", "memory"}  # what our programs see to, on every kernel
EXIT_CODES = {"possible": 0, "refused": 1}


def loaded_programs() -> list[str]:
    done = subprocess.run(["bpftool", "-j", "prog", "list"], capture_output=True, text=True, check=True)
    return [program.get("name", "") for program in json.loads(done.stdout)]


class Accelerated(CaptureCase):
    NAME = "npaccel"

    def setUp(self) -> None:
        super().setUp()
        self.add_pods()
        self.serve()

    def view(self) -> dict:
        return json.loads(self.daemon.ctl("acceleration", "-o", "json").stdout)

    def wait_tested(self) -> dict:
        wait_until(lambda: self.view()["state"] in EXIT_CODES, 30, "the self-test ends")
        return self.view()

    def get(self, address: str = WEB_V4) -> str:
        host = f"[{address}]" if ":" in address else address
        return self.client.run("curl", "-sS", "-m", "5", f"http://{host}/").stdout.strip()

    def test_asked_for_tested_and_told_everywhere(self) -> None:
        self.assertEqual(self.daemon.status()["acceleration"], "off")
        self.assertEqual(self.view()["state"], "untested", "nobody asked")
        self.assertEqual([], [check for check in doctor.ask(self.daemon).checks if check["area"] == "acceleration"])
        warned = self.daemon.ctl("apply", "-f", "-", stdin=ASKS).stderr
        self.assertIn("no data path is built yet", warned)
        view = self.wait_tested()
        self.assertEqual({result["name"] for result in view["results"]}, CHECKS)
        self.assertEqual([], [r for r in view["results"] if r["name"] in RULES and not r["passed"]])
        self.assertEqual(view["policies"], ["TrafficPolicy default/fast"])
        self.assertEqual(view["kernel"], os.uname().release)
        self.assertEqual(self.daemon.status()["acceleration"], view["text"])
        self.assertIn(f"Acceleration: {view['text']}\n", self.daemon.ctl("status").stdout)
        self.assertIn(f"Acceleration: {view['text']}\n", self.daemon.ctl("describe", "tp", "fast").stdout)
        found, = [check for check in doctor.ask(self.daemon).checks if check["area"] == "acceleration"]
        self.assertEqual(found["found"], view["text"])
        if view["state"] == "refused":
            self.assertEqual(view["text"], "refused: " + ", ".join(view["reasons"]))
            self.assertEqual(found["level"], "warn")
            self.assertIn("TrafficPolicy default/fast", found["remedy"])

    def test_traffic_goes_on_as_before(self) -> None:
        counted = self.stats()["captured"]
        self.daemon.ctl("apply", "-f", "-", stdin=ASKS)
        while self.view()["state"] == "testing":
            self.assertEqual(self.get(), "v1")
        for address in (WEB_V4, WEB_V6) * 10:
            self.assertEqual(self.get(address), "v1")
        self.assertGreater(self.stats()["captured"], counted, "captured as ever")
        self.assertEqual([], [name for name in loaded_programs() if name.startswith("np_acc")],
                         "nothing of the self-test stays")

    def test_the_verb_tests_again_and_its_exit_code_tells(self) -> None:
        done = self.daemon.ctl("acceleration", "test", check=False)
        view = self.view()
        self.assertEqual(done.returncode, EXIT_CODES[view["state"]], done.stderr)
        self.assertIn(view["text"], done.stdout)
        for name in CHECKS:
            self.assertRegex(done.stdout, rf"(?m)^{name} +(passed|failed) ")
        self.assertEqual(self.daemon.status()["acceleration"], "off", "no policy asks")
        for form in ("json", "yaml"):
            self.assertIn("fionread", self.daemon.ctl("acceleration", "-o", form).stdout)

    def test_a_new_worker_finds_the_report(self) -> None:
        self.daemon.ctl("apply", "-f", "-", stdin=ASKS)
        before = self.wait_tested()
        old = self.daemon.kill_worker()
        wait_until(lambda: self.daemon.has_new_worker(old), 10, "another worker")
        wait_until(lambda: self.daemon.ctl("status", check=False).returncode == 0, 10, "it answers")
        self.assertEqual(self.view(), before)
        self.assertEqual(self.daemon.log().count("acceleration on Linux"), 1, "one test")

    def test_the_policy_can_be_taken_back(self) -> None:
        self.daemon.ctl("apply", "-f", "-", stdin=ASKS)
        self.wait_tested()
        self.daemon.ctl("delete", "tp", "fast")
        self.assertEqual(self.daemon.status()["acceleration"], "off")
        self.assertEqual(self.get(), "v1")
        refused = self.daemon.ctl("apply", "-f", "-", stdin=ASKS.replace("sockmap", "xdp"), check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("found xdp; allowed: none, sockmap", refused.stderr)

    def test_a_daemon_that_dies_takes_its_test_along(self) -> None:
        self.daemon.ctl("apply", "-f", "-", stdin=ASKS)
        self.daemon.stop(signal.SIGKILL)
        wait_until(lambda: not [name for name in loaded_programs() if name.startswith("np_acc")], 10,
                   "the programs go with it")


class Elsewhere(unittest.TestCase):
    def test_without_capture_it_is_refused(self) -> None:
        with Daemon("npaccelnone", "--no-capture") as daemon:
            daemon.ctl("apply", "-f", "-", stdin=ASKS)
            self.assertEqual(daemon.status()["acceleration"], "refused: the daemon runs with --no-capture")
            done = daemon.ctl("acceleration", "test", check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("--no-capture", done.stderr)

    def test_without_a_daemon_root_can_test(self) -> None:
        command = [str(NODECTL), "--run-dir", "/nonexistent/np-accel", "acceleration", "test", "-o", "json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        report = json.loads(done.stdout)
        self.assertEqual(done.returncode, EXIT_CODES[report["state"]])
        self.assertEqual({result["name"] for result in report["results"]}, CHECKS)


if __name__ == "__main__":
    unittest.main()
