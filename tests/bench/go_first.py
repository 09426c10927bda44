# SPDX-License-Identifier: Apache-2.0
"""What stands for a machine of its own goes before everything else on its CPU (SCHED_FIFO): what is
then measured is the wait inside the proxy, and not the wait for the CPU that it shares with the
rest of the load."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

PRIORITY = 10  # any will do
GO_FIRST = ["chrt", "-f", str(PRIORITY)]


def go_first(pid: int) -> None:
    os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(PRIORITY))


@contextmanager
def goes_first(pid: int) -> Iterator[None]:
    policy, parameters = os.sched_getscheduler(pid), os.sched_getparam(pid)
    go_first(pid)
    try:
        yield
    finally:
        os.sched_setscheduler(pid, policy, parameters)


def packets_go_first(cpu: int) -> AbstractContextManager[None]:
    """Packets that are left over are taken in by a thread of the kernel, whosever they are."""
    found = subprocess.run(["pgrep", "-x", f"ksoftirqd/{cpu}"], capture_output=True, text=True, check=True)
    return goes_first(int(found.stdout))
