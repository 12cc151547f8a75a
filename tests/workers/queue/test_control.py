import os
from dataclasses import replace

import pytest
from redis import Redis
from rq import Queue
from rq.job import JobStatus

from tests.workers.fake_worker import REPLY_SECONDS, VERSION, request
from tests.workers.worker_processes import status
from workers.messages import DELIVERY_QUEUE, SEGMENT_QUEUE, DeliveryRequest, SegmentRequest
from workers.processes.model_worker import ModelWorker
from workers.queue.claims import PUSH, claim_key
from workers.queue.client import SegmentClient
from workers.queue.connection import delivery_job_id, open_queue, segment_job_id
from workers.queue.control import GONE, LOST, NO_REQUEST, Control, Retried
from workers.queue.handover import WAITING_KEY
from workers.queue.ledger import LEDGER_KEY, Entry, Outcome, State
from workers.queue.replies import (
    MOST_KEPT_BYTES,
    attempts_key,
    keep_request,
    kept_requests,
    retry_key,
)

CONFIG = "c" * 64


@pytest.fixture
def control(client: SegmentClient) -> Control:
    return Control(client, delivers=True)


@pytest.fixture
def deliveries(redis: Redis) -> Queue:
    return open_queue(DELIVERY_QUEUE, redis)


def ask(client: SegmentClient, *requests: SegmentRequest, delivers: bool = True) -> None:
    client.submit(requests, project="1")
    if delivers:
        client.deliver(
            [DeliveryRequest(int(each.task_id), each.key, CONFIG, "1") for each in requests]
        )


def entry(client: SegmentClient, task: str = "7") -> Entry:
    read = client.ledger.entry("1", task)
    assert read is not None
    return read


def same(request: SegmentRequest) -> SegmentRequest:
    return request


def settle(client: SegmentClient, asked: SegmentRequest, state: State) -> None:
    assert client.ledger.settle("1", [Outcome(asked.task_id, asked.key, state, "why")]) == 1


def nothing_left(redis: Redis) -> bool:
    kept = (b"dgl:ledger", b"dgl:retry", b"rq:queues", b"dgl:model")
    return not [key for key in redis.scan_iter() if not key.startswith(kept)]


def test_what_waits_is_cancelled_and_leaves_nothing(
    redis: Redis, client: SegmentClient, control: Control
) -> None:
    asked = request("bright")
    ask(client, asked)
    assert control.cancel("1", [entry(client)]) == 1
    assert entry(client).state == "cancelled"
    assert nothing_left(redis)
    assert client.waiting() == {SEGMENT_QUEUE: 0, DELIVERY_QUEUE: 0}
    assert control.cancel("1", [entry(client)]) == 0  # twice is as once


def test_what_is_cancelled_can_be_asked_for_again(
    client: SegmentClient, control: Control, worker: ModelWorker, deliveries: Queue
) -> None:
    asked = request("bright")
    ask(client, asked)
    control.cancel("1", [entry(client)])
    cancelled = entry(client)
    assert control.refusal(cancelled) == ""
    assert control.retry("1", [cancelled], same) == Retried(1)
    assert control.retry("1", [cancelled], same) == Retried(1)  # by two people at once
    assert (entry(client).state, entry(client).config) == ("queued", CONFIG)
    assert client.waiting() == {SEGMENT_QUEUE: 1, DELIVERY_QUEUE: 0}
    worker.run(burst=True)
    assert deliveries.job_ids == [delivery_job_id(7, asked.key, "1")]


def test_what_another_task_waits_for_stays(
    redis: Redis, client: SegmentClient, control: Control, queue: Queue, deliveries: Queue
) -> None:
    first, second = request("bright", task="7"), request("bright", task="8")
    assert first.key == second.key
    ask(client, first, second)
    control.cancel("1", [entry(client, "7")])
    assert queue.job_ids == [segment_job_id(first.key)]
    assert redis.zrange(WAITING_KEY, 0, -1) == [delivery_job_id(8, first.key, "1").encode()]
    assert redis.get(claim_key(8, first.key)) == PUSH.encode()
    control.cancel("1", [entry(client, "8")])
    assert queue.job_ids == []


def test_who_waits_in_a_call_keeps_its_job(
    client: SegmentClient, control: Control, queue: Queue
) -> None:
    ask(client, request("bright", task="7"))
    ask(client, request("bright", task="8"), delivers=False)
    control.cancel("1", [entry(client, "7")])
    assert len(queue.job_ids) == 1
    bulk = request("bright", task="of a bulk run")
    client.submit([bulk])
    control.cancel("1", [entry(client, "8")])
    assert queue.job_ids == [segment_job_id(bulk.key)]


