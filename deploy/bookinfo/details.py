#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""details: what is printed on the cover."""

from __future__ import annotations

from service import Request, Response, arguments, json_response, serve

BOOK = {
    "author": "William Shakespeare",
    "year": 1595,
    "type": "paperback",
    "pages": 200,
    "publisher": "PublisherA",
    "language": "English",
    "ISBN-10": "1234567890",
    "ISBN-13": "123-1234567890",
}


def main() -> None:
    options = arguments().parse_args()

    def answer(request: Request) -> Response:
        if not request.path.startswith("/details/"):
            return json_response({"error": "no such page"}, 404)
        book = request.path.removeprefix("/details/")
        if not book.isdigit():
            return json_response({"error": "please provide numeric product ID"}, 400)
        return json_response({"id": int(book), "pod": options.pod, **BOOK})

    serve(options.port, options.pod, answer)


if __name__ == "__main__":
    main()
