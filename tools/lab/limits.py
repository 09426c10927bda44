# SPDX-License-Identifier: Apache-2.0
"""Steps 7 and 8: the circuit breaker and ejection, in both APIs."""

from __future__ import annotations

import textwrap
import time

from lab import layout
from lab.checks import Step, format_counts
from lab.load import LoadResult
from lab.steps import Api

LOOPS = 10
LOOP_REQUESTS = 3000
AT_ONCE_SECONDS = 1.0
PARALLEL_CLIENTS = 8
PAGES = 80
SHORT_WINDOW_SECONDS = 2

# As the lab's text gives it, indented as people paste it.
OLD_BREAKER = """\
    apiVersion: config.istio.io/v1alpha2
    kind: DestinationPolicy
    metadata:
      name: ratings-cb
    spec:
      destination:
        name: ratings
        labels:
          version: v1
      circuitBreaker:
        simpleCb:
          maxConnections: 1            # *
          httpMaxPendingRequests: 1    # *
          httpConsecutiveErrors: 1
          sleepWindow: 15m
          httpDetectionInterval: 10s
          httpMaxEjectionPercent: 100
"""
# Today's object for the host also holds the subsets that the routes name.
NEW_BREAKER = """\
    apiVersion: networking.istio.io/v1
    kind: DestinationRule
    metadata:
      name: ratings
    spec:
      host: ratings
      trafficPolicy:
        connectionPool:                # *
          tcp:                         # *
            maxConnections: 1          # *
          http:                        # *
            http1MaxPendingRequests: 1 # *
        outlierDetection:
          consecutive5xxErrors: 1
          baseEjectionTime: 15m
          interval: 10s
          maxEjectionPercent: 100
      subsets:
      - name: v1
        labels:
          version: v1
"""


def breaker_text(api: Api, with_limits: bool = True, short: bool = False) -> str:
    text = OLD_BREAKER if api.is_additive else NEW_BREAKER
    lines = [line for line in text.splitlines() if with_limits or not line.endswith("# *")]
    text = "\n".join(lines) + "\n"
    if short:
        text = text.replace("15m", f"{SHORT_WINDOW_SECONDS}s").replace("10s", "1s")
    return text


def put_breaker(step: Step, api: Api, text: str) -> None:
    step.world.nodectl.shown("apply", "-f", "-", stdin=text)


def remove_breaker(step: Step, api: Api) -> None:
    if api.is_additive:
        step.world.nodectl.shown("delete", "-f", "-", stdin=textwrap.dedent(OLD_BREAKER))
    else:
        step.world.nodectl.shown("replace", "-f", api.path(api.subsets))


# ---- step 7 -------------------------------------------------------------------------------------


def _check_refusals(step: Step, loops: LoadResult, counted: int) -> None:
    good = [one for one in loops.observations if one.status == 200]
    refused = [one for one in loops.observations if one.status == 503]
    others = len(loops.observations) - len(good) - len(refused)
    shares = f"{len(good)} x 200, {len(refused)} x 503 of {len(loops.observations)}"
    step.check("some requests succeed, the rest get 503", bool(good and refused), shares)
    step.check("nothing else is seen", others == 0, f"{others} others")
    marked = sum(1 for one in refused if one.overloaded)
    step.check(
        "each 503 says x-envoy-overloaded: true", marked == len(refused), f"{marked} of them"
    )
    slowest = max((one.seconds for one in refused), default=0.0)
    step.check("at once", slowest < AT_ONCE_SECONDS, f"the slowest after {slowest * 1000:.1f} ms")
    step.check(
        "the proxy's counters explain each of them",
        counted == len(refused),
        f"{counted} overflows counted, {len(refused)} seen",
    )
    thirds = [loops.observations[part::3] for part in range(3)]
    alive = all(any(one.status == 200 for one in third) for third in thirds)
    step.check("some succeed all the time", alive, "in each third of the run")


