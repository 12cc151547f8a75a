import base64
import io
import json
import logging
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from label_studio_sdk.converter.brush import decode_rle
from label_studio_sdk.label_interface import LabelInterface
from PIL import Image
from redis import Redis

from backend.web.app import create_app
from backend.web.settings import Settings
from tests.backend.conftest import MakeApp
from tests.backend.worker_end import (
    PROJECT,
    VERSION,
    XML,
    answer,
    predict_body,
    task,
    waiting,
)
from tests.png import png_header
from workers.queue.client import SegmentClient

TOKEN = "0123456789abcdef0123456789abcdef01234567"
# Bodies as recorded from Label Studio 1.23.2.
SETUP = {
    "project": PROJECT,
    "schema": XML,
    "hostname": "http://127.0.0.1:18080",
    "access_token": TOKEN,
    "extra_params": None,
}
KEYPOINT = {
    "result": [
        {
            "original_width": 64,
            "original_height": 64,
            "image_rotation": 0,
            "value": {"x": 43.75, "y": 50.0, "width": 0.33, "keypointlabels": ["ship"]},
            "is_positive": True,
            "id": "abc123",
            "from_name": "kp",
            "to_name": "image",
            "type": "keypointlabels",
            "origin": "manual",
        }
    ]
}
TEXTAREA = {
    "result": [
        {
            "id": "q1",
            "type": "textarea",
            "value": {"text": ["the large grey ship near the pier"]},
            "origin": "manual",
            "to_name": "image",
            "from_name": "prompt",
        }
    ]
}
ROUTES = [
    "/",
    "/health",
    "/versions",
    "/metrics",
    "/ready",
    "/status",
    "/projects/1",
    "/tasks/1/2",
    "/api/status",
    "/api/projects",
    "/api/projects/1",
    "/api/projects/1/tasks",
    "/api/projects/1/tasks/2",
]


@pytest.mark.parametrize("path", ["/", "/health"])
def test_health(make_app: MakeApp, path: str) -> None:
    response = make_app().get(path)
    assert response.status_code == 200
    assert response.json == {"status": "UP", "model_class": "DglRsis"}


def test_setup(make_app: MakeApp, announced: Redis) -> None:
    response = make_app().post("/setup", json=SETUP)
    assert (response.status_code, response.json) == (200, {"model_version": VERSION})


def test_versions(make_app: MakeApp, announced: Redis) -> None:
    assert make_app().get("/versions").json == {"versions": [VERSION]}


def test_versions_have_the_proof_while_it_is_asked_which_backend_this_is(
    make_app: MakeApp, announced: Redis
) -> None:
    nonce = SegmentClient(announced).identity.challenge()
    assert make_app().get("/versions").json == {"versions": [VERSION, nonce]}


def test_a_task_that_is_opened(make_app: MakeApp, announced: Redis) -> None:
    answer(announced, task(1))
    response = make_app().post("/predict", json=predict_body(task(1)))
    assert response.status_code == 200
    (prediction,) = response.json["results"]
    assert prediction["model_version"] == VERSION
    assert LabelInterface(XML).validate_prediction(prediction, return_errors=True) == []


def test_a_batch_has_one_answer_a_task_in_order(make_app: MakeApp, announced: Redis) -> None:
    tasks = [task(number) for number in range(1, 9)]
    answer(announced, tasks[0], tasks[5])
    response = make_app(batch_seconds=0).post("/predict", json=predict_body(*tasks))
    assert [bool(one) for one in response.json["results"]] == [n in (1, 6) for n in range(1, 9)]


def test_no_tasks(make_app: MakeApp, announced: Redis) -> None:
    assert make_app().post("/predict", json=predict_body()).json == {"results": []}


@pytest.mark.parametrize("context", [KEYPOINT, TEXTAREA])
def test_interactive_calls(make_app: MakeApp, announced: Redis, context: dict[str, Any]) -> None:
    response = make_app().post("/predict", json=predict_body(task(1), context=context))
    assert response.status_code == 200
    (answer,) = response.json["results"]  # `[]` would leave the point even with auto-accept
    assert answer == {"result": [], "score": 0.0, "model_version": VERSION}


