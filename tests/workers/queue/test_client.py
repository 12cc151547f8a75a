import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Thread

import pytest
from redis import Redis
from rq import Queue
from rq.job import Job, JobStatus

from dgl_rsis.types import Label
from workers.messages import (
    DELIVERY_QUEUE,
    INTERACTIVE_QUEUE,
    SEGMENT_QUEUE,
    DeliveryRequest,
    SegmentReply,
    SegmentRequest,
)
from workers.queue import heartbeats, replies
from workers.queue.client import SegmentClient
from workers.queue.connection import QueueError, delivery_job_id, open_queue, segment_job_id
from workers.queue.handover import WAITING_KEY
from workers.queue.heartbeats import Announcement, Heartbeat

REPLY = SegmentReply(2, 3, "v1", (), {"fetch": 0.1})


@pytest.fixture
def client(redis: Redis) -> SegmentClient:
    return SegmentClient(redis)


def _request(number: int) -> SegmentRequest:
    return SegmentRequest(f"/data/upload/{number}.png", (Label("water"),), "v1")


def _delivery(task: int, key: str) -> DeliveryRequest:
    return DeliveryRequest(task, key, "digest")


def _queued(redis: Redis, name: str = SEGMENT_QUEUE) -> list[str]:
    return open_queue(name, redis).job_ids


def test_twenty_parallel_submitters_make_one_job_each(valkey: str, redis: Redis) -> None:
    requests = [_request(i) for i in range(10)]
    barrier = Barrier(20)

    def submit(_: int) -> None:
        with Redis.from_url(valkey) as own:
            client = SegmentClient(own)
            barrier.wait(10)
            client.submit(requests)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(submit, range(20)))
    assert sorted(_queued(redis)) == sorted(segment_job_id(r.key) for r in requests)


def test_a_submitted_job_carries_the_request_and_a_short_description(
    client: SegmentClient, redis: Redis
) -> None:
    request = _request(1)
    client.submit([request])
    (job,) = open_queue(SEGMENT_QUEUE, redis).jobs
    assert job.func_name == "workers.processes.jobs.segment"
    assert SegmentRequest.from_json(job.args[0]) == request
    assert "upload" not in (job.description or "")


def test_a_failure_that_is_forgotten_gets_another_try(client: SegmentClient, redis: Redis) -> None:
    failed, other = _request(1), _request(2)
    for each in (failed, other):
        replies.store_failure(redis, each.key, "no such file")
    client.forget_failures([])
    client.forget_failures([failed.key])
    client.submit([failed, other])
    assert _queued(redis) == [segment_job_id(failed.key)]


def test_a_reply_that_was_taken_is_kept_briefly_and_never_longer_than_before(
    client: SegmentClient, redis: Redis
) -> None:
    long, short = _request(1), _request(2)
    replies.store_reply(redis, long.key, REPLY, 3600)
    replies.store_reply(redis, short.key, REPLY, 20)
    client.keep_briefly([long.key, short.key, "none"], 100)
    assert 90 < redis.ttl(f"dgl:reply:{long.key}") <= 100
    assert 10 < redis.ttl(f"dgl:reply:{short.key}") <= 20


def test_answered_and_failed_requests_are_not_queued(client: SegmentClient, redis: Redis) -> None:
    answered, failed, fresh = (_request(i) for i in range(3))
    replies.store_reply(redis, answered.key, REPLY, 60)
    replies.store_failure(redis, failed.key, "no such file")
    client.submit([answered, failed, fresh])
    assert _queued(redis) == [segment_job_id(fresh.key)]


@pytest.mark.parametrize("status", ["finished", "failed"])
def test_what_rq_remembers_of_an_ended_job_does_not_hinder_another(
    client: SegmentClient, redis: Redis, status: str
) -> None:
    request = _request(1)
    client.submit([request])
    queue = open_queue(SEGMENT_QUEUE, redis)
    (job,) = queue.jobs
    queue.remove(job)
    redis.hset(job.key, "status", status)
    redis.expire(job.key, 60)
    client.submit([request])
    assert queue.job_ids == [job.id]
    assert redis.ttl(job.key) == -1  # a waiting job never expires


def test_a_started_job_is_left_alone(client: SegmentClient, redis: Redis) -> None:
    request = _request(1)
    client.submit([request])
    queue = open_queue(SEGMENT_QUEUE, redis)
    (job,) = queue.jobs
    queue.remove(job)
    redis.hset(job.key, "status", "started")
    client.submit([request], at_front=True)
    assert queue.job_ids == []


