import contextlib
import io
import json
import logging
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from backend.project.tasks import TaskError
from backend.regions import brush
from backend.web.webhook import Corrections, EventError, Taken, concerns, head_of, read
from dgl_rsis.runs import Runs, from_runs, to_runs
from tests.backend.conftest import MakeApp
from tests.backend.worker_end import PROJECT, VERSION, XML, predict_body, task
from tests.loading import MODELS, SCENES, loads_none_of
from tests.paths import PAYLOADS, ROOT
from workers.messages import LearnRequest, SegmentRequest
from workers.queue.client import SegmentClient
from workers.queue.prototypes import PrototypeStore

SECRET = "d1y4wuxSbXxEdPa44srVNbB1q6w7k1EAy7jgVVvO"
SHIP = np.zeros((64, 64), dtype=bool)
SHIP[10:30, 20:50] = True


def brush_region(mask: Any = SHIP, label: str = "ship", **values: Any) -> dict[str, Any]:
    height, width = mask.shape
    return {
        "id": "reg1",
        "from_name": "brush",
        "to_name": "image",
        "type": "brushlabels",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "origin": "prediction",
        "value": {
            "format": "rle",
            "rle": brush.encode(to_runs(mask)),
            "brushlabels": [label],
        },
    } | values


def event(*regions: Any, action: str = "ANNOTATION_CREATED", **annotation: Any) -> dict[str, Any]:
    """As recorded from Label Studio 1.23.2."""
    return {
        "action": action,
        "annotation": {
            "id": 11,
            "result": list(regions or [brush_region()]),
            "was_cancelled": False,
            "updated_at": "2026-11-23T07:46:22.714609Z",
            "task": 1,
            "project": 1,
            "completed_by": 1,
        }
        | annotation,
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


def learn_request(content: Any) -> LearnRequest:
    request = read(body(content))
    assert isinstance(request, LearnRequest)
    return request


@pytest.fixture
def corrections(redis: Redis) -> Iterator[Corrections]:
    learning = Corrections(SegmentClient(redis), learns=True)
    yield learning
    learning._thread.shutdown()


def see_to(corrections: Corrections, content: Any) -> None:
    done = corrections.accept(content if isinstance(content, bytes) else body(content))
    assert done is not None
    done.result(timeout=10)


def waiting(redis: Redis) -> list[LearnRequest]:
    return [
        LearnRequest.from_json(json.loads(zlib.decompress(redis.hget(key, "data") or b""))[2][0])
        for key in redis.keys("rq:job:learn-*")
    ]


def test_an_annotation_becomes_something_to_learn_from() -> None:
    road = np.zeros((64, 64), dtype=bool)
    road[40:44] = True
    request = learn_request(event(brush_region(), brush_region(road, "water")))
    assert (request.project, request.annotation, request.task_id) == ("1", "11", "5")
    assert request.image == "/data/upload/1/8885ccc6-t1.png"
    assert request.stamp == 1_795_419_982_714_609
    assert [(label, from_runs(runs).sum()) for label, runs in request.regions] == [
        ("ship", 600),
        ("water", 256),
    ]


def test_other_shapes_count_too_and_what_is_no_mask_does_not() -> None:
    rectangle = brush_region(type="rectanglelabels") | {
        "value": {"x": 25, "y": 25, "width": 50, "height": 50, "rectanglelabels": ["ship"]}
    }
    keypoint = brush_region(type="keypointlabels") | {
        "value": {"x": 25, "y": 25, "width": 1, "keypointlabels": ["ship"]}
    }
    broken = brush_region() | {"value": {"format": "rle", "rle": [1, 2], "brushlabels": ["ship"]}}
    request = learn_request(event(rectangle, keypoint, broken, "junk"))
    ((label, runs),) = request.regions
    assert (label, sum(runs.counts[1::2])) == ("ship", 32 * 32)


@pytest.mark.parametrize("content", [event(was_cancelled=True), event(result=[]), event("junk")])
def test_what_teaches_nothing_takes_the_former_share_away(content: Any) -> None:
    assert learn_request(content).regions == ()


ROAD = np.zeros((64, 64), dtype=bool)
ROAD[40:44] = True
PREDICTED = [brush_region(id="a"), brush_region(ROAD, "water", id="b")]


@pytest.mark.parametrize(
    ("changed", "taught"),
    [
        (PREDICTED, ["ship", "water"]),
        ([PREDICTED[0], PREDICTED[1] | {"origin": "prediction-changed"}], ["water"]),
        ([PREDICTED[0]], []),  # the water was deleted, and nobody looked at the ship
        ([*PREDICTED, brush_region(id="c", origin="manual")], ["ship", "ship"]),
    ],
)
def test_only_classes_that_the_person_touched_teach(changed: Any, taught: list[str]) -> None:
    held = {"id": 3, "result": PREDICTED}
    request = learn_request(event(result=changed, prediction=held, parent_prediction=3))
    assert [label for label, _ in request.regions] == taught


BOX = {
    **brush_region(type="rectanglelabels", id="stray", from_name="box", origin="manual"),
    "value": {"x": 0, "y": 0, "width": 100, "height": 100, "rectanglelabels": ["ship"]},
}
POINT = {
    **BOX,
    "type": "keypointlabels",
    "value": {"x": 25, "y": 25, "width": 1, "keypointlabels": ["ship"]},
}
OVAL = {
    **BOX,
    "type": "ellipselabels",
    "value": {"x": 50, "y": 50, "radiusX": 20, "radiusY": 20, "ellipselabels": ["ship"]},
}
ASKING = XML.replace(
    "</View>",
    '<RectangleLabels name="box" toName="image" smart="true" model_skip="true">'
    '<Label value="ship"/></RectangleLabels></View>',
)


@pytest.mark.parametrize("stray", [BOX, POINT, OVAL])
@pytest.mark.parametrize("known", [True, False], ids=["with prediction", "without"])
def test_what_a_prompt_left_behind_neither_teaches_nor_changes(stray: Any, known: bool) -> None:
    content = event(
        result=[*PREDICTED, stray],
        prediction={"id": 3, "result": PREDICTED} if known else None,
        parent_prediction=3,
    )
    content["project"]["label_config"] = ASKING
    taught = learn_request(content).regions
    assert [(label, from_runs(runs).sum()) for label, runs in taught] == [
        ("ship", 600),
        ("water", 256),
    ]


def test_what_does_not_say_where_it_stands_counts() -> None:
    nowhere = brush_region()
    del nowhere["from_name"]
    for region in (nowhere, brush_region(from_name="elsewhere")):
        assert [label for label, _ in learn_request(event(region)).regions] == ["ship"]


def test_a_prediction_that_it_did_not_start_from_is_not_compared_with() -> None:
    held = {"id": 3, "result": PREDICTED}
    content = event(result=[brush_region(id="x")], prediction=held, parent_prediction=4)
    assert [label for label, _ in learn_request(content).regions] == ["ship"]


def test_deleted_annotations_and_tasks_are_taken_back() -> None:
    project = {"id": 3}
    deleted = {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 4}, {"id": 5}]}
    assert read(body(deleted | {"project": project})) == Taken("3", ("4", "5"))
    deleted = {"action": "TASKS_DELETED", "tasks": [{"id": 9}]}
    assert read(body(deleted | {"project": project})) == Taken("3", (), ("9",))


