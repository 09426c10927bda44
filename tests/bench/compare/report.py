# SPDX-License-Identifier: Apache-2.0
"""Results as JSON, for tracking over time. The schema number changes with the meaning of a key."""

from __future__ import annotations

from dataclasses import asdict

from .bench import Result
from .rows import DIRECT, OURS
from .values import column, ratio, summarize

SCHEMA = 1


def as_json(conditions: dict[str, str], results: list[Result]) -> dict:
    return {"schema": SCHEMA, "conditions": conditions, "rows": [_row(result) for result in results]}


def _row(result: Result) -> dict:
    contestants = {}
    ours = result.samples.get(OURS, [])
    for label, samples in result.samples.items():
        keys = sorted({key for sample in samples for key in sample})
        contestants[label] = {"metrics": {key: _metric(column(samples, key)) for key in keys}}
        if label not in (OURS, DIRECT):
            ratios = {key: ratio(ours, samples, key) for key in keys}
            contestants[label]["ours_to_it"] = {key: asdict(value) for key, value in ratios.items() if value}
    return {"id": result.row.id, "title": result.row.title, "kind": result.row.kind, "rate": result.rate,
            "failed": result.failed, "contestants": contestants, "notes": result.notes}


def _metric(values: list[float]) -> dict:
    summary = summarize(values)
    assert summary is not None  # the key was found in some round
    return {**asdict(summary), "rounds": values}
