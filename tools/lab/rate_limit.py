# SPDX-License-Identifier: Apache-2.0
"""Step 9: one request per second from reviews to ratings, with Mixer's objects as Istio 0.5 and 0.4
published them."""

from __future__ import annotations

from lab.checks import Step, describe, format_counts
from lab.load import LoadResult
from lab.steps import Api

SAMPLE_05 = "mixer-rule-ratings-ratelimit.yaml"
SAMPLE_04 = "mixer-rule-ratings-ratelimit.0.4.0.yaml"
LOAD_RATE = 5.0
LOAD_SECONDS = 8
PAGE_SECONDS = 6
BAND_RATE = 10.0
BAND_SECONDS = 6
BAND_SECONDS_LONG = 60
# What Istio's own test of this sample tolerated.
GRANTED_LEAST = 0.5
GRANTED_MOST = 1.25
REFUSED_LEAST = 0.75
BODY = "RESOURCE_EXHAUSTED:Quota is exhausted for: requestcount"


def rate_limit(step: Step, api: Api) -> None:
    path = api.path(SAMPLE_05)
    step.world.nodectl.shown("create", "-f", path)
    try:
        _check_status(step)
        _check_calls(step)
        _check_pages(step)
    finally:
        step.world.nodectl.shown("delete", "-f", path)
    _check_end(step)
    path = api.path(SAMPLE_04)
    step.world.nodectl.shown("create", "-f", path)
    try:
        _check_band(step)
    finally:
        step.world.nodectl.shown("delete", "-f", path)
    _check_end(step)


def _check_status(step: Step) -> None:
    shown = step.world.nodectl.shown("get", "memquota,quota,rule,quotaspec,quotaspecbinding")
    rows = shown.strip().splitlines()[1:]
    fine = len(rows) == 5 and all(" in effect" in row for row in rows)
    per_node = any("memquota" in row and "in effect, per node" in row for row in rows)
    step.check("all five objects are in effect, per node", fine and per_node, f"{len(rows)} objects")


def _of(result: LoadResult, status: int) -> int:
    return sum(1 for one in result.observations if one.status == status)


def _check_calls(step: Step) -> None:
    """reviews v3 asks ratings five times a second."""
    before = step.ratings_requests()
    requests = int(LOAD_RATE * LOAD_SECONDS)
    result = step.call_from("reviews-v3", "ratings", requests=requests, rate=LOAD_RATE)
    granted, refused = _of(result, 200), _of(result, 429)
    about_one = LOAD_SECONDS * 0.75 <= granted <= LOAD_SECONDS * GRANTED_MOST
    step.check(
        f"{LOAD_RATE:g} calls/s from reviews v3: about one 200 per second, the rest 429",
        about_one and granted + refused == requests,
        f"{granted} of {requests} in {LOAD_SECONDS} s; {format_counts(result)}",
    )
    bodies = {one.text for one in result.observations if one.status == 429}
    step.check("the 429 names the quota", bodies == {BODY}, " | ".join(sorted(bodies)))
    reached = step.ratings_requests() - before
    step.check("refused calls reach no pod", reached == granted, f"{reached} in ratings' log")
    other = step.call_from("reviews-v2", "ratings", requests=2)
    seen = [one.status for one in other.observations]
    step.check("reviews v2 has a second of its own", seen == [200, 429], f"{seen}")


def _check_pages(step: Step) -> None:
    requests = int(LOAD_RATE * PAGE_SECONDS)
    result = step.pages(requests, parallel=4, rate=LOAD_RATE)
    stars = [one.stars for one in result.observations if one.status == 200]
    red, missing = stars.count("red"), stars.count("missing")
    held = red + missing == requests and PAGE_SECONDS * GRANTED_LEAST <= red
    step.check(
        f"the page shows it: red stars about once a second, else {describe('missing')}",
        held and red <= PAGE_SECONDS * GRANTED_MOST + 1,
        format_counts(result),
    )


def _check_band(step: Step) -> None:
    """Ten a second against one: the band that Istio's own test of this sample allowed."""
    seconds = BAND_SECONDS_LONG if step.world.is_long else BAND_SECONDS
    requests = int(BAND_RATE * seconds)
    result = step.call_from("reviews-v3", "ratings", requests=requests, rate=BAND_RATE)
    granted, refused = _of(result, 200), _of(result, 429)
    held = (
        granted + refused == requests
        and seconds * GRANTED_LEAST <= granted <= seconds * GRANTED_MOST
        and refused >= (requests - seconds) * REFUSED_LEAST
    )
    step.check(
        f"the file of Istio 0.4, {BAND_RATE:g} calls/s for {seconds} s: 50 to 125 % of 1/s granted",
        held,
        f"{granted} granted, {refused} refused in {result.seconds:.1f} s",
    )


def _check_end(step: Step) -> None:
    result = step.call_from("reviews-v3", "ratings", requests=20, keep_alive=True)
    fine = all(one.status == 200 for one in result.observations)
    step.check("deleting the file ends it at once", fine, format_counts(result))
    step.expect_stars("", "red", 10)
