import contextlib
import io
import json
import logging
import time
import zlib
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from redis import exceptions as redis_errors

from backend.web import held_events, webhook
from backend.web.app import create_app
from backend.web.settings import Settings
from backend.web.webhook import HEAD_BYTES, HEADER, EventError, head_of, read
from tests.backend.conftest import MakeApp
from tests.backend.studio.fake_studio import LEGACY_TOKEN
from tests.backend.worker_end import PROJECT, VERSION, XML, predict_body, task
from tests.paths import PAYLOADS
from workers.messages import SegmentRequest, StudioEvent
from workers.queue.client import SegmentClient
from workers.queue.identity import Identity
from workers.queue.prototypes import PrototypeStore

SECRET = "d1y4wuxSbXxEdPa44srVNbB1q6w7k1EAy7jgVVvO"
CONNECTED = {"label_studio_url": "http://studio:8080", "label_studio_api_key": LEGACY_TOKEN}


def event(action: str = "ANNOTATION_CREATED", masks: int = 3) -> dict[str, Any]:
    """As recorded from Label Studio 1.23.2, with so many numbers of a mask."""
    return {
        "action": action,
        "annotation": {"id": 11, "result": [{"value": {"rle": [7] * masks}}], "task": 5},
        "project": {
            "id": 1,
            "label_config": XML,
            "token": SECRET,
            "task_data_login": "me@x.org",
            "task_data_password": "hunter22",
        },
        "task": {"id": 5, "data": {"image": "/data/upload/1/8885ccc6-t1.png"}, "project": 1},
    }


def body(content: Any) -> bytes:
    return json.dumps(content).encode()


def parsed(content: Any) -> StudioEvent | None:
    head, complete = head_of(io.BytesIO(content if isinstance(content, bytes) else body(content)))
    return read(head, "1", complete=complete)


@pytest.fixture
def learning(make_app: MakeApp) -> FlaskClient:
    """The web application where corrections teach."""
    return make_app(**CONNECTED)


@pytest.fixture
def secret(redis: Redis) -> dict[str, str]:
    """What the webhook of project 1 carries."""
    return {HEADER: SegmentClient(redis).identity.token("1")}


def waiting(redis: Redis) -> list[StudioEvent]:
    return [
        StudioEvent.from_json(json.loads(zlib.decompress(redis.hget(key, "data") or b""))[2][0])
        for key in redis.keys("rq:job:event-*")
    ]


CHANGED = StudioEvent("1", False, ("11",))
KINDS = {
    "as Label Studio has it": (event(), CHANGED),
    "changed": (event("ANNOTATION_UPDATED"), CHANGED),
    "of any size": (event(masks=100_000), CHANGED),
    "in another order": (
        {"annotation": {"x": 1, "id": 11}, "action": "ANNOTATION_CREATED"},
        CHANGED,
    ),
    "without blanks": (b'{"action":"ANNOTATION_CREATED","annotation":{"id":11}}', CHANGED),
    "annotations that were deleted": (
        {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 4}, {"id": 5}], "project": {}},
        StudioEvent("1", True, ("4", "5")),
    ),
    "tasks that were deleted": (
        {"action": "TASKS_DELETED", "tasks": [{"id": 9}]},
        StudioEvent("1", True, (), ("9",)),
    ),
    "none of them": (
        {"action": "TASKS_DELETED", "tasks": []},
        StudioEvent("1", True),
    ),
    "predictions that became annotations": (event("ANNOTATIONS_CREATED"), None),
    "another event": ({"action": "TASKS_CREATED", "tasks": ["ANNOTATION_CREATED"]}, None),
    "no event": ([1], None),
}


@pytest.mark.parametrize(("content", "expected"), KINDS.values(), ids=list(KINDS))
def test_the_action_and_ids_are_read(content: Any, expected: StudioEvent | None) -> None:
    assert parsed(content) == expected


