"""All like one in the tasks of a project, with a Label Studio that listens and the real queue."""

from dataclasses import replace

import numpy as np
import pytest
from redis import Redis

from backend.project import label_config
from backend.regions.reading import mask
from backend.regions.writing import to_prediction, to_regions
from backend.studio import everywhere
from backend.studio.client import StudioClient, StudioError
from backend.studio.delivery import OUTDATED, Run, deliver_request
from backend.studio.everywhere import NOTHING, Sought
from dgl_rsis.runs import from_runs
from dgl_rsis.types import Json
from tests.backend.studio.fake_studio import FakeStudio
from tests.backend.worker_end import VERSION, XML, candidates, reply, waiting
from workers.messages import (
    DeliveryRequest,
    ExampleLook,
    Look,
    SegmentReply,
    SegmentRequest,
    version_like,
)
from workers.queue.client import SegmentClient
from workers.queue.connection import open_queue
from workers.queue.replies import store_reply

LOOK = Look((ExampleLook(40.0, 0.3, (1.0, 2.0, 3.0), "AAAA"),))
OTHER = Look((ExampleLook(50.0, 0.3, (1.0, 2.0, 3.0), "AAAA"),))
SHIPS = version_like(VERSION, "ship")
SOUGHT = Sought("1", XML, "ship", LOOK, VERSION, "1", "/data/upload/1/t1.png")
CONFIG = label_config.parse(XML)
OWNER = "delivery-2"


@pytest.fixture(autouse=True)
def _connected(connected: FakeStudio) -> None:
    """Project 1 is, with the label config that is asked under."""
    connected.label_config = XML


def asked(task: int, look: Look = LOOK) -> SegmentRequest:
    """What a worker is asked about a task."""
    data = {"id": task, "data": {"image": f"/data/upload/1/t{task}.png"}}
    return replace(CONFIG.to_request(data, VERSION), label="ship", look=look)


def waiting_for(redis: Redis) -> list[str]:
    """Ids of the segment jobs, in order."""
    return open_queue("segment", redis).job_ids


def delivery(client: SegmentClient, look: Look = LOOK, label: str = "ship") -> DeliveryRequest:
    """To task 2, as the last thing that was asked for."""
    client.seek("1", label, look.digest)
    digest = client.store_config(XML)
    return DeliveryRequest(2, asked(2, look).key, digest, "1", label, look.digest)


def names(prediction: Json) -> list[str]:
    return [region["id"] for region in prediction["result"]]


def test_each_open_task_but_the_own_one_gets_a_job_behind_all_others(
    redis: Redis, client: SegmentClient, rest: StudioClient, studio: FakeStudio
) -> None:
    studio.tasks = {1, 2, 3, 4}
    studio.annotations = [{"id": 1, "task": 3}]
    before = CONFIG.to_request({"id": 9, "data": {"image": "/data/upload/9.png"}}, VERSION)
    client.submit([before])
    told = everywhere.seek(SOUGHT, client, rest)
    keys = [before.key, asked(2).key, asked(4).key]
    assert waiting_for(redis) == [f"segment-{key}" for key in keys]
    assert told.startswith("2 other images of the project are searched now; what is found")
    assert f"'{SHIPS}'" in told
    assert client.ledger.project("1") is None, "what the tasks wait for otherwise stands there"
    assert everywhere.seek(SOUGHT, client, rest) == told
    assert waiting(redis)["segment"] == 3, "the same again is no second job"


def test_what_waits_for_the_same_task_is_not_taken_back(
    client: SegmentClient, rest: StudioClient
) -> None:
    plain = CONFIG.to_request({"id": 2, "data": {"image": "/data/upload/1/t2.png"}}, VERSION)
    client.submit([plain], project="1")
    client.deliver([DeliveryRequest(2, plain.key, client.store_config(XML), "1")])
    everywhere.seek(SOUGHT, client, rest)
    entry = client.ledger.entry("1", "2")
    assert entry is not None
    assert (entry.state, entry.key) == ("queued", plain.key)


