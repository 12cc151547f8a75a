"""A task has one complete set of a version's predictions, whatever happens on the way."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.process import BaseProcess

import pytest
from redis import Redis
from rq import SimpleWorker
from rq.serializers import JSONSerializer

from backend.project import label_config
from backend.regions.writing import to_predictions
from backend.studio.client import StudioClient, StudioError
from backend.studio.delivery import Run, deliver_request
from backend.studio.environment import studio_of_environment
from dgl_rsis.runs import Runs
from tests.backend.studio.fake_studio import LEGACY_TOKEN, FakeStudio, fake_studio, lead_here
from tests.workers.worker_processes import age_misses, declare_dead, delivery_process, until
from workers.messages import (
    DELIVERY_QUEUE,
    DeliveryRequest,
    SegmentReply,
    SegmentResult,
    version_like,
)
from workers.queue.client import SegmentClient
from workers.queue.connection import AllowedJob, check_job_id, delivery_job_id, open_queue
from workers.queue.recovery import SILENT_SECONDS, recover
from workers.queue.replies import store_reply

KEY, VERSION, TASK = "0" * 32, "dgl-rsis-test", 1
XML = (
    '<View><Image name="image" value="$image"/><BrushLabels name="mask" toName="image">'
    '<Label value="water"/></BrushLabels></View>'
)
MASKS = (Runs(2, 3, (1, 3, 2)), Runs(2, 3, (4, 2)), Runs(2, 3, (0, 6)))
ONE = SegmentReply(2, 3, VERSION, (SegmentResult("water", 0.75, "class", MASKS[0]),))
CANDIDATES = SegmentReply(
    2, 3, VERSION,
    tuple(SegmentResult("water", 1 / n, "candidate", m) for n, m in enumerate(MASKS, 1)),
)  # fmt: skip


@pytest.fixture
def client(redis: Redis) -> SegmentClient:
    return SegmentClient(redis)


@pytest.fixture
def studio(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeStudio]:
    """A Label Studio that this process knows, as the processes that it starts, and its project."""
    with fake_studio() as studio:
        lead_here(studio, redis, XML)
        monkeypatch.setenv("LABEL_STUDIO_URL", studio.url)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", LEGACY_TOKEN)
        studio_of_environment.cache_clear()
        yield studio
        studio_of_environment.cache_clear()


def delivery(client: SegmentClient, reply: SegmentReply = CANDIDATES) -> DeliveryRequest:
    """Of masks that are there."""
    store_reply(client.server, KEY, reply, 600)
    return DeliveryRequest(TASK, KEY, client.store_config(XML), "1")


def work(redis: Redis) -> None:
    """A worker of this process that empties the delivery queue."""
    queue = open_queue(DELIVERY_QUEUE, redis)
    worker = SimpleWorker(
        [queue], connection=redis, job_class=AllowedJob, serializer=JSONSerializer
    )
    worker.work(burst=True, logging_level="WARNING")


def due(redis: Redis, job_id: str) -> None:
    """Have a job's time come."""
    queue = open_queue(DELIVERY_QUEUE, redis)
    assert redis.zrem(queue.scheduled_job_registry.key, job_id) == 1
    redis.hset(AllowedJob.key_for(job_id), "status", "queued")
    redis.rpush(queue.key, job_id)


def one_set(studio: FakeStudio, reply: SegmentReply = CANDIDATES) -> bool:
    """Whether the task holds each prediction once, the best one last."""
    expected = to_predictions(reply, label_config.parse(XML), VERSION)
    held = studio.held(TASK, VERSION)
    return [p["result"] for p in held] == [p["result"] for p in expected]


