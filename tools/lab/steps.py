# SPDX-License-Identifier: Apache-2.0
"""The steps of the lab. Each takes the API whose files it uses: the 0.x one, or today's (step 12
tells the same story with it)."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from lab import layout
from lab.checks import JASON_INSIDE, Step, describe, format_counts
from lab.load import Client, LoadResult, LoadSpec, Observation

DELAY_SECONDS = 7.0
DELAY_SECONDS_MAX = 7.05
DELAY_TRIES = 3
PAGE_BUG_SECONDS = 6.0
PAGE_BUG_SECONDS_MAX = 6.6
SPLIT_REQUESTS = 2000
SPLIT_PARALLEL = 10
SPLIT_POINTS = 5.0


@dataclass(frozen=True)
class Api:
    """File names of one API's samples for the same story."""

    folder: str
    all_v1: str
    test_v2: str
    delay: str
    abort: str
    half_v3: str
    all_v3: str
    subsets: str = ""
    # 0.x rules add up; today a VirtualService holds everything about its host, so a step is undone
    # by replacing it with the one before.
    is_additive: bool = True

    def path(self, name: str) -> str:
        folder = layout.SAMPLES_DIR / self.folder
        return str((folder / name).relative_to(layout.ROOT))


OLD = Api(
    folder="istio-v1alpha2",
    all_v1="route-rule-all-v1.yaml",
    test_v2="route-rule-reviews-test-v2.yaml",
    delay="route-rule-ratings-test-delay.yaml",
    abort="route-rule-ratings-test-abort.yaml",
    half_v3="route-rule-reviews-50-v3.yaml",
    all_v3="route-rule-reviews-v3.yaml",
)
NEW = Api(
    folder="istio-networking",
    all_v1="virtual-service-all-v1.yaml",
    test_v2="virtual-service-reviews-test-v2.yaml",
    delay="virtual-service-ratings-test-delay.yaml",
    abort="virtual-service-ratings-test-abort.yaml",
    half_v3="virtual-service-reviews-50-v3.yaml",
    all_v3="virtual-service-reviews-v3.yaml",
    subsets="destination-rule-all.yaml",
    is_additive=False,
)


def put(step: Step, api: Api, name: str, shown: bool = True) -> None:
    """Puts one sample in place: a new object is created, one whose name exists is replaced."""
    is_new = api.is_additive and name in (api.all_v1, api.test_v2, api.delay, api.abort)
    verb = "create" if is_new else "replace"
    if name in (api.all_v1, api.subsets):
        verb = "create"
    if shown:
        step.world.nodectl.shown(verb, "-f", api.path(name))
    else:
        step.world.nodectl.quiet(verb, "-f", api.path(name))


def undo(step: Step, api: Api, *names: str) -> None:
    """Takes samples away again: by deleting them, or, where an object was replaced, by replacing
    it with everything to v1."""
    if api.is_additive:
        files = [part for name in names for part in ("-f", api.path(name))]
        step.world.nodectl.shown("delete", *files)
    else:
        step.world.nodectl.shown("replace", "-f", api.path(api.all_v1))


def clear(step: Step, api: Api) -> None:
    """Takes away every policy of `api`, quietly: `delete` refuses what is not there."""
    names = [api.all_v1, api.test_v2, api.delay, api.abort, api.half_v3, api.all_v3]
    for name in [*names, api.subsets]:
        if name:
            step.world.nodectl.quiet("delete", "-f", api.path(name), check=False)


# ---- the steps ----------------------------------------------------------------------------------


def all_to_v1(step: Step, api: Api) -> None:
    if api.subsets:
        put(step, api, api.subsets)
    put(step, api, api.all_v1)
    before = step.ratings_requests()
    step.expect_stars("", "none", 30)
    step.expect_stars("jason", "none", 30)
    asked = step.ratings_requests() - before
    step.check("ratings gets no request", asked == 0, f"{asked} requests in its log")
    ipv6 = layout.CLUSTER_V6["reviews"]
    direct = step.call_from("productpage-v1", "reviews", requests=10, address=ipv6)
    fine = all(one.version == "v1" for one in direct.observations)
    step.check(f"the same over IPv6 ([{ipv6}])", fine, format_counts(direct))


def test_user_to_v2(step: Step, api: Api) -> None:
    put(step, api, api.test_v2)
    step.expect_stars("jason", "black", 20)
    step.expect_stars("", "none", 20)


def abort(step: Step, api: Api) -> None:
    put(step, api, api.abort)
    before = step.ratings_requests()
    step.expect_stars("jason", "missing", 10)
    asked = step.ratings_requests() - before
    step.check("the aborted calls reach no pod", asked == 0, f"{asked} requests in ratings' log")
    inside = step.call_from("reviews-v2", "ratings", JASON_INSIDE, requests=5)
    refused = all(one.status == 500 for one in inside.observations)
    step.check("ratings answers 500 to jason's calls", refused, format_counts(inside))
    others = step.call_from("reviews-v2", "ratings", {}, requests=5)
    fine = all(one.status == 200 for one in others.observations)
    step.check("ratings answers everyone else", fine, format_counts(others))
    step.expect_stars("", "none", 10)
    undo_abort(step, api)
    step.expect_stars("jason", "black", 5)


