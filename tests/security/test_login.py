"""A login cannot be guessed, nobody else is locked out meanwhile, and no log holds one."""

import base64
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from backend.web import login
from backend.web.login import MOST_GUESSES, Guesses, source_of
from backend.web.settings import Settings
from tests.backend import conftest
from tests.backend.conftest import MakeApp
from tests.security.web_process import WebProcess, web_process

USER, PASSWORD = "ls", "canary-pässword"
GUESS = "canary-guess"
make_app, clean_environment = conftest.make_app, conftest._clean_environment


def header(password: str, user: str = USER) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def client(make_app: MakeApp) -> FlaskClient:
    return make_app(basic_auth_user=USER, basic_auth_pass=PASSWORD)


def status(client: FlaskClient, password: str, address: str = "192.0.2.1", **more: str) -> int:
    headers = header(password) | more
    answer = client.get("/health", headers=headers, environ_base={"REMOTE_ADDR": address})
    return answer.status_code


def test_guessing_ends(client: FlaskClient) -> None:
    assert [status(client, GUESS) for _ in range(MOST_GUESSES)] == [401] * MOST_GUESSES
    answer = client.get(
        "/health", headers=header(PASSWORD), environ_base={"REMOTE_ADDR": "192.0.2.1"}
    )
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "60"
    assert "wait 60 s" in answer.json["error"]


def test_others_are_not_locked_out(client: FlaskClient) -> None:
    for _ in range(MOST_GUESSES + 1):
        status(client, GUESS)
    assert status(client, PASSWORD, "192.0.2.2") == 200
    assert status(client, PASSWORD, "2001:db8::1") == 200


def test_a_header_is_no_address(client: FlaskClient) -> None:
    statuses = []
    for number in range(MOST_GUESSES + 1):
        elsewhere = f"198.51.100.{number}"
        statuses.append(
            status(client, GUESS, **{"X-Forwarded-For": elsewhere, "Forwarded": f"for={elsewhere}"})
        )
    assert statuses[-1] == 429


def test_an_owner_of_a_network_has_no_more_guesses(client: FlaskClient) -> None:
    statuses = [
        status(client, GUESS, f"2001:db8:0:1::{number:x}") for number in range(MOST_GUESSES + 1)
    ]
    assert statuses[-1] == 429
    assert status(client, PASSWORD, "2001:db8:0:2::1") == 200


def test_right_logins_and_none_are_no_guesses(client: FlaskClient) -> None:
    for _ in range(3 * MOST_GUESSES):
        assert status(client, PASSWORD) == 200
        assert client.get("/health").status_code == 401
        assert client.get("/health", headers={"Authorization": "Bearer x"}).status_code == 401
    assert status(client, GUESS) == 401


def test_guesses_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "SECONDS", 0.05)
    guesses = Guesses()
    for _ in range(MOST_GUESSES):
        guesses.note("a")
    assert guesses.are_too_many("a")
    threading.Event().wait(0.1)
    assert not guesses.are_too_many("a")


def test_many_addresses_take_bounded_memory() -> None:
    guesses = Guesses()
    for number in range(login.MOST_ADDRESSES + 100):
        guesses.note(str(number))
    assert len(guesses._counts) == login.MOST_ADDRESSES


@given(st.ip_addresses(v=4))
def test_an_address_written_as_ipv6_is_the_same(address: object) -> None:
    assert source_of(f"::ffff:{address}") == source_of(str(address)) == str(address)


@pytest.mark.parametrize("value", ["", "unix:", "\x00", "1.2.3", "fe80::1%eth0"])
def test_what_is_no_address_is_one_source(value: str) -> None:
    assert source_of(value) in ("", "fe80::/64")


@pytest.mark.parametrize(
    "value", ["Basic", "Basic !", "Basic " + "A" * 9000, "Basic gA==", "basic bHM=", "\xff"]
)
def test_what_is_no_login_is_refused(client: FlaskClient, value: str) -> None:
    assert client.get("/health", headers={"Authorization": value}).status_code == 401


