# SPDX-License-Identifier: Apache-2.0
"""Results as text: a block for each row of the bench, a line for each contestant, then ours in ratio
to each of the others. A cell is `median [min max]` over the rounds, of lesser figures the median alone."""

from __future__ import annotations

from .bench import Result
from .rows import DIRECT, OURS
from .values import METRICS, Metric, Summary, column, ratio, summarize

NOTHING = "-"


def number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}"


def cell(summary: Summary | None, decimals: int, brief: bool = False) -> str:
    if summary is None:
        return NOTHING
    low, high = number(summary.low, decimals), number(summary.high, decimals)
    median = number(summary.median, decimals)
    return median if brief or low == high else f"{median} [{low} {high}]"


def metrics_of(result: Result) -> list[Metric]:
    known = {key for samples in result.samples.values() for sample in samples for key in sample}
    return [metric for metric in METRICS if metric.key in known]


def lines_of(result: Result) -> list[list[str]]:
    """Head, contestants, ratios; all of the same length."""
    metrics = metrics_of(result)
    lines = [["", *(metric.title for metric in metrics)]]
    for label, samples in result.samples.items():
        cells = [cell(summarize(column(samples, metric.key)), metric.decimals, metric.brief) for metric in metrics]
        lines.append([label, *cells])
    ours = result.samples.get(OURS, [])
    for label, theirs in result.samples.items():
        if label in (OURS, DIRECT):
            continue
        cells = [cell(ratio(ours, theirs, metric.key), 2, metric.brief) if metric.in_ratio else ""
                 for metric in metrics]
        lines.append([f"{OURS} / {label}", *cells])
    return lines


def aligned(lines: list[list[str]]) -> list[str]:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    out = []
    for line in lines:
        cells = [line[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(line[1:], widths[1:]))]
        out.append("  ".join(cells).rstrip())
    return out


def title_of(result: Result) -> str:
    rate = f", at {result.rate:.0f} req/s" if result.rate else ""
    return f"{result.row.id}: {result.row.title}{rate}"


def block(result: Result) -> str:
    figures = aligned(lines_of(result)) if result.samples else []
    mark = "FAILED" if result.failed else "!"
    lines = [title_of(result), *(f"  {line}" for line in figures), *(f"  {mark} {note}" for note in result.notes)]
    return "\n".join(lines) + "\n"
