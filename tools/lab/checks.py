# SPDX-License-Identifier: Apache-2.0
"""What a step of the lab may look at, and how it says what it saw."""

from __future__ import annotations

from dataclasses import dataclass, field

from lab import layout
from lab.load import LoadResult, LoadSpec, Observation, send
from lab.shell import terminal
from lab.world import World

JASON = {"Cookie": "user=jason"}
# As reviews calls ratings for a signed-in person: 0.x rules look at the cookie, today's at the
# header.
JASON_INSIDE = {"Cookie": "user=jason", "end-user": "jason", "Host": "ratings:9080"}


@dataclass
class Check:
    what: str
    held: bool
    seen: str


@dataclass
class Step:
    """One step under way: the world, and the checks made so far."""

    world: World
    checks: list[Check] = field(default_factory=list)

    @property
    def held(self) -> bool:
        return bool(self.checks) and all(check.held for check in self.checks)

    def check(self, what: str, held: bool, seen: str) -> bool:
        self.checks.append(Check(what, held, seen))
        mark = terminal.green("ok  ") if held else terminal.red("FAIL")
        terminal.say(f"  {mark} {what}: {seen}")
        return held

    # ---- clients ----------------------------------------------------------------------------

    def page(self, user: str = "") -> Observation:
        """One load of the page, as a browser would."""
        return self.pages(1, 1, user).observations[0]

    def pages(
        self,
        requests: int,
        parallel: int,
        user: str = "",
        keep_alive: bool = False,
        rate: float = 0.0,
    ) -> LoadResult:
        headers = {"Cookie": f"user={user}"} if user else {}
        spec = LoadSpec(
            "127.0.0.1",
            self.world.gateway_port,
            "/productpage",
            headers,
            requests,
            parallel,
            keep_alive,
            rate=rate,
        )
        return send(spec, lambda done, all_: terminal.progress(f"{done} of {all_} pages"))

    def call_from(
        self,
        pod: str,
        service: str,
        headers: dict[str, str] | None = None,
        requests: int = 1,
        parallel: int = 1,
        keep_alive: bool = False,
        address: str = "",
        rate: float = 0.0,
    ) -> LoadResult:
        """Calls SERVICE by name (or by one of its cluster addresses) from inside a pod, where the
        call is captured."""
        spec = LoadSpec(
            address or service,
            layout.SERVICE_PORT,
            f"/{service}/0",
            dict(headers or {}),
            requests,
            parallel,
            keep_alive,
            rate=rate,
        )
        return self.world.load_from_pod(pod, spec)

    def ratings_requests(self) -> int:
        return self.world.application.requests_seen("ratings-v1", "/ratings/")

    # ---- repeated observations --------------------------------------------------------------

    def expect_stars(self, user: str, stars: str, loads: int = 10) -> bool:
        result = self.pages(loads, 2, user)
        who = user or "anyone else"
        held = all(one.status == 200 and one.stars == stars for one in result.observations)
        return self.check(
            f"{who} sees {describe(stars)}",
            held,
            f"{loads} pages: {format_counts(result)}, slowest {result.slowest():.3f} s",
        )


def describe(stars: str) -> str:
    return {
        "none": "no stars",
        "black": "black stars",
        "red": "red stars",
        "missing": "reviews without ratings",
        "sorry": '"Sorry, product reviews are currently unavailable"',
    }[stars]


def format_counts(result: LoadResult) -> str:
    return ", ".join(f"{count} x [{key}]" for key, count in result.counts().items())
