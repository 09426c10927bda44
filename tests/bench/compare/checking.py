# SPDX-License-Identifier: Apache-2.0
"""tools/bench --check-generator: is what np_load says true? Against tools that others trust, where
those can tell; and against arithmetic, where they cannot: an origin that stands still for a known time
makes an open loop's percentiles known, and a closed loop hides it (coordinated omission)."""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time
from dataclasses import dataclass

from .bench import Bench
from .loads import start
from .origin import GROUP as ORIGIN_GROUP
from .origin import PORT
from .rows import Load

TARGET = f"127.0.0.1:{PORT}"
ROUNDS = 3
SECONDS = 2.0
WARM_SECONDS = 0.3
STALL_SECONDS = 0.5
STALL_RUN_SECONDS = 5.0
STALL_RATE = 2000.0
US = 1e6
SIGMAS = 5.0  # of a Poisson count


@dataclass(frozen=True)
class Check:
    what: str
    found: float
    expected: float
    allowed: float  # as a part of what is expected
    unit: str

    @property
    def is_good(self) -> bool:
        return abs(self.found - self.expected) <= self.allowed * self.expected

    def line(self) -> str:
        return (f"{'ok    ' if self.is_good else 'FAILED'}  {self.what}: {self.found:.0f} {self.unit}, expected "
                f"{self.expected:.0f} within {self.allowed * 100:.0f} %")


def stall_percentile(share: float, stall_seconds: float, run_seconds: float) -> float:
    """Of an open loop at a steady rate whose server stands still once and catches up at once, in
    microseconds. What is due within the stall waits for its end: those latencies are spread evenly."""
    slow = stall_seconds / run_seconds
    fast = 1.0 - slow
    return 0.0 if share <= fast else stall_seconds * (share - fast) / slow * US


def _ask(bench: Bench, load: Load, rate: float | None = None, seconds: float = SECONDS) -> dict:
    run = start(bench.sandbox, TARGET, load, rate, seconds, WARM_SECONDS)
    run.started()
    return run.report()


def against_others(bench: Bench) -> list[Check]:
    """One connection, closed loop, tools in turn: each request begins when the last has ended, so the
    rate is the inverse of the mean latency, whoever counts."""
    rates: dict[str, list[float]] = {"np_load": [], "wrk": [], "h2load": []}
    medians: dict[str, list[float]] = {"np_load": [], "wrk": []}
    for _ in range(ROUNDS):
        for tool, found in rates.items():
            report = _ask(bench, Load(connections=1, tool=tool))
            found.append(report["requests_per_second"])
            if tool in medians:
                medians[tool].append(report["latency_us"]["p50"])
    ours, wrk, h2load = (statistics.median(rates[tool]) for tool in ("np_load", "wrk", "h2load"))
    p50, p50_wrk = statistics.median(medians["np_load"]), statistics.median(medians["wrk"])
    print(f"one connection, closed loop: np_load {ours:.0f} req/s, wrk {wrk:.0f}, h2load {h2load:.0f}; "
          f"p50 np_load {p50:.1f} us, wrk {p50_wrk:.1f}")
    return [Check("rate of one connection against wrk", ours, wrk, 0.25, "req/s"),
            Check("median of one connection against wrk", p50, p50_wrk, 0.30, "us")]


def schedule(bench: Bench) -> list[Check]:
    """As many requests leave as the rate says, and the gaps' draw has no bias."""
    report = _ask(bench, Load(connections=32), rate=STALL_RATE, seconds=STALL_RUN_SECONDS)
    expected = STALL_RATE * STALL_RUN_SECONDS
    return [Check("requests of a Poisson schedule", report["sent"], expected, SIGMAS / expected ** 0.5, "sent")]


def _stall_soon(pids: list[int]) -> None:
    time.sleep(STALL_RUN_SECONDS / 3)
    for how, pause in ((signal.SIGSTOP, STALL_SECONDS), (signal.SIGCONT, 0.0)):
        for pid in pids:
            os.kill(pid, how)
        time.sleep(pause)


def _stalled(bench: Bench, load: Load, rate: float | None) -> dict:
    run = start(bench.sandbox, TARGET, load, rate, STALL_RUN_SECONDS, WARM_SECONDS)
    run.started()
    staller = threading.Thread(target=_stall_soon, args=(bench.sandbox.pids(ORIGIN_GROUP),))
    staller.start()
    report = run.report()
    staller.join()
    return report


def stall(bench: Bench) -> list[Check]:
    report = _stalled(bench, Load(connections=64), STALL_RATE)
    blind = _stalled(bench, Load(connections=1), None)
    print(f"the origin stood still for {STALL_SECONDS} s of {STALL_RUN_SECONDS:.0f}: p99 by np_load's open loop "
          f"{report['latency_us']['p99']:.0f} us, by a closed loop {blind['latency_us']['p99']:.0f} us")
    return [Check(f"{name} of an open loop over a stall", report["latency_us"][name],
                  stall_percentile(share, STALL_SECONDS, STALL_RUN_SECONDS), allowed, "us")
            for name, share, allowed in (("p99", 0.99, 0.10), ("p999", 0.999, 0.10))]


def check_generator(bench: Bench) -> bool:
    checks = [*against_others(bench), *schedule(bench), *stall(bench)]
    for check in checks:
        print(check.line())
    return all(check.is_good for check in checks)
