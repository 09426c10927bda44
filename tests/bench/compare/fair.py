# SPDX-License-Identifier: Apache-2.0
"""The row of kind fair-share: tests/bench/fair_share.py, whose scene has no place for peers, since
they know no pods. A quiet pod's p99 alone, and beside a pod at full speed."""

from __future__ import annotations

import fair_share

from .bench import Bench, Result
from .loads import errors_of
from .rows import OURS, Row

QUIET, BESIDE, PAST = "quiet, alone", "quiet, beside", "quiet, noise past"


def run_fair_share(bench: Bench, row: Row) -> Result:
    result = Result(row)
    scene = fair_share.Scene()
    scene.setUp()
    try:
        fair_share.prepare(scene)
        for _ in range(bench.settings.rounds_of(row)):
            reports = fair_share.one_round(scene, row.size["seconds"], row.size["connections"])
            alone, beside, past = (reports[name]["latency_us"]["p99"] for name in (QUIET, BESIDE, PAST))
            result.add(OURS, {"p99_us": beside, "alone_p99_us": alone, "times_alone": beside / alone,
                              "errors": errors_of(reports[QUIET]) + errors_of(reports[BESIDE])})
            result.add("past the daemon", {"p99_us": past, "times_alone": past / alone,
                                           "errors": errors_of(reports[PAST])})
            fair_share.wait_for_end(scene)
    finally:
        scene.doCleanups()
    return result
