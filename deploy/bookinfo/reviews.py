#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""reviews: two reviews of a book. v1 has no stars and never calls ratings, v2 has black stars, v3
red ones. v2 and v3 give ratings 10 s: far more than productpage gives them, which is the
application's deliberate bug."""

from __future__ import annotations

import os

from service import SERVICE_PORT, Request, Response, arguments, call, json_response, serve

RATINGS_SECONDS = 10.0
COLORS = {"v2": "black", "v3": "red"}
REVIEWS = (
    (
        "Reviewer1",
        "An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!",
    ),
    (
        "Reviewer2",
        "Absolutely fun and entertaining. The play lacks thematic depth when compared to other "
        "plays by Shakespeare.",
    ),
)


def fetch_stars(url: str, request: Request) -> tuple[dict[str, int], str]:
    """Stars per reviewer, or why there are none."""
    answer = call(url, request.forwarded(), RATINGS_SECONDS)
    value = answer.json() if answer.status == 200 else None
    if isinstance(value, dict) and isinstance(value.get("ratings"), dict):
        return value["ratings"], ""
    return {}, answer.problem or f"HTTP {answer.status}"


def main() -> None:
    options = arguments().parse_args()
    ratings = os.environ.get("RATINGS_URL", f"http://ratings:{SERVICE_PORT}")
    color = COLORS.get(options.version)

    def answer(request: Request) -> Response:
        if not request.path.startswith("/reviews/"):
            return json_response({"error": "no such page"}, 404)
        book = request.path.removeprefix("/reviews/")
        if not book.isdigit():
            return json_response({"error": "please provide numeric product ID"}, 400)
        stars: dict[str, int] = {}
        problem = ""
        if color:
            stars, problem = fetch_stars(f"{ratings}/ratings/{book}", request)
        entries = []
        for reviewer, text in REVIEWS:
            entry: dict[str, object] = {"reviewer": reviewer, "text": text}
            if color and problem:
                entry["rating"] = {"error": "Ratings service is currently unavailable"}
            elif color:
                entry["rating"] = {"stars": stars.get(reviewer, 0), "color": color}
            entries.append(entry)
        value = {"id": book, "podname": options.pod, "version": options.version, "reviews": entries}
        if problem:
            value["ratings_problem"] = problem
        return json_response(value)

    serve(options.port, options.pod, answer)


if __name__ == "__main__":
    main()