def test_no_more_tasks_than_so_many_are_searched(
    redis: Redis,
    client: SegmentClient,
    rest: StudioClient,
    studio: FakeStudio,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(everywhere, "MOST_TASKS", 3)
    studio.tasks = set(range(1, 8))
    told = everywhere.seek(SOUGHT, client, rest)
    assert "2 other images of the project are searched now (6 have no annotation; ask again" in told
    assert waiting(redis)["segment"] == 2


@pytest.mark.parametrize(
    ("sought", "tasks", "troubles", "message"),
    [
        (SOUGHT, {1}, [], "the project has no other image that could be searched"),
        (SOUGHT, {1, 2}, [403], "not searched: Label Studio answered 403"),
        (replace(SOUGHT, project=""), {1, 2}, [], "did not say which project"),
        (replace(SOUGHT, project="7"), {1, 2}, [], "not searched: Label Studio answered 404"),
    ],
    ids=["alone", "forbidden", "no project", "unknown project"],
)
def test_what_cannot_be_searched_is_said(
    redis: Redis,
    client: SegmentClient,
    rest: StudioClient,
    studio: FakeStudio,
    sought: Sought,
    tasks: set[int],
    troubles: list[int],
    message: str,
) -> None:
    studio.tasks, studio.troubles = tasks, troubles
    assert message in everywhere.seek(sought, client, rest)
    assert waiting(redis)["segment"] == 0


def test_without_a_key_the_way_out_is_said(redis: Redis, client: SegmentClient) -> None:
    assert "LABEL_STUDIO_API_KEY" in everywhere.seek(SOUGHT, client, None)
    assert waiting(redis)["segment"] == 0


def push(client: SegmentClient, rest: StudioClient, request: DeliveryRequest) -> str:
    return deliver_request(Run(request, client, rest, OWNER))


def test_what_is_found_stands_beside_what_the_task_shows(
    redis: Redis, client: SegmentClient, rest: StudioClient, studio: FakeStudio
) -> None:
    shown = to_prediction(reply("water"), CONFIG, VERSION)
    assert len(shown["result"]) == 1
    studio.add({"task": 2, **shown})
    store_reply(redis, asked(2).key, candidates(0.9, 0.8), 3600)
    assert push(client, rest, delivery(client)) == "stored"
    before, stored = studio.predictions
    assert before["result"] == shown["result"], "the model's own prediction is left alone"
    assert (stored["model_version"], stored["score"]) == (SHIPS, 0.9)
    assert stored["result"][0] == shown["result"][0]
    labels = [region["value"]["brushlabels"] for region in stored["result"]]
    assert labels == [["water"], ["ship"], ["ship"]]
    for region, segment in zip(stored["result"][1:], candidates(0.9, 0.8).segments, strict=True):
        np.testing.assert_array_equal(from_runs(mask(region, (20, 30))), from_runs(segment.runs))
    assert push(client, rest, delivery(client)) == "stored before"
    assert len(studio.predictions) == 2


def test_another_exemplar_replaces_what_was_found_for_its_label_alone(
    redis: Redis, client: SegmentClient, rest: StudioClient, studio: FakeStudio
) -> None:
    for look, found in ((LOOK, candidates(0.9, 0.8)), (OTHER, candidates(0.7))):
        store_reply(redis, asked(2, look).key, found, 3600)
    waters = replace(delivery(client, LOOK, "water"), key="1" * 32)
    store_reply(redis, waters.key, candidates(0.6, label="water"), 3600)
    assert push(client, rest, delivery(client)) == "stored"
    client.seek("1", "water", LOOK.digest)
    assert push(client, rest, waters) == "stored"
    assert push(client, rest, delivery(client, OTHER)) == "stored"
    versions = [each["model_version"] for each in studio.predictions]
    assert versions == [version_like(VERSION, "water"), SHIPS]
    labels = [r["value"]["brushlabels"][0] for r in studio.predictions[-1]["result"]]
    assert sorted(labels) == ["ship", "water"]


def test_where_nothing_is_like_the_new_exemplar_the_old_finds_go(
    redis: Redis, client: SegmentClient, rest: StudioClient, studio: FakeStudio
) -> None:
    store_reply(redis, asked(2).key, candidates(0.9), 3600)
    store_reply(redis, asked(2, OTHER).key, SegmentReply(20, 30, VERSION, ()), 3600)
    assert push(client, rest, delivery(client)) == "stored"
    assert push(client, rest, delivery(client, OTHER)) == NOTHING
    assert studio.predictions == []


def test_a_delivery_of_an_exemplar_before_the_last_one_stores_nothing(
    redis: Redis, client: SegmentClient, rest: StudioClient, studio: FakeStudio
) -> None:
    store_reply(redis, asked(2).key, candidates(0.9), 3600)
    late = delivery(client)
    client.seek("1", "ship", OTHER.digest)
    assert push(client, rest, late) == OUTDATED
    assert studio.predictions == []


def test_what_has_the_label_already_is_not_found_again(
    redis: Redis, client: SegmentClient, rest: StudioClient, studio: FakeStudio
) -> None:
    found = candidates(0.9, 0.8)
    held = to_regions(found, found.segments[0], CONFIG, "seed")
    studio.add({"task": 2, "result": held, "score": 0.5, "model_version": VERSION})
    store_reply(redis, asked(2).key, found, 3600)
    assert push(client, rest, delivery(client)) == "stored"
    scores = [region["score"] for region in studio.predictions[-1]["result"]]
    assert scores == [0.9, 0.8]
    assert names(studio.predictions[-1])[0] == held[0]["id"], "the first is the one that was there"


def test_a_lost_answer_stores_nothing_twice(
    redis: Redis, client: SegmentClient, rest: StudioClient, studio: FakeStudio
) -> None:
    store_reply(redis, asked(2).key, candidates(0.9), 3600)
    studio.lose_answers = True
    with pytest.raises(StudioError, match="502"):
        push(client, rest, delivery(client))
    assert push(client, rest, delivery(client)) == "stored before"
    assert len(studio.predictions) == 1


def test_no_project_follows_what_is_like_an_exemplar(
    redis: Redis, client: SegmentClient, rest: StudioClient, studio: FakeStudio
) -> None:
    store_reply(redis, asked(2).key, candidates(0.9), 3600)
    assert push(client, rest, delivery(client)) == "stored"
    assert waiting(redis)["delivery"] == 0


def test_a_refusal_is_listed_with_its_project(
    redis: Redis, client: SegmentClient, rest: StudioClient, studio: FakeStudio
) -> None:
    store_reply(redis, asked(2).key, candidates(0.9), 3600)
    studio.troubles = [400]
    assert push(client, rest, delivery(client)).startswith("refused: Label Studio answered 400")
    (failure,) = client.failures()
    assert (failure.project, failure.task_id, failure.stage) == ("1", "2", "delivery")