def test_no_log_holds_a_login(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for _ in range(MOST_GUESSES + 1):
        answer = client.post("/predict", headers=header(GUESS, "canary-user"), data=b"{")
        assert "canary" not in answer.text
    client.post("/predict", headers=header(PASSWORD), data=b"{")
    assert "10 wrong logins" in caplog.text
    assert "canary" not in caplog.text


@pytest.mark.parametrize(
    ("values", "is_unsafe"),
    [
        ({}, False),
        ({"host": "127.0.0.2"}, False),
        ({"host": "::1"}, False),
        ({"host": "localhost"}, False),
        ({"host": "0.0.0.0"}, True),
        ({"host": "::"}, True),
        ({"host": "studio.example"}, True),
        ({"host": "0.0.0.0", "basic_auth_user": "a", "basic_auth_pass": "b"}, False),
    ],
)
def test_an_open_door_is_said(make_app: MakeApp, values: dict[str, str], is_unsafe: bool) -> None:
    settings = Settings.model_validate(values)
    assert bool(settings.warning) == is_unsafe
    if settings.basic_auth_user is None:
        client = make_app(**values)
        page = client.get("/", headers={"Accept": "text/html"}).text
        assert ("BASIC_AUTH_USER" in page) == is_unsafe
        told = client.get("/api/status").json["warnings"]
        assert told == ([settings.warning] if is_unsafe else [])


@pytest.fixture
def web(valkey: str, tmp_path: Path) -> Iterator[WebProcess]:
    login_of_it = {"BASIC_AUTH_USER": USER, "BASIC_AUTH_PASS": PASSWORD}
    with web_process(tmp_path, valkey, LOG_LEVEL="DEBUG", **login_of_it) as started:
        yield started


def test_a_server_counts_by_connection_and_logs_no_login(web: WebProcess) -> None:
    statuses = [
        requests.get(web.url, headers=header(GUESS) | {"X-Forwarded-For": str(n)}, timeout=20)
        for n in range(MOST_GUESSES + 1)
    ]
    assert statuses[-1].status_code == 429
    requests.post(web.url, headers=header(GUESS) | {"X": "x" * 50_000}, timeout=20)  # 431
    assert b"wrong logins" in web.log.read_bytes()
    assert b"canary" not in web.log.read_bytes()
    assert base64.b64encode(f"{USER}:{GUESS}".encode()) not in web.log.read_bytes()


def statuses_from(web: WebProcess, sent: list[str | None]) -> list[int]:
    return [
        requests.get(
            web.url,
            headers=header(GUESS) | ({} if each is None else {"X-Forwarded-For": each}),
            timeout=20,
        ).status_code
        for each in sent
    ]


@pytest.mark.parametrize("proxy", ["127.0.0.1", "*"])
def test_a_trusted_proxy_says_who_guesses(valkey: str, tmp_path: Path, proxy: str) -> None:
    login_of_it = {"BASIC_AUTH_USER": USER, "BASIC_AUTH_PASS": PASSWORD}
    with web_process(tmp_path, valkey, TRUSTED_PROXY=proxy, **login_of_it) as web:
        # The last address is the one that the proxy saw; those before it anybody may write.
        guessed = [f"198.51.100.{number}, 192.0.2.1" for number in range(MOST_GUESSES + 1)]
        assert statuses_from(web, [*guessed]) == [401] * MOST_GUESSES + [429]
        assert statuses_from(web, ["192.0.2.1, 192.0.2.2", "2001:db8::1", None]) == [401] * 3
        assert statuses_from(web, ["x" * 100, '"', ""]) != [429] * 3
        assert requests.get(f"{web.url}/health", headers=header(PASSWORD), timeout=20).ok


def test_another_proxy_is_not_believed(valkey: str, tmp_path: Path) -> None:
    login_of_it = {"BASIC_AUTH_USER": USER, "BASIC_AUTH_PASS": PASSWORD}
    with web_process(tmp_path, valkey, TRUSTED_PROXY="192.0.2.9", **login_of_it) as web:
        sent = [f"198.51.100.{number}" for number in range(MOST_GUESSES + 1)]
        assert statuses_from(web, [*sent])[-1] == 429


def test_a_server_that_is_open_says_so(valkey: str, tmp_path: Path) -> None:
    with web_process(tmp_path, valkey, HOST="0.0.0.0") as started:
        assert "Anybody who reaches 0.0.0.0" in started.log.read_text()
