"""Against a small server that treats tokens as Label Studio 1.23 does."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from workers.images.credentials import Credentials, CredentialsError

LEGACY = "0123456789abcdef0123456789abcdef01234567"


def jwt(kind: str, seconds: float, number: int = 0) -> str:
    """A token of that lifetime. Its clock is far from ours: only the difference may count."""
    body = {"token_type": kind, "iat": 1000, "exp": 1000 + seconds, "jti": number}
    parts = ({"alg": "HS256"}, body, "signature")
    packed = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    return b".".join(packed).decode()


PERSONAL = jwt("refresh", 10**9)


class TokenServer(ThreadingHTTPServer):
    """Exchanges PERSONAL for access tokens and takes the newest of them, or LEGACY."""

    daemon_threads = True
    lifetime = 300.0
    exchanges = 0
    broken: tuple[int, bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: TokenServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.broken is not None:
            self._send(*self.server.broken)
        elif self.path != "/api/token/refresh" or body != {"refresh": PERSONAL}:
            self._send(401, b'{"detail": "Token is invalid"}')
        else:
            time.sleep(0.05)
            self.server.exchanges += 1
            access = jwt("access", self.server.lifetime, self.server.exchanges)
            self._send(200, json.dumps({"access": access}).encode())

    def do_GET(self) -> None:
        access = jwt("access", self.server.lifetime, self.server.exchanges)
        good = (f"Token {LEGACY}", f"Bearer {access}")
        self._send(200 if self.headers["Authorization"] in good else 401, b"{}")

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:9/stolen")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def server() -> Iterator[TokenServer]:
    with TokenServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def _status(server: TokenServer, credentials: Credentials) -> int:
    headers = {"Authorization": credentials.authorization()}
    return requests.get(f"{server.url}/api/projects", headers=headers, timeout=5).status_code


@pytest.mark.parametrize("key", [LEGACY, PERSONAL, f" {PERSONAL}\n"])
def test_both_kinds_of_key_are_accepted(server: TokenServer, key: str) -> None:
    assert _status(server, Credentials(server.url, key)) == 200


def test_a_legacy_token_asks_nobody(server: TokenServer) -> None:
    assert Credentials("http://127.0.0.1:9", LEGACY).authorization() == f"Token {LEGACY}"


def test_an_access_token_is_kept_until_shortly_before_it_expires(server: TokenServer) -> None:
    credentials = Credentials(server.url, PERSONAL)
    assert len({credentials.authorization() for _ in range(5)}) == 1
    assert server.exchanges == 1
    assert 260 < credentials._renew_at - time.monotonic() <= 270
    credentials._renew_at = time.monotonic()
    assert _status(server, credentials) == 200
    assert server.exchanges == 2


def test_many_threads_exchange_once(server: TokenServer) -> None:
    credentials = Credentials(server.url, PERSONAL)
    with ThreadPoolExecutor(16) as pool:
        tokens = set(pool.map(lambda _: credentials.authorization(), range(64)))
    assert len(tokens) == 1
    assert server.exchanges == 1


def test_a_refused_access_token_is_renewed_when_asked(server: TokenServer) -> None:
    credentials = Credentials(server.url, PERSONAL)
    credentials.authorization()
    server.exchanges += 1  # Label Studio revoked it
    assert _status(server, credentials) == 401
    credentials.forget()
    assert _status(server, credentials) == 200


def test_a_short_lived_access_token_is_used_all_the_same(server: TokenServer) -> None:
    server.lifetime = 10.0
    credentials = Credentials(server.url, PERSONAL)
    assert credentials.authorization() == credentials.authorization()
    assert 0 < credentials._renew_at - time.monotonic() <= 5


REFUSALS = {
    "expired": ((401, b"{}"), "make a new one under Account & Settings", False),
    "down": ((503, b""), "HTTP 503", True),
    "other server": ((200, b"<html>"), "without an access token: check LABEL_STUDIO_URL", False),
    "no token": ((200, b"[]"), "without an access token", False),
    "redirect": ((302, b""), "HTTP 302", False),
}


@pytest.mark.parametrize(("answer", "message", "transient"), REFUSALS.values(), ids=list(REFUSALS))
def test_a_refusal_says_why_and_never_the_key(
    server: TokenServer, answer: tuple[int, bytes], message: str, transient: bool
) -> None:
    server.broken = answer
    with pytest.raises(CredentialsError, match=message) as raised:
        Credentials(server.url, PERSONAL).authorization()
    assert raised.value.transient is transient
    assert PERSONAL not in str(raised.value)


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(CredentialsError, match=r"127\.0\.0\.1:9/api/token/refresh") as raised:
        Credentials("http://127.0.0.1:9", PERSONAL).authorization()
    assert raised.value.transient


@pytest.mark.parametrize("key", ["a.b.c", "...", "a.!!!.c", jwt("access", 5), "x" * 40])
def test_what_is_no_refresh_token_is_sent_as_a_legacy_token(key: str) -> None:
    assert Credentials("http://127.0.0.1:9", key).authorization() == f"Token {key}"
