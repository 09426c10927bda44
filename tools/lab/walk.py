# SPDX-License-Identifier: Apache-2.0
"""The walk: the steps in order, each with its heading, then one table."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from lab import limits, looking, rate_limit, steps, telling
from lab.checks import Step
from lab.shell import LabError, terminal
from lab.steps import NEW, OLD, Api
from lab.world import World

Action = Callable[[Step, Api], None]


@dataclass(frozen=True)
class Entry:
    number: int
    title: str
    parts: tuple[tuple[str, Action], ...] = ()
    # What must be in place before this step, when it is walked alone.
    before: tuple[str, ...] = ()
    is_today: bool = False


def _story() -> tuple[tuple[str, Action], ...]:
    return (
        ("everything to v1", steps.all_to_v1),
        ("test user to v2", steps.test_user_to_v2),
        ("abort", steps.abort),
        ("delay", steps.delay),
        ("undo", steps.undo_both),
        ("half to v3", steps.half_to_v3),
        ("all to v3", steps.all_to_v3),
        ("circuit breaker", limits.circuit_breaker),
        ("ejection", limits.ejection),
    )


ENTRIES = (
    Entry(0, "everything to v1", (("", steps.all_to_v1),)),
    Entry(1, "test user to v2", (("", steps.test_user_to_v2),), (OLD.all_v1,)),
    Entry(
        2,
        "abort and delay",
        (("first the abort sample", steps.abort), ("delay", steps.delay)),
        (OLD.all_v1, OLD.test_v2),
    ),
    Entry(
        3,
        "find the bug by trace",
        (("", telling.find_trace),),
        (OLD.all_v1, OLD.test_v2, OLD.delay),
    ),
    Entry(4, "undo", (("", steps.undo_both),), (OLD.all_v1, OLD.test_v2, OLD.delay)),
    Entry(5, "half to v3", (("", steps.half_to_v3),), (OLD.all_v1,)),
    Entry(6, "all to v3", (("", steps.all_to_v3),), (OLD.all_v1, OLD.half_v3)),
    Entry(7, "circuit breaker", (("", limits.circuit_breaker),), (OLD.all_v1, OLD.all_v3)),
    Entry(8, "ejection", (("", limits.ejection),), (OLD.all_v1, OLD.all_v3)),
    Entry(9, "rate limit", (("", rate_limit.rate_limit),), (OLD.all_v1, OLD.all_v3)),
    Entry(
        10,
        "look: dashboard, top, Prometheus",
        (("", looking.look),),
        (OLD.all_v1, OLD.all_v3),
    ),
    Entry(11, "the kernel's view", (("", looking.kernel_view),), (OLD.all_v1, OLD.all_v3)),
    Entry(12, "today's API: the same story", _story(), is_today=True),
    Entry(13, "who is calling"),
)


STEP_NUMBERS = [entry.number for entry in ENTRIES]


@dataclass
class Outcome:
    entry: Entry
    step: Step | None = None
    seconds: float = 0.0
    problem: str = ""

    @property
    def held(self) -> bool:
        return self.step is not None and self.step.held and not self.problem


def prepare(step: Step, entry: Entry, alone: bool) -> None:
    """Brings the policies to where the step starts."""
    if entry.is_today:
        terminal.say(terminal.dim("  (the 0.x rules are taken away first)"))
        steps.clear(step, OLD)
    elif alone:
        terminal.say(terminal.dim("  (bringing the policies to where this step starts)"))
        steps.clear(step, OLD)
        steps.clear(step, NEW)
        for name in entry.before:
            steps.put(step, OLD, name, shown=False)


def walk_one(world: World, entry: Entry, alone: bool) -> Outcome:
    outcome = Outcome(entry)
    terminal.say()
    terminal.say(terminal.bold(f"Step {entry.number}: {entry.title}"))
    if not entry.parts:
        terminal.say("  not in this version")
        return outcome
    step = outcome.step = Step(world)
    started = time.monotonic()
    try:
        world.check_alive()
        prepare(step, entry, alone)
        for title, action in entry.parts:
            if title:
                terminal.say(f"  -- {title}")
            action(step, NEW if entry.is_today else OLD)
        world.check_alive()
    except LabError as error:
        outcome.problem = str(error)
        terminal.say(terminal.red(f"  FAIL {error}"))
    outcome.seconds = time.monotonic() - started
    return outcome


def print_summary(outcomes: list[Outcome]) -> None:
    terminal.say()
    terminal.say(terminal.bold("Summary"))
    for outcome in outcomes:
        entry = outcome.entry
        if outcome.step is None:
            terminal.say(f"  {entry.number:>2}  {entry.title:<34} not in this version")
            continue
        good = sum(1 for check in outcome.step.checks if check.held)
        mark = terminal.green("held  ") if outcome.held else terminal.red("FAILED")
        counts = f"{good} of {len(outcome.step.checks)} checks"
        line = (
            f"  {entry.number:>2}  {entry.title:<34} {mark} {counts:<16} {outcome.seconds:6.1f} s"
        )
        terminal.say(line)
        for check in outcome.step.checks:
            if not check.held:
                terminal.say(f"        {check.what}: {check.seen}")
        if outcome.problem:
            terminal.say(f"        {outcome.problem.splitlines()[0]}")


def walk(world: World, only: list[int]) -> int:
    """Walks the steps; 0 when every step that this version claims held."""
    outcomes = []
    for entry in ENTRIES:
        if not only or entry.number in only:
            outcomes.append(walk_one(world, entry, alone=bool(only)))
    print_summary(outcomes)
    walked = [outcome for outcome in outcomes if outcome.step is not None]
    all_held = bool(walked) and all(outcome.held for outcome in walked)
    terminal.say()
    if not walked:
        terminal.say("no step was walked")
        return 1
    terminal.say("every walked step held" if all_held else "not every step held")
    return 0 if all_held else 1
