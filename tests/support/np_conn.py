# SPDX-License-Identifier: Apache-2.0
"""np_conn as a tool on the node reads it: one record per captured connection, from the pinned map's
memory. Needs root and the instance's pins."""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass, fields
from pathlib import Path

from kernel_events import open_pin

SLOTS = 65536
# struct np_conn: seq, state, pod, service, route, endpoint, 40 bytes of key, then the counters.
RECORD = struct.Struct("<6I40s16Q")
FREE = 0


@dataclass
class Totals:
    started: int = 0
    completed: int = 0
    refused: int = 0
    aborted: int = 0
    status_2xx: int = 0
    status_3xx: int = 0
    status_4xx: int = 0
    status_5xx: int = 0
    delays: int = 0
    fault_aborts: int = 0
    retries: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    records: int = 0


def read_totals(maps: Path) -> Totals:
    fd = open_pin(maps / "np_conn")
    try:
        memory = mmap.mmap(fd, SLOTS * RECORD.size, prot=mmap.PROT_READ)
    finally:
        os.close(fd)
    totals = Totals()
    names = [field.name for field in fields(Totals) if field.name != "records"]
    with memory:
        for record in RECORD.iter_unpack(memory[:]):
            if record[1] == FREE:
                continue
            totals.records += 1
            for name, value in zip(names, record[7:], strict=False):
                setattr(totals, name, getattr(totals, name) + value)
    return totals
