# SPDX-License-Identifier: Apache-2.0
"""Reads np_events as a tool on the node would: says in np_live that somebody reads, and takes what
programs put into the ring. Needs root and the instance's pins."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path

LIVE_EVENTS = 0x08  # NP_LIVE_EVENTS of np_abi.h
LIVE_FLAGS = 8  # offset in struct np_live
KINDS = {1: "open", 2: "close", 3: "ejected", 4: "returned", 5: "unhealthy", 6: "healthy"}
RECORD = struct.Struct("<QIIII16s16sHHI")
RING_BYTES = 256 * 1024
BUSY, DISCARDED, HEADER = 1 << 31, 1 << 30, 8


@dataclass
class Event:
    kind: str
    service_id: int
    count: int
    endpoint: str  # last four bytes of the address, and the port


def open_pin(path: Path) -> int:
    library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    fd = library.bpf_obj_get(str(path).encode())
    if fd < 0:
        raise OSError(ctypes.get_errno(), f"open {path}")
    return fd


class EventReader:
    """Owns both mappings; the flag stays set until close()."""

    def __init__(self, maps: Path) -> None:
        live, ring = open_pin(maps / "np_live"), open_pin(maps / "np_events")
        page = mmap.PAGESIZE
        self.live = mmap.mmap(live, page)
        self.consumer = mmap.mmap(ring, page)
        # The producer's page, then the data, which is mapped twice in a row.
        self.data = mmap.mmap(ring, page + 2 * RING_BYTES, prot=mmap.PROT_READ, offset=page)
        os.close(live)
        os.close(ring)
        self.consumer[0:8] = self.data[0:8]
        self.set_flag(LIVE_EVENTS)

    def set_flag(self, value: int) -> None:
        (flags,) = struct.unpack_from("<I", self.live, LIVE_FLAGS)
        struct.pack_into("<I", self.live, LIVE_FLAGS, (flags & ~LIVE_EVENTS) | value)

    def close(self) -> None:
        self.set_flag(0)
        for mapping in (self.live, self.consumer, self.data):
            mapping.close()

    def read(self) -> list[Event]:
        events = []
        (position,) = struct.unpack_from("<Q", self.consumer, 0)
        while position < struct.unpack_from("<Q", self.data, 0)[0]:
            at = mmap.PAGESIZE + position % RING_BYTES
            (length,) = struct.unpack_from("<I", self.data, at)
            if length & BUSY:
                break
            size = length & ~DISCARDED
            if not length & DISCARDED:
                events.append(self.parse(self.data[at + HEADER : at + HEADER + size]))
            position += (size + HEADER + 7) // 8 * 8
            struct.pack_into("<Q", self.consumer, 0, position)
        return events

    def parse(self, record: bytes) -> Event:
        _, kind, _, service, count, _, address, _, port, _ = RECORD.unpack(record)
        host = ".".join(str(byte) for byte in address[12:])
        return Event(KINDS[kind], service, count, f"{host}:{port}")