@pytest.mark.parametrize(
    "body",
    [
        {"action": "TASKS_CREATED", "tasks": [task(1)], "project": {"id": 1, "title": "t"}},
        {"action": "ANNOTATION_CREATED", "annotation": {"id": 1, "result": [0] * 200_000}},
        {"action": "START_TRAINING", "project": {"id": 1}},
        ["not even an object"],
    ],
)
def test_webhooks_are_accepted_and_dropped(make_app: MakeApp, redis: Redis, body: Any) -> None:
    response = make_app().post("/webhook", json=body)
    assert response.status_code == 201
    assert redis.dbsize() == 0


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "must be a JSON object"),
        (b"{", "must be a JSON object"),
        (b"\xff\xfe\x00", "must be a JSON object"),
        (b"[]", "got list"),
        (b"null", "got NoneType"),
        (b'{"tasks": [], "label_config": "", "params": NaN}', "must be a JSON object"),
        (b"[" * 100_000, "must be a JSON object"),
        (b'{"tasks": {}, "label_config": ""}', "'tasks' must be a list of tasks, got dict"),
        (b'{"label_config": ""}', "'tasks' must be a list of tasks, got NoneType"),
        (b'{"tasks": []}', "'label_config' must be text, got NoneType"),
    ],
)
def test_a_wrong_request_is_told_why(make_app: MakeApp, data: bytes, words: str) -> None:
    response = make_app().post("/predict", data=data)
    assert response.status_code == 400
    assert words in response.json["error"]
    assert response.json["request_id"] == response.headers["X-Request-ID"]


@pytest.mark.parametrize("xml", ["", "<View>", "<View/>", "no xml", '<!DOCTYPE a SYSTEM "b"><a/>'])
def test_a_bad_config_is_no_error(make_app: MakeApp, announced: Redis, xml: str) -> None:
    client = make_app()
    assert client.post("/setup", json=SETUP | {"schema": xml}).status_code == 200
    response = client.post("/predict", json=predict_body(task(1), xml=xml))
    assert (response.status_code, response.json) == (200, {"results": [[]]})


@pytest.mark.parametrize(
    "bad",
    [
        None,
        7,
        "task",
        [],
        {},
        {"id": 1},
        {"id": None, "data": []},
        task(1, image=["a"]),
        task(1, x=1),
    ],
)
def test_a_bad_task_is_no_error(make_app: MakeApp, announced: Redis, bad: Any) -> None:
    answer(announced, task(2))
    response = make_app().post("/predict", json=predict_body(bad, task(2)))
    assert response.status_code == 200
    first, second = response.json["results"]
    assert first == []
    assert second["result"]


STRANGE_IDS = ["1; drop", "9" * 5000, "٣", "\ud800", "1\n2 forged", "\x1b[2J", [[1]], None, True]


def test_a_task_with_a_strange_id_is_served_but_not_delivered(
    make_app: MakeApp, announced: Redis
) -> None:
    client = make_app(label_studio_url="http://127.0.0.1:1", label_studio_api_key=TOKEN)
    strange = [task(1) | {"id": name} for name in STRANGE_IDS]
    response = client.post("/predict", json=predict_body(*strange))
    assert response.json == {"results": [[]] * len(strange)}
    assert waiting(announced)["segment"] == 1  # the same image
    assert not announced.keys("rq:job:delivery-*")


FINITE = st.floats(allow_nan=False, allow_infinity=False)  # JSON has no other
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
ANY_TASK = ANY_JSON | st.fixed_dictionaries(
    {}, optional={"id": ANY_JSON, "data": ANY_JSON | st.fixed_dictionaries({"image": ANY_JSON})}
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    tasks=st.lists(ANY_TASK, max_size=3),
    xml=st.sampled_from([XML, "\ud800"]) | st.text(),
    context=st.none() | ANY_JSON,
    studio=st.booleans(),
)
def test_whatever_the_tasks_are_each_has_an_answer(
    make_app: MakeApp, announced: Redis, tasks: list[Any], xml: str, context: Any, studio: bool
) -> None:
    known = {"label_studio_url": "http://127.0.0.1:1", "label_studio_api_key": TOKEN}
    client = make_app(single_task_seconds=0, batch_seconds=0, **(known if studio else {}))
    body = predict_body(*tasks, context=context, xml=xml)
    response = client.post("/predict", data=json.dumps(body))
    assert response.status_code == 200
    nothing = {"result": [], "score": 0.0, "model_version": VERSION} if context else []
    assert response.json == {"results": [nothing] * len(tasks)}


