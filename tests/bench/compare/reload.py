# SPDX-License-Identifier: Apache-2.0
"""Rows of kind reload: one rule changes while requests come in at a steady rate. Told are the time
until the first answer by the new rule, and what the requests noticed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from .bench import Bench, Result, started
from .loads import Run, arguments
from .measure import Edges
from .peers import Peer, with_mark
from .rows import Row
from .values import Sample

MARK = "changed"
NEW_ANSWER = b"changed"
POLL_SECONDS = 0.002
LIMIT_SECONDS = 60.0
MS = 1000.0


def answers_new(peer: Peer) -> bool:
    try:
        return peer.ask("/probe") == NEW_ANSWER
    except OSError:
        return False  # refused for a moment: the load's errors tell of it too


def change_and_time(peer: Peer, row: Row, to_new: bool) -> Sample:
    """The configuration is written before the clock starts; the order to use it is what is timed."""
    peer.prepare(with_mark(row.scene, MARK) if to_new else row.scene)

    def give_order() -> float:
        peer.commit()
        return time.monotonic()

    with ThreadPoolExecutor(1) as pool:
        begun = time.monotonic()
        order = pool.submit(give_order)
        while answers_new(peer) != to_new:
            if order.done() and order.exception() is not None:
                break  # the result below raises it
            if time.monotonic() - begun > LIMIT_SECONDS:
                raise RuntimeError(f"{peer.label}: the change had no effect in {LIMIT_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)
        effect = time.monotonic()
        return {"order_ms": (order.result() - begun) * MS, "effect_ms": (effect - begun) * MS}


def one_round(bench: Bench, peer: Peer, row: Row, rate: float | None, to_new: bool) -> Sample:
    span = bench.settings.span(row)
    edges = Edges(bench.sandbox, peer, bench.origin)
    run = Run(bench.sandbox, peer.target, arguments(row.load, rate), span.seconds, span.warm_seconds)
    run.started()
    edges.begin()
    time.sleep(span.seconds / 4)
    times = change_and_time(peer, row, to_new)
    return {**edges.sample(run.report(), row.load), **times}


def run_reload(bench: Bench, row: Row) -> Result:
    result = Result(row, rate=bench.rate_of(row.load))
    with started(bench.contestants(row)) as peers:
        for number in range(bench.settings.rounds_of(row)):
            for peer in peers:
                result.add(peer.label, one_round(bench, peer, row, result.rate, to_new=number % 2 == 0))
    return result
