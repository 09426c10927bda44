# SPDX-License-Identifier: Apache-2.0
"""Where one run lives: a network namespace with reno, a folder, and a control group for each thing
that is measured. Whatever is started here is in one of those groups, so closing ends all of it and
nothing else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO

from netns import ip
from nodeproxy import in_netns, wait_until

from .measuring import Usage, group_usage

STOP_SECONDS = 3.0
# Into the group and then the program itself: its whole life is counted, its threads too.
ENTER = 'echo $$ > "$0/cgroup.procs" && exec "$@"'


def cgroup2_mount() -> Path:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    raise SystemExit("tools/bench counts CPU time with cgroup v2, and it is not mounted here")


class Sandbox:
    """Use as a context manager."""

    def __init__(self, proxy_cpus: list[int], load_cpus: list[int]) -> None:
        self.name = f"npbench{os.getpid()}"
        self.netns = self.name
        self.proxy_cpus, self.load_cpus = proxy_cpus, load_cpus
        self.dir = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=_memory_folder()))
        self.dir.chmod(0o755)
        self._groups = cgroup2_mount() / self.name

    def __enter__(self) -> "Sandbox":
        try:
            self._groups.mkdir()
            ip("netns", "add", self.netns)
            ip("link", "set", "lo", "up", netns=self.netns)
            self.prepare(self.netns)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def prepare(self, netns: str) -> None:
        """What every namespace of a run gets: a BBR without fq would pace each socket by timers."""
        settings = {"net/ipv4/tcp_congestion_control": "reno",
                    # Beside our own ports, and many: new connections use them up.
                    "net/ipv4/ip_local_port_range": "24000 65000",
                    "net/ipv4/tcp_tw_reuse": "1",
                    # Thousands that end in the same tick, a minute later, stop the machine for milliseconds.
                    "net/ipv4/tcp_max_tw_buckets": "0",
                    "net/core/somaxconn": "16384"}
        for name, value in settings.items():
            subprocess.run(in_netns(netns, ["sh", "-c", f"echo '{value}' > /proc/sys/{name}"]), check=True)

    def group(self, name: str) -> Path:
        path = self._groups / name
        path.mkdir(exist_ok=True)
        return path

    def through(self, name: str, cpus: list[int]) -> tuple[str, ...]:
        """A command line that puts what follows it into the group and on the CPUs."""
        on = ",".join(map(str, cpus))
        return ("sh", "-c", ENTER, str(self.group(name)), "taskset", "-c", on)

    def start(self, name: str, cpus: list[int], command: list[str], netns: str | None = None,
              stdout: int | IO[str] | None = subprocess.DEVNULL,
              stderr: int | IO[str] | None = None,
              stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        """A session of its own: Ctrl-C is for the run, which then ends what it started."""
        whole = in_netns(netns or self.netns, [*self.through(name, cpus), *command])
        return subprocess.Popen(whole, stdin=stdin, stdout=stdout, stderr=stderr, text=True,
                                start_new_session=True)

    def usage(self, name: str) -> Usage:
        return group_usage(self.group(name))

    def all_usage(self) -> Usage:
        """Of everything this run started: the outer group holds all the others."""
        return group_usage(self._groups)

    def pids(self, name: str) -> list[int]:
        return [int(pid) for pid in (self.group(name) / "cgroup.procs").read_text().split()]

    def threads(self, name: str) -> list[int]:
        return [int(thread) for thread in (self.group(name) / "cgroup.threads").read_text().split()]

    def end(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """Ends the group's processes, at last by force."""
        deadline = time.monotonic() + STOP_SECONDS
        while (pids := self.pids(name)) and time.monotonic() < deadline:
            for pid in pids:
                _signal(pid, how)
            time.sleep(0.05)
        if self.pids(name):
            (self.group(name) / "cgroup.kill").write_text("1")
            wait_until(lambda: not self.pids(name), 10, f"{name} has ended")

    def close(self) -> None:
        if self._groups.exists():
            for group in [path for path in self._groups.iterdir() if path.is_dir()]:
                self.end(group.name)
                group.rmdir()
            self._groups.rmdir()
        ip("netns", "delete", self.netns, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)


def _memory_folder() -> str | None:
    """Bodies and logs in memory: no disk is measured."""
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def _signal(pid: int, how: signal.Signals) -> None:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        pass  # it has just ended