def test_an_open_goes_before_a_batch_even_when_it_waits_already(
    client: SegmentClient, redis: Redis
) -> None:
    first, second, third, new = (_request(i) for i in range(4))
    client.submit([first, second, third])
    client.submit([third], at_front=True)
    client.submit([new], at_front=True)
    expected = [segment_job_id(r.key) for r in (new, third, first, second)]
    assert _queued(redis) == expected


def _reserve(redis: Redis, name: str = "reserved") -> None:
    """A live worker that is reserved for people who wait."""
    now = time.time()
    heartbeats.beat(redis, Heartbeat(name, "here", 1, INTERACTIVE_QUEUE, "cpu", "", now, now))


def test_who_waits_goes_to_the_reserved_worker_while_it_lives(
    client: SegmentClient, redis: Redis
) -> None:
    batch, first, second = (_request(i) for i in range(3))
    client.submit([batch])
    client.submit([first], at_front=True, interactive=True)  # no reserved worker: to the front
    assert _queued(redis) == [segment_job_id(first.key), segment_job_id(batch.key)]
    assert client.waiting() == {SEGMENT_QUEUE: 2, DELIVERY_QUEUE: 0}
    _reserve(redis)
    client.submit([second], at_front=True, interactive=True)
    assert _queued(redis, INTERACTIVE_QUEUE) == [segment_job_id(second.key)]
    (job,) = open_queue(INTERACTIVE_QUEUE, redis).jobs
    assert (job.origin, job.func_name) == (INTERACTIVE_QUEUE, "workers.processes.jobs.segment")
    assert client.waiting()[INTERACTIVE_QUEUE] == 1
    client.submit([second], at_front=True, interactive=True)  # it waits already
    assert client.waiting()[INTERACTIVE_QUEUE] == 1
    client.submit([_request(3)], at_front=True)  # the opening of a task is no click
    assert len(_queued(redis)) == 3
    assert client.ready() == []  # a reserved worker answers no batches
    heartbeats.fall_silent(redis, "reserved")
    client.submit([_request(4)], interactive=True)
    assert _queued(redis)[0] == segment_job_id(_request(4).key)


def test_look_up_tells_replies_failures_and_the_rest_apart(
    client: SegmentClient, redis: Redis
) -> None:
    replies.store_reply(redis, "a", REPLY, 60)
    replies.store_failure(redis, "b", "größer als erlaubt")
    assert client.look_up(["a", "b", "c"]) == {
        "a": REPLY,
        "b": replies.Failure("größer als erlaubt"),
        "c": None,
    }
    assert client.look_up([]) == {}


def test_a_reply_wins_over_an_earlier_failure(client: SegmentClient, redis: Redis) -> None:
    replies.store_failure(redis, "a", "not yet")
    replies.store_reply(redis, "a", REPLY, 60)
    assert client.look_up(["a"]) == {"a": REPLY}
    assert not redis.exists(replies.failure_key("a"))


def test_wait_returns_as_soon_as_all_is_decided(client: SegmentClient, redis: Redis) -> None:
    def decide() -> None:
        time.sleep(0.2)
        replies.store_reply(redis, "a", REPLY, 60)
        replies.store_failure(redis, "b", "no")

    thread = Thread(target=decide)
    started = time.monotonic()
    thread.start()
    answers = client.wait(["a", "b"], 20)
    thread.join()
    assert 0.2 <= time.monotonic() - started < 5
    assert answers == {"a": REPLY, "b": replies.Failure("no")}


def test_wait_gives_what_is_there_when_the_time_is_over(
    client: SegmentClient, redis: Redis
) -> None:
    replies.store_reply(redis, "a", REPLY, 60)
    started = time.monotonic()
    assert client.wait(["a", "b"], 0.2) == {"a": REPLY, "b": None}
    assert time.monotonic() - started < 2


def test_configs_are_kept_by_digest(client: SegmentClient, redis: Redis) -> None:
    xml = "<View><Label value='Wasserfläche'/></View>"
    digest = client.store_config(xml)
    assert client.store_config(xml) == digest
    assert client.config(digest) == xml
    assert client.config("0" * 64) is None
    assert 0 < redis.ttl(f"dgl:config:{digest}") <= 7 * 24 * 3600


def test_announcements_and_heartbeats(client: SegmentClient, redis: Redis) -> None:
    assert client.announced() is None
    assert client.ready() == []
    announcement = Announcement("dgl-rsis-1", "cpu", 1.5)
    heartbeats.announce(redis, announcement)
    segment = Heartbeat("s", "host", 1, SEGMENT_QUEUE, "cpu", "", 2.0, 1.0)
    deliver = Heartbeat("d", "host", 2, DELIVERY_QUEUE, "", "job", 2.0, 0.0)
    heartbeats.beat(redis, segment)
    heartbeats.beat(redis, deliver)
    assert client.announced() == announcement
    assert client.ready() == [segment]
    assert client.workers() == [deliver, segment]
    redis.delete("dgl:worker:s")  # as its expiry would
    assert client.ready() == []
    assert redis.smembers(heartbeats.WORKERS_KEY) == {b"d"}
    heartbeats.fall_silent(redis, "d")
    assert client.workers() == []