def test_of_a_long_list_it_is_known_that_more_were_deleted() -> None:
    ids = list(range(10**6, 10**6 + 10_000))
    deleted = {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": each} for each in ids]}
    read_event = parsed(deleted)
    assert read_event is not None
    assert not read_event.complete
    assert 3000 < len(read_event.annotations) < 10_000
    assert list(read_event.annotations) == [
        str(each) for each in ids[: len(read_event.annotations)]
    ]


BAD = {
    "no JSON": b'{"action": "ANNOTATION_CREATED"',
    "nothing": b"",
    "no annotation": body(event() | {"annotation": 7}),
    "an id that is no number": body(event() | {"annotation": {"id": "../../1"}}),
    "an id that is a truth": body({"action": "ANNOTATION_CREATED", "annotation": {"id": True}}),
    "a deletion without ids": body({"annotations": [1], "action": "ANNOTATIONS_DELETED"}),
    "nested": b'{"x": ' + b"[" * 60_000,
    "an order that hides what it is about": body({"x": "y" * HEAD_BYTES, **event()}),
}


@pytest.mark.parametrize("content", BAD.values(), ids=list(BAD))
def test_an_event_that_cannot_be_used_is_said_and_forgotten(
    learning: FlaskClient,
    secret: dict[str, str],
    redis: Redis,
    caplog: pytest.LogCaptureFixture,
    content: bytes,
) -> None:
    with pytest.raises(EventError):
        parsed(content)
    response = learning.post("/webhook", data=content, headers=secret)
    assert (response.status_code, response.json) == (201, {"status": "ignored"})
    assert "nothing is learnt from an event" in caplog.text
    assert waiting(redis) == []


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda x: st.lists(x) | st.dictionaries(st.sampled_from(["id", "action", "x"]), x),
        max_leaves=20,
    ),
    st.sampled_from([*webhook.LEARN_ACTIONS, *webhook.DELETIONS]),
)
def test_whatever_is_posted_is_read_as_json_reads_it(junk: Any, action: str) -> None:
    content = {"action": action, "annotation": junk, "annotations": junk, "tasks": junk}
    order = {name: content[name] for name in ("annotations", "tasks", "annotation", "action")}
    with contextlib.suppress(EventError):
        assert parsed(content) == parsed(order)


def test_an_event_becomes_a_job_whatever_it_holds(
    learning: FlaskClient, secret: dict[str, str], redis: Redis
) -> None:
    response = learning.post("/webhook", json=event(masks=500_000), headers=secret)
    assert (response.status_code, response.json) == (201, {"status": "accepted"})
    assert waiting(redis) == [CHANGED]


def test_what_waits_is_looked_at_once(
    learning: FlaskClient, secret: dict[str, str], redis: Redis
) -> None:
    for _ in range(3):
        learning.post("/webhook", json=event(), headers=secret)
    (job,) = redis.keys("rq:job:event-*")
    redis.hset(job, "status", "started")  # it may have read the annotation already
    learning.post("/webhook", json=event(), headers=secret)
    assert waiting(redis) == [CHANGED, CHANGED]


def test_the_head_is_read_and_the_rest_passed_over() -> None:
    for size in (0, 1, HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 1, 3 * HEAD_BYTES + 5):
        stream = io.BytesIO(b"x" * size)
        head, complete = head_of(stream)
        assert (len(head), complete) == (min(size, HEAD_BYTES), size <= HEAD_BYTES)
        assert stream.read() == b""


def test_with_learn_off_the_webhook_drops_all(
    make_app: MakeApp, secret: dict[str, str], redis: Redis
) -> None:
    off = make_app(learn=False, **CONNECTED)
    response = off.post("/webhook", json=event(), headers=secret)
    assert (response.status_code, response.json) == (201, {"status": "ignored"})
    assert waiting(redis) == []


