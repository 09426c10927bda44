# SPDX-License-Identifier: Apache-2.0
"""Running commands and talking to the person at the terminal."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

COMMAND_SECONDS = 60.0


class LabError(Exception):
    """Something the person must know; the message says what was tried and what came back."""


def run(
    command: Sequence[str],
    *,
    check: bool = True,
    stdin: str = "",
    seconds: float = COMMAND_SECONDS,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(
            list(command),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            cwd=cwd,
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"{command[0]}: not found") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{shlex.join(command)}: no end after {seconds:.0f} s") from error
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise LabError(f"{shlex.join(command)}: exit code {done.returncode}\n{said}")
    return done


def wait_until(what: str, seconds: float, holds: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise LabError(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)


class Terminal:
    """Colours only where a person looks; a line that is rewritten only there too."""

    def __init__(self) -> None:
        self.is_tty = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._has_progress = False

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.is_tty else text

    def bold(self, text: str) -> str:
        return self._paint("1", text)

    def dim(self, text: str) -> str:
        return self._paint("2", text)

    def green(self, text: str) -> str:
        return self._paint("32", text)

    def red(self, text: str) -> str:
        return self._paint("31", text)

    def say(self, text: str = "") -> None:
        self.end_progress()
        print(text, flush=True)

    def progress(self, text: str) -> None:
        if self.is_tty:
            print(f"\r\x1b[K  {text}", end="", flush=True)
            self._has_progress = True

    def end_progress(self) -> None:
        if self._has_progress:
            print("\r\x1b[K", end="", flush=True)
            self._has_progress = False


terminal = Terminal()
