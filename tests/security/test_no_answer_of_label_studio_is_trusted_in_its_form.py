"""What answers at Label Studio's address may answer anything: it is waited out, or said in words.

So does a proxy in front of it, another version, or another program at that address.
"""

import base64
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from backend.commands import connect
from backend.commands.main import app
from backend.studio import client as studio_client
from backend.studio.client import StudioClient, StudioError
from backend.studio.project import StudioSource
from tests.backend.studio.fake_studio import (
    LEGACY_TOKEN,
    PERSONAL_TOKEN,
    FakeStudio,
    fake_studio,
)
from tests.security.conftest import World, task
from tests.security.test_foreign_tasks import seek
from tests.security.test_forged_webhooks import event, own, send
from workers.images.credentials import Credentials, CredentialsError

ODD: dict[str, bytes] = {
    "nothing": b"",
    "null": b"null",
    "a number": b"7",
    "a list": b"[]",
    "an object": b"{}",
    "a list of numbers": b"[1]",
    "a list of nothing": b"[null]",
    "a list of lists": b"[[]]",
    "ids that are none": b'[{"id":"x","task":[],"result":3,"url":null}]',
    "ids without end": b'[{"id":' + b"9" * 5000 + b"}]",
    "members that are none": b'{"id":{},"live":7,"static":{},"tasks":3,"total":[],"results":1,'
    b'"created":"x","versions":1,"task":null}',
    "lists of what is none": b'{"id":NaN,"live":[3],"static":[null],"tasks":[7],"total":1e999,'
    b'"results":["x"],"created":-1e308,"versions":null}',
    "5,000 deep": b"[" * 5000 + b"]" * 5000,
    "half a character": b'{"id":"\xff\xfe"}',
}
CALLS: dict[str, Callable[[StudioSource], object]] = {
    "predictions": lambda studio: studio.predictions(1),
    "prediction": lambda studio: studio.prediction(1),
    "push": lambda studio: studio.push(1, {"result": []}),
    "push_rows": lambda studio: studio.push_rows(1, []),
    "delete_prediction": lambda studio: studio.delete_prediction(1),
    "check_token": lambda studio: studio.check_token(),
    "about": lambda studio: studio.about().get("release"),
    "projects": lambda studio: [each["id"] + 1 for each in studio.projects(9)],
    "project": lambda studio: studio.project(1)["id"] + 1,
    "model_versions": lambda studio: studio.model_versions(1)["static"],
    "set_model_version": lambda studio: studio.set_model_version(1, "x"),
    "connect_backend": lambda studio: studio.connect_backend(1, {}),
    "change_backend": lambda studio: studio.change_backend(1, 1, {}),
    "tasks_after": lambda studio: [each["id"] + 1 for each in studio.tasks_after(1, 0, 9)[0]],
    "unannotated": lambda studio: studio.unannotated(1, 9),
    "tasks_of": lambda studio: studio.tasks_of(1, [1]),
    "tasks_with_masks": lambda studio: [t["id"] + 1 for t in studio.tasks_with_masks(1)],
    "annotations": lambda studio: [each["id"] + 1 for each in studio.annotations(1)],
    "annotation": lambda studio: (studio.annotation(1) or {})["id"],
    "backend_versions": lambda studio: list(studio.backend_versions(1).get("versions") or ()),
    "webhooks": lambda studio: [each["url"] + "" for each in studio.webhooks(1)],
}


@pytest.fixture
def studio() -> Iterator[FakeStudio]:
    with fake_studio() as fake:
        yield fake