BAD = {
    "no JSON": b'{"action": "ANNOTATION_CREATED"',
    "no project": body(event() | {"project": None}),
    "no annotation": body(event() | {"annotation": 7}),
    "no task": body(event() | {"task": None}),
    "no image": body(event() | {"task": {"id": 5, "data": {}}}),
    "an id that is no number": body(event(id="../../1")),
    "a deletion without ids": body(
        {"action": "ANNOTATIONS_DELETED", "project": {"id": 1}, "annotations": [1]}
    ),
    "nested": b'{"action": "ANNOTATION_CREATED", "x": ' + b"[" * 100_000,
}


@pytest.mark.parametrize("content", BAD.values(), ids=list(BAD))
def test_an_event_that_cannot_be_used_is_said_and_forgotten(
    corrections: Corrections, redis: Redis, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    with pytest.raises((EventError, TaskError)):
        read(content)
    see_to(corrections, content)
    assert "nothing is learnt from an event" in caplog.text
    assert redis.dbsize() == 0
    see_to(corrections, event())
    assert len(waiting(redis)) == 1


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(
                    ["id", "data", "result", "image", "type", "value", "original_width", "x"]
                ),
                x,
            )
        ),
        max_leaves=20,
    ),
    st.sampled_from(["annotation", "task", "project"]),
)
def test_no_event_raises_anything_else(junk: Any, part: str) -> None:
    with contextlib.suppress(EventError, TaskError):
        read(body(event() | {part: junk}))


def test_an_event_becomes_a_job(corrections: Corrections, redis: Redis) -> None:
    see_to(corrections, event())
    (request,) = waiting(redis)
    assert request == learn_request(event())


def test_a_deletion_works_at_once(corrections: Corrections, redis: Redis) -> None:
    see_to(corrections, event())
    store = PrototypeStore(redis)
    store.put("1", "11", learn_request(event()).stamp, b"share")
    deleted = {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 11}], "project": {"id": 1}}
    see_to(corrections, deleted)
    assert store.shares("1") == ("", {})
    see_to(corrections, event())
    assert store.put("1", "11", learn_request(event()).stamp, b"share") is None


def test_an_outage_of_the_queue_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    lost = Corrections(SegmentClient.from_url("redis://127.0.0.1:1/0"), learns=True)
    see_to(lost, event())
    assert "an event is lost" in caplog.text
    lost._thread.shutdown()


