# SPDX-License-Identifier: Apache-2.0
"""Which eBPF programs are attached to cgroups, asked of the kernel itself: bpftool knows only the kinds
of its own age."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path

SYS_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
PROG_LOAD, PROG_ATTACH, PROG_QUERY = 5, 8, 16
PROG_TYPE_CGROUP_SKB, CGROUP_INET_INGRESS = 8, 0
ATTACH_TYPES = 128  # more than any kernel has; unknown ones are refused
PROGRAMS_MAX = 64
ALLOW_ALL = struct.pack("<BBhi", 0xB7, 0, 0, 1) + struct.pack("<BBhi", 0x95, 0, 0, 0)  # return 1


def bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """Result or -errno, and the attributes as the kernel left them."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    result = libc.syscall(SYS_BPF, command, buffer, 128)
    return (result if result >= 0 else -ctypes.get_errno()), buffer.raw


def cgroup2_root() -> Path:
    """Where cgroup2 is mounted: /sys/fs/cgroup, or below it in hybrid mode."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] == "cgroup2":
            return Path(before.split()[4])
    raise AssertionError("no cgroup2 is mounted")


def programs_of(cgroup: Path) -> set[int]:
    """Ids of the programs that are attached to this very cgroup."""
    found: set[int] = set()
    fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for kind in range(ATTACH_TYPES):
            ids = (ctypes.c_uint32 * PROGRAMS_MAX)()
            asked = struct.pack("<IIIIQI", fd, kind, 0, 0, ctypes.addressof(ids), PROGRAMS_MAX)
            result, answer = bpf(PROG_QUERY, asked)
            if result == 0:
                found.update(ids[: struct.unpack_from("<I", answer, 24)[0]])
            elif result not in (-errno.EINVAL, -errno.EOPNOTSUPP):
                raise OSError(-result, f"query programs of kind {kind} at {cgroup}")
    finally:
        os.close(fd)
    return found


def programs_of_all_cgroups() -> set[int]:
    """Ids of all programs attached to the true root of cgroup2 or to any cgroup below it."""
    found: set[int] = set()
    for folder, _, _ in os.walk(cgroup2_root()):
        try:
            found |= programs_of(Path(folder))
        except (FileNotFoundError, NotADirectoryError):  # removed meanwhile
            continue
    return found


def attach_harmless(cgroup: Path) -> int:
    """Attaches a program that lets everything through; it goes with the cgroup. Returns its id."""
    instructions = ctypes.create_string_buffer(ALLOW_ALL, len(ALLOW_ALL))
    licence = ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack("<IIQQ", PROG_TYPE_CGROUP_SKB, len(ALLOW_ALL) // 8, ctypes.addressof(instructions),
                             ctypes.addressof(licence))
    program, _ = bpf(PROG_LOAD, attributes)
    if program < 0:
        raise OSError(-program, "load a program")
    fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        result, _ = bpf(PROG_ATTACH, struct.pack("<III", fd, program, CGROUP_INET_INGRESS))
        info = Path(f"/proc/self/fdinfo/{program}").read_text()
    finally:
        os.close(fd)
        os.close(program)
    if result < 0:
        raise OSError(-result, f"attach a program to {cgroup}")
    return int(info.split("prog_id:")[1].split()[0])
