# SPDX-License-Identifier: Apache-2.0
"""Rows of kind memory: what an idle connection costs. Every round starts the peer anew, since memory
once taken may be kept; a load before the first look touches buffers that are taken once."""

from __future__ import annotations

from .bench import Bench, Result, started
from .crowd import IdleConnections
from .measure import Span, measure
from .measuring import kernel_slab_bytes, private_bytes
from .peers import Peer
from .rows import Load, Row
from .values import Sample

TOUCH = Load(connections=256)
TOUCH_SPAN = Span(0.2, 1.5)
MIB = 1024 * 1024


def one_round(bench: Bench, peer: Peer, row: Row) -> Sample:
    touched = measure(bench.sandbox, peer, bench.origin, TOUCH, None, TOUCH_SPAN)
    user, kernel = private_bytes(peer.pids()), kernel_slab_bytes()
    idle = IdleConnections(bench, peer, row.size["idle"])
    more_user, more_kernel = private_bytes(peer.pids()) - user, kernel_slab_bytes() - kernel
    lost = idle.end()
    return {"rss_mib": user / MIB, "idle_user": more_user / row.size["idle"],
            "idle_kernel": more_kernel / row.size["idle"], "errors": touched["errors"] + lost}


def run_memory(bench: Bench, row: Row) -> Result:
    result = Result(row)
    for _ in range(bench.settings.rounds_of(row)):
        for peer in bench.contestants(row):
            with started([peer]):
                result.add(peer.label, one_round(bench, peer, row))
    return result