@pytest.mark.parametrize("reply", [ONE, CANDIDATES], ids=["masks", "sentence"])
def test_a_worker_that_stands_still_before_it_writes(
    valkey: str, redis: Redis, client: SegmentClient, studio: FakeStudio, reply: SegmentReply
) -> None:
    request, queue = delivery(client, reply), open_queue(DELIVERY_QUEUE, redis)
    studio.answers_late = 1.0
    with delivery_process(valkey, studio.url, LEGACY_TOKEN) as still:
        until(client.workers)
        client.deliver([request])
        until(lambda: "GET /api/predictions/" in studio.calls)
        stop(still)  # it will be told that nothing is stored
        studio.answers_late = 0.0
        declare_dead(client, redis)
        assert recover(queue) == []  # it is looked at twice
        age_misses(redis, SILENT_SECONDS + 1)
        assert recover(queue) == [delivery_job_id(TASK, KEY, "1")]
        work(redis)
        assert one_set(studio, reply)
        posts = sum(map(len, studio.posted().values()))
        os.kill(still.pid or 0, signal.SIGCONT)
        until(lambda: [w.job for w in client.workers()] == [""])  # it beats again, and is idle
    assert redis.hget(AllowedJob.key_for(delivery_job_id(TASK, KEY, "1")), "status") == b"finished"
    assert sum(map(len, studio.posted().values())) == posts, "it wrote after its claim was lost"
    assert one_set(studio, reply)


def stop(process: BaseProcess) -> None:
    os.kill(process.pid or 0, signal.SIGSTOP)


@pytest.mark.parametrize("reply", [ONE, CANDIDATES], ids=["masks", "sentence"])
def test_what_is_stored_after_its_time_out_is_found_by_the_next_try_or_the_check(
    redis: Redis, client: SegmentClient, studio: FakeStudio, reply: SegmentReply
) -> None:
    request = delivery(client, reply)
    impatient = StudioClient(studio.url, LEGACY_TOKEN, read_seconds=0.5)
    run = Run(request, client, impatient, f"{delivery_job_id(TASK, KEY, '1')}:1")
    client.claim_push(TASK, KEY)
    stored = threading.Event()
    studio.held_back = [stored]
    with pytest.raises(StudioError):
        deliver_request(run)
    client.deliver([request])
    work(redis)  # the next try: nothing is stored yet
    assert one_set(studio, reply)
    count = len(studio.predictions)
    stored.set()  # after all
    until(lambda: len(studio.predictions) == count + 1)
    assert not one_set(studio, reply)
    redis.delete(f"dgl:claim:{TASK}:{KEY}")  # ten seconds later
    due(redis, check_job_id(TASK, KEY))
    work(redis)
    assert one_set(studio, reply)
    assert open_queue(DELIVERY_QUEUE, redis).scheduled_job_registry.count == 1, "no second look"


def test_what_is_stored_and_answered_with_an_error(
    redis: Redis, client: SegmentClient, studio: FakeStudio
) -> None:
    request = delivery(client)
    client.deliver([request])
    studio.lose_answers = True
    for _ in range(3):  # each try stores one more and is told that it did not
        work(redis)
        due(redis, delivery_job_id(TASK, KEY, "1"))
    studio.lose_answers = False
    work(redis)
    assert one_set(studio)


def test_two_workers_that_write_at_once(
    redis: Redis, client: SegmentClient, studio: FakeStudio
) -> None:
    """The claim is lost with the server's memory between the look and the write of both."""
    expected = to_predictions(CANDIDATES, label_config.parse(XML), VERSION)
    rest = StudioClient(studio.url, LEGACY_TOKEN)
    request = delivery(client)
    client.deliver([request])
    for each in expected[:2]:
        rest.push(TASK, each)
        rest.push(TASK, each)
    rest.push(TASK, expected[2])
    rest.push(TASK, expected[0])
    work(redis)
    assert one_set(studio)
    assert [p["id"] for p in studio.predictions] == [1, 3, 5], "the first of each stays"


