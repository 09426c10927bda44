# SPDX-License-Identifier: Apache-2.0
"""Made-up traces for dashboard_samples.py: pages of the Bookinfo lab, and trees that are none."""

from __future__ import annotations

import random
import time


def span(ident: str, parent: str, service: str, kind: str, start: int, took: int,
         **tags: object) -> dict:
    """One span; the tags error and name are fields of the span."""
    is_error = bool(tags.pop("error", False))
    name = str(tags.pop("name", f"{service}.default.svc.cluster.local:9080/*"))
    return {"id": ident, "parent": parent, "name": name, "service": service, "kind": kind,
            "start_unix_us": start, "duration_us": took, "error": is_error,
            "tags": {"component": "proxy", "http.method": "GET", "http.protocol": "HTTP/1.1",
                     **{key.replace("_", "."): value for key, value in tags.items()}}}


def page_spans(start: int, rng: random.Random, is_slow: bool) -> list[dict]:
    """productpage asks details, then reviews once or, when reviews waits for ratings, twice."""
    spans: list[dict] = []

    def add(parent: str, caller: str, called: str, begin: int, took: int, **tags: object) -> str:
        ident = f"{rng.getrandbits(64):016x}"
        status = 504 if tags.get("error") else 200
        spans.append(span(ident, parent, caller, "CLIENT", begin, took, http_status_code=status,
                          peer_address=f"10.1.0.{rng.randint(2, 9)}:9080", name=called, **tags))
        return ident

    def serve(parent: str, service: str, begin: int, took: int) -> str:
        ident = f"{rng.getrandbits(64):016x}"
        spans.append(span(ident, parent, service, "SERVER", begin, took, http_status_code=200))
        return ident

    total = 6_024_000 if is_slow else rng.randint(14_000, 60_000)
    entry = add("", "istio-ingress", "productpage", start, total)
    page = serve(entry, "productpage", start + 400, total - 700)
    details = add(page, "productpage", "details", start + 1500, 2600)
    serve(details, "details", start + 1900, 1900)
    for attempt in range(2 if is_slow else 1):
        begin = start + 5000 + attempt * 3_004_000
        took = 3_001_000 if is_slow else total - 8000
        late: dict[str, object] = {"error": True, "response_flags": "DC"} if is_slow else {}
        call = add(page, "productpage", "reviews", begin, took, **late)
        reviews = serve(call, "reviews", begin + 300, 7_006_000 if is_slow else took - 600)
        wait = 7_003_000 if is_slow else took // 3
        fault: dict[str, object] = ({"response_flags": "DI", "fault_delay_ms": 7000}
                                    if is_slow else {})
        ratings = add(reviews, "reviews", "ratings", begin + 900, wait, **fault)
        serve(ratings, "ratings", begin + wait - 1200, 900)
    for entry_span in spans:  # tags that keep their underscore
        tags = entry_span["tags"]
        for dotted in ("response.flags", "http.status.code", "fault.delay.ms"):
            if dotted in tags:
                head, _, tail = dotted.rpartition(".")
                tags[f"{head}_{tail}"] = tags.pop(dotted)
    return spans


def lab_traces(amount: int = 60) -> list[dict]:
    rng = random.Random(5)
    newest = int(time.time() * 1e6)
    made = []
    for i in range(amount):
        is_slow = i % 7 == 3
        start = newest - i * 1_900_000 - 7_000_000
        spans = page_spans(start, rng, is_slow)
        ident = f"{rng.getrandbits(128):032x}"
        status = 503 if i % 11 == 5 else 429 if i % 13 == 6 else 200
        row = {"id": ident, "name": "productpage-default", "source": "istio-ingress",
               "host": "productpage.default.svc.cluster.local", "start_unix_us": start,
               "duration_us": spans[0]["duration_us"], "spans": len(spans), "status": status,
               "error": is_slow or status == 503}
        made.append({"row": row, "trace": {"id": ident, "spans": spans}})
    return made


def hostile_traces(names: list[str]) -> list[dict]:
    """Hostile names, a circle of parents, a span before its parent, no spans at all."""
    made = []
    for i, name in enumerate(names):
        spans = [span("a", "b", name, "CLIENT", 1000, 500, name=name, **{name[:20]: name}),
                 span("b", "a", name, name, 900, -5, name=name, error=True),
                 span("c", "missing", name, "SERVER", 10 ** 15, 10 ** 12, name=name),
                 span("c", "c", "", "", 0, 0, name="")]
        row = {"id": f"{name}#&=%{i}", "name": name, "source": name, "host": name,
               "start_unix_us": 10 ** 15 + i, "duration_us": 10 ** 7 * i, "spans": 4,
               "status": i * 100, "error": "yes"}
        made.append({"row": row, "trace": {"id": row["id"], "spans": spans if i else []}})
    return made
