# SPDX-License-Identifier: Apache-2.0
"""CPU time and memory, as the kernel tells them: of a control group, and of the whole machine."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

# Fields of /proc/stat: user nice system idle iowait irq softirq steal (guest times are in user).
IDLE, IOWAIT, STEAL = 3, 4, 7
STAT_FIELDS = 8
US_PER_TICK = 1_000_000 // os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """CPU time of a group in microseconds."""

    total_us: int
    user_us: int
    kernel_us: int

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(self.total_us - other.total_us, self.user_us - other.user_us,
                     self.kernel_us - other.kernel_us)


def parse_cpu_stat(text: str) -> Usage:
    values = dict(line.split() for line in text.splitlines() if line)
    return Usage(int(values["usage_usec"]), int(values["user_usec"]), int(values["system_usec"]))


def group_usage(group: Path) -> Usage:
    return parse_cpu_stat((group / "cpu.stat").read_text())


@dataclass(frozen=True)
class Machine:
    """Per CPU: time busy, stolen by the hypervisor, and all of it, in microseconds."""

    busy_us: dict[int, int] = field(default_factory=dict)
    stolen_us: dict[int, int] = field(default_factory=dict)
    total_us: dict[int, int] = field(default_factory=dict)

    def __sub__(self, other: "Machine") -> "Machine":
        def less(mine: dict[int, int], theirs: dict[int, int]) -> dict[int, int]:
            return {cpu: value - theirs[cpu] for cpu, value in mine.items()}

        return Machine(less(self.busy_us, other.busy_us), less(self.stolen_us, other.stolen_us),
                       less(self.total_us, other.total_us))

    def busy(self) -> int:
        return sum(self.busy_us.values())

    def idle_percent(self, cpus: list[int]) -> float:
        total = sum(self.total_us[cpu] for cpu in cpus)
        busy = sum(self.busy_us[cpu] + self.stolen_us[cpu] for cpu in cpus)
        return 100.0 * (total - busy) / total if total else 0.0

    def stolen_percent(self) -> float:
        total = sum(self.total_us.values())
        return 100.0 * sum(self.stolen_us.values()) / total if total else 0.0


def parse_proc_stat(text: str) -> Machine:
    """Stolen time is not busy time: it was somebody else's work. Nor is waiting for a disk."""
    machine = Machine()
    for line in text.splitlines():
        name, *fields = line.split()
        if not name.startswith("cpu") or name == "cpu":
            continue
        cpu, ticks = int(name[3:]), [int(value) for value in fields[:STAT_FIELDS]]
        total = sum(ticks)
        machine.total_us[cpu] = total * US_PER_TICK
        machine.stolen_us[cpu] = ticks[STEAL] * US_PER_TICK
        machine.busy_us[cpu] = (total - ticks[IDLE] - ticks[IOWAIT] - ticks[STEAL]) * US_PER_TICK
    return machine


def machine_now() -> Machine:
    return parse_proc_stat(Path("/proc/stat").read_text())


def parse_kilobytes(text: str, name: str) -> int:
    """In bytes; of smaps_rollup or meminfo."""
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"no line {name}")


def private_bytes(pids: list[int]) -> int:
    """Memory that the processes have for themselves; a page they share is counted once, by its share."""
    total = 0
    for pid in pids:
        try:
            total += parse_kilobytes(Path(f"/proc/{pid}/smaps_rollup").read_text(), "Pss")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended between the list and the look
    return total


def kernel_slab_bytes() -> int:
    return parse_kilobytes(Path("/proc/meminfo").read_text(), "Slab")
