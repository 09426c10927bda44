# SPDX-License-Identifier: Apache-2.0
"""Under what conditions a run was made, and whether the machine was quiet enough to believe it."""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from nodeproxy import ROOT

from .measuring import machine_now

BUSY_PERCENT = 5.0
STOLEN_PERCENT = 1.0
LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Quiet:
    load_average: float
    busy_percent: float
    stolen_percent: float

    def problems(self) -> list[str]:
        found = []
        if self.busy_percent > BUSY_PERCENT:
            found.append(f"other work uses {self.busy_percent:.0f} % of the CPUs")
        if self.stolen_percent > STOLEN_PERCENT:
            found.append(f"the hypervisor takes {self.stolen_percent:.1f} % of the CPUs")
        return found


def look_at_machine() -> Quiet:
    """The load average lags by a minute, so what counts is a second of looking."""
    before = machine_now()
    time.sleep(LOOK_SECONDS)
    used = machine_now() - before
    cpus = list(used.total_us)
    busy = 100.0 - used.idle_percent(cpus) - used.stolen_percent()
    return Quiet(os.getloadavg()[0], max(0.0, busy), used.stolen_percent())


def raise_file_limit() -> int:
    """As high as this machine allows; children inherit it."""
    wanted = 100_000
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
    except (ValueError, OSError):  # a hard limit below, and not ours to raise
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def describe(proxy_cpus: list[int], load_cpus: list[int], files: int, quiet: Quiet) -> dict[str, str]:
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "nodeproxy": _output("git", "-C", str(ROOT), "describe", "--always", "--dirty") + ", release build",
        "peers": f"nginx {_version('nginx', '-v')}, haproxy {_version('haproxy', '-v')}",
        "kernel": f"{platform.system()} {platform.release().split('-')[0]}",
        "machine": f"{os.cpu_count()} CPUs, {_cpu_model()}",
        "layout": f"proxy on CPU {_list(proxy_cpus)}, load and origin on CPU {_list(load_cpus)}; own network "
                  "namespace, loopback, reno",
        "files": str(files),
        "before": f"load average {quiet.load_average:.2f}, {quiet.busy_percent:.1f} % busy, "
                  f"{quiet.stolen_percent:.1f} % stolen" + "".join(f"; NOISE: {one}" for one in quiet.problems()),
    }


def _list(cpus: list[int]) -> str:
    return ",".join(map(str, cpus))


def _version(*command: str) -> str:
    found = re.search(r"\d+\.\d+\.\d+", _output(*command))
    return found.group(0) if found else "of unknown version"


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()


def _cpu_model() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found.group(1) if found else platform.machine()


