# SPDX-License-Identifier: Apache-2.0
"""What deploy/ gives to Grafana and Prometheus, read as they read it: the queries of the dashboard with
its variables filled in, the expressions of the rules, and the rules in a hurry."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from nodeproxy import ROOT

DASHBOARD = ROOT / "deploy/grafana/nodeproxy.json"
ALERTS = ROOT / "deploy/prometheus/alerts.yaml"
VARIABLE = re.compile(r"\$\{?(\w+)(?::\w+)?\}?")
LABEL_VALUES = re.compile(r"label_values\((.+), (\w+)\)")
# A number on the right side is a threshold; a label's value would be quoted.
COMPARISON = re.compile(r"\s*(?:>=|<=|==|!=|>|<)\s*(?:bool\s+)?-?[0-9.]+")
RULE = re.compile(r"- (alert|record): (\S+)\n    expr: \|\n((?:      .*\n)+)((?:    .*\n)*)")
WINDOW = re.compile(r"\[\d+[smh]\]")
WAIT = re.compile(r"^    for: \w+$", re.MULTILINE)


# ---- the dashboard ------------------------------------------------------------------------------------


def dashboard() -> dict:
    return json.loads(DASHBOARD.read_text())


def panels(board: dict) -> Iterator[dict]:
    """All that show something, those of closed rows too."""
    for panel in board["panels"]:
        yield from panel.get("panels", ())
        if panel["type"] != "row":
            yield panel


def queries(board: dict) -> Iterator[tuple[str, str]]:
    """Each with the name of its place."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for annotation in board["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def fill(expression: str, values: dict[str, str]) -> str:
    """Fails for a variable that the dashboard does not have."""
    return VARIABLE.sub(lambda match: values[match.group(1)], expression)


def as_regex(values: list[str]) -> str:
    """What Grafana makes of several values in a matcher, written in a quoted text."""
    escaped = [re.sub(r"([\\^$.*+?()\[\]{}|])", r"\\\\\1", value) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


# ---- the rules ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    kind: str  # "alert" or "record"
    name: str
    expression: str
    rest: str  # its other lines

    def measured(self) -> str:
        """What is compared with thresholds, without the comparisons."""
        return COMPARISON.sub("", self.expression)


def rules() -> list[Rule]:
    return [Rule(*match.groups()) for match in RULE.finditer(ALERTS.read_text())]


def hurried_rules(window: str, wait: str) -> str:
    """The same text with other times, so that a test need not wait for minutes."""
    return WAIT.sub(f"    for: {wait}", WINDOW.sub(f"[{window}]", ALERTS.read_text()))
