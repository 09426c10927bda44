# SPDX-License-Identifier: Apache-2.0
"""One round of one contestant: load it, and read the counters at the edges of the measured part."""

from __future__ import annotations

import time
from dataclasses import dataclass

from .loads import errors_of, start
from .measuring import Machine, Usage, machine_now
from .origin import Origin
from .peers import Peer
from .rows import Load
from .sandbox import Sandbox
from .values import Sample

LARGE_BYTES = 16 * 1024
MIB = 1024 * 1024
OUR_LOOKS = 1  # at the origin's counters, between the first look and the second


@dataclass(frozen=True)
class Span:
    """How long a round warms up and measures."""

    warm_seconds: float
    seconds: float


@dataclass(frozen=True)
class Counters:
    at_seconds: float
    machine: Machine
    usage: Usage | None  # of the peer
    run_us: int  # of everything that this run started
    accepted: int  # by the origin


class Edges:
    """Reads all counters twice; the difference is what the measured part used."""

    def __init__(self, sandbox: Sandbox, peer: Peer, origin: Origin) -> None:
        self._sandbox, self._peer, self._origin = sandbox, peer, origin
        self._first: Counters | None = None

    def begin(self) -> None:
        self._first = self._read()

    def sample(self, report: dict, load: Load) -> Sample:
        assert self._first is not None
        return sample_of(report, load, self._first, self._read(), self._sandbox.load_cpus)

    def _read(self) -> Counters:
        at_seconds = time.monotonic()
        usage = self._sandbox.usage(self._peer.name) if self._peer.is_measured else None
        machine, run_us = machine_now(), self._sandbox.all_usage().total_us
        return Counters(at_seconds, machine, usage, run_us, self._origin.connections_accepted())


def sample_of(report: dict, load: Load, first: Counters, last: Counters, load_cpus: list[int]) -> Sample:
    machine = last.machine - first.machine
    foreign_us = max(0, machine.busy() - (last.run_us - first.run_us))
    count = report["completed"]
    sample: Sample = {"errors": errors_of(report), "requests": count,
                      "load_idle": machine.idle_percent(load_cpus), "stolen": machine.stolen_percent(),
                      "foreign": 100.0 * foreign_us / max(1, sum(machine.total_us.values()))}
    if count == 0:
        return sample
    measured_seconds = count / report["requests_per_second"]
    sample["late"] = 100.0 * max(0.0, 1 - (last.at_seconds - first.at_seconds) / measured_seconds)
    sample["rps"] = report["requests_per_second"]
    sample["machine_us"] = machine.busy() / count
    sample["opened"] = max(0, last.accepted - first.accepted - OUR_LOOKS) * 1000 / count
    for name in ("p50", "p99", "p999"):
        if name in report["latency_us"]:
            sample[f"{name}_us"] = report["latency_us"][name]
    bytes_each = load.body_bytes or report["body_bytes"] / count
    if bytes_each >= LARGE_BYTES:
        sample["mib_s"] = sample["rps"] * bytes_each / MIB
    if first.usage is not None and last.usage is not None:
        sample |= _cpu_of(last.usage - first.usage, count)
    return sample


def _cpu_of(usage: Usage, count: int) -> Sample:
    cpu_us = usage.total_us / count
    each = {"cpu_us": cpu_us, "user_us": usage.user_us / count, "kernel_us": usage.kernel_us / count}
    return each | ({"per_core": 1e6 / cpu_us} if cpu_us > 0 else {})


def measure(sandbox: Sandbox, peer: Peer, origin: Origin, load: Load, rate: float | None, span: Span,
            cpus: list[int] | None = None) -> Sample:
    edges = Edges(sandbox, peer, origin)
    run = start(sandbox, peer.target, load, rate, span.seconds, span.warm_seconds, peer.load_netns, cpus)
    run.started()
    edges.begin()
    return edges.sample(run.report(), load)