@pytest.mark.parametrize("call", CALLS)
def test_each_call_gives_what_it_says_or_says_why_not(
    studio: FakeStudio, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr("backend.studio.project.WAITS", ())
    said = []
    for odd in ODD.values():
        studio.instead = odd
        try:
            CALLS[call](StudioSource(studio.url, LEGACY_TOKEN))
        except StudioError as error:
            said.append(error)
    assert len(said) >= 3
    assert all(error.retry and len(str(error)) < 400 for error in said)
    assert all("LABEL_STUDIO_URL is its address" in str(error) for error in said)


@pytest.mark.parametrize("odd", ODD)
def test_work_waits_until_it_answers_as_it_should(
    world: World, caplog: pytest.LogCaptureFixture, odd: str
) -> None:
    caplog.set_level(logging.INFO)
    headers = own(world)
    world.predict(task(1))
    world.studio.instead = ODD[odd]
    assert send(world, event(), **headers).status_code == 201
    assert world.post("/setup", json={"project": "1.1", "schema": world.studio.label_config}).ok
    world.work()
    assert {kind: world.scheduled(kind) > 0 for kind in ("delivery", "event", "follow")} == {
        "delivery": True, "event": True, "follow": True
    }  # fmt: skip
    assert "Traceback" not in caplog.text
    world.studio.instead = None
    world.wait()
    world.deliver()
    assert [each["task"] for each in world.studio.predictions] == [1]


@pytest.mark.parametrize("odd", ODD)
def test_who_seeks_all_like_one_is_told(world: World, odd: str) -> None:
    world.studio.instead = ODD[odd]
    assert "gave no usable answer" in seek(world)


@pytest.mark.parametrize("odd", ODD)
def test_commands_end_in_words(
    studio: FakeStudio, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    monkeypatch.setattr(connect, "START_SECONDS", -1.0)
    monkeypatch.setattr("backend.studio.project.WAITS", ())
    monkeypatch.setenv("LABEL_STUDIO_URL", studio.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", LEGACY_TOKEN)
    studio.instead = ODD[odd]
    for command in (
        ["connect", "1", "--backend", "http://127.0.0.1:9"],
        ["export", "--project", "1", "--out", "nowhere", "--format", "coco"],
    ):
        ended = CliRunner().invoke(app, command)
        assert isinstance(ended.exception, SystemExit), ended.exception
        assert ended.exit_code in (1, 2)
        assert "gave no usable answer" in ended.output


def _token(payload: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip("=")
    return f"h.{body}.s"


TOKENS = [*ODD.values(), b'{"access":["x"]}', b'{"access":"a\\nb"}', b'{"access":"\\u20ac"}']


@pytest.mark.parametrize("body", TOKENS)
def test_a_token_that_is_none_is_said(body: bytes) -> None:
    with (
        _bare(_whole(body)) as url,
        pytest.raises(CredentialsError, match="without an access token"),
    ):
        Credentials(url, PERSONAL_TOKEN).authorization()


@pytest.mark.parametrize("claims", [{"exp": []}, {"exp": 1e308, "iat": "x"}, [], {"exp": None}])
def test_a_token_with_times_that_are_none_serves(claims: object) -> None:
    access = _token(claims)
    with _bare(_whole(json.dumps({"access": access}).encode())) as url:
        assert Credentials(url, PERSONAL_TOKEN).authorization() == f"Bearer {access}"


def test_an_answer_without_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studio_client, "MOST_BYTES", 1_000_000)

    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n[")
        while True:
            connection.sendall(b"1," * 5000)

    with _bare(flood) as url, pytest.raises(StudioError, match="TooLongError") as raised:
        StudioClient(url, LEGACY_TOKEN).project(1)
    assert raised.value.retry


def test_an_answer_that_drips_is_left() -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n[")
        while True:
            connection.sendall(b" ")
            time.sleep(0.02)

    began = time.monotonic()
    with _bare(drip) as url, pytest.raises(StudioError, match="TooSlowError"):
        StudioClient(url, LEGACY_TOKEN, read_seconds=0.1).project(1)
    assert time.monotonic() - began < 5


def _whole(body: bytes) -> Callable[[socket.socket], None]:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    return lambda connection: connection.sendall(head + body)


@contextmanager
def _bare(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Who takes one connection and answers on it as he likes; his address."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            try:
                answer(connection)
            except OSError:  # the other side has gone
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("key", ["ключ", "a b", "a\nb", "a\u00a0", "…", "\ud800"])
def test_a_key_that_is_none_is_said_and_never_sent(studio: FakeStudio, key: str) -> None:
    with pytest.raises(StudioError, match="LABEL_STUDIO_API_KEY holds a space or a char") as raised:
        StudioClient(studio.url, f"x{key}x").check_token()
    assert not raised.value.retry
    assert studio.calls == []


@pytest.mark.parametrize("token", [LEGACY_TOKEN, PERSONAL_TOKEN])
@pytest.mark.parametrize("host", ["a..b", "a" * 70 + ".example", "[::1", "127.0.0.1:99999"])
def test_an_address_that_is_none_is_said(host: str, token: str) -> None:
    with pytest.raises(StudioError, match=r"check .*LABEL_STUDIO_URL"):
        StudioClient(f"http://{host}", token).check_token()
