"""From exception to HTTP answer: one table. No traceback and no text of an unknown error leaves.

A browser gets a page, programs JSON.
"""

import logging
import uuid

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from backend.web.pages import page, prefers_html
from workers.logs import begin, request_id
from workers.queue.connection import QueueError

LOG = logging.getLogger(__name__)


class RequestError(Exception):
    """The request itself is wrong; the message says how it should be."""


# Exception, status, message (None: the exception's own, written for users).
ERRORS: tuple[tuple[type[Exception], int, str | None], ...] = (
    (RequestError, 400, None),
    (QueueError, 503, "The queue does not answer."),
    (Exception, 500, "Internal error; the server's log says more under this request id."),
)


def install(app: Flask) -> None:
    """Give each request an id and each error an answer that names it."""
    app.before_request(_identify)
    app.after_request(_name)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _error)


def _identify() -> None:
    """That of a proxy before this server, or one of its own; lines of the log name it."""
    g.request_id = request_id(request.headers.get("X-Request-ID")) or uuid.uuid4().hex[:12]
    begin(request=g.request_id)


def _name(response: Response) -> Response:
    response.headers["X-Request-ID"] = g.request_id
    return response


def _http_error(error: Exception) -> Response:
    """Werkzeug's own: 404, 405, 413, …; keeps its headers, such as WWW-Authenticate and Allow."""
    assert isinstance(error, HTTPException)
    status = error.code or 500
    response = _answer(status, error.description or error.name)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _error(error: Exception) -> Response:
    status, message = next((s, m) for kind, s, m in ERRORS if isinstance(error, kind))
    if status >= 500:
        LOG.error("request %s: %s", g.request_id, error, exc_info=status == 500)
    return _answer(status, str(error) if message is None else message)


def _answer(status: int, message: str) -> Response:
    if prefers_html() and not request.path.startswith("/api/"):
        again = status == 503 and request.method == "GET"
        told = {"status": status, "message": message, "again": again}
        response = page("error.html", request_id=g.request_id, **told)
    else:
        response = jsonify(error=message, request_id=g.request_id)
    response.status_code = status
    return response