def undo_abort(step: Step, api: Api) -> None:
    if api.is_additive:
        undo(step, api, api.abort)
        return
    # all-v1 holds reviews too: bring the test user's rule back.
    undo(step, api)
    put(step, api, api.test_v2)


def _others_meanwhile(step: Step, until: threading.Event) -> list[Observation]:
    seen: list[Observation] = []
    client = Client(LoadSpec("127.0.0.1", step.world.gateway_port, "/productpage", keep_alive=True))
    while not until.is_set():
        seen.append(client.get())
        time.sleep(0.1)
    client.close()
    return seen


def delay(step: Step, api: Api) -> None:
    put(step, api, api.delay)
    done = threading.Event()
    others: list[Observation] = []
    watcher = threading.Thread(target=lambda: others.extend(_others_meanwhile(step, done)))
    watcher.start()
    try:
        jason = step.page("jason")
    finally:
        done.set()
        watcher.join()
    step.check(
        "jason's page takes 6 s",
        PAGE_BUG_SECONDS <= jason.seconds <= PAGE_BUG_SECONDS_MAX,
        f"{jason.seconds:.3f} s",
    )
    step.check(f"and says {describe('sorry')}", jason.stars == "sorry", f"[{jason.key}]")
    slowest = max((one.seconds for one in others), default=0.0)
    fine = all(one.status == 200 and one.stars == "none" for one in others)
    step.check(
        "others are unaffected meanwhile",
        bool(others) and fine and slowest < 1.0,
        f"{len(others)} pages without stars, slowest {slowest:.3f} s",
    )
    exact_delay(step)


def exact_delay(step: Step) -> None:
    """The call itself, from a pod of reviews. The upper bound is for an idle node, so it is given
    three tries; the lower one holds always."""
    shown = []
    held = False
    for _ in range(DELAY_TRIES):
        one = step.call_from("reviews-v2", "ratings", JASON_INSIDE).observations[0]
        shown.append(f"{one.seconds:.4f} s [{one.status}]")
        if one.status != 200 or one.seconds < DELAY_SECONDS:
            break
        held = one.seconds <= DELAY_SECONDS_MAX
        if held:
            break
    what = "the ratings call takes 7.000 to 7.050 s, and then succeeds"
    step.check(what, held, ", then ".join(shown))


def undo_both(step: Step, api: Api) -> None:
    undo(step, api, api.delay, api.test_v2)
    started = time.monotonic()
    first = step.page("jason")
    after = time.monotonic() - started
    step.check(
        "back to v1 at once",
        first.stars == "none" and first.seconds < 1.0,
        f"jason's first page after it: [{first.key}] in {after:.3f} s",
    )
    step.expect_stars("jason", "none", 20)
    step.expect_stars("", "none", 20)


def _check_split(step: Step, title: str, result: LoadResult) -> None:
    total = len(result.observations)
    versions = result.versions()
    shares = {name: 100.0 * versions.get(name, 0) / total for name in ("v1", "v2", "v3")}
    held = (
        abs(shares["v1"] - 50.0) <= SPLIT_POINTS
        and abs(shares["v3"] - 50.0) <= SPLIT_POINTS
        and versions.get("v2", 0) == 0
        and sum(versions.values()) == total
    )
    shown = ", ".join(f"{name} {share:.1f} %" for name, share in shares.items())
    rate = total / result.seconds
    seen = f"{shown} of {total} ({result.connections} connections, {rate:.0f}/s); "
    step.check(title, held, seen + format_counts(result))


def half_to_v3(step: Step, api: Api) -> None:
    put(step, api, api.half_v3)
    result = step.pages(SPLIT_REQUESTS, SPLIT_PARALLEL)
    _check_split(step, f"{SPLIT_REQUESTS} pages, {SPLIT_PARALLEL} at a time: half and half", result)
    one = step.call_from("productpage-v1", "reviews", {}, SPLIT_REQUESTS, keep_alive=True)
    _check_split(step, f"{SPLIT_REQUESTS} calls on one kept connection: half and half", one)
    step.check("it was one connection", one.connections == 1, f"{one.connections} opened")


def all_to_v3(step: Step, api: Api) -> None:
    port = step.world.gateway_port
    kept = Client(LoadSpec("127.0.0.1", port, "/productpage", keep_alive=True))
    before = [kept.get() for _ in range(20)]
    put(step, api, api.all_v3)
    after = [kept.get() for _ in range(20)]
    kept.close()
    step.check(
        "a kept connection opened before the change follows it",
        kept.connections == 1 and all(one.stars == "red" for one in after),
        f"{kept.connections} connection: before {_tally(before)}; after {_tally(after)}",
    )
    step.expect_stars("", "red", 100)
    step.expect_stars("jason", "red", 50)


def _tally(seen: list[Observation]) -> str:
    return format_counts(LoadResult(seen, 0, 1.0))
