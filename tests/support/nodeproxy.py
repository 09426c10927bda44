# SPDX-License-Identifier: Apache-2.0
"""A running nodeproxyd for end-to-end tests: start, wait until ready, talk to it, measure, end.

Works in the caller's network namespace, or in another one by name (nsenter: `ip netns exec` would
hide the bpf file system).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("NP_BUILD_DIR", ROOT / "build"))
NODEPROXYD = BUILD / "bin" / "nodeproxyd"
NODECTL = BUILD / "bin" / "nodectl"
LOAD = BUILD / "bin" / "np_load"
READY_SECONDS = 15.0
STOP_SECONDS = 15.0


def in_netns(netns: str | None, command: list[str]) -> list[str]:
    return ["nsenter", f"--net=/run/netns/{netns}", *command] if netns else command


def wait_until(condition, seconds: float, what: str | Callable[[], str], every: float = 0.05) -> None:
    """`what`: of the state when the time is over, where it is a function."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(every)


class Daemon:
    """One nodeproxyd (supervisor and worker). Use as a context manager."""

    def __init__(self, instance: str, *flags: str, netns: str | None = None, admin: str = "127.0.0.1:15190",
                 user: str | None = None, ambient: str | None = None, through: tuple[str, ...] = (),
                 programs: Path = BUILD / "bin") -> None:
        """`ambient`: a capability that the unprivileged `user` starts with, such as net_bind_service.
        `through`: a command that the daemon's command line is given to, and that becomes the daemon."""
        self.instance = instance
        self.netns = netns
        self.user = user
        self.ambient = ambient
        self.through = through
        self.programs = programs
        self.dir = Path(tempfile.mkdtemp(prefix=f"np-{instance}-"))
        os.chmod(self.dir, 0o755)
        self.run_dir = self.dir / "made" / "run"  # neither is there: the daemon makes both
        self.state_dir = self.dir / "state"
        self.log_path = self.dir / "log"
        self.flags = ["--instance", instance, "--run-dir", str(self.run_dir), "--state-dir", str(self.state_dir),
                      "--admin", admin, *flags]
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Daemon":
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        command = [*self.through, str(self.programs / NODEPROXYD.name), *self.flags]
        if self.user:
            shutil.chown(self.dir, self.user)
            given = [f"--inh-caps=+{self.ambient}", f"--ambient-caps=+{self.ambient}"] if self.ambient else []
            command = ["setpriv", "--reuid", self.user, "--regid", self.user, "--clear-groups", *given, *command]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(in_netns(self.netns, command), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True)
        self.wait_ready()

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"nodeproxyd ended with {self.process.returncode}:\n{self.log()}")
            return self.ctl("status", check=False).returncode == 0

        try:
            wait_until(ready, READY_SECONDS, "nodeproxyd answers nodectl status")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None

    def close(self) -> None:
        self.stop()
        if self.process is not None and "--no-capture" not in self.flags:
            subprocess.run(["rm", "-rf", f"/sys/fs/bpf/{self.instance}"], check=False)
            subprocess.run(["ip", "netns", "delete", self.instance], check=False, capture_output=True)
        shutil.rmtree(self.dir, ignore_errors=True)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends both processes; returns the supervisor's exit code."""
        if self.process is None or self.process.poll() is not None:
            return self.process.returncode if self.process else 0
        self.process.send_signal(how)
        try:
            return self.process.wait(STOP_SECONDS + 30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise AssertionError(f"nodeproxyd did not end on {how.name}:\n{self.log()}") from None

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    # ---- nodectl --------------------------------------------------------------------------------

    def ctl(self, *arguments: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [str(self.programs / NODECTL.name), "--run-dir", str(self.run_dir), *arguments]
        done = subprocess.run(command, input=stdin, text=True, capture_output=True, timeout=60, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def apply(self, yaml: str, namespace: str = "default") -> str:
        return self.ctl("-n", namespace, "apply", "-f", "-", stdin=yaml).stdout

    def status(self) -> dict:
        return json.loads(self.ctl("status", "-o", "json").stdout)

    # ---- the worker -----------------------------------------------------------------------------

    def has_new_worker(self, old_pid: int) -> bool:
        """For a moment after a kill there may be no worker at all."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return bool(children) and int(children[0]) != old_pid

    def worker_pid(self) -> int:
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        if not children:
            raise AssertionError(f"no worker:\n{self.log()}")
        return int(children[0])

    def worker_rss_bytes(self) -> int:
        """By the page tables: /proc/PID/status is off by up to 32 pages for each CPU."""
        for line in Path(f"/proc/{self.worker_pid()}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no Rss")

    def kill_worker(self) -> int:
        pid = self.worker_pid()
        os.kill(pid, signal.SIGKILL)
        return pid


def load(target: str, *flags: str, netns: str | None = None, seconds: float = 120) -> dict:
    """Runs np_load to its end; returns its report."""
    command = in_netns(netns, [str(LOAD), "--target", target, *flags])
    done = subprocess.run(command, text=True, capture_output=True, timeout=seconds, check=True)
    return json.loads(done.stdout)


def start_load(target: str, *flags: str, netns: str | None = None) -> subprocess.Popen[str]:
    command = in_netns(netns, [str(LOAD), "--target", target, *flags])
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE)


def finish_load(process: subprocess.Popen[str], seconds: float = 120) -> dict:
    output, _ = process.communicate(timeout=seconds)
    return json.loads(output)
