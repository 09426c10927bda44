# SPDX-License-Identifier: Apache-2.0
"""nodeproxy beside nginx and haproxy in one run; one table. docs/benchmarks.md says how to read it."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from . import conditions
from .axes import run_row
from .bench import Bench, Result, Settings
from .checking import check_generator
from .docs_writer import write_docs
from .measure import Span
from .musts import must_table
from .report import as_json
from .rows import ROWS, Row
from .sandbox import Sandbox
from .table import block

FULL = (5, 3, Span(3, 10), Span(1, 4))
OUR_PRIORITY = -15
QUICK = (3, 3, Span(0.5, 2), Span(0.5, 2))


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the rows of every day, below 3 minutes")
    parser.add_argument("--rows", metavar="REGEX", help="only rows whose name this finds; --list names them")
    parser.add_argument("--list", action="store_true", help="name the rows")
    parser.add_argument("--rounds", type=int, help="how often each contestant is measured (5, axes 3; quick 3)")
    parser.add_argument("--seconds", type=float, help="of each round (10, axes 4; quick 2)")
    parser.add_argument("--json", metavar="FILE",
                        help="results for tracking; - for the output, instead of the table")
    parser.add_argument("--write-docs", action="store_true",
                        help="put the results of a full run into docs/benchmarks.md; a quiet machine only")
    parser.add_argument("--earlier", metavar="DIR", type=Path,
                        help="another release build takes part too, round by round (not in the row of pods)")
    parser.add_argument("--strict", action="store_true", help="refuse to measure on a busy machine")
    parser.add_argument("--check-generator", action="store_true",
                        help="is the load generator right? Against wrk, h2load and arithmetic")
    options = parser.parse_args(arguments)
    shortened = options.quick or options.rows or options.rounds or options.seconds or options.earlier
    if options.write_docs and shortened:
        parser.error("--write-docs keeps full runs only: no --quick, --rows, --rounds, --seconds or --earlier")
    if any(given is not None and given <= 0 for given in (options.rounds, options.seconds)):
        parser.error("nothing would be measured")
    if options.earlier and not (options.earlier / "bin" / "nodeproxyd").exists():
        parser.error(f"{options.earlier} is no build: no bin/nodeproxyd there")
    return options


def chosen_rows(options: argparse.Namespace) -> list[Row]:
    rows = [row for row in ROWS if not options.quick or row.quick or options.rows]
    return [row for row in rows if not options.rows or re.search(options.rows, row.id)]


def settings_of(options: argparse.Namespace, files: int) -> Settings:
    rounds, axis_rounds, headline, others = QUICK if options.quick else FULL
    if options.seconds:
        headline = others = Span(min(headline.warm_seconds, options.seconds), options.seconds)
    earlier = options.earlier.resolve() / "bin" if options.earlier else None
    return Settings(options.rounds or rounds, headline, others, files, options.rounds or axis_rounds, earlier)


def layout() -> tuple[list[int], list[int]]:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise SystemExit("tools/bench needs two CPUs: one for the proxy, one for load and origin")
    return [cpus[0]], [cpus[1]]


def end_on_signal(number: int, _: object) -> None:
    """As Ctrl-C: what was started is ended on the way out."""
    raise SystemExit(128 + number)


def go_first_on(cpus: list[int]) -> None:
    """What this program does is no peer's cost; it reads counters on time, whatever the load does. What
    it starts begins anew."""
    os.sched_setaffinity(0, cpus)
    os.setpriority(os.PRIO_PROCESS, 0, OUR_PRIORITY)
    os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))


@contextmanager
def bench_of(options: argparse.Namespace, table: TextIO) -> Iterator[tuple[Bench, dict[str, str]]]:
    """With the conditions of the run, which are told first."""
    quiet = conditions.look_at_machine()
    if quiet.problems() and (options.strict or options.write_docs):
        raise SystemExit("not measured: " + "; ".join(quiet.problems()))
    files = conditions.raise_file_limit()
    proxy_cpus, load_cpus = layout()
    told = conditions.describe(proxy_cpus, load_cpus, files, quiet)
    for name, value in told.items():
        print(f"{name:10} {value}", file=table)
    print(file=table, flush=True)
    with Sandbox(proxy_cpus, load_cpus) as sandbox:
        go_first_on(load_cpus)
        yield Bench(sandbox, settings_of(options, files)), told


def measure_all(options: argparse.Namespace, rows: list[Row]) -> bool:
    """Whether every row has figures."""
    table = sys.stderr if options.json == "-" else sys.stdout
    results: list[Result] = []
    started = time.monotonic()
    with bench_of(options, table) as (bench, told):
        for row in rows:
            results.append(run_row(bench, row))
            print(block(results[-1]), file=table, flush=True)
    failed = [result.row.id for result in results if result.failed]
    print(must_table(results), file=table)
    print(f"{len(results)} rows in {time.monotonic() - started:.0f} s; failed: {', '.join(failed) or 'none'}",
          file=table)
    if options.json:
        text = json.dumps(as_json(told, results), indent=1) + "\n"
        if options.json == "-":
            sys.stdout.write(text)
        else:
            with open(options.json, "w", encoding="utf-8") as file:
                file.write(text)
    if options.write_docs:
        write_docs(told, results)
    return not failed


def main(arguments: list[str] | None = None) -> int:
    options = parse(sys.argv[1:] if arguments is None else arguments)
    rows = chosen_rows(options)
    if options.list:
        for row in rows:
            print(f"{row.id:24} {row.title}")
        return 0
    if not rows:
        raise SystemExit("no row has such a name; tools/bench --list names them")
    signal.signal(signal.SIGTERM, end_on_signal)
    try:
        if options.check_generator:
            with bench_of(options, sys.stdout) as (bench, _):
                return 0 if check_generator(bench) else 1
        return 0 if measure_all(options, rows) else 1
    except KeyboardInterrupt:
        print("interrupted; everything that was started is ended", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
