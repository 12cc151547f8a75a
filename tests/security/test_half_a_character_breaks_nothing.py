"""JSON can hold half a character, which no text can: it breaks no log and no queue."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from backend.studio.corrections import to_learn
from backend.web.app import create_app
from backend.web.settings import Settings
from tests.backend.worker_end import PROJECT, VERSION, XML, predict_body, task
from workers.messages import LearnRequest
from workers.queue.client import SegmentClient
from workers.queue.heartbeats import Announcement, announce

HALVES = ["\ud800", "\udfff", "a\udc80b", "\udbff" * 3, "\0", "\u2028", "\x1b[31m"]


@pytest.fixture
def client(redis: Redis) -> FlaskClient:
    announce(redis, Announcement(VERSION, "cpu", 0.0))
    budgets = {"single_task_seconds": 0.1, "batch_seconds": 0.1}
    settings = Settings.model_validate(budgets)
    return create_app(settings, SegmentClient(redis)).test_client()


@pytest.fixture(autouse=True)
def written() -> Iterator[io.TextIOWrapper]:
    """A log that is a file of UTF-8, as a supervisor has it."""
    file = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    handler = logging.StreamHandler(file)
    raised: list[Any] = []
    handler.handleError = raised.append  # type: ignore[method-assign]
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield file
    root.removeHandler(handler)
    root.setLevel(level)
    assert raised == []
    file.flush()
    file.seek(0)
    assert "Traceback" not in file.read()


def post(client: FlaskClient, path: str, body: Any) -> int:
    answer = client.post(path, data=json.dumps(body), content_type="application/json")
    assert b"Traceback" not in answer.data
    answer.data.decode()
    return answer.status_code


@pytest.mark.parametrize("half", HALVES, ids=ascii)
def test_wherever_it_stands_the_call_is_answered(client: FlaskClient, half: str) -> None:
    named = task(1)
    bodies: list[dict[str, Any]] = [
        {**predict_body(named), "project": half},
        {**predict_body(named), "label_config": XML.replace("ship", half)},
        {**predict_body(named), "label_config": f"{XML}{half}"},
        predict_body({**named, "id": half}),
        predict_body({**named, "data": {half: half}}),
        predict_body({**named, "data": {"image": half}}),
        predict_body({**named, "data": {"image": f"s3://bucket/{half}.png"}}),
        predict_body({**named, "data": {"image": f"data:image/png;base64,{half}"}}),
        predict_body({**named, "data": {**named["data"], "expression": f"the {half} ship"}}),
        predict_body({**named, "data": {**named["data"], "gsd": half}}),
    ]
    for body in bodies:
        assert post(client, "/predict", body) == 200
    assert post(client, "/setup", {"project": half, "schema": XML}) == 200
    assert post(client, "/setup", {"project": PROJECT, "schema": f"{XML}{half}"}) == 200
    assert client.get("/api/status").status_code == 200
    assert client.get("/status", headers={"Accept": "text/html"}).status_code == 200


@pytest.mark.parametrize("half", HALVES, ids=ascii)
def test_a_prompt_that_holds_it_is_answered(client: FlaskClient, half: str) -> None:
    sized = {"original_width": 8, "original_height": 8, "to_name": "image"}
    box = {"x": 1, "y": 1, "width": 50, "height": 50, "rectanglelabels": [half]}
    drawn = {"type": "rectanglelabels", "id": half, "from_name": half, "value": box}
    prompts: list[dict[str, Any]] = [
        {"type": "textarea", "from_name": "prompt", "value": {"text": [f"the {half} ship"]}},
        {"type": "textarea", "from_name": "prompt", "value": {"text": [half]}},
        {**drawn, **sized},
        {**drawn, **sized, "type": f"rectangle{half}"},
        {**drawn, **sized, "to_name": half},
        {**drawn, **sized, "value": {**box, "rectanglelabels": ["ship"]}},
    ]
    for each in prompts:
        body = predict_body(task(1))
        body["params"] = {"context": {"result": [each]}}
        assert post(client, "/predict", body) == 200
    assert client.get("/api/status").status_code == 200


@pytest.mark.parametrize("half", HALVES, ids=ascii)
def test_an_event_that_holds_it_can_be_learnt_from(half: str) -> None:
    region = {"type": "rectanglelabels", "id": half, "from_name": "rect", "to_name": "image",
              "original_width": 8, "original_height": 8,
              "value": {"x": 0, "y": 0, "width": 50, "height": 50,
                        "rectanglelabels": [half, "ship"]}}  # fmt: skip
    event = {"action": "ANNOTATION_CREATED", "project": {"id": 1, "label_config": XML},
             "task": {**task(1), "data": {"image": half}},
             "annotation": {"id": 1, "result": [region]}}  # fmt: skip
    if not half.strip():
        return
    request = to_learn(event["annotation"], event["task"], event["project"], None)
    assert isinstance(request, LearnRequest)
    for label, _ in request.regions:
        assert label.encode()
    assert LearnRequest.from_json(json.loads(json.dumps(request.to_json()))) == request
