"""A queue takes so many tasks and no more, says so, and keeps a place for people who wait."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask.testing import FlaskClient
from redis import Redis

from backend.commands.prelabel.engines import QueueEngine
from backend.commands.prelabel.items import Stop
from backend.web.app import create_app
from backend.web.settings import Settings
from dgl_rsis.types import Label
from tests.backend.web.test_actions import STUDIO
from tests.backend.worker_end import VERSION, key_of, predict_body, reply, task
from workers.messages import INTERACTIVE_QUEUE, SEGMENT_QUEUE, DeliveryRequest, SegmentRequest
from workers.queue import asking
from workers.queue import client as queue_client
from workers.queue.client import SegmentClient
from workers.queue.connection import open_queue
from workers.queue.control import FULL
from workers.queue.heartbeats import Announcement, Heartbeat, announce, beat
from workers.queue.replies import store_reply

MOST = 5


@pytest.fixture
def app(redis: Redis) -> FlaskClient:
    """The web application with room for `MOST` tasks."""
    announce(redis, Announcement(VERSION, "cpu", 0.0))
    settings = Settings.model_validate({**STUDIO, "max_waiting": MOST, "single_task_seconds": 0.0})
    client = SegmentClient(redis, most_waiting=settings.max_waiting)
    return create_app(settings, client).test_client()


def requests(first: int, count: int) -> list[SegmentRequest]:
    return [
        SegmentRequest(f"/{n}.png", (Label("water"),), "v1", task_id=str(n))
        for n in range(first, first + count)
    ]


def retrieve(app: FlaskClient, *numbers: int) -> list[object]:
    answer = app.post("/predict", json=predict_body(*map(task, numbers)))
    assert answer.status_code == 200
    results: list[object] = answer.json["results"]
    return results


def test_the_task_beyond_gets_nothing_and_that_is_said_everywhere(
    app: FlaskClient, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    assert retrieve(app, *range(1, MOST + 4)) == [[]] * (MOST + 3)
    assert SegmentClient(redis).waiting()[SEGMENT_QUEUE] == MOST
    said = [record.getMessage() for record in caplog.records if FULL in record.getMessage()]
    assert said == [f"project 1: 3 tasks get []: {FULL}"], "once a call, not once a task"
    states = {each["task"]: each for each in app.get("/api/projects/1/tasks").json["tasks"]}
    assert {int(t) for t, each in states.items() if each["state"] == "failed"} == {6, 7, 8}
    assert "the queue is full" in app.get("/status").text
    assert 'dgl_tasks_total{outcome="refused"} 3.0' in app.get("/metrics").text
    assert retrieve(app, *range(1, MOST + 1)) == [[]] * MOST  # what waits is no new task
    assert len(SegmentClient(redis).failures()) == 3


def test_people_who_wait_have_a_place_of_their_own(
    app: FlaskClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_client, "RESERVE", 2)
    client = SegmentClient(redis, most_waiting=MOST)
    assert client.submit(requests(1, MOST + 1)) == requests(MOST + 1, 1)
    retrieve(app, 50)  # somebody opens a task
    queue = open_queue(SEGMENT_QUEUE, redis)
    assert queue.job_ids[0] == f"segment-{key_of(task(50))}"
    click, another = requests(60, 1), requests(70, 1)
    assert client.submit(click, at_front=True, interactive=True) == []
    assert client.submit(another, at_front=True) == another, "a reserve is not endless"
    beat(redis, Heartbeat("r", "here", 1, INTERACTIVE_QUEUE, "cpu", "", 0.0, 0.0))
    assert client.submit(another, interactive=True) == [], "the reserved worker has a queue"


def test_deliveries_are_as_many_too(redis: Redis) -> None:
    client = SegmentClient(redis, most_waiting=MOST)
    store_reply(redis, "a" * 32, reply(), 60)
    every = [DeliveryRequest(n, "a" * 32, "digest") for n in range(1, MOST + 3)]
    assert client.deliver(every) == every[MOST:]
    assert client.deliver(every[:MOST]) == [], "those that wait are no new ones"
    assert client.claim_push(MOST + 1, "a" * 32), "it is claimed though nobody delivers it"
    waiting = requests(1, 1)
    client.submit(waiting)
    for_one_picture = [DeliveryRequest(n, waiting[0].key, "digest") for n in range(1, 4)]
    assert client.deliver(for_one_picture) == for_one_picture


def test_parallel_calls_fill_it_to_the_last_place_and_no_further(valkey: str, redis: Redis) -> None:
    barrier = threading.Barrier(6)

    def submit(number: int) -> int:
        with Redis.from_url(valkey) as own:
            client = SegmentClient(own, most_waiting=100)
            barrier.wait(30)
            return len(client.submit(requests(1 + 50 * number, 50)))

    with ThreadPoolExecutor(6) as pool:
        refused = sum(pool.map(submit, range(6)))
    assert (SegmentClient(redis).waiting()[SEGMENT_QUEUE], refused) == (100, 200)


def test_a_program_is_told_when_to_ask_again(app: FlaskClient, redis: Redis) -> None:
    retrieve(app, *range(1, MOST + 1))
    assert app.post("/api/projects/1/tasks/5/cancel", json={}).json["count"] == 1
    retrieve(app, 10, 11)
    for wish in ("/api/projects/1/tasks/5/retry",) * 2:
        full = app.post(wish, json={})
        assert full.status_code == 429
        assert int(full.headers["Retry-After"]) > 0
        assert full.json["refused"] == [{"task": "5", "reason": FULL}]
    assert app.post("/api/projects/1/tasks/10/cancel", json={}).json["count"] == 1
    assert app.post("/api/projects/1/tasks/5/retry", json={}).json["done"] == "retried"


def test_a_bulk_run_waits_for_room(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.commands.prelabel.engines.LOST_PAUSE_SECONDS", 0.05)
    announce(redis, Announcement(VERSION, "cpu", 0.0))
    beat(redis, Heartbeat("s", "here", 1, SEGMENT_QUEUE, "cpu", "", 0.0, 1.0))
    client = SegmentClient(redis, most_waiting=MOST)
    engine = QueueEngine(client, Stop(), (), 60)
    queue = open_queue(SEGMENT_QUEUE, redis)

    def work() -> None:
        while len(queue) < MOST:
            threading.Event().wait(0.01)
        for _ in range(3):
            redis.lpop(queue.key)

    worker = threading.Thread(target=work)
    worker.start()
    engine._submit(requests(1, MOST + 3))
    worker.join()
    assert len(queue) == MOST


def test_a_hundred_thousand_wait_by_default() -> None:
    assert Settings().max_waiting == asking.MOST_WAITING == 100_000
