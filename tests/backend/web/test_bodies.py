import io
import json
import tempfile
from typing import Any

import msgspec
import pytest
from flask import Request
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder

from backend.project.tasks import TaskError, as_task
from backend.web import bodies
from backend.web.bodies import PredictBody, SetupBody, Tasks, without_lone_surrogates
from backend.web.errors import RequestError

ANY_TEXT = st.text(st.characters(), max_size=8) | st.sampled_from(["\ud800", "\udc00", "\\ud800"])
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)


def request(data: bytes, stream: Any = None) -> Request:
    environ = EnvironBuilder(method="POST", data=data).get_environ()
    if stream is not None:
        environ["wsgi.input"] = stream
    return Request(environ)


def tasks_of(value: Any, *, regions: bool = False) -> Tasks:
    raw = msgspec.Raw(json.dumps(value).encode())
    return bodies.tasks_of(PredictBody(tasks=raw), regions=regions)


@given(ANY_JSON)
def test_surrogates_that_belong_together_stay_and_others_go(value: Any) -> None:
    text = json.dumps(value)
    mended = without_lone_surrogates(text.encode())
    if mended is None:
        msgspec.json.decode(text)  # nothing was wrong
    else:
        plain = json.dumps(json.loads(text), ensure_ascii=False)
        whole = "".join("\ufffd" if "\ud800" <= each <= "\udfff" else each for each in plain)
        assert msgspec.json.decode(mended) == json.loads(whole)


@given(st.lists(st.fixed_dictionaries({"id": st.integers(0, 2**60), "data": ANY_JSON})))
def test_tasks_are_read_as_they_were_written(written: list[Any]) -> None:
    mended = without_lone_surrogates(json.dumps({"tasks": written}).encode())
    expected = written if mended is None else json.loads(mended)["tasks"]
    assert [dict(task) for task in tasks_of(expected)] == expected


def test_only_prompts_read_what_is_marked() -> None:
    task = {"id": 1, "data": {}, "drafts": [1], "annotations": [2], "predictions": [3], "meta": {}}
    assert tasks_of([task])[0] == {"id": 1, "data": {}}
    assert tasks_of([task], regions=True)[0] == {k: v for k, v in task.items() if k != "meta"}


def test_a_slice_is_tasks() -> None:
    part = tasks_of([{"id": number, "data": None} for number in range(5)])[1:3]
    assert [task["id"] for task in part] == [1, 2]


def test_a_task_that_cannot_be_read_says_why() -> None:
    tasks = tasks_of([{"id": 1, "data": [0] * (bodies.MOST_DATA_VALUES + 1)}, {"id": 2}])
    with pytest.raises(TaskError, match=r"its data may have more than \d+ values"):
        as_task(tasks[0])
    assert tasks[0]["id"] == 1
    assert as_task(tasks[1])["data"] is None


def test_many_prompts_in_a_call_are_refused() -> None:
    with pytest.raises(RequestError, match="more than 4 tasks"):
        tasks_of([{}] * 5, regions=True)
    with pytest.raises(RequestError, match="more than 4 tasks"):
        tasks_of([1, 2, 3, 4, 5], regions=True)


@pytest.mark.parametrize("size", [10, 2 * bodies.LARGE])
def test_a_body_in_a_file_is_mapped(size: int) -> None:
    data = json.dumps({"schema": "<View/>", "project": 7, "x": "x" * size}).encode()
    with tempfile.TemporaryFile() as file:
        file.write(data)  # as it is, not yet flushed
        body = bodies.read(request(data, file), SetupBody)
    assert bodies.config_of(body.schema, "schema") == "<View/>"
    assert bodies.project_of(body.project) == "7"


def test_what_lies_in_memory_is_read_from_there() -> None:
    stream = io.BytesIO(b'{"project": "a"}')
    body = bodies.read(request(b"x" * 16, stream), SetupBody)
    assert bodies.project_of(body.project) == "a"


@pytest.mark.parametrize(
    ("project", "expected"),
    [(b"null", "None"), (b'"1.2"', "1.2"), (b"[1]", "None"), (b'"%b"' % (b"9" * 9000), "None")],
)
def test_what_names_no_project(project: bytes, expected: str) -> None:
    assert bodies.project_of(msgspec.Raw(project)) == expected


@pytest.mark.parametrize("params", [b"7", b"null", b'{"context": null}', b'{"login": "x"}'])
def test_no_prompt(params: bytes) -> None:
    assert bodies.context_of(PredictBody(params=msgspec.Raw(params))) is None
