# SPDX-License-Identifier: Apache-2.0
"""The kinds of rows, and what is said beside the figures of any of them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from .bench import Bench, Result, started
from .crowd import run_crowd
from .fair import run_fair_share
from .measure import measure
from .memory import run_memory
from .pods import run_pods
from .reload import run_reload
from .rows import DIRECT, Row
from .values import Sample, column, summarize

LEAST_LOAD_IDLE_PERCENT = 15.0
NOISE_PERCENT = 5.0
STOLEN_PERCENT = 1.0
LATE_PERCENT = 2.0
FAILURE_LINES = 3


def run_load_row(bench: Bench, row: Row) -> Result:
    """Rounds interleaved, A B C A B C: what the machine does meanwhile falls on all."""
    result = Result(row, rate=bench.rate_of(row.load))
    with started(bench.contestants(row)) as peers:
        for _ in range(bench.settings.rounds_of(row)):
            for peer in peers:
                result.add(peer.label, measure(bench.sandbox, peer, bench.origin, row.load, result.rate,
                                               bench.settings.span(row), bench.load_cpus(row)))
    add_added_latency(result.samples)
    return result


def add_added_latency(samples: dict[str, list[Sample]]) -> None:
    """Through minus direct, at the same rate and in the same round."""
    direct = samples.get(DIRECT, [])
    for label, rounds in samples.items():
        for sample, bare in zip(rounds, direct if label != DIRECT else []):
            for name in ("p50", "p99"):
                if f"{name}_us" in sample and f"{name}_us" in bare:
                    sample[f"added_{name}_us"] = sample[f"{name}_us"] - bare[f"{name}_us"]


AXES: dict[str, Callable[[Bench, Row], Result]] = {
    "load": run_load_row,
    "crowd": run_crowd,
    "memory": run_memory,
    "reload": run_reload,
    "pods": run_pods,
    "fair-share": run_fair_share,
}


def run_row(bench: Bench, row: Row) -> Result:
    """A row that fails is a row that says so; the others go on."""
    try:
        result = AXES[row.kind](bench, row)
    except (RuntimeError, AssertionError, OSError, ValueError, subprocess.SubprocessError) as error:
        lines = str(error).strip().splitlines() or ["nothing was said"]
        told = " / ".join(lines if len(lines) <= FAILURE_LINES else [lines[0], *lines[1 - FAILURE_LINES:]])
        return Result(row, notes=[f"{type(error).__name__}: {told}"], failed=True)
    result.notes += notes_of(result)
    return result


def notes_of(result: Result) -> list[str]:
    """What a reader must know before believing the figures."""
    def highest(key: str) -> float:
        return max((max(column(samples, key), default=0.0) for samples in result.samples.values()), default=0.0)

    notes = []
    if highest("foreign") > NOISE_PERCENT:
        notes.append(f"NOISE: other work used up to {highest('foreign'):.0f} % of the CPUs")
    if highest("stolen") > STOLEN_PERCENT:
        notes.append(f"NOISE: the hypervisor took up to {highest('stolen'):.1f} % of the CPUs")
    short = short_of_load(result)
    if short:
        notes.append(f"the load's CPU had less than {LEAST_LOAD_IDLE_PERCENT:.0f} % left ({', '.join(short)}): "
                     "it set req/s and latency; compare CPU per request")
    if highest("late") > LATE_PERCENT:
        notes.append(f"NOISE: counters were read late, so CPU figures are up to {highest('late'):.0f} % too low")
    for label, samples in result.samples.items():
        errors = sum(column(samples, "errors"))
        if errors:
            notes.append(f"{label}: {errors:.0f} requests had no right answer")
        if any(sample.get("requests") == 0 for sample in samples):
            notes.append(f"{label}: a round without a single answer")
    return notes


def short_of_load(result: Result) -> list[str]:
    if result.row.both_cpus:
        return []
    idle = {label: summarize(column(samples, "load_idle")) for label, samples in result.samples.items()}
    return [label for label, found in idle.items() if found and found.median < LEAST_LOAD_IDLE_PERCENT]
