import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers import logs
from workers.logs import RELAYED, JsonFormatter, MessageFormatter, Redaction, TextFormatter

SECRET = "hunter22"
Write = Callable[..., str]


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("a.b", logging.INFO, "f.py", 1, message, arguments, None)
    made.created = 1_795_419_101.0625
    vars(made).update(extra)
    return made


@pytest.fixture(autouse=True)
def _about_nothing() -> None:
    logs.begin()


def test_a_line_of_text_says_when_what_and_about_what() -> None:
    logs.begin(request="r1", job="j1")
    with logs.about(task=7):
        line = TextFormatter(Redaction()).format(record("%d masks", 3))
    assert line == "2026-11-23T07:31:41.062Z INFO a.b [request=r1 job=j1 task=7] 3 masks"
    assert logs.current() == {"request": "r1", "job": "j1"}


def test_a_line_of_json_is_an_object_with_the_traceback_in_it() -> None:
    logs.begin(project="4", task="7", request="")
    try:
        raise KeyError(SECRET)
    except KeyError as error:
        failed = record("it failed")
        failed.exc_info = (type(error), error, error.__traceback__)
    line = JsonFormatter(Redaction([SECRET])).format(failed)
    assert "\n" not in line
    told = json.loads(line)
    assert told["traceback"].endswith("KeyError: '***'")
    del told["traceback"]
    assert told == {
        "time": "2026-11-23T07:31:41.062Z",
        "level": "INFO",
        "logger": "a.b",
        "message": "it failed",
        "project": "4",
        "task": "7",
    }


@given(st.text())
def test_strangers_write_no_lines_of_their_own(text: str) -> None:
    logs.begin(task=text, job=text)
    line = TextFormatter(Redaction()).format(record("task %s", text))
    assert line.isprintable()
    assert all(len(value) <= logs.LONGEST for value in logs.current().values())
    told = json.loads(JsonFormatter(Redaction()).format(record("%s", "x")))
    assert set(told) <= {"time", "level", "logger", "message", "task", "job"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://me:hunter33@queue:6379/0", "redis://***@queue:6379/0"),
        ("Authorization: Basic bWU6aHVudGVyMjI=", "Authorization: Basic ***"),
        ("'Authorization': 'Token 0123456789abcdef'", "'Authorization': 'Token ***'"),
        ("GET /a?token=0123&x=1", "GET /a?token=***&x=1"),
        ("X-Amz-Signature=abcdef&X=1", "X-Amz-Signature=***&X=1"),
        ("eyJhbGciOiJIUzI1.eyJ1c2VyIjoxfQ.c2ln", "***"),
        (f"a {SECRET} b {SECRET}x", "a *** b ***x"),
        ("token authentication is off", "token authentication is off"),
        ("nothing secret: 12 tokens of a sentence", "nothing secret: 12 tokens of a sentence"),
    ],
)
def test_what_is_secret_is_blotted_out(text: str, shown: str) -> None:
    redaction = Redaction([SECRET, "x"])
    assert redaction(text) == shown
    assert MessageFormatter(redaction).format(record("%s", text)) == shown


def test_what_a_child_wrote_as_json_stays_json() -> None:
    formatter = JsonFormatter(Redaction([SECRET]))
    child = json.dumps({"message": f"of a child, {SECRET}"})
    told = json.loads(formatter.format(record("", **{RELAYED: ("worker", child)})))
    assert told == {"message": "of a child, ***", "process": "worker"}
    plain = record("worker | %s", "no json", **{RELAYED: ("worker", "no json")})
    assert json.loads(formatter.format(plain))["message"] == "worker | no json"


def test_threads_are_about_things_of_their_own() -> None:
    logs.begin(request="one")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(logs.current).result() == {}


@pytest.mark.parametrize("given_id", ["", "a b", "x" * 65, "a\nb", None, 7, "{}"])
def test_ids_of_requests_are_checked(given_id: object) -> None:
    assert logs.request_id(given_id) == ""
    assert logs.request_id("1f-2.a_B") == "1f-2.a_B"
