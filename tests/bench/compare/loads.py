# SPDX-License-Identifier: Apache-2.0
"""The load tools, pinned. Each tells when its warm-up is over and reports in np_load's words, so that
a row may choose one by name; another protocol is another tool here."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Protocol

from go_first import GO_FIRST
from nodeproxy import LOAD

from .rows import Load
from .sandbox import Sandbox

GROUP = "load"
REQUEST_TIMEOUT_SECONDS = 5
SPIN_US = 20  # shorter than a context switch there and back
EXTRA_SECONDS = 90
HOST = "bench.test"
GOOD_STATUS = "200"


class LoadFailed(RuntimeError):
    pass


class Tool(Protocol):
    def started(self) -> None:
        """Returns when the warm-up is over."""

    def report(self) -> dict:
        """Waits for the end."""


def arguments(load: Load, rate: float | None) -> list[str]:
    flags = ["--connections", str(load.connections), "--path", load.path, "--method", load.method,
             "--host", HOST, "--timeout", str(REQUEST_TIMEOUT_SECONDS)]
    if load.body_bytes:
        flags += ["--body", str(load.body_bytes)]
    if load.new_connection_each:
        flags += ["--close"]
    if rate is not None:
        flags += ["--rate", f"{rate:.1f}", "--poisson", "--spin-us", str(SPIN_US)]
    return flags


def _finished(process: subprocess.Popen[str], limit: float) -> str:
    output, problems = process.communicate(timeout=limit)
    if process.returncode != 0:
        raise LoadFailed(f"the load ended with {process.returncode}: {output}{problems}")
    return output


class Run:
    """np_load."""

    def __init__(self, sandbox: Sandbox, target: str, flags: list[str], seconds: float, warm_seconds: float,
                 netns: str | None = None, cpus: list[int] | None = None, goes_first: bool = False) -> None:
        command = [*(GO_FIRST if goes_first else ()), str(LOAD), "--target", target, *flags, "--duration", str(seconds),
                   "--warm-up", str(warm_seconds)]
        self._limit = seconds + warm_seconds + EXTRA_SECONDS
        self._process = sandbox.start(GROUP, cpus or sandbox.load_cpus, command, netns=netns,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def started(self) -> None:
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        if line.strip() != "measuring":
            self._process.kill()
            raise LoadFailed(f"np_load: {line}{self._process.stderr.read()}")

    def report(self) -> dict:
        return json.loads(_finished(self._process, self._limit))


class WarmedTool:
    """A tool without such a moment: one run to warm up, and another that counts, its connects too."""

    def __init__(self, sandbox: Sandbox, target: str, load: Load, seconds: float, warm_seconds: float,
                 netns: str | None = None, cpus: list[int] | None = None) -> None:
        if load.is_open_loop or load.new_connection_each or load.method != "GET":
            raise ValueError(f"{type(self).__name__} is for GET in a closed loop")
        self._start = lambda duration: sandbox.start(
            GROUP, cpus or sandbox.load_cpus, self.command(target, load, duration), netns=netns,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._seconds, self._warm_seconds = seconds, warm_seconds

    def command(self, target: str, load: Load, seconds: float) -> list[str]:
        raise NotImplementedError

    def parse(self, text: str) -> dict:
        raise NotImplementedError

    def started(self) -> None:
        _finished(self._start(whole_seconds(self._warm_seconds)), EXTRA_SECONDS)
        self._process = self._start(whole_seconds(self._seconds))

    def report(self) -> dict:
        return self.parse(_finished(self._process, self._seconds + EXTRA_SECONDS))


class Wrk(WarmedTool):
    def command(self, target: str, load: Load, seconds: float) -> list[str]:
        return ["wrk", "-t1", f"-c{load.connections}", f"-d{seconds:.0f}s", "--latency", "-H", f"Host: {HOST}",
                f"http://{target}{load.path}"]

    def parse(self, text: str) -> dict:
        return parse_wrk(text)


class H2load(WarmedTool):
    """Over HTTP/1.1 for now; it has no percentiles."""

    def command(self, target: str, load: Load, seconds: float) -> list[str]:
        return ["h2load", "--h1", "-t1", f"-c{load.connections}", f"--duration={seconds:.0f}",
                f"http://{target}{load.path}"]

    def parse(self, text: str) -> dict:
        return parse_h2load(text)


def whole_seconds(seconds: float) -> float:
    """Both tools know no parts of a second."""
    return max(1.0, round(seconds))


def _microseconds(text: str) -> float:
    value, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(value) * {"us": 1.0, "ms": 1e3, "s": 1e6}[unit]


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    if found is None:
        raise LoadFailed(f"no {pattern!r} in: {text}")
    return float(found.group(1))


def parse_wrk(text: str) -> dict:
    requests = int(_number(r"(\d+) requests in", text))
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    other = int(wrong.group(1)) if wrong else 0
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    kinds = ("connect", "read", "write", "timeout")
    found = dict(re.findall(r"^\s+(\d+)%\s+(\S+)$", text, re.MULTILINE))
    return {"completed": requests, "requests_per_second": _number(r"Requests/sec:\s+([\d.]+)", text),
            "status": {GOOD_STATUS: requests - other, **({"other": other} if other else {})},
            "errors": dict(zip(kinds, map(int, broken.groups()))) if broken else {},
            "body_bytes": 0, "latency_us": {f"p{name}": _microseconds(value) for name, value in found.items()}}


def parse_h2load(text: str) -> dict:
    good = int(_number(r"status codes: (\d+) 2xx", text))
    requests = int(_number(r"requests: .* (\d+) succeeded", text))
    failed = int(_number(r"(\d+) failed", text))
    return {"completed": requests, "requests_per_second": _number(r"finished in .*?, ([\d.]+) req/s", text),
            "status": {GOOD_STATUS: good, **({"other": requests - good} if requests > good else {})},
            "errors": {"failed": failed}, "body_bytes": 0, "latency_us": {}}


WARMED_TOOLS: dict[str, type[WarmedTool]] = {"wrk": Wrk, "h2load": H2load}


def start(sandbox: Sandbox, target: str, load: Load, rate: float | None, seconds: float, warm_seconds: float,
          netns: str | None = None, cpus: list[int] | None = None) -> Tool:
    if load.tool in WARMED_TOOLS:
        return WARMED_TOOLS[load.tool](sandbox, target, load, seconds, warm_seconds, netns, cpus)
    return Run(sandbox, target, arguments(load, rate), seconds, warm_seconds, netns, cpus, load.goes_first)


def errors_of(report: dict) -> int:
    """Everything that is not the answer that was asked for."""
    wrong = sum(count for status, count in report["status"].items() if status != GOOD_STATUS)
    return sum(report["errors"].values()) + wrong
