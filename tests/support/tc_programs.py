# SPDX-License-Identifier: Apache-2.0
"""Somebody else's eBPF program on the interface of a pod: it passes everything on. Attached by tcx here,
by tc(8) from its pin."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cgroup_programs import PROG_LOAD, bpf
from netns import inside

OBJ_PIN, OBJ_GET, LINK_CREATE = 6, 7, 28
PROG_TYPE_SCHED_CLS, PROG_TYPE_XDP = 3, 6
TCX_INGRESS = 46
BEFORE, AFTER = 1 << 3, 1 << 4


def returning(value: int) -> bytes:
    return struct.pack("<BBhi", 0xB7, 0, 0, value) + struct.pack("<BBhi", 0x95, 0, 0, 0)


PASS_ON = {PROG_TYPE_SCHED_CLS: returning(-1), PROG_TYPE_XDP: returning(2)}  # TCX_NEXT, XDP_PASS


def checked(command: int, attributes: bytes, what: str) -> int:
    result, _ = bpf(command, attributes)
    if result < 0:
        raise OSError(-result, f"{what}: {os.strerror(-result)}")
    return result


@contextmanager
def pinned_classifier(name: str, kind: int = PROG_TYPE_SCHED_CLS) -> Iterator[str]:
    """A program called "other"; the path of its pin."""
    path = f"/sys/fs/bpf/{name}-other"
    code, licence = ctypes.create_string_buffer(PASS_ON[kind]), ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack("<IIQQIIQII16s", kind, len(PASS_ON[kind]) // 8, ctypes.addressof(code),
                             ctypes.addressof(licence), 0, 0, 0, 0, 0, b"other")
    program = checked(PROG_LOAD, attributes, "load a program")
    pathname = ctypes.create_string_buffer(path.encode())
    Path(path).unlink(missing_ok=True)
    try:
        checked(OBJ_PIN, struct.pack("<QII", ctypes.addressof(pathname), program, 0), f"pin {path}")
        yield path
    finally:
        os.close(program)
        Path(path).unlink(missing_ok=True)


@contextmanager
def attach_tcx(pin: str, interface: str, netns: str | None, first: bool) -> Iterator[None]:
    """At ingress, ahead of all others or behind them; while the context lasts."""
    pathname = ctypes.create_string_buffer(pin.encode())
    program = checked(OBJ_GET, struct.pack("<QII", ctypes.addressof(pathname), 0, 0), f"open {pin}")

    def attach() -> int:
        index = socket.if_nametoindex(interface)
        flags = BEFORE if first else AFTER
        return checked(LINK_CREATE, struct.pack("<IIII", program, index, TCX_INGRESS, flags), f"attach to {interface}")

    try:
        link = inside(netns, attach)
    finally:
        os.close(program)
    try:
        yield
    finally:
        os.close(link)
