# SPDX-License-Identifier: Apache-2.0
"""A real browser without a window: what a page looks like, what it has become once its scripts ran,
and what those had to complain about. Each call is a browser and a profile of its own.

Time in the page is virtual: a budget of 10 000 ms passes as fast as the page's work and its fetches
allow, so ten polls of one second take less than a second. It stands still while an answer is awaited:
a page that keeps one open (server-sent events, a long poll) never ends. A budget of 0 is for those: no
virtual time, the page as it is when it has loaded."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

from nodeproxy import in_netns

BUDGET_MS = 3000
RUN_SECONDS = 60.0
FLAGS = ["--headless=new", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--force-device-scale-factor=1",
         "--no-proxy-server", "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-extensions", "--enable-logging=stderr"]
CONSOLE = re.compile(r':CONSOLE[:(]\d+\)?\] (".*)$')


def _flags(width: int, height: int, budget_ms: int, dark: bool) -> list[str]:
    # A full-screen window on a screen of that size: the window's own bars would take 143 pixels from the
    # page, and no window is narrower than 500.
    flags = [*FLAGS, "--kiosk", f"--screen-info={{{width}x{height}}}", f"--window-size={width},{height}"]
    if budget_ms > 0:
        flags.append(f"--virtual-time-budget={budget_ms}")
    if dark:
        flags.append("--force-dark-mode")  # the page sees prefers-color-scheme: dark
    if os.geteuid() == 0:
        flags.append("--no-sandbox")  # it refuses to start as root otherwise
    return flags


def _run(url: str, flags: list[str], netns: str | None) -> tuple[str, str]:
    """Its output and its log; it exits with 0 whatever happened."""
    with tempfile.TemporaryDirectory(prefix="np-chromium-", ignore_cleanup_errors=True) as folder:
        command = in_netns(netns, ["chromium", *flags, f"--user-data-dir={folder}/profile", url])
        environment = {**os.environ, "HOME": folder, "XDG_CONFIG_HOME": folder, "XDG_CACHE_HOME": folder,
                       "TMPDIR": folder}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, errors="replace", env=environment,
                                   start_new_session=True)
        try:
            return process.communicate(timeout=RUN_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            _, log = process.communicate()
            raise AssertionError(f"chromium did not end within {RUN_SECONDS} s at {url}:\n{log[-3000:]}") from None


def screenshot(url: str, path: Path, width: int, height: int, dark: bool = False, budget_ms: int = BUDGET_MS,
               netns: str | None = None) -> None:
    """A PNG of the page at exactly that size."""
    path = path.resolve()
    path.unlink(missing_ok=True)
    _, log = _run(url, [*_flags(width, height, budget_ms, dark), f"--screenshot={path}"], netns)
    if not path.exists() or path.stat().st_size == 0:
        raise AssertionError(f"no picture of {url}:\n{log[-3000:]}")


def dump_dom(url: str, budget_ms: int = BUDGET_MS, width: int = 1280, height: int = 800, dark: bool = False,
             netns: str | None = None) -> str:
    """The document as HTML after the budget."""
    text, log = _run(url, [*_flags(width, height, budget_ms, dark), "--dump-dom"], netns)
    if not text:
        raise AssertionError(f"no document at {url}:\n{log[-3000:]}")
    return text


def console(url: str, budget_ms: int = BUDGET_MS, netns: str | None = None) -> list[str]:
    """What the page wrote to the console: errors of scripts, what its security policy blocked, its own words.
    A resource that is missing is not told."""
    text, log = _run(url, [*_flags(1280, 800, budget_ms, False), "--dump-dom"], netns)
    if not text:
        raise AssertionError(f"no document at {url}:\n{log[-3000:]}")
    return [found.group(1) for line in log.splitlines() if (found := CONSOLE.search(line))]