def test_the_queue_of_a_project_is_cancelled_and_others_keep_their_order(
    client: SegmentClient, control: Control, queue: Queue
) -> None:
    others = [request(f"other {n}", task=str(100 + n)) for n in range(3)]
    ours = [request(f"ours {n}", task=str(n)) for n in range(40)]
    mixed = [ours[0], others[0], *ours[1:20], others[1], *ours[20:], others[2]]
    for each in mixed:
        project = "1" if each in ours else "2"
        client.submit([each], project=project)
    assert control.cancel("1", client.ledger.entries("1", count=100)) == 40
    assert queue.job_ids == [segment_job_id(each.key) for each in others]


def test_what_is_asked_for_anew_takes_the_place_of_what_waits(
    redis: Redis, client: SegmentClient, control: Control, queue: Queue, deliveries: Queue
) -> None:
    former = [request("bright", image=f"{n}.png", task=str(n)) for n in (7, 8)]
    newer = [replace(each, model_version="newer") for each in former]
    ask(client, *former)
    ask(client, *newer)
    assert queue.job_ids == [segment_job_id(each.key) for each in newer]
    waits = {delivery_job_id(int(each.task_id), each.key, "1").encode() for each in newer}
    assert set(redis.zrange(WAITING_KEY, 0, -1)) == waits
    assert control.cancel("1", client.ledger.entries("1")) == 2
    assert client.waiting() == {SEGMENT_QUEUE: 0, DELIVERY_QUEUE: 0}
    assert not redis.exists(WAITING_KEY)
    assert not redis.exists(*(retry_key(each.key) for each in former))


def test_what_is_asked_for_anew_leaves_the_job_of_another_task(
    client: SegmentClient, queue: Queue
) -> None:
    first, second = request("bright", task="7"), request("bright", task="8")
    ask(client, first, second)
    newer = replace(first, model_version="newer")
    ask(client, newer)
    assert queue.job_ids == [segment_job_id(each.key) for each in (second, newer)]


def test_what_is_asked_for_anew_leaves_who_waits_in_a_call(
    client: SegmentClient, queue: Queue
) -> None:
    opened = request("bright", task="7")
    ask(client, opened, delivers=False)
    newer = replace(opened, model_version="newer")
    ask(client, newer)
    assert queue.job_ids == [segment_job_id(each.key) for each in (opened, newer)]


def test_a_job_in_work_is_not_interrupted_and_not_delivered(
    redis: Redis, client: SegmentClient, control: Control, worker: ModelWorker, deliveries: Queue
) -> None:
    asked = request("bright")
    ask(client, asked)
    Queue.lmove(redis, f"rq:queue:{SEGMENT_QUEUE}", None)  # a worker takes it at this moment
    assert control.cancel("1", [entry(client)]) == 1
    redis.lmove(f"rq:queue:{SEGMENT_QUEUE}:intermediate", f"rq:queue:{SEGMENT_QUEUE}")
    worker.run(burst=True)
    assert client.answered([asked.key]) == {asked.key}
    assert deliveries.job_ids == []
    assert entry(client).state == "cancelled"
    control.retry("1", [entry(client)], same)  # its masks are there: delivered at once
    assert deliveries.job_ids == [delivery_job_id(7, asked.key, "1")]


def test_a_delivery_in_work_is_too_late_to_cancel(
    redis: Redis, client: SegmentClient, control: Control, worker: ModelWorker, deliveries: Queue
) -> None:
    asked = request("bright")
    ask(client, asked)
    worker.run(burst=True)
    redis.hset(f"rq:job:{delivery_job_id(7, asked.key, '1')}", "status", "started")
    assert control.cancel("1", [entry(client)]) == 0
    assert entry(client).state == "queued"


def refused_once(
    redis: Redis, client: SegmentClient, worker: ModelWorker, deliveries: Queue
) -> tuple[SegmentRequest, str]:
    """What was segmented, and the id of its delivery, which waits for its next try."""
    asked = request("bright")
    ask(client, asked)
    worker.run(burst=True)
    job = delivery_job_id(7, asked.key, "1")
    deliveries.remove(job)
    redis.hset(f"rq:job:{job}", "status", "scheduled")
    redis.zadd(deliveries.scheduled_job_registry.key, {job: 2e9})
    settle(client, asked, "delivery")
    return asked, job


def test_a_delivery_that_waits_for_its_next_try_is_cancelled(
    redis: Redis, client: SegmentClient, control: Control, worker: ModelWorker, deliveries: Queue
) -> None:
    asked, job = refused_once(redis, client, worker, deliveries)
    assert control.cancel("1", [entry(client)]) == 1
    assert deliveries.scheduled_job_registry.count == 0
    assert not redis.exists(f"rq:job:{job}", claim_key(7, asked.key))


