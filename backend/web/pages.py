"""The pages for people: HTML with all that it needs inside, for any browser and any width.

Values are escaped by Jinja: ids and reasons come from whoever may import tasks. The policy allows
one style and one script, by their hashes, and nothing else; the script only puts the page's newest
form in its place, so a browser without scripts loads it anew instead.
"""

import base64
import hashlib
import time
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, current_app, make_response, render_template, request

HTML, JSON = "text/html", "application/json"
FOLDER = "web/templates"  # below the folder of the package `backend`
POLICY = (
    "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
WORDS: Mapping[str, str] = {
    "all": "all",
    "queued": "queued",
    "running": "running",
    "ready": "ready to open",
    "delivery": "waiting for delivery",
    "answered": "answered at once",
    "delivered": "delivered",
    "done": "done",
    "failed": "failed",
    "given-up": "given up",
    "cancelled": "cancelled",
}
# The parts of a bar, from its left.
PARTS = (
    "delivered",
    "answered",
    "delivery",
    "running",
    "queued",
    "failed",
    "given-up",
    "cancelled",
)
LEAST_WIDTH = 4.0  # of a part, in thousandths of the bar
# What was done, by the word in the address that a button leads back to: (words of one, of several).
SAID: Mapping[str, str] = {
    "retried": "Asked for again: {count}.",
    "refused": "Cannot be tried again from here: {count}; open them in Label Studio.",
    "full": "The queue is full: try again when some of it is done.",
    "cancelled": "Cancelled: {count}.",
    "nothing": "Nothing was left to do.",
    "stale": "The page was out of date and nothing was done: press again.",
    "changed": "Done.",
}
STAGES: Mapping[str, str] = {
    "predict": "not asked for",
    "interactive": "click or sentence",
    "segment": "masks",
    "delivery": "delivery",
    "learning": "learning",
}


def install(app: Flask) -> None:
    """Make the filters of the templates known, and the policy that allows what is in them."""
    app.jinja_env.filters.update(ago=ago, span=span, words=_words, stage=_stage, bar=bar)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.extensions["dgl_policy"] = POLICY.format(
        style=_digest(app, "style.html"), script=_digest(app, "script.html")
    )


def prefers_html() -> bool:
    """Whether a browser asks: it names HTML, where programs say `*/*`, or nothing."""
    return request.accept_mimetypes.best_match([JSON, HTML]) == HTML


def page(template: str, **values: Any) -> Response:
    """A page as a response."""
    response = make_response(render_template(template, now=time.time(), **values))
    response.headers["Content-Security-Policy"] = current_app.extensions["dgl_policy"]
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Vary"] = "Accept"
    return response


def said(word: str, count: str) -> str:
    """What was done, of the words in an address; empty for words that are none of ours."""
    number = count if count.isascii() and count.isdigit() and len(count) < 9 else "some"
    return SAID[word].format(count=number) if word in SAID else ""


def span(seconds: float | None) -> str:
    """A time span in words: "8 s", "12 min", "3 h 20 min", "2 d 4 h"; empty for None."""
    if seconds is None:
        return ""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if hours < 1:
        return f"{minutes} min"
    if days < 1:
        return f"{hours} h {minutes % 60} min"
    return f"{days} d {hours % 24} h"


def ago(at: float, now: float) -> str:
    """How long ago something was, in words."""
    return f"{span(now - at)} ago"


def bar(counts: Mapping[str, int], width: float = 1000) -> list[tuple[str, float, float]]:
    """Parts of a bar: state, left edge, width; one that is there is never too thin to be seen."""
    shown = [(part, counts[part]) for part in PARTS if counts.get(part, 0)]
    total = sum(count for _, count in shown)
    shared = width - LEAST_WIDTH * len(shown)
    parts, left = [], 0.0
    for part, count in shown:
        wide = LEAST_WIDTH + shared * count / total
        parts.append((part, round(left, 1), round(wide, 1)))
        left += wide
    return parts


def _digest(app: Flask, template: str) -> str:
    text = app.jinja_env.get_template(template).render()
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _words(state: str) -> str:
    return WORDS.get(state, state)


def _stage(stage: str) -> str:
    return STAGES.get(stage, stage)
