#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A worker that hangs is replaced, one that only pauses is not; a loop that runs late gets nothing new."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from nodeproxy import Daemon, finish_load, load, start_load, wait_until  # noqa: E402
from overload_scene import OverloadCase, connect, get  # noqa: E402
from own_netns import run_in_own_netns  # noqa: E402

TARGET = "127.0.0.1:8081"


def is_served() -> bool:
    try:
        with connect(1) as client:
            return get(client).startswith("HTTP/1.1 200")
    except OSError:
        return False


class Watchdog(OverloadCase):
    NAME = "npwdog"

    def stop(self, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)

    def test_a_hanging_worker_is_replaced(self) -> None:
        daemon = self.start()
        self.assertTrue(is_served())
        client = start_load(TARGET, "-c", "16", "--rate", "500", "--duration", "10")
        time.sleep(1)
        old = daemon.worker_pid()
        stopped_at = time.monotonic()
        self.stop(old)
        wait_until(lambda: daemon.has_new_worker(old), 5, "another worker")
        replaced = time.monotonic() - stopped_at
        wait_until(is_served, 2, "it serves")
        print(f"replaced after {replaced:.2f} s, served again after {time.monotonic() - stopped_at:.2f} s")
        self.assertGreater(replaced, 1.9)
        self.assertLess(replaced, 3)
        report = finish_load(client)
        print(f"load meanwhile: {report['status']}, {report['errors']}")
        self.assertEqual(list(report["status"]), ["200"])
        self.assertEqual(report["errors"]["connect"], 0, "the listeners stayed open")
        self.assertIn("watchdog: shard", daemon.log())
        self.assertIn("stopped by a signal", daemon.log())
        self.assertIn("worker died of Aborted", daemon.log())
        self.assertEqual(self.metric("nodeproxy_watchdog_aborts_total"), 1)
        doctor = json.loads(daemon.ctl("doctor", "-o", "json", check=False).stdout)
        found = [check for check in doctor["checks"] if check["area"] == "overload" and check["subject"] == "watchdog"]
        self.assertEqual(found[0]["level"], "warn", found)

    def test_pauses_are_no_hang(self) -> None:
        daemon = self.start()
        worker = daemon.worker_pid()
        supervisor = daemon.process.pid
        for _ in range(3):
            self.stop(worker)
            time.sleep(1)
            os.kill(worker, signal.SIGCONT)
            time.sleep(0.5)
        self.assertTrue(is_served())
        for pid in (supervisor, worker):  # as a machine that sleeps: nobody runs
            self.stop(pid)
        time.sleep(5)
        for pid in (supervisor, worker):
            os.kill(pid, signal.SIGCONT)
        time.sleep(5)  # and idle: no shard has anything to do
        self.assertTrue(is_served())
        self.assertEqual(daemon.worker_pid(), worker)
        self.assertNotIn("watchdog", daemon.log())

    def test_it_can_be_switched_off(self) -> None:
        daemon = self.start("--watchdog", "0s")
        worker = daemon.worker_pid()
        self.stop(worker)
        time.sleep(4)
        self.assertEqual(daemon.worker_pid(), worker)
        os.kill(worker, signal.SIGCONT)
        wait_until(is_served, 2, "it serves")


class Lag(OverloadCase):
    NAME = "nplag"
    WORKERS = "1"  # else one shard may be in time, and takes everything

    def hamper(self, pid: int, until: float) -> None:
        """The worker runs a few milliseconds of every hundred."""
        while time.monotonic() < until:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.1)
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.005)

    def late(self, daemon: Daemon) -> int:
        return int(self.load_of(daemon)["late_shards"])

    def test_late_loops_refuse_what_is_new(self) -> None:
        daemon = self.start("--overload-lag", "50ms")
        kept = connect(10)
        self.assertIn("200 OK", get(kept))
        client = start_load(TARGET, "-c", "64", "--duration", "12")
        until = time.monotonic() + 8
        hampered = threading.Thread(target=self.hamper, args=(daemon.worker_pid(), until))
        hampered.start()
        shed = 0
        while hampered.is_alive():
            try:
                with connect(2) as one:
                    shed += get(one) == ""
            except OSError:
                shed += 1
            time.sleep(0.2)
        hampered.join()
        finish_load(client)
        self.assertIn("200 OK", get(kept), "open connections are served")
        counters = daemon.status()["counters"]
        print(f"late {counters['shard_late_begun']} times, {counters['shard_shed_late']} shed; {shed} seen here")
        self.assertGreater(counters["shard_late_begun"], 0)
        self.assertGreater(counters["shard_shed_late"], 0)
        wait_until(lambda: self.late(daemon) == 0, 15, "in time again")
        wait_until(is_served, 2, "new connections are served")
        self.assertIn("--overload-lag is 50 ms", daemon.log())

    def test_full_throttle_is_no_overload(self) -> None:
        daemon = self.start()
        for connections in ("64", "2000"):
            report = load(TARGET, "-c", connections, "--duration", "6")
            self.assertEqual(list(report["status"]), ["200"], report)
        busy = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:15190/readyz"],
                              capture_output=True, text=True, check=True)
        self.assertEqual(busy.stdout, "200")
        counters = daemon.status()["counters"]
        print(f"slowest iteration {counters['shard_slowest_iteration_ns'] / 1e6:.0f} ms")
        self.assertEqual((counters["shard_late_begun"], counters["shard_shed_late"]), (0, 0))


if __name__ == "__main__":
    run_in_own_netns()
