"""The login of every route, and an end to guessing it.

Guesses are counted by the address that a connection comes from; what a header says of another one
is believed of the trusted proxy alone, so behind another one all clients are one. Whoever guessed
too often is refused for a minute, also with the right login, since else guessing could go on; other
addresses are not.
"""

import hmac
import ipaddress
import logging
import threading
from collections.abc import Callable

from cachetools import TTLCache
from flask import Flask, Request, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import TooManyRequests, Unauthorized

from backend.web.settings import Settings

LOG = logging.getLogger(__name__)

MOST_GUESSES = 10  # wrong logins from an address
OPEN_ENDPOINT = "webhook"
SECONDS = 60  # after which they are forgotten, counted from the last one
MOST_ADDRESSES = 10_000  # of which guesses are kept; of more, the first are forgotten
NETWORK = 64  # bits of an IPv6 address: the rest is for its owner to choose


class Guesses:
    """Wrong logins of late, by address."""

    def __init__(self) -> None:
        self._counts: TTLCache[str, int] = TTLCache(MOST_ADDRESSES, SECONDS)
        self._lock = threading.Lock()

    def are_too_many(self, address: str) -> bool:
        """Whether an address has no guess left."""
        with self._lock:
            return bool(self._counts.get(address, 0) >= MOST_GUESSES)

    def note(self, address: str) -> None:
        """Count one."""
        with self._lock:
            count = self._counts.get(address, 0) + 1
            self._counts[address] = count
        if count == MOST_GUESSES:
            LOG.warning("%s: %d wrong logins; refused for %d s", address, count, SECONDS)


def install(app: Flask, settings: Settings, count: Callable[[str, str], None]) -> None:
    """Ask for the login on every route, if one is set; as upstream, /health is no exception.

    The webhook is one: Label Studio's has no login, but a secret of its own.

    Args:
        app: the web application.
        settings: with the login.
        count: is told of a tally and its outcome.
    """
    user, password = settings.basic_auth_user, settings.basic_auth_pass
    if user is None or password is None:
        return
    expected = f"{user}:{password.get_secret_value()}".encode()
    guesses = Guesses()

    def check() -> None:
        if request.endpoint == OPEN_ENDPOINT:
            return
        given = _given(request)
        if given is None:
            count("logins", "refused")
            raise _asked_for("Basic authentication is required.")
        address = source_of(request.remote_addr or "")
        if guesses.are_too_many(address):
            count("logins", "held-off")
            raise TooManyRequests(
                f"Too many wrong logins: wait {SECONDS} s, then use the right one.",
                retry_after=SECONDS,
            )
        if not hmac.compare_digest(given, expected):
            guesses.note(address)
            count("logins", "refused")
            raise _asked_for("The login is wrong: see BASIC_AUTH_USER and BASIC_AUTH_PASS.")

    app.before_request(check)


def source_of(address: str) -> str:
    """Whom guesses from an address are counted for: an IPv4 address, or an IPv6 network."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, NETWORK), strict=False))


def _given(request: Request) -> bytes | None:
    """The login of a request; None where it has none."""
    login = request.authorization
    if login is None or login.type != "basic":
        return None
    return f"{login.username}:{login.password}".encode(errors="replace")


def _asked_for(why: str) -> Unauthorized:
    challenge = WWWAuthenticate("basic", {"realm": "dgl-rsis"})
    return Unauthorized(why, www_authenticate=challenge)