def test_what_an_annotation_began_with_and_what_is_of_others_stays(
    redis: Redis, client: SegmentClient, studio: FakeStudio
) -> None:
    expected = to_predictions(ONE, label_config.parse(XML), VERSION)
    rest = StudioClient(studio.url, LEGACY_TOKEN)
    for each in (expected[0], expected[0], {**expected[0], "model_version": "another"}):
        rest.push(TASK, each)
    studio.annotations = [{"id": 1, "task": TASK, "parent_prediction": 2}]
    request = delivery(client, ONE)
    client.deliver([request])
    work(redis)
    assert [p["id"] for p in studio.predictions] == [2, 3]


def test_an_open_that_is_answered_meanwhile_goes_first_and_stands_alone(
    redis: Redis, client: SegmentClient, studio: FakeStudio
) -> None:
    """Label Studio stores the answer of an open long after its claim has ended."""
    request = delivery(client)
    client.deliver([request])
    assert client.claim_open(TASK, KEY, "open", 10)
    work(redis)
    assert studio.predictions == []
    client.release(TASK, KEY, 0)
    due(redis, delivery_job_id(TASK, KEY, "1"))
    work(redis)
    assert one_set(studio)
    for each in to_predictions(CANDIDATES, label_config.parse(XML), VERSION):
        studio.add({"task": TASK, **each})
    redis.delete(f"dgl:claim:{TASK}:{KEY}")
    due(redis, check_job_id(TASK, KEY))
    work(redis)
    assert one_set(studio)


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503, 302, 200])
def test_a_label_studio_that_is_away_for_less_than_a_minute_costs_no_delivery(
    redis: Redis, client: SegmentClient, studio: FakeStudio, status: int
) -> None:
    client.deliver([delivery(client)])
    studio.is_away(status, 60)
    for _ in range(3):  # after 0, 10 and 40 s
        work(redis)
        due(redis, delivery_job_id(TASK, KEY, "1"))
    studio.is_away(status, 0)
    work(redis)
    assert one_set(studio)
    assert client.failures() == []


def test_a_refusal_that_lasts_is_given_up_with_its_cause(
    redis: Redis, client: SegmentClient, studio: FakeStudio
) -> None:
    request = delivery(client)
    client.deliver([request])
    studio.is_away(401, 60)
    work(redis)
    job = AllowedJob.fetch(delivery_job_id(TASK, KEY, "1"), redis, JSONSerializer)
    assert time.time() - job.meta["refused"] < 10
    job.meta["refused"] -= 301
    job.save_meta()
    due(redis, job.id)
    work(redis)
    (failure,) = client.failures()
    assert failure.message.startswith("refused 2 times: Label Studio answered 401")
    assert "LABEL_STUDIO_API_KEY" in failure.message
    entry = client.ledger.entry("1", str(TASK))
    assert entry is not None
    assert (entry.state, entry.reason) == ("given-up", failure.message)


def test_all_like_this_is_stored_once_too(
    redis: Redis, client: SegmentClient, studio: FakeStudio
) -> None:
    """Answered with an error, and by two at once; what an annotation began with stays."""
    look, version = "l" * 32, version_like(VERSION, "water")
    client.seek("1", "water", look)
    request = replace(delivery(client), like="water", look=look)
    client.deliver([request])
    studio.lose_answers = True
    work(redis)
    studio.lose_answers = False
    (first,) = studio.held(TASK, version)
    for _ in range(2):
        studio.add({name: first[name] for name in ("task", "result", "score", "model_version")})
    studio.annotations = [{"id": 1, "task": TASK, "parent_prediction": first["id"]}]
    due(redis, delivery_job_id(TASK, KEY, "1"))
    work(redis)
    assert [p["id"] for p in studio.held(TASK, version)] == [first["id"], first["id"] + 2]
    studio.annotations = []
    redis.delete(f"dgl:claim:{TASK}:{KEY}")
    due(redis, check_job_id(TASK, KEY))
    work(redis)
    assert [p["id"] for p in studio.held(TASK, version)] == [first["id"] + 2]