def circuit_breaker(step: Step, api: Api) -> None:
    put_breaker(step, api, breaker_text(api))
    step.expect_stars("", "red", 5)
    before = step.world.counter("upstream_rq_pending_overflow")
    loops = step.call_from(
        "reviews-v3", "ratings", requests=LOOP_REQUESTS, parallel=LOOPS, keep_alive=True
    )
    counted = step.world.counter("upstream_rq_pending_overflow") - before
    _check_refusals(step, loops, counted)
    state = step.world.endpoints("ratings")["ratings-v1"]["state"]
    step.check("the pod is not ejected by these 503s", state == "ready", f"its state: {state}")
    alone = step.call_from("reviews-v3", "ratings", requests=20)
    fine = all(one.status == 200 for one in alone.observations)
    step.check("one loop alone is never refused", fine, format_counts(alone))
    remove_breaker(step, api)


# ---- step 8 -------------------------------------------------------------------------------------


def _broken_requests(step: Step) -> int:
    return step.world.application.requests_seen(layout.BROKEN_POD.name, "/ratings/")


def _show_endpoints(step: Step) -> dict[str, object]:
    step.world.nodectl.shown("endpoints", "ratings")
    return step.world.endpoints("ratings")[layout.BROKEN_POD.name]


def start_broken_pod(step: Step, api: Api) -> None:
    put_breaker(step, api, breaker_text(api, with_limits=False))
    step.world.add_pod(layout.BROKEN_POD)


def remove_broken_pod(step: Step, api: Api) -> None:
    step.world.remove_pod(layout.BROKEN_POD)
    remove_breaker(step, api)


def ejection(step: Step, api: Api) -> None:
    start_broken_pod(step, api)
    try:
        _watch_ejection(step)
        _watch_return(step, api)
    finally:
        remove_broken_pod(step, api)


def _watch_ejection(step: Step) -> None:
    seen_before = _broken_requests(step)
    pages = step.pages(PAGES, PARALLEL_CLIENTS)
    without = sum(1 for one in pages.observations if one.stars != "red")
    asked = _broken_requests(step) - seen_before
    step.check(
        f"of {PAGES} pages by {PARALLEL_CLIENTS} clients at once, the broken pod sees one request",
        asked == 1,
        f"{asked} in its own log",
    )
    step.check("at most one page lacks its stars", without <= 1, format_counts(pages))
    step.expect_stars("", "red", 40)
    step.check("and sees no further one", _broken_requests(step) - seen_before == asked, "same log")
    broken = _show_endpoints(step)
    until = (float(str(broken["until_unix_ns"])) / 1e9 - time.time()) / 60
    step.check("`nodectl endpoints` says who", broken["state"] == "ejected", str(broken["address"]))
    step.check("why", "consecutive 5xx: HTTP 500" in str(broken["reason"]), str(broken["reason"]))
    step.check("until when", 14.0 < until <= 15.0, f"{until:.1f} minutes from now")
    active = step.world.counter("outlier_detection_ejections_active")
    step.check("the gauge is 1", active == 1, f"outlier_detection_ejections_active {active}")


def _watch_return(step: Step, api: Api) -> None:
    put_breaker(step, api, breaker_text(api, with_limits=False, short=True))
    state = step.world.endpoints("ratings")[layout.BROKEN_POD.name]["state"]
    step.check("a changed policy resets nothing", state == "ejected", f"its state: {state}")
    address = str(step.world.endpoints("ratings")[layout.BROKEN_POD.name]["address"])
    step.world.nodectl.shown("uneject", "ratings", address)
    seen = _broken_requests(step)
    step.pages(20, 2)
    asked = _broken_requests(step) - seen
    step.check("brought back by hand, it is tried once", asked == 1, f"{asked} requests")
    time.sleep(SHORT_WINDOW_SECONDS + 1.5)
    state = step.world.endpoints("ratings")[layout.BROKEN_POD.name]["state"]
    step.check(
        f"after a sleepWindow of {SHORT_WINDOW_SECONDS} s it is back",
        state == "on probation",
        f"its state: {state}",
    )
    step.pages(20, 2)
    asked = _broken_requests(step) - seen
    step.check("and tried once more", asked == 2, f"{asked} requests in all")