def test_without_a_key_nothing_is_learnt_and_it_is_said(
    make_app: MakeApp, secret: dict[str, str], redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_app()
    assert "start the backend with LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY" in caplog.text
    response = client.post("/webhook", json=event(), headers=secret)
    assert (response.status_code, response.json) == (201, {"status": "ignored"})
    page = client.get("/", headers={"Accept": "text/html"}).get_data(as_text=True)
    assert webhook.NO_KEY in page
    assert client.get("/api/status").json["events"]["off"] == webhook.NO_KEY


def test_an_event_that_comes_while_the_queue_is_away_waits_for_it(
    learning: FlaskClient,
    secret: dict[str, str],
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def unreachable(_: Identity) -> str:
        raise redis_errors.ConnectionError

    monkeypatch.setattr(held_events, "PAUSE_SECONDS", 0.05)
    caplog.set_level(logging.INFO)
    with monkeypatch.context() as away:
        away.setattr(Identity, "_secret", unreachable)
        for headers in (secret, secret, {HEADER: "1." + "0" * 64}):
            assert learning.post("/webhook", json=event(), headers=headers).status_code == 201
        assert "an event waits for the queue" in caplog.text
        assert waiting(redis) == []
    deadline = time.monotonic() + 10
    while "2 events that came meanwhile" not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert waiting(redis) == [CHANGED]  # once, and nothing of what was forged


def test_an_event_for_which_there_is_no_room_is_lost_and_said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_events, "MOST_IDS", 0)
    settings = Settings.model_validate({"redis_url": "redis://127.0.0.1:1/0", **CONNECTED})
    client = create_app(settings).test_client()
    response = client.post("/webhook", json=event(), headers={HEADER: "1." + "0" * 64})
    assert response.status_code == 503
    assert "an event is lost" in caplog.text


def test_no_secret_of_a_project_goes_on(
    learning: FlaskClient,
    secret: dict[str, str],
    redis: Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    learning.post("/webhook", json=event(), headers=secret)
    (job,) = redis.keys("rq:job:*")
    stored = b"".join(redis.dump(key) or b"" for key in redis.keys("*"))
    stored += zlib.decompress(redis.hget(job, "data") or b"")
    for each in (SECRET, "me@x.org", "hunter22", secret[HEADER]):
        assert each.encode() not in stored
        assert each not in caplog.text


def test_the_recorded_webhook_is_read() -> None:
    file = PAYLOADS / "09_webhook_ANNOTATION_CREATED.json"
    if not file.exists():
        pytest.skip(f"{file} is not there")
    assert parsed(json.loads(file.read_text("utf-8"))["body"]) == StudioEvent("1", False, ("1",))


def test_setup_and_predict_name_what_a_project_learnt(make_app: MakeApp, announced: Redis) -> None:
    client = make_app()
    setup = {"project": PROJECT, "schema": XML}
    assert client.post("/setup", json=setup).json == {"model_version": VERSION}
    store = PrototypeStore(announced)
    store.expect("1", "11", 1, "5")
    revision = store.put("1", "11", 1, b"share")
    assert client.post("/setup", json=setup).json == {"model_version": f"{VERSION}+p{revision}"}
    other = {"project": "2.1795419101", "schema": XML}
    assert client.post("/setup", json=other).json == {"model_version": VERSION}
    client.post("/predict", json=predict_body(task(1)), buffered=True).close()
    (job,) = announced.keys("rq:job:segment-*")
    data = json.loads(zlib.decompress(announced.hget(job, "data") or b""))
    asked = SegmentRequest.from_json(data[2][0])
    assert asked.prototypes == f"1@{revision}"
    assert asked.model_version == f"{VERSION}+p{revision}"
    store.switch("1", on=False)
    assert client.post("/setup", json=setup).json == {"model_version": VERSION}
    off = make_app(learn=False)
    store.switch("1", on=True)
    assert off.post("/setup", json=setup).json == {"model_version": VERSION}


@pytest.mark.parametrize("project", ["None", "", "../1", "1" * 30, "1\n2"])
def test_a_project_without_an_id_has_learnt_nothing(
    make_app: MakeApp, announced: Redis, project: str
) -> None:
    setup = {"project": project, "schema": XML}
    assert make_app().post("/setup", json=setup).json == {"model_version": VERSION}
