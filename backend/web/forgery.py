"""That a request which changes something comes from this page, or from a program.

A browser sends a remembered login along with whatever another site makes it post. So a form holds
a token that other sites cannot read, and what the browser says of the request's origin must be this
one. A program sends JSON under its content type, which a form of another site cannot do.
"""

import hmac
import secrets
from urllib.parse import urlsplit

from flask import Request
from werkzeug.exceptions import Forbidden, UnsupportedMediaType

FIELD = "token"
CROSS_SITE = "This request comes from another site. Open the status page itself and press there."


class StaleFormError(Exception):
    """The form is of a page that an earlier process of the server made: it must be loaded anew."""


class FormToken:
    """The token of this process's forms."""

    def __init__(self) -> None:
        self.value = secrets.token_urlsafe(32)

    def check_form(self, request: Request) -> None:
        """Let a form of this page pass.

        Raises:
            Forbidden: it comes from elsewhere.
            StaleFormError: it comes from here, with a token of former times or none.
        """
        check_origin(request)
        given = request.form.get(FIELD, "").encode(errors="replace")
        if not hmac.compare_digest(given, self.value.encode()):
            raise StaleFormError


def check_json(request: Request) -> None:
    """Let a program pass, or a script of this page.

    Raises:
        Forbidden: it comes from another site.
        UnsupportedMediaType: it is not sent as JSON.
    """
    check_origin(request)
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("Send it with 'Content-Type: application/json'.")


def check_origin(request: Request) -> None:
    """Refuse what a browser says comes from another site; what says nothing is no browser.

    `Sec-Fetch-Site` goes before `Origin`: behind a proxy the host may have another name here.

    Raises:
        Forbidden: it comes from another site.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise Forbidden(CROSS_SITE)
    elif origin is not None and urlsplit(origin).netloc != request.host:
        raise Forbidden(CROSS_SITE)
