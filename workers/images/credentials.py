"""The Authorization header for a Label Studio API key, of either kind.

A legacy token is sent as it is. A personal access token is a JWT that only serves to fetch
short-lived access tokens (`POST /api/token/refresh`); sent directly it is answered 401.
"""

import base64
import json
import re
import threading
import time
from typing import Any

import requests

from workers.receiving import receive

CONNECT_SECONDS = 5.0
READ_SECONDS = 15.0
MARGIN_SECONDS = 30.0  # an access token is renewed before it expires, not after
MOST_BYTES = 1024 * 1024  # of an answer that holds a token
HEADER_WORD = re.compile("[!-~]+")
SHORTEST_SECONDS = 5.0  # even of a token that expires within the margin


class CredentialsError(Exception):
    """Label Studio does not take the API key, or cannot be asked.

    Attributes:
        transient: whether trying again later may help.
    """

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


class Credentials:
    """The Authorization header of one Label Studio; safe to share between threads.

    Args:
        url: of Label Studio, without a trailing slash. The key is sent nowhere else.
        api_key: a legacy token or a personal access token.
        verify: as in requests: True, or a file of certificate authorities.
    """

    def __init__(self, url: str, api_key: str, verify: bool | str = True) -> None:
        self._url = url
        self._key = api_key.strip()
        self._verify = verify
        self._personal = _claims(self._key).get("token_type") == "refresh"
        self._lock = threading.Lock()
        self._access = ""
        self._renew_at = 0.0

    def authorization(self) -> str:
        """The value of the Authorization header.

        Raises:
            CredentialsError: the key is none, or a personal access token could not be exchanged.
        """
        if not HEADER_WORD.fullmatch(self._key):
            raise CredentialsError(
                "LABEL_STUDIO_API_KEY holds a space or a character that no key has: copy it anew "
                "(Account & Settings)",
                transient=False,
            )
        if not self._personal:
            return f"Token {self._key}"
        with self._lock:  # so that many threads renew once
            if time.monotonic() >= self._renew_at:
                self._renew()
            return f"Bearer {self._access}"

    def forget(self) -> None:
        """Renew at the next call: the access token in use was answered 401."""
        with self._lock:
            self._renew_at = 0.0

    def _renew(self) -> None:
        self._access = self._exchange()
        claims = _claims(self._access)
        # Counted from the token's own clock: the two machines' clocks may differ.
        lifetime = _number(claims.get("exp"), 0.0) - _number(claims.get("iat"), time.time())
        self._renew_at = time.monotonic() + max(SHORTEST_SECONDS, lifetime - MARGIN_SECONDS)

    def _exchange(self) -> str:
        address = f"{self._url}/api/token/refresh"
        try:
            with requests.Session() as session:
                session.trust_env = False  # no .netrc, no proxy: the key goes to Label Studio only
                deadline = time.monotonic() + READ_SECONDS
                with session.post(
                    address,
                    json={"refresh": self._key},
                    timeout=(CONNECT_SECONDS, READ_SECONDS),
                    allow_redirects=False,
                    verify=self._verify,
                    stream=True,
                ) as answer:
                    status, body = answer.status_code, receive(answer, MOST_BYTES, deadline)
        except (requests.RequestException, ValueError) as error:  # urllib3's, of hosts like "a..b"
            raise CredentialsError(
                f"Label Studio cannot be reached at {address} ({type(error).__name__}): "
                "check LABEL_STUDIO_URL",
                transient=True,
            ) from None
        return _access_token(status, body, address)


def _access_token(status: int, body: bytes, address: str) -> str:
    if status != requests.codes.ok:
        raise CredentialsError(
            f"{address} refused the personal access token (HTTP {status}): it is expired "
            "or revoked, make a new one under Account & Settings and set LABEL_STUDIO_API_KEY",
            transient=status >= requests.codes.server_error,
        )
    try:
        token = json.loads(body)["access"]
    except (ValueError, KeyError, TypeError, RecursionError):
        token = None
    if not isinstance(token, str) or not HEADER_WORD.fullmatch(token):
        raise CredentialsError(
            f"{address} answered without an access token: check LABEL_STUDIO_URL",
            transient=False,
        )
    return token


def _number(value: Any, otherwise: float) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e12 else otherwise


def _claims(token: str) -> dict[str, Any]:
    """What a JWT says of itself, unchecked (Label Studio checks it); {} for any other string."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    body = parts[1] + "=" * (-len(parts[1]) % 4)
    try:
        claims = json.loads(base64.urlsafe_b64decode(body))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}
