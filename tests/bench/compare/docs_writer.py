# SPDX-License-Identifier: Apache-2.0
"""Puts the results of a full run into docs/benchmarks.md, between two marks."""

from __future__ import annotations

from pathlib import Path

from nodeproxy import ROOT

from .bench import Result
from .musts import must_table
from .table import block

PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN = "<!-- results: written by tools/bench --write-docs -->"
END = "<!-- end of results -->"


def results_text(conditions: dict[str, str], results: list[Result]) -> str:
    told = [f"* {name}: {value}" for name, value in conditions.items()]
    blocks = [f"```\n{block(result)}```\n" for result in results]
    return "\n".join([*told, "", must_table(results), *blocks])


def replaced(page: str, text: str) -> str:
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no place for results: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def write_docs(conditions: dict[str, str], results: list[Result], page: Path = PAGE) -> None:
    text = replaced(page.read_text(encoding="utf-8"), results_text(conditions, results))
    page.write_text(text, encoding="utf-8")