def test_what_failed_is_tried_again_from_the_first_try_on(
    redis: Redis, client: SegmentClient, control: Control, queue: Queue, worker: ModelWorker
) -> None:
    broken = request("bright", image="data:image/png;base64,AAAA")
    ask(client, broken)
    worker.run(burst=True)
    settle(client, broken, "failed")
    redis.set(attempts_key(broken.key), 3)
    assert control.retry("1", [entry(client)], same) == Retried(1)
    assert not redis.exists(attempts_key(broken.key), f"dgl:failure:{broken.key}")
    assert status(queue, segment_job_id(broken.key)) == JobStatus.QUEUED
    assert entry(client).state == "queued"
    assert control.retry("1", [entry(client)], same) == Retried()  # it waits already


def test_a_retry_is_of_the_present_model(
    client: SegmentClient, control: Control, redis: Redis
) -> None:
    former = replace(request("bright"), model_version="former")
    ask(client, former)
    client.server.delete(f"rq:job:{segment_job_id(former.key)}", f"rq:queue:{SEGMENT_QUEUE}")
    settle(client, former, "failed")
    keep_request(redis, former, "why", REPLY_SECONDS)
    control.retry("1", [entry(client)], lambda each: replace(each, model_version=VERSION))
    asked_now = replace(former, model_version=VERSION)
    assert (entry(client).key, entry(client).state) == (asked_now.key, "queued")


def test_what_was_not_delivered_is_only_delivered_again(
    client: SegmentClient, control: Control, worker: ModelWorker, deliveries: Queue
) -> None:
    asked = request("bright")
    ask(client, asked)
    worker.run(burst=True)
    deliveries.fetch_job(delivery_job_id(7, asked.key, "1")).delete()
    client.release(7, asked.key, 0)
    settle(client, asked, "given-up")
    assert control.retry("1", [entry(client)], same) == Retried(1)
    assert client.waiting() == {SEGMENT_QUEUE: 0, DELIVERY_QUEUE: 1}


def test_a_delivery_that_waits_for_its_next_try_goes_at_once(
    redis: Redis, client: SegmentClient, control: Control, worker: ModelWorker, deliveries: Queue
) -> None:
    _, job = refused_once(redis, client, worker, deliveries)
    assert control.refusal(entry(client)) == ""
    assert control.retry("1", [entry(client)], same) == Retried(1)
    assert deliveries.scheduled_job_registry.count == 0
    assert deliveries.job_ids == [job]
    control.retry("1", [entry(client)], same)  # twice is as once
    assert deliveries.job_ids == [job]
    assert (entry(client).state, entry(client).config) == ("delivery", CONFIG)


def test_what_is_not_kept_cannot_be_tried_again(
    redis: Redis, client: SegmentClient, control: Control
) -> None:
    asked = request("bright")
    ask(client, asked)
    settle(client, asked, "failed")
    client.ledger.settle("1", [Outcome("8", "", "failed", "no image")])
    entries = [entry(client, "7"), entry(client, "8")]
    assert control.retry("1", entries, same) == Retried(0, (("7", GONE), ("8", NO_REQUEST)))
    assert [control.refusal(each) for each in entries] == [GONE, NO_REQUEST]
    assert [each.state for each in entries] == ["failed", "failed"]


def test_an_image_that_is_sent_along_is_not_kept(redis: Redis) -> None:

    large = request("bright", image="data:image/png;base64," + os.urandom(MOST_KEPT_BYTES).hex())
    keep_request(redis, large, "too damaged", 60)
    kept = kept_requests(redis, [large.key, "f" * 32])
    assert list(kept) == [large.key]
    assert (kept[large.key].message, kept[large.key].request) == ("too damaged", None)
    assert 0 < redis.ttl(retry_key(large.key)) <= 60


def test_a_worker_keeps_what_it_gives_up(
    redis: Redis, client: SegmentClient, worker: ModelWorker
) -> None:
    broken, good = request("bright", image="data:image/png;base64,AAAA"), request("bright")
    client.submit([broken, good])
    worker.run(burst=True)
    kept = kept_requests(redis, [broken.key, good.key])
    assert list(kept) == [broken.key]
    assert kept[broken.key].request == broken
    assert kept[broken.key].message


def test_what_nobody_noted_is_found(
    redis: Redis, client: SegmentClient, control: Control, worker: ModelWorker
) -> None:
    broken = request("bright", image="data:image/png;base64,AAAA", task="1")
    lost, waits, done = request("a", task="2"), request("b", task="3"), request("c", task="4")
    ask(client, broken, done, delivers=False)
    worker.run(burst=True)
    ask(client, lost, waits, delivers=False)
    redis.delete(f"rq:job:{segment_job_id(lost.key)}")
    assert control.look_after("1") == 0  # they may be about to be noted
    for task in "1234":
        redis.zadd(f"{LEDGER_KEY}:1:queued", {task: 1.0})
    assert control.look_after("1") == 2
    states = {task: entry(client, task) for task in "1234"}
    assert [states[task].state for task in "1234"] == ["failed", "failed", "queued", "queued"]
    assert states["2"].reason == LOST
    assert "known format" in states["1"].reason