def test_only_so_many_events_wait(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Corrections(SegmentClient(redis), learns=True)
    monkeypatch.setattr("backend.web.webhook.MOST_WAITING_BYTES", 10)
    assert full.accept(body(event())) is None
    full._thread.shutdown()


def test_a_flood_is_taken_and_seen_to_in_its_order(corrections: Corrections, redis: Redis) -> None:
    stamp = "2026-11-23T07:46:{:02}.{:06}Z"
    events = [event(updated_at=stamp.format(*divmod(i, 50)), id=i % 7) for i in range(300)]
    taken = [corrections.accept(body(each)) for each in events]
    assert None not in taken
    for done in taken:
        assert done is not None
        done.result(timeout=60)
    newest = {each["annotation"]["id"]: learn_request(each).stamp for each in events}
    store = PrototypeStore(redis)
    assert all(store.is_current("1", str(a), stamp) for a, stamp in newest.items())
    assert (corrections._waiting, corrections._bytes) == (0, 0)


def test_an_event_beyond_all_measure_is_dropped_and_read_to_its_end(
    corrections: Corrections,
    make_app: MakeApp,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    content = body(event()) + b" " * 200_000
    monkeypatch.setattr("backend.web.webhook.MOST_EVENT_BYTES", 1000)
    assert corrections.accept(content) is None
    assert "is dropped" in caplog.text
    stream = io.BytesIO(content)
    assert 1000 < len(head_of(stream)) < len(content)
    assert stream.read() == b""
    response = make_app().post("/webhook", data=content)
    assert (response.status_code, response.json) == (201, {"status": "ignored"})
    assert redis.dbsize() == 0


POLYGON = brush_region(type="polygonlabels") | {
    "value": {"points": [[25, 25], [75, 25], [75, 75], [25, 75]], "polygonlabels": ["ship"]}
}
ELLIPSE = brush_region(type="ellipselabels") | {
    "original_width": 8192,
    "original_height": 8192,
    "value": {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "ellipselabels": ["ship"]},
}
READING = """
import resource, sys
from backend.web import app
from backend.web.webhook import read
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
request = read(sys.stdin.buffer.read())
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(len(request.regions), sum(request.regions[0][1].counts[1::2]), grown < 32 * 1024)
""" + loads_none_of(*MODELS, *SCENES)


@pytest.mark.parametrize(("shape", "area"), [(POLYGON, 32 * 32), (ELLIPSE, 4_216_500)])
def test_the_web_process_stays_small_whatever_is_drawn(shape: Any, area: int) -> None:
    """It has neither rasterio nor room for planes of the image's size."""
    done = subprocess.run(
        [sys.executable, "-c", READING],
        input=body(event(shape)),
        capture_output=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout.decode().split() == ["1", str(area), "True"]


def test_other_events_are_passed_over_unread() -> None:
    assert not concerns(body({"action": "TASKS_CREATED", "tasks": ["ANNOTATION_CREATED"]}))
    assert concerns(body({"tasks": ["x" * 1000], "action": "ANNOTATION_UPDATED"}))
    assert not concerns(b"")


def test_the_webhook_answers_at_once_and_queues(make_app: MakeApp, redis: Redis) -> None:
    response = make_app().post("/webhook", json=event())
    assert (response.status_code, response.json) == (201, {"status": "accepted"})
    deadline = time.monotonic() + 10
    while not waiting(redis) and time.monotonic() < deadline:
        time.sleep(0.01)
    (request,) = waiting(redis)
    assert request.annotation == "11"


def test_with_learn_off_the_webhook_drops_all(make_app: MakeApp, redis: Redis) -> None:
    response = make_app(learn=False).post("/webhook", json=event())
    assert (response.status_code, response.json) == (201, {"status": "ignored"})
    assert redis.dbsize() == 0


def test_no_secret_of_a_project_goes_on(
    corrections: Corrections, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    see_to(corrections, event())
    (job,) = redis.keys("rq:job:*")
    stored = b"".join(redis.dump(key) or b"" for key in redis.keys("*"))
    stored += zlib.decompress(redis.hget(job, "data") or b"")
    for secret in (SECRET, "me@x.org", "hunter22"):
        assert secret.encode() not in stored
        assert secret not in caplog.text


def test_the_recorded_webhook_is_read() -> None:
    recorded = PAYLOADS
    file = recorded / "09_webhook_ANNOTATION_CREATED.json"
    if not file.exists():
        pytest.skip(f"{file} is not there")
    request = learn_request(json.loads(file.read_text("utf-8"))["body"])
    assert (request.project, request.annotation, request.task_id) == ("1", "1", "1")
    ((label, runs),) = request.regions
    assert (label, runs.height, runs.width) == ("ship", 64, 64)
    assert isinstance(runs, Runs)
    assert sum(runs.counts[1::2]) > 0


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
