# SPDX-License-Identifier: Apache-2.0
"""Reading `nodectl doctor`, and doing what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass

from nodeproxy import NODECTL, NODEPROXYD, Daemon, in_netns

COLUMNS = 80


@dataclass(frozen=True)
class Report:
    code: int
    text: str
    checks: list[dict]

    @property
    def words(self) -> str:
        """The text without its line breaks."""
        return " ".join(self.text.split())

    def bad(self, area: str | None = None) -> list[dict]:
        return [c for c in self.checks if c["level"] != "ok" and area in (None, c["area"])]


def ask(daemon: Daemon, *flags: str, netns: str | None = None) -> Report:
    """Both forms must say the same. `netns`: where nodectl runs; the daemon's own by default."""
    command = in_netns(netns or daemon.netns, [str(NODECTL), "--run-dir", str(daemon.run_dir), "doctor", *flags])
    table = subprocess.run([*command, "-o", "wide"], capture_output=True, text=True, timeout=60, check=False)
    plain = subprocess.run([*command, "-o", "json"], capture_output=True, text=True, timeout=60, check=False)
    assert table.returncode == plain.returncode, (table, plain)
    report = json.loads(plain.stdout)
    levels = [check["level"] for check in report["checks"]]
    assert report["summary"] == {level: levels.count(level) for level in ("ok", "warn", "fail")}, report["summary"]
    assert plain.returncode == (1 if "fail" in levels else 0), plain.stdout
    check_layout(table.stdout)
    return Report(plain.returncode, table.stdout, report["checks"])


def check_layout(text: str) -> None:
    """80 columns unless a single word or a quoted command is longer; plain ASCII; a summary at the end."""
    lines = text.splitlines()
    for line in lines:
        is_long_word = len(line.split()) <= 3 or "'" in line
        assert len(line) <= COLUMNS or is_long_word, line
        assert re.fullmatch(r"[ -~]*", line), repr(line)
    assert re.fullmatch(r"\d+ checks: \d+ ok, \d+ warn, \d+ fail", lines[-1]), lines[-1]


def typed_commands(text: str) -> list[str]:
    """The commands as the text shows them, continued lines joined as a shell would."""
    commands: list[str] = []
    lines = iter(text.splitlines())
    for line in lines:
        if not line.startswith("        $ "):
            continue
        command = line[10:]
        while command.endswith(" \\"):
            command = command[:-1] + next(lines).strip()
        commands.append(command)
    return commands


def follow(report: Report, daemon: Daemon) -> list[str]:
    """Types every command that the report shows, once, on the node."""
    commands = list(dict.fromkeys(typed_commands(report.text)))
    assert commands, report.text
    path = f"{NODECTL.parent}:{NODEPROXYD.parent}:{os.environ['PATH']}"
    for command in commands:
        # A shell of a person on the node: nodectl is in its path.
        done = subprocess.run(in_netns(daemon.netns, ["bash", "-c", command]), capture_output=True, text=True, timeout=60,
                              env={**os.environ, "PATH": path}, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    return commands
