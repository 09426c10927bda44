# SPDX-License-Identifier: Apache-2.0
"""Rows of kind crowd: what idle connections, and connections that come and go, do to the active ones.
Each round measures the active ones alone and then in the crowd. These and the origin go before the
crowd on the CPU that they share: they stand for machines of their own. So does the proxy on its
CPU, since threads of the kernel keep it from others for 4 ms at a time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from go_first import goes_first, packets_go_first

from .bench import Bench, Result, started
from .loads import GROUP, LoadFailed, Run, arguments, errors_of
from .measure import Span, measure
from .origin import GROUP as ORIGIN
from .origin import SPARE_FILES
from .peers import Peer
from .rows import Load, Row
from .values import Sample

OPEN_SECONDS = 60.0
CHURN_CONNECTIONS = 64
CHURN_WARM_SECONDS = 0.2


class IdleConnections:
    """`count` of them, open from `__enter__` to `end`."""

    def __init__(self, bench: Bench, peer: Peer, count: int) -> None:
        self._process = bench.sandbox.start(
            GROUP, bench.sandbox.load_cpus,
            [sys.executable, "-B", "-m", "compare.holder", peer.address, str(peer.port), str(count)],
            netns=peer.netns, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._process.stdout is not None and self._process.stderr is not None
        if self._process.stdout.readline().strip() != "ready":
            problem = self._process.stderr.read().strip().splitlines()
            raise LoadFailed(f"{peer.label}: {count} connections cannot be open: {problem[-1:]}")

    def end(self) -> int:
        """How many the peer had closed."""
        output, _ = self._process.communicate(timeout=OPEN_SECONDS)
        return int(output)


def idle_count(bench: Bench, row: Row) -> int:
    """A proxy may need two files for each client: where the limit is low, there are fewer idle ones."""
    room = bench.settings.files // 2 - SPARE_FILES - CHURN_CONNECTIONS - row.load.connections
    return min(row.size["idle"], room)


@contextmanager
def crowd(bench: Bench, peer: Peer, row: Row, span: Span) -> Iterator[dict[str, int]]:
    """What went wrong in it is in the dictionary afterwards."""
    wrong: dict[str, int] = {}
    idle = IdleConnections(bench, peer, idle_count(bench, row))
    churn = Load(connections=CHURN_CONNECTIONS, new_connection_each=True, rate=float(row.size["churn"]))
    run = Run(bench.sandbox, peer.target, arguments(churn, churn.rate),
              span.seconds + span.warm_seconds, CHURN_WARM_SECONDS)
    run.started()
    yield wrong
    wrong["churned"] = errors_of(run.report())
    wrong["idle lost"] = idle.end()


def one_round(bench: Bench, peer: Peer, row: Row, rate: float | None) -> tuple[Sample, dict[str, int]]:
    span = bench.settings.span(row)
    alone = measure(bench.sandbox, peer, bench.origin, row.load, rate, span)
    with crowd(bench, peer, row, span) as wrong:
        beside = measure(bench.sandbox, peer, bench.origin, row.load, rate, span)
    if "p99_us" in alone and "p99_us" in beside:
        beside["alone_p99_us"] = alone["p99_us"]
        beside["times_alone"] = beside["p99_us"] / alone["p99_us"]
    beside["errors"] += alone["errors"] + sum(wrong.values())
    return beside, wrong


@contextmanager
def all_first(bench: Bench, peers: list[Peer]) -> Iterator[None]:
    """Everybody but the crowd."""
    with ExitStack() as until_the_end:
        for cpu in bench.sandbox.load_cpus:
            until_the_end.enter_context(packets_go_first(cpu))
        for group in (ORIGIN, *(peer.name for peer in peers if peer.is_measured)):
            for thread in bench.sandbox.threads(group):
                until_the_end.enter_context(goes_first(thread))
        yield


def run_crowd(bench: Bench, row: Row) -> Result:
    result = Result(row, rate=bench.rate_of(row.load))
    if idle_count(bench, row) < row.size["idle"]:
        result.notes.append(f"{idle_count(bench, row)} idle connections: the limit of files allows no more")
    with started(bench.contestants(row)) as peers, all_first(bench, peers):
        for number in range(bench.settings.rounds_of(row)):
            for peer in peers:
                sample, wrong = one_round(bench, peer, row, result.rate)
                result.add(peer.label, sample)
                told = ", ".join(f"{name} {count}" for name, count in wrong.items() if count)
                if told:
                    result.notes.append(f"{peer.label}, round {number + 1}: {told}")
    return result
