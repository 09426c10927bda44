#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""ratings: two ratings for a book. With RATINGS_FAIL=1 in its environment every answer is a 500,
which is what a broken pod looks like to its callers."""

from __future__ import annotations

import os

from service import Request, Response, arguments, json_response, serve

STARS = {"Reviewer1": 5, "Reviewer2": 4}


def main() -> None:
    options = arguments().parse_args()
    broken = os.environ.get("RATINGS_FAIL", "0") == "1"

    def answer(request: Request) -> Response:
        if broken:
            return json_response({"error": "this ratings pod is broken", "pod": options.pod}, 500)
        if not request.path.startswith("/ratings/"):
            return json_response({"error": "no such page"}, 404)
        book = request.path.removeprefix("/ratings/")
        if not book.isdigit():
            return json_response({"error": "please provide numeric product ID"}, 400)
        value = {"id": int(book), "pod": options.pod, "version": options.version, "ratings": STARS}
        return json_response(value)

    serve(options.port, options.pod, answer)


if __name__ == "__main__":
    main()