def test_a_delivery_waits_for_its_segment_job(client: SegmentClient, redis: Redis) -> None:
    request = _request(1)
    client.submit([request])
    client.deliver([_delivery(5, request.key)])
    assert _queued(redis, DELIVERY_QUEUE) == []
    queue = open_queue(DELIVERY_QUEUE, redis)
    job = queue.fetch_job(delivery_job_id(5, request.key, ""))
    assert job is not None
    assert job.is_deferred
    assert redis.zrange(WAITING_KEY, 0, -1) == [job.id.encode()]
    assert job.retries_left == len(job.retry_intervals or [])
    assert client.waiting() == {SEGMENT_QUEUE: 1, DELIVERY_QUEUE: 0}


def test_a_delivery_of_a_ready_reply_is_queued_at_once_and_only_once(
    client: SegmentClient, redis: Redis
) -> None:
    replies.store_reply(redis, "a" * 32, REPLY, 60)
    delivery = _delivery(5, "a" * 32)
    client.deliver([delivery, delivery])
    client.deliver([delivery])
    assert _queued(redis, DELIVERY_QUEUE) == [delivery_job_id(5, "a" * 32, "")]


def test_no_delivery_while_somebody_answers(client: SegmentClient, redis: Redis) -> None:
    assert client.claim_open(5, "a", "somebody", 30)
    client.deliver([_delivery(5, "a"), _delivery(6, "a")])
    assert _queued(redis, DELIVERY_QUEUE) == [delivery_job_id(6, "a", "")]


def test_an_open_that_gave_up_hands_back_to_the_waiting_delivery(
    client: SegmentClient, redis: Redis
) -> None:
    request = _request(1)
    client.submit([request])
    delivery = _delivery(5, request.key)
    client.deliver([delivery])
    assert client.claim_open(5, request.key, "somebody", 30)
    client.release(5, request.key, 0)
    client.deliver([delivery])
    job_id = delivery_job_id(5, request.key, "")
    assert client.begin_push(5, request.key, job_id)
    assert redis.zrange(WAITING_KEY, 0, -1) == [job_id.encode()]


def _taken_delivery(client: SegmentClient, redis: Redis) -> tuple[Queue, Job]:
    """A delivery to task 5 that a worker has taken from its queue."""
    client.deliver([_delivery(5, "a")])
    queue = open_queue(DELIVERY_QUEUE, redis)
    (job,) = queue.jobs
    queue.remove(job)
    return queue, job


def test_a_delivery_that_was_lost_can_be_asked_for_again(
    client: SegmentClient, redis: Redis
) -> None:
    queue, job = _taken_delivery(client, redis)
    redis.delete(job.key)
    client.deliver([_delivery(5, "a")])
    assert queue.job_ids == [job.id]


def test_a_delivery_that_waits_for_its_next_try_goes_at_once_when_asked_for_again(
    client: SegmentClient, redis: Redis
) -> None:
    queue, job = _taken_delivery(client, redis)
    job.set_status(JobStatus.SCHEDULED)
    queue.schedule_job(job, datetime.now(UTC) + timedelta(hours=1))
    client.deliver([_delivery(5, "a")] * 2)
    assert queue.job_ids == [job.id]
    assert queue.scheduled_job_registry.count == 0
    assert job.get_status() == JobStatus.QUEUED


@pytest.fixture
def nowhere(tmp_path: Path) -> SegmentClient:
    return SegmentClient.from_url(f"unix://{tmp_path}/no.sock")


def test_without_redis_every_call_says_so(nowhere: SegmentClient) -> None:
    calls: list[Callable[[], object]] = [
        nowhere.announced,
        nowhere.ready,
        lambda: nowhere.submit([_request(1)]),
        lambda: nowhere.look_up(["a"]),
        lambda: nowhere.wait(["a"], 5),
        lambda: nowhere.store_config("<View/>"),
        lambda: nowhere.deliver([_delivery(1, "a")]),
        lambda: nowhere.claim_open(1, "a", "me", 5),
        lambda: nowhere.begin_push(1, "a", "me"),
        lambda: nowhere.release(1, "a", 0),
    ]
    started = time.monotonic()
    for call in calls:
        with pytest.raises(QueueError, match=r"does not exist: check it, and that the server runs"):
            call()
    assert time.monotonic() - started < 2
