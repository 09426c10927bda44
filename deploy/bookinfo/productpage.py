#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""productpage: the page a person sees. It asks details and reviews, and gives reviews 3 s and one
more try: 6 s in all. Logging in sets the cookie `user=NAME`; nothing else is remembered."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs

from page import Page, Rating, Review, render
from service import (
    SERVICE_PORT,
    Answer,
    Request,
    Response,
    arguments,
    call,
    json_response,
    serve,
)

DETAILS_SECONDS = 3.0
REVIEWS_SECONDS = 3.0
REVIEWS_TRIES = 2
USER_FORM = re.compile(r"[A-Za-z0-9._-]{1,32}")
STATIC_DIR = Path(__file__).resolve().parent / "static"
STATIC_TYPES = {".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
PRODUCT = {
    "id": 0,
    "title": "The Comedy of Errors",
    "description": (
        "The Comedy of Errors is one of William Shakespeare's early plays. It is his shortest and "
        "one of his most farcical comedies, with a major part of the humour coming from slapstick "
        "and mistaken identity, in addition to puns and word play."
    ),
}
REVIEWS_SORRY = "Sorry, product reviews are currently unavailable for this book."
DETAILS_SORRY = "Sorry, product details are currently unavailable for this book."


@dataclass
class Backends:
    details: str
    reviews: str


def user_of(request: Request) -> str:
    try:
        cookie: SimpleCookie[str] = SimpleCookie(request.headers.get("cookie", ""))
    except CookieError:
        return ""
    user = cookie["user"].value if "user" in cookie else ""
    return user if USER_FORM.fullmatch(user) else ""


def outgoing_headers(request: Request) -> dict[str, str]:
    """What is passed on. `user=NAME` goes first in the Cookie header: other applications on the
    same host name leave cookies too, and their order is the browser's."""
    headers = request.forwarded()
    headers.pop("end-user", None)
    user = user_of(request)
    if user:
        parts = [part.strip() for part in headers.get("cookie", "").split(";")]
        others = [part for part in parts if part and not part.startswith("user=")]
        headers["cookie"] = "; ".join([f"user={user}", *others])
        headers["end-user"] = user
    return headers


def ask_details(backends: Backends, headers: dict[str, str]) -> Answer:
    return call(f"{backends.details}/details/{PRODUCT['id']}", headers, DETAILS_SECONDS)


def ask_reviews(backends: Backends, headers: dict[str, str]) -> Answer:
    answer = Answer(0, b"", "not asked")
    for _ in range(REVIEWS_TRIES):
        answer = call(f"{backends.reviews}/reviews/{PRODUCT['id']}", headers, REVIEWS_SECONDS)
        if answer.status == 200:
            break
    return answer


def to_review(entry: object) -> Review:
    fields = entry if isinstance(entry, dict) else {}
    rating = fields.get("rating")
    shown = None
    if isinstance(rating, dict):
        shown = Rating(
            stars=int(rating.get("stars", 0)),
            color=str(rating.get("color", "")),
            error=str(rating.get("error", "")),
        )
    return Review(str(fields.get("reviewer", "")), str(fields.get("text", "")), shown)


def product_page(request: Request, backends: Backends, workers: ThreadPoolExecutor) -> Response:
    headers = outgoing_headers(request)
    pending = workers.submit(ask_details, backends, headers)
    reviews = ask_reviews(backends, headers)
    details = pending.result()
    page = Page(
        user=user_of(request), title=str(PRODUCT["title"]), text=str(PRODUCT["description"])
    )
    value = details.json() if details.status == 200 else None
    if isinstance(value, dict):
        page.details = {key: str(item) for key, item in value.items() if key not in ("id", "pod")}
    else:
        page.details_error = DETAILS_SORRY
    value = reviews.json() if reviews.status == 200 else None
    if isinstance(value, dict):
        page.reviews = [to_review(entry) for entry in value.get("reviews", [])]
        page.served_by = str(value.get("podname", ""))
        page.version = str(value.get("version", ""))
        page.ratings_problem = str(value.get("ratings_problem", ""))
    else:
        page.reviews_error = REVIEWS_SORRY
    return Response(200, render(page).encode(), "text/html; charset=utf-8", [no_store()])


def no_store() -> tuple[str, str]:
    return ("Cache-Control", "no-store")


def redirect_home(cookie: str) -> Response:
    headers = [("Location", "/productpage"), ("Set-Cookie", cookie), no_store()]
    return Response(303, b"", "text/plain", headers)


def login(request: Request) -> Response:
    form = parse_qs(request.body.decode("latin-1") if request.method == "POST" else request.query)
    user = (form.get("username") or [""])[0].strip()
    if not USER_FORM.fullmatch(user):
        return json_response({"error": "a user name has 1 to 32 letters, digits, . _ or -"}, 400)
    return redirect_home(f"user={user}; Path=/; HttpOnly; SameSite=Lax")


def logout() -> Response:
    return redirect_home("user=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax")


def static_file(path: str) -> Response:
    name = path.removeprefix("/static/")
    file = STATIC_DIR / name
    if "/" in name or file.suffix not in STATIC_TYPES or not file.is_file():
        return json_response({"error": "no such file"}, 404)
    caching = ("Cache-Control", "max-age=60")
    return Response(200, file.read_bytes(), STATIC_TYPES[file.suffix], [caching])


def passed_on(answer: Answer) -> Response:
    if answer.status == 0:
        return json_response({"error": answer.problem}, 503)
    return Response(answer.status, answer.body)


def api(request: Request, backends: Backends) -> Response:
    parts = request.path.strip("/").split("/")
    headers = outgoing_headers(request)
    if len(parts) == 3:
        return json_response([PRODUCT])
    if parts[3] != str(PRODUCT["id"]):
        return json_response({"error": "no such product"}, 404)
    if len(parts) == 4:
        return passed_on(ask_details(backends, headers))
    if parts[4:] == ["reviews"]:
        return passed_on(ask_reviews(backends, headers))
    return json_response({"error": "no such page"}, 404)


def main() -> None:
    options = arguments().parse_args()
    backends = Backends(
        details=os.environ.get("DETAILS_URL", f"http://details:{SERVICE_PORT}"),
        reviews=os.environ.get("REVIEWS_URL", f"http://reviews:{SERVICE_PORT}"),
    )
    workers = ThreadPoolExecutor(max_workers=64)

    def answer(request: Request) -> Response:
        if request.path in ("/productpage", "/"):
            return product_page(request, backends, workers)
        if request.path == "/login":
            return login(request)
        if request.path == "/logout":
            return logout()
        if request.path.startswith("/static/"):
            return static_file(request.path)
        if request.path == "/api/v1/products" or request.path.startswith("/api/v1/products/"):
            return api(request, backends)
        return json_response({"error": "no such page"}, 404)

    serve(options.port, options.pod, answer)


if __name__ == "__main__":
    main()
