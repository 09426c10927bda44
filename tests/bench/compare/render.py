# SPDX-License-Identifier: Apache-2.0
"""The committed configuration files of conf/, made ready for one row.

A line may begin with marks in brackets: `[tracing]` keeps it only in a row with that feature,
`[!access-log]` only in one without. `@name@` is replaced. What a line begins with a # is its reason
and is not handed on; neither is a reason behind two blanks and a #."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from pathlib import Path

CONF = Path(__file__).resolve().parent / "conf"
MARK = re.compile(r"^\[(!?)([a-z0-9-]+)\] ?")
REASON = re.compile(r"(^|  +)# .*$")
PLACE = re.compile(r"@([a-z_]+)@")


def render(text: str, values: Mapping[str, object], features: Set[str] = frozenset()) -> str:
    """Raises KeyError for a place without a value: a configuration with a hole measures something else."""
    lines = [_line(line, values, features) for line in text.splitlines()]
    return "\n".join(line for line in lines if line) + "\n"


def _line(line: str, values: Mapping[str, object], features: Set[str]) -> str:
    while mark := MARK.match(line):
        negated, name = mark.groups()
        if (name in features) == bool(negated):
            return ""
        line = line[mark.end():]
    line = REASON.sub("", line).rstrip()
    return PLACE.sub(lambda place: str(values[place.group(1)]), line)


def render_file(name: str, values: Mapping[str, object], features: Set[str] = frozenset()) -> str:
    return render((CONF / name).read_text(encoding="utf-8"), values, features)


def features_named(text: str) -> set[str]:
    """All that some line of the file asks about."""
    found = set()
    for line in text.splitlines():
        while mark := MARK.match(line):
            found.add(mark.group(2))
            line = line[mark.end():]
    return found
