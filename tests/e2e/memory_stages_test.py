#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A small memory limit under real load: keep-alive ends, then new requests get 503 OM and nothing is accepted, then
the largest are ended; the kernel never kills, and everything is served again afterwards."""

from __future__ import annotations

import collections
import json
import shutil
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from nodeproxy import Daemon, finish_load, load, start_load, wait_until  # noqa: E402
from overload_scene import MEBI, Holders, OverloadCase, connect, get, read_answer  # noqa: E402
from own_netns import run_in_own_netns  # noqa: E402

ROOM_BYTES = 100 * MEBI  # above what an idle daemon uses
HELD_BYTES = 30_000  # of one client that holds memory, below where its connection is paused


def is_answered() -> bool:
    try:
        with connect(1) as client:
            return get(client).startswith("HTTP/1.1 200")
    except OSError:
        return False


class Stages(OverloadCase):
    NAME = "npmem"

    def start_with_room(self, room_bytes: int, thresholds: str = "92,95,98") -> Daemon:
        """The limit is what the daemon uses before any load, and so much more."""
        first = self.start()
        load("127.0.0.1:8081", "-c", "64", "--requests", "2000")
        used = self.load_of(first)["memory_used_bytes"]
        first.close()
        print(f"in use before the load: {used / MEBI:.1f} MiB")
        log = f"{first.dir.parent}/npmem-access.log"
        self.addCleanup(lambda: Path(log).unlink(missing_ok=True))
        self.access_log = Path(log)
        return self.start("--memory-limit", str(used + room_bytes), "--overload-memory", thresholds, "--access-log", log)

    def fill_until(self, daemon: Daemon, stage: str, most: int = 8000) -> None:
        while self.stage(daemon) != stage:
            self.assertLess(len(self.holders.clients), most, f"never came to {stage}: {self.load_of(daemon)}")
            self.holders.add(20, HELD_BYTES)
            time.sleep(0.03)  # 20 MB/s: a steep rise would leave stages out

    def expect_drain(self, idle: list) -> None:
        for client in idle:
            self.assertEqual(client.recv(100), b"", "an idle connection is closed, in order")
        with connect() as client:
            answer = get(client)
            self.assertTrue(answer.startswith("HTTP/1.1 200"), answer)
            self.assertIn("connection: close", answer.lower())
            self.assertEqual(client.recv(100), b"")

    def probe_until(self, is_over: threading.Event, seen: list[str]) -> None:
        """Connections that ask a moment after they were accepted: some of them while requests are refused."""
        while not is_over.is_set():
            try:
                with connect(1) as client:
                    is_over.wait(0.25)
                    seen.append(get(client))
            except TimeoutError:
                seen.append("no answer")

    def expect_refusals(self, seen: list[str]) -> None:
        print(collections.Counter(answer.split("\r\n")[0] for answer in seen))
        refused = [answer for answer in seen if answer.startswith("HTTP/1.1 503")]
        print(f"while memory ran out: {len(seen)} probes, {len(refused)} refused")
        self.assertGreater(len(refused), 0)
        for answer in refused:
            self.assertIn("x-envoy-local-overloaded: true", answer)
            self.assertIn("connection: close", answer.lower())
            self.assertTrue(answer.endswith("envoy overloaded"), answer)

    def expect_reports(self, daemon: Daemon) -> None:
        self.assertGreaterEqual(self.metric("nodeproxy_memory_stage"), 2)
        self.assertGreater(self.metric("nodeproxy_overload_rq_refused_total"), 0)
        self.assertGreater(self.metric('nodeproxy_requests_ended_total{how="overloaded"}'), 0)
        self.assertIn('response_flags="OM"', self.metrics())
        wait_until(lambda: " OM " in self.access_log.read_text(), 5, "the access log has the flag")
        doctor = daemon.ctl("doctor", "-o", "json", check=False)
        self.assertEqual(doctor.returncode, 1)
        found = [check for check in json.loads(doctor.stdout)["checks"] if check["area"] == "overload"]
        self.assertEqual([check["level"] for check in found], ["fail", "ok", "ok"], found)
        self.assertIn("--memory-limit", found[0]["remedy"])
        self.assertRegex(daemon.ctl("status").stdout, "Memory: .* stage (refuse|reset)")
        self.assertIn("OVERLOAD", daemon.ctl("explain", "--from", "192.0.2.1", "--to", "127.0.0.1:8081").stdout)
        ready = subprocess.run(["curl", "-s", "http://127.0.0.1:15190/readyz"], capture_output=True, text=True, check=True)
        self.assertIn("overloaded", ready.stdout)

    def test_each_stage_and_back(self) -> None:
        daemon = self.start_with_room(ROOM_BYTES)
        worker = daemon.worker_pid()
        idle = [connect() for _ in range(20)]
        for client in idle:
            self.assertIn("200 OK", get(client))
        under_way = connect()
        under_way.sendall(b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 4\r\n\r\nab")
        self.fill_until(daemon, "drain")
        self.expect_drain(idle)
        is_over, seen = threading.Event(), []
        probes = [threading.Thread(target=self.probe_until, args=(is_over, seen)) for _ in range(10)]
        for probe in probes:
            probe.start()
        self.fill_until_refused(daemon)
        is_over.set()
        for probe in probes:
            probe.join()
        self.expect_refusals(seen)
        under_way.sendall(b"cd")
        self.assertIn("HTTP/1.1 200", read_answer(under_way), "what was under way is answered")
        waiting = connect()  # in the kernel's queue
        waiting.settimeout(0.5)
        with self.assertRaises(TimeoutError):
            get(waiting)
        self.expect_reports(daemon)
        print(daemon.ctl("status").stdout.split("Probe")[0])
        self.holders.close()
        wait_until(lambda: self.stage(daemon) == "normal", 20, "memory is free again")
        waiting.settimeout(5)
        self.assertIn("HTTP/1.1 200", read_answer(waiting), "who waited is served")
        with connect() as client:
            self.assertNotIn("connection: close", get(client).lower())
        self.assertEqual(daemon.worker_pid(), worker)
        changes = [line for line in daemon.log().splitlines() if "memory:" in line and "becomes" in line]
        print("\n".join(changes))
        self.assertLessEqual(len(changes), 8, "it does not flap")

    def fill_until_refused(self, daemon: Daemon) -> None:
        """Accepting stops under way: the connections of the holders are in the queue from then on."""
        for _ in range(400):
            if self.stage(daemon) != "drain":
                break
            self.holders.add(20, HELD_BYTES)
        self.assertIn(self.stage(daemon), ("refuse", "reset"))

    def test_who_holds_the_memory_does_not_keep_others_out(self) -> None:
        daemon = self.start_with_room(ROOM_BYTES)
        worker = daemon.worker_pid()
        self.fill_until(daemon, "drain")
        deadline = time.monotonic() + 90
        while self.load_of(daemon)["requests_ended"] == 0:
            self.assertLess(time.monotonic(), deadline, self.load_of(daemon))
            if self.stage(daemon) in ("refuse", "reset"):
                time.sleep(0.5)
            else:  # they come slowly, and none of them goes
                self.holders.add(10, HELD_BYTES)
        wait_until(is_answered, 30, "enough were ended")
        after = self.load_of(daemon)
        print(f"{after['requests_ended']} of {len(self.holders.clients)} ended")
        self.assertLess(after["requests_ended"], len(self.holders.clients) / 2)
        ended = [answer for answer in self.holders.answers() if answer]
        self.assertGreater(len(ended), 0)
        for answer in ended:
            self.assertTrue(answer.startswith("HTTP/1.1 503"), answer)
        self.assertEqual(daemon.worker_pid(), worker)


class MemoryGroup:
    """A cgroup with a limit, of whichever version the machine uses for memory."""

    def __init__(self, name: str, limit_bytes: int) -> None:
        v1 = Path("/sys/fs/cgroup/memory")
        self.is_v1 = v1.is_dir()
        self.path = (v1 if self.is_v1 else Path("/sys/fs/cgroup")) / name
        self.path.mkdir(exist_ok=True)
        (self.path / ("memory.limit_in_bytes" if self.is_v1 else "memory.max")).write_text(str(limit_bytes))

    def enter(self) -> tuple[str, ...]:
        return ("sh", "-c", f'echo $$ > {self.path}/cgroup.procs; exec "$@"', "sh")

    def kills(self) -> int:
        file = self.path / ("memory.oom_control" if self.is_v1 else "memory.events")
        for line in file.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
        raise AssertionError(file.read_text())

    def close(self) -> None:
        wait_until(lambda: not (self.path / "cgroup.procs").read_text(), 10, "the group is empty")
        self.path.rmdir()


class InACgroup(OverloadCase):
    NAME = "npmemcg"
    LIMIT_BYTES = 256 * MEBI

    def group(self) -> MemoryGroup:
        try:
            group = MemoryGroup("np-" + self.NAME, self.LIMIT_BYTES)
        except OSError as error:
            self.skipTest(f"no cgroup with a memory limit can be made here: {error}")
        self.addCleanup(group.close)
        return group

    def attack(self, holders: Holders, until: float) -> None:
        while time.monotonic() < until:
            try:
                holders.add(50, HELD_BYTES)
            except OSError:
                time.sleep(0.1)  # the accept queue is full
            if len(holders.clients) > 6000:
                holders.close()

    def test_the_kernel_kills_nothing(self) -> None:
        group = self.group()
        daemon = self.start(through=group.enter())
        self.assertEqual(self.load_of(daemon)["memory_limit_bytes"], self.LIMIT_BYTES)
        self.assertIn("of cgroup /", self.load_of(daemon)["memory_limit_source"])
        worker = daemon.worker_pid()
        client = start_load("127.0.0.1:8081", "-c", "64", "--rate", "500", "--duration", "12")
        until = time.monotonic() + 10
        attackers = [threading.Thread(target=self.attack, args=(holders, until))
                     for holders in (self.holders, Holders(), Holders())]
        for attacker in attackers:
            attacker.start()
        for attacker in attackers:
            attacker.join()
        report = finish_load(client)
        print(f"beside the attack: {report['status']}, {report['errors']}; {self.load_of(daemon)['text']}")
        self.assertEqual(group.kills(), 0)
        self.assertEqual(daemon.worker_pid(), worker)
        self.assertGreater(self.metric("nodeproxy_memory_stages_begun_total{stage=\"refuse\"}"), 0)


if __name__ == "__main__":
    if shutil.which("nginx") is None:
        sys.exit("nginx is missing")
    run_in_own_netns()
