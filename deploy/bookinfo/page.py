# SPDX-License-Identifier: Apache-2.0
"""The product page as HTML. The attributes data-reviews-version, data-stars and data-color carry
what a person sees, for tests that read the page."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

STARS_MAX = 5
LABELS = {
    "author": "Author",
    "year": "First played",
    "type": "Type",
    "pages": "Pages",
    "publisher": "Publisher",
    "language": "Language",
}


@dataclass
class Rating:
    stars: int = 0
    color: str = ""
    error: str = ""


@dataclass
class Review:
    reviewer: str
    text: str
    rating: Rating | None = None


@dataclass
class Page:
    user: str
    title: str
    text: str
    details: dict[str, str] = field(default_factory=dict)
    details_error: str = ""
    reviews: list[Review] = field(default_factory=list)
    reviews_error: str = ""
    served_by: str = ""
    version: str = ""
    ratings_problem: str = ""


def _account(user: str) -> str:
    if user:
        initial = escape(user[0].upper())
        return (
            f'<span class="who"><span class="initial" aria-hidden="true">{initial}</span>'
            f'<span id="user">{escape(user)}</span></span>'
            '<a class="button quiet" href="/logout">Sign out</a>'
        )
    return (
        '<form class="signin" method="post" action="/login">'
        '<label class="hidden" for="username">User name</label>'
        '<input id="username" name="username" placeholder="User name, e.g. jason" required '
        'maxlength="32" pattern="[A-Za-z0-9._\\-]+" autocomplete="off" autocapitalize="none">'
        '<button class="button" type="submit">Sign in</button></form>'
    )


def _notice(text: str) -> str:
    return f'<p class="notice" role="status">{escape(text)}</p>'


def _stars(rating: Rating | None) -> str:
    if rating is None:
        return ""
    if rating.error:
        return f'<p class="rating-missing">{escape(rating.error)}</p>'
    color = "red" if rating.color == "red" else "black"
    stars = max(0, min(STARS_MAX, rating.stars))
    shapes = "".join(
        f'<svg class="{"on" if index < stars else "off"}" viewBox="0 0 20 20" aria-hidden="true">'
        '<use href="#star"/></svg>'
        for index in range(STARS_MAX)
    )
    return (
        f'<p class="stars {color}" data-stars="{stars}" data-color="{color}" role="img" '
        f'aria-label="{stars} of {STARS_MAX} {color} stars">{shapes}</p>'
    )


def _review(review: Review) -> str:
    return (
        f'<li class="card review">{_stars(review.rating)}'
        f"<blockquote>{escape(review.text)}</blockquote>"
        f'<p class="by">{escape(review.reviewer)}</p></li>'
    )


def _reviews(page: Page) -> str:
    if page.reviews_error:
        return _notice(page.reviews_error)
    problem = f" · ratings: {escape(page.ratings_problem)}" if page.ratings_problem else ""
    served = f'<p class="served">Served by <code>{escape(page.served_by)}</code>{problem}</p>'
    return f'<ul class="reviews">{"".join(map(_review, page.reviews))}</ul>{served}'


def _details(page: Page) -> str:
    if page.details_error:
        return _notice(page.details_error)
    rows = "".join(
        f"<div><dt>{escape(LABELS.get(key, key))}</dt><dd>{escape(value)}</dd></div>"
        for key, value in page.details.items()
    )
    return f'<dl class="card facts">{rows}</dl>'


def render(page: Page) -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(page.title)} · Bookinfo</title>
<link rel="stylesheet" href="/static/bookinfo.css">
<link rel="icon" href="/static/book.svg" type="image/svg+xml">
</head>
<body data-reviews-version="{escape(page.version)}">
<svg class="hidden" aria-hidden="true"><symbol id="star" viewBox="0 0 20 20">
<path d="M10 1.6l2.6 5.3 5.8.8-4.2 4.1 1 5.8-5.2-2.7-5.2 2.7 1-5.8L1.6 7.7l5.8-.8z"/>
</symbol></svg>
<header class="bar">
<a class="brand" href="/productpage"><img src="/static/book.svg" alt="" width="28" height="28">
Bookinfo</a>
<div class="account">{_account(page.user)}</div>
</header>
<main>
<section class="hero">
<div class="cover" aria-hidden="true"><span>William<br>Shakespeare</span>
<strong>The Comedy<br>of Errors</strong></div>
<div class="pitch">
<p class="kicker">Comedy · five acts</p>
<h1>{escape(page.title)}</h1>
<p class="summary">{escape(page.text)}</p>
</div>
</section>
<div class="columns">
<section aria-labelledby="reviews-title">
<h2 id="reviews-title">Reviews</h2>
{_reviews(page)}
</section>
<section aria-labelledby="details-title">
<h2 id="details-title">Details</h2>
{_details(page)}
</section>
</div>
</main>
</body>
</html>
"""