def test_unknown_routes_and_methods(make_app: MakeApp) -> None:
    client = make_app()
    missing, wrong = client.get("/train"), client.get("/predict")
    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert "POST" in wrong.headers["Allow"]
    for response in (missing, wrong):
        assert response.json["request_id"]


@pytest.mark.parametrize("path", ["/predict", "/setup", "/webhook"])
def test_a_large_body_is_refused(make_app: MakeApp, path: str) -> None:
    response = make_app(max_body_bytes=1000).post(path, data=b" " * 1001)
    assert response.status_code == 413
    assert response.json["error"]


def test_no_traceback_leaves_the_server(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_app()
    app = client.application

    def broken() -> None:
        raise KeyError("secret detail")

    app.add_url_rule("/broken", view_func=broken)
    response = client.get("/broken")
    assert response.status_code == 500
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    assert response.json["request_id"] in caplog.text
    assert "secret detail" in caplog.text


def unreachable() -> FlaskClient:
    return create_app(Settings(redis_url="redis://127.0.0.1:1/0")).test_client()


def test_without_redis() -> None:
    client = unreachable()
    assert client.get("/health").status_code == 200
    assert client.post("/setup", json=SETUP).status_code == 200
    assert client.get("/versions").status_code == 503  # without the proof it would be another's
    response = client.post("/predict", json=predict_body(task(1)))
    assert (response.status_code, response.json) == (200, {"results": [[]]})
    ready = client.get("/ready")
    assert ready.status_code == 503
    assert "the queue does not answer" in ready.json["problem"]
    assert "the queue does not answer" in client.get("/status").text
    assert "dgl_queue_up 0.0" in client.get("/metrics").text


@pytest.mark.parametrize("path", [*ROUTES, "/nowhere"])
def test_no_answer_is_taken_for_another_type(
    make_app: MakeApp, announced: Redis, path: str
) -> None:
    response = make_app().get(path)
    assert response.headers.getlist("X-Content-Type-Options") == ["nosniff"]


def login(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize("path", ROUTES)
def test_basic_auth_covers_every_route(make_app: MakeApp, path: str) -> None:
    client = make_app(basic_auth_user="ls", basic_auth_pass="pässword")
    for headers in ({}, login("ls", "wrong"), login("", ""), {"Authorization": "Bearer x"}):
        refused = client.get(path, headers=headers)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"].startswith("Basic")
        assert refused.json["request_id"]
    assert client.get(path, headers=login("ls", "pässword")).status_code != 401


def test_basic_auth_covers_posts(make_app: MakeApp, announced: Redis) -> None:
    client = make_app(basic_auth_user="ls", basic_auth_pass="word")
    for path in ("/setup", "/predict", "/nowhere"):
        assert client.post(path, json={}).status_code == 401
    assert client.post("/setup", json=SETUP, headers=login("ls", "word")).json


def test_credentials_end_at_the_door(
    make_app: MakeApp, announced: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = make_app()
    client.post("/setup", json=SETUP)
    body = predict_body(task(1)) | {"params": {"login": "me@x.org", "password": "hunter22"}}
    client.post("/predict", json=body)
    (job,) = announced.keys("rq:job:segment-*")
    stored = b"".join(announced.dump(key) or b"" for key in announced.keys("*"))
    stored += zlib.decompress(announced.hget(job, "data") or b"")
    assert b"/data/upload/1/8885ccc6-t1.png" in stored
    for secret in (TOKEN, "hunter22", "me@x.org"):
        assert secret not in caplog.text
        assert secret.encode() not in stored


def test_metrics(make_app: MakeApp, announced: Redis) -> None:
    client = make_app()
    answer(announced, task(1))
    client.post("/predict", json=predict_body(task(1)), buffered=True).close()
    client.post("/predict", json=predict_body(task(2)), buffered=True).close()
    client.get("/nowhere")
    text = client.get("/metrics").text
    for line in (
        'dgl_requests_total{route="/predict",status="200"} 2.0',
        'dgl_requests_total{route="unknown",status="404"} 1.0',
        'dgl_request_seconds_count{route="/predict"} 2.0',
        'dgl_tasks_total{outcome="answered"} 1.0',
        "dgl_queue_up 1.0",
        "dgl_workers_ready 0.0",
        'dgl_queue_jobs{queue="segment"} 1.0',
    ):
        assert line in text


@pytest.mark.parametrize("labels", [2, 300])
def test_a_thousand_tasks_are_accepted_without_waiting_for_one(
    make_app: MakeApp, announced: Redis, labels: int
) -> None:
    client = make_app(label_studio_url="http://127.0.0.1:1", label_studio_api_key=TOKEN)
    tags = "".join(f'<Label value="label {i}" predicted_values="a,b"/>' for i in range(labels))
    xml = XML.replace("<Label", f"{tags}<Label", 1)
    body = json.dumps(predict_body(*(task(number) for number in range(1, 1001)), xml=xml))
    # No worker runs, so waiting for any of them would never end; benchmarks/web.py has the
    # seconds.
    response = client.post("/predict", data=body)
    assert response.json == {"results": [[]] * 1000}
    assert waiting(announced)["segment"] == 1000


@pytest.fixture
def worker(valkey: str, redis: Redis) -> Iterator["subprocess.Popen[bytes]"]:
    """A segment worker in a process of its own; its model is a few lines of NumPy."""
    program = f"from tests.workers import fake_worker; fake_worker.run({valkey!r}, 5)"
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def bright_half() -> str:
    """A 12 × 8 picture as a data: URL, bright in its right half."""
    picture = Image.new("L", (12, 8))
    picture.paste(255, (6, 0, 12, 8))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def test_through_the_queue(make_app: MakeApp, worker: "subprocess.Popen[bytes]") -> None:
    client = make_app(batch_seconds=20)
    deadline = time.monotonic() + 60
    while not client.get("/ready").json["ready"]:
        assert worker.poll() is None, "the worker ended"
        assert time.monotonic() < deadline, "the worker was never ready"
        time.sleep(0.2)
    good, bomb = bright_half(), base64.b64encode(png_header(30_000, 30_000)).decode()
    images = ["data:image/png;base64,AAAA", f"data:;base64,{bomb}", good[:-40], "/etc/passwd", ""]
    tasks = [task(1, image=good), *(task(n, image=bad) for n, bad in enumerate(images, 2))]
    results = client.post("/predict", json=predict_body(*tasks)).json["results"]
    assert results[1:] == [[]] * len(images)
    (region,) = results[0]["result"]
    assert region["value"]["brushlabels"] == ["ship"]
    alpha = decode_rle(region["value"]["rle"]).reshape(8, 12, 4)[..., 3]
    assert (alpha[:, :6] == 0).all()
    assert (alpha[:, 6:] == 255).all()
    state = client.get("/api/status").json
    assert state["ready"]
    told = {failure["task_id"]: failure for failure in state["failures"]}
    for number, words in enumerate(["known format", "tile it", "damaged", "LABEL_STUDIO_URL"], 2):
        assert told[str(number)]["stage"] == "segment"
        assert words in told[str(number)]["message"]
    assert told["6"]["stage"] == "predict"
    assert "is empty" in told["6"]["message"]
    tasks = client.get("/api/projects/1/tasks").json["tasks"]
    states = {each["task"]: (each["state"], each["can_retry"]) for each in tasks}
    failed = {str(number): ("failed", number != 6) for number in range(2, 7)}
    assert states == {"1": ("answered", False)} | failed
    assert all(each["reason"] for each in tasks if each["task"] != "1")
