# SPDX-License-Identifier: Apache-2.0
"""Step 3: the bug is found by looking at one trace."""

from __future__ import annotations

import json

from lab.checks import Step
from lab.shell import wait_until
from lab.steps import DELAY_SECONDS, Api

TELL_SECONDS = 15.0
CLIENT_GIVES_UP_SECONDS = 3.0
SLACK_SECONDS = 0.3

Span = dict[str, object]


def find_trace(step: Step, api: Api) -> None:
    step.page("jason")
    wait_until("the page is told", TELL_SECONDS, lambda: bool(listed_pages(step)))
    step.world.nodectl.shown("traces", "--min-duration", "5s")
    pages = listed_pages(step)
    step.check("the page is listed", bool(pages), f"{len(pages)} traces of 5 s or more begin at the gateway")
    trace = str(pages[0]["id"])
    # The calls of ratings end after the page, which has given up on them.
    wait_until("the trace is whole", TELL_SECONDS, lambda: len(slow_ratings(spans_of(step, trace))) == 2)
    step.world.nodectl.shown("trace", trace)
    spans = spans_of(step, trace)
    check_tree(step, spans)
    check_calls(step, spans)
    check_collectors(step, trace, spans)


def listed_pages(step: Step) -> list[dict[str, object]]:
    """Newest first."""
    said = step.world.nodectl.quiet("traces", "--min-duration", "5s", "-o", "json")
    return [trace for trace in json.loads(said) if str(trace["host"]).startswith("productpage")]


def spans_of(step: Step, trace: str) -> list[Span]:
    said: dict[str, list[Span]] = json.loads(step.world.nodectl.quiet("trace", trace, "-o", "json"))
    return said["spans"]


def seconds(span: Span) -> float:
    return int(str(span["duration_us"])) / 1e6


def tags(span: Span) -> dict[str, str]:
    found = span["tags"]
    assert isinstance(found, dict)
    return found


def service(span: Span) -> str:
    return str(span["service"]).partition(".")[0]


def is_call_of(span: Span, callee: str) -> bool:
    return span["kind"] == "CLIENT" and tags(span)["http.url"].startswith(f"http://{callee}")


def slow_ratings(spans: list[Span]) -> list[Span]:
    return [span for span in spans if is_call_of(span, "ratings") and seconds(span) >= DELAY_SECONDS]


def check_tree(step: Step, spans: list[Span]) -> None:
    by_id = {str(span["id"]): span for span in spans}
    path: list[str] = []
    at: Span | None = slow_ratings(spans)[0]
    while at is not None:
        if not path or path[-1] != service(at):
            path.append(service(at))
        at = by_id.get(str(at["parent"]))
    path.reverse()
    drawn = " > ".join([*path, "ratings"])
    wanted = len(path) == 3 and path[1:] == ["productpage", "reviews"]
    step.check("one tree: gateway > productpage > reviews > ratings", wanted, drawn)


def check_calls(step: Step, spans: list[Span]) -> None:
    given_up = [span for span in spans if service(span) == "productpage" and is_call_of(span, "reviews")]
    took = [seconds(span) for span in given_up]
    held = len(took) == 2 and all(
        span["error"] and abs(seconds(span) - CLIENT_GIVES_UP_SECONDS) <= SLACK_SECONDS
        for span in given_up
    )
    step.check("productpage gave up on reviews twice, after 3 s each", held, ", ".join(f"{one:.3f} s" for one in took))
    slow = slow_ratings(spans)
    delays = [tags(span).get("fault.delay_ms", "none") for span in slow]
    held = len(slow) == 2 and set(delays) == {str(int(DELAY_SECONDS * 1000))}
    step.check(
        "both calls of ratings took 7 s and say why",
        held,
        ", ".join(f"{seconds(span):.3f} s (delay injected: {delay} ms)" for span, delay in zip(slow, delays, strict=True)),
    )


def check_collectors(step: Step, trace: str, spans: list[Span]) -> None:
    wanted = {str(span["id"]) for span in spans}
    for name, collector in (("Zipkin", step.world.observers.zipkin), ("OTLP", step.world.observers.otlp)):

        def told() -> set[str]:
            return {span.id for span in collector.spans() if span.trace_id == trace}  # noqa: B023

        wait_until(f"the trace is at the {name} collector", TELL_SECONDS, lambda: told() >= wanted)  # noqa: B023
        fine = told() == wanted and not collector.violations
        seen = f"{len(told())} of {len(wanted)} spans, {len(collector.violations)} violations of the format"
        step.check(f"the same trace came to a {name} collector", fine, seen)
