# SPDX-License-Identifier: Apache-2.0
"""What must hold, and whether it did: a table of its own behind the rows. It is a report; nothing fails
on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .bench import Result
from .rows import BARE, OURS, PEERS
from .values import Sample, Summary, column, ratio, summarize

BEST = "the best peer"
HEAD = ("row", "what", "must", "measured", "holds")


@dataclass(frozen=True)
class Must:
    """`limit` is a ratio to `against`, or, against nobody, a figure of our own."""

    row: str
    what: str
    key: str  # of values.METRICS
    limit: float
    against: str | None = None
    at_least: bool = False

    def holds(self, median: float) -> bool:
        return median >= self.limit if self.at_least else median <= self.limit

    def demand(self) -> str:
        sign = ">=" if self.at_least else "<="
        return f"{sign} {self.limit:g}" + (f" x {self.against}" if self.against else "")


MUSTS = [
    *(must for row in ("keepalive-32", "keepalive-256") for must in (
        Must(row, "CPU per request", "cpu_us", 0.70, "nginx"),
        Must(row, "CPU per request", "cpu_us", 0.55, "haproxy"),
        Must(row, "CPU of the machine", "machine_us", 1.0, "nginx"))),
    Must("captured", "CPU per request", "cpu_us", 1.1, "nodeproxy, gateway"),
    Must("body-1MiB", "MiB/s", "mib_s", 1.0, BEST, at_least=True),
    Must("new-connection", "requests/s", "rps", 1.0, BEST, at_least=True),
    Must("latency-50", "p99", "p99_us", 1.0, BEST),
    Must("routes-endpoints", "CPU per request", "cpu_us", 1.10, "nodeproxy, 10 and 10"),
    Must("routes-10000", "CPU per request", "cpu_us", 1.10, "nodeproxy, 10"),
    Must("endpoints-1000", "CPU per request", "cpu_us", 1.10, "nodeproxy, 10"),
    Must("feature-all", "CPU per request", "cpu_us", 1.5, BARE),
    Must("idle-memory", "user bytes per idle connection", "idle_user", 1024),
    Must("reload-10000", "ms to effect", "effect_ms", 1000),
    Must("reload-10000", "errors", "errors", 0),
    Must("crowd", "p99 beside the crowd / alone", "times_alone", 1.2),
]


def measured(must: Must, samples: dict[str, list[Sample]]) -> tuple[str, Summary] | None:
    """Against whom, and how it is; of several peers the one that is best at it."""
    ours = samples.get(OURS, [])
    if must.against is None:
        own = summarize(column(ours, must.key))
        return ("", own) if own else None
    found = []
    for label in PEERS if must.against == BEST else (must.against,):
        summary = ratio(ours, samples.get(label, []), must.key)
        if summary:
            found.append((label if must.against == BEST else "", summary))
    if not found:
        return None
    worst = min if must.at_least else max
    return worst(found, key=lambda one: one[1].median)


def shown(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def must_table(results: Sequence[Result]) -> str:
    """Of the rows that were measured; empty when none of them has to hold anything."""
    by_row = {result.row.id: result.samples for result in results if not result.failed}
    lines = []
    for must in MUSTS:
        found = measured(must, by_row[must.row]) if must.row in by_row else None
        if found is None:
            continue
        label, value = found
        text = f"{shown(value.median)} [{shown(value.low)} {shown(value.high)}]" + (f" {label}" if label else "")
        lines.append((must.row, must.what, must.demand(), text, "yes" if must.holds(value.median) else "no"))
    if not lines:
        return ""
    rows = [HEAD, tuple("---" for _ in HEAD), *lines]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)
