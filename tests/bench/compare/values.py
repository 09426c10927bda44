# SPDX-License-Identifier: Apache-2.0
"""The figures of a row: their names, and how rounds become one median and one ratio."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# One round of one contestant: metric -> value. A metric that could not be measured is absent.
Sample = dict[str, float]


@dataclass(frozen=True)
class Metric:
    key: str
    title: str
    decimals: int
    in_ratio: bool = True  # a ratio of it to a peer's says something
    brief: bool = False  # the table shows the median alone; the JSON has the rest


METRICS = [
    Metric("rps", "req/s", 0),
    Metric("mib_s", "MiB/s", 0),
    Metric("per_core", "req/core-s", 0, brief=True),
    Metric("cpu_us", "CPU us/req", 2),
    Metric("user_us", "user", 2, brief=True),
    Metric("kernel_us", "kernel", 2, brief=True),
    Metric("machine_us", "machine us/req", 2),
    Metric("p50_us", "p50 us", 0, brief=True),
    Metric("p99_us", "p99 us", 0),
    Metric("p999_us", "p99.9 us", 0, brief=True),
    Metric("added_p50_us", "+p50 us", 0, in_ratio=False, brief=True),
    Metric("added_p99_us", "+p99 us", 0, in_ratio=False, brief=True),
    Metric("alone_p99_us", "p99 us alone", 0),
    Metric("times_alone", "p99 / alone", 2),
    Metric("effect_ms", "ms to effect", 1),
    Metric("order_ms", "ms of the order", 1, in_ratio=False, brief=True),
    Metric("rss_mib", "MiB before", 1),
    Metric("idle_user", "user B/idle conn", 0),
    Metric("idle_kernel", "kernel B/idle conn", 0),
    Metric("opened", "opened/1000", 2, in_ratio=False, brief=True),
    Metric("load_idle", "load idle %", 0, in_ratio=False, brief=True),
    Metric("errors", "errors", 0, in_ratio=False),
]


@dataclass(frozen=True)
class Summary:
    median: float
    low: float
    high: float


def summarize(values: Sequence[float]) -> Summary | None:
    if not values:
        return None
    return Summary(statistics.median(values), min(values), max(values))


def column(samples: Sequence[Sample], key: str) -> list[float]:
    return [sample[key] for sample in samples if key in sample]


def ratio(ours: Sequence[Sample], theirs: Sequence[Sample], key: str) -> Summary | None:
    """Round by round, so that what the machine did meanwhile falls on both sides; then as any figure."""
    pairs = [(mine[key], other[key]) for mine, other in zip(ours, theirs)
             if key in mine and key in other and other[key] > 0]
    return summarize([mine / other for mine, other in pairs])
