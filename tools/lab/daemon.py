# SPDX-License-Identifier: Apache-2.0
"""The node proxy of the demo: starting nodeproxyd, talking to it with nodectl, and removing every
trace of it (process, pins, proxy namespace, run and state directory)."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from lab import layout
from lab.layout import PodSpec
from lab.pods import end_processes
from lab.shell import LabError, run, terminal, wait_until

READY_SECONDS = 20.0
STOP_SECONDS = 10.0
PIN_DIR = Path("/sys/fs/bpf") / layout.INSTANCE
PID_FILE = layout.WORK_DIR / "nodeproxyd.pid"
LOG_FILE = layout.WORK_DIR / "nodeproxyd.log"


def is_port_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def any_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Nodectl:
    """Types nodectl commands as a person does: shown, then run from the checkout's top."""

    def __init__(self) -> None:
        program = layout.BUILD_DIR / "bin" / "nodectl"
        shown = program.relative_to(layout.ROOT) if program.is_relative_to(layout.ROOT) else program
        self._prefix = [str(shown), "--run-dir", str(layout.RUN_DIR), "-n", layout.NAMESPACE]

    def command(self, arguments: Sequence[str]) -> list[str]:
        return [*self._prefix, *arguments]

    def quiet(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        done = run(self.command(arguments), check=check, stdin=stdin, cwd=layout.ROOT)
        return done.stdout + done.stderr

    def shown(self, *arguments: str, stdin: str = "") -> str:
        terminal.say(f"  $ {shlex.join(self.command(arguments))}{' <<EOF' if stdin else ''}")
        for line in [*stdin.rstrip().splitlines(), "EOF"] if stdin else []:
            terminal.say(terminal.dim(f"  {line}"))
        output = self.quiet(*arguments, stdin=stdin)
        for line in output.rstrip().splitlines():
            terminal.say(terminal.dim(f"    {line}"))
        return output


class Daemon:
    """Owns the nodeproxyd process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.admin_port = 0

    def choose_port(self) -> None:
        free = is_port_free(layout.ADMIN_PORT)
        self.admin_port = layout.ADMIN_PORT if free else any_free_port()

    def start(self, flags: Sequence[str] = ()) -> None:
        program = layout.BUILD_DIR / "bin" / "nodeproxyd"
        if not program.exists():
            raise LabError(f"{program}: not built (cmake --preset dev && ninja -C build)")
        layout.WORK_DIR.mkdir(parents=True, exist_ok=True)
        command = [str(program), "--instance", layout.INSTANCE]
        command += ["--run-dir", str(layout.RUN_DIR), "--state-dir", str(layout.STATE_DIR)]
        command += ["--admin", f"127.0.0.1:{self.admin_port}", "--drain-time", "2s"]
        # Whoever looks at a demo wants to see every request.
        command += ["--trace-sampling", "100", *flags]
        with open(LOG_FILE, "ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        PID_FILE.write_text(f"{self._process.pid}\n")
        wait_until("nodeproxyd is ready", READY_SECONDS, self._is_ready)

    def check_alive(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            said = LOG_FILE.read_text(errors="replace")[-3000:]
            raise LabError(f"nodeproxyd ended with code {self._process.returncode}:\n{said}")

    def _is_ready(self) -> bool:
        self.check_alive()
        url = f"http://127.0.0.1:{self.admin_port}/readyz"
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def add_pod(self, nodectl: Nodectl, pod: PodSpec) -> None:
        addresses = ["--ip", pod.ipv4, "--ip", pod.ipv6]
        nodectl.quiet("pod", "add", pod.name, *addresses, "--ifname", pod.veth, "-l", pod.labels)

    def remove_pod(self, nodectl: Nodectl, pod: PodSpec) -> None:
        nodectl.quiet("pod", "remove", pod.name)

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def children_of(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    found = [int(child) for child in text.split()]
    return found + [pid for child in found for pid in children_of(child)]


def leftover_pids() -> list[int]:
    """The nodeproxyd of a crashed demo, if the recorded pid is still that program."""
    try:
        pid = int(PID_FILE.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return []
    is_ours = command[0].endswith(b"nodeproxyd") and layout.INSTANCE.encode() in command
    return [pid, *children_of(pid)] if is_ours else []


def remove_all() -> bool:
    """Ends what is left of the proxy and removes its traces; says whether there were any."""
    pids = leftover_pids()
    found = bool(pids) or PIN_DIR.exists() or layout.RUN_DIR.exists()
    program = layout.BUILD_DIR / "bin" / "nodectl"
    if PIN_DIR.exists() and program.exists():
        run([str(program), "--run-dir", str(layout.RUN_DIR), "detach", "--all"], check=False)
    end_processes(pids)
    # Removing the pins of links detaches what a dead daemon could not.
    shutil.rmtree(PIN_DIR, ignore_errors=True)
    if os.path.exists(f"/run/netns/{layout.INSTANCE}"):
        run(["ip", "netns", "delete", layout.INSTANCE], check=False)
    for folder in (layout.RUN_DIR, layout.STATE_DIR, layout.WORK_DIR):
        shutil.rmtree(folder, ignore_errors=True)
    return found
