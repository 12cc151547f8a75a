"""Deliveries that wait for their segmentation, and how they get their turn."""

from collections.abc import Callable

import pytest
from redis import Redis

from dgl_rsis.types import Label
from workers.messages import (
    DELIVERY_QUEUE,
    SEGMENT_QUEUE,
    DeliveryRequest,
    SegmentReply,
    SegmentRequest,
)
from workers.queue.client import SegmentClient
from workers.queue.connection import AllowedJob, delivery_job_id, open_queue, segment_job_id
from workers.queue.handover import WAITING_KEY, sweep
from workers.queue.recovery import recover
from workers.queue.replies import store_failure, store_reply

REPLY = SegmentReply(2, 3, "v1", ())
Ends = Callable[[Redis, str], None]


def asked(client: SegmentClient, *tasks: int, image: str = "a.png") -> str:
    """Tasks of one picture whose masks are to be delivered; the key that they share."""
    labels = (Label("water"),)
    requests = [SegmentRequest(image, labels, "v1", task_id=str(task)) for task in tasks]
    client.submit(requests)
    client.deliver([DeliveryRequest(task, requests[0].key, "digest") for task in tasks])
    return requests[0].key


def queued(redis: Redis) -> list[str]:
    return open_queue(DELIVERY_QUEUE, redis).job_ids


def jobs(key: str, *tasks: int) -> list[str]:
    return [delivery_job_id(task, key, "") for task in tasks]


@pytest.mark.parametrize(
    "end",
    [
        lambda redis, key: store_reply(redis, key, REPLY, 60),
        lambda redis, key: store_failure(redis, key, "no such file"),
    ],
    ids=["reply", "failure"],
)
def test_every_task_that_waits_for_a_result_gets_its_turn_with_it(
    client: SegmentClient, redis: Redis, end: Ends
) -> None:
    key, other = asked(client, 5, 6), asked(client, 7, image="b.png")
    assert queued(redis) == []
    end(redis, key)
    assert sorted(queued(redis)) == jobs(key, 5, 6)
    assert redis.zrange(WAITING_KEY, 0, -1) == [delivery_job_id(7, other, "").encode()]
    statuses = [redis.hget(AllowedJob.key_for(job), "status") for job in jobs(key, 5, 6)]
    assert statuses == [b"queued", b"queued"]
    end(redis, key)  # a worker that was taken for dead stores it as well
    assert len(queued(redis)) == 2


def test_what_is_asked_for_after_the_result_does_not_wait_for_the_end_of_its_job(
    client: SegmentClient, redis: Redis
) -> None:
    request = SegmentRequest("a.png", (Label("water"),), "v1", task_id="5")
    client.submit([request])
    redis.hset(AllowedJob.key_for(segment_job_id(request.key)), "status", "started")
    store_reply(redis, request.key, REPLY, 60)
    client.deliver([DeliveryRequest(5, request.key, "digest")])
    assert queued(redis) == jobs(request.key, 5)


@pytest.mark.parametrize("state", ["finished", "failed", "gone"])
def test_a_segmentation_that_was_lost_is_found(
    client: SegmentClient, redis: Redis, state: str
) -> None:
    key = asked(client, 5)
    there = asked(client, 6, image="b.png")
    job = AllowedJob.key_for(segment_job_id(key))
    if state == "gone":
        redis.delete(job)
    else:
        redis.hset(job, "status", state)
    assert sweep(redis) == []  # it was looked at a moment ago
    assert sweep(redis, look_seconds=-1) == jobs(key, 5)
    assert sweep(redis, look_seconds=-1) == []
    assert queued(redis) == jobs(key, 5)
    assert redis.zrange(WAITING_KEY, 0, -1) == [delivery_job_id(6, there, "").encode()]


def test_a_result_that_was_not_handed_over_is_found(client: SegmentClient, redis: Redis) -> None:
    key = asked(client, 5)
    redis.set(f"dgl:reply:{key}", b"as a restored backup has it")
    redis.zadd(WAITING_KEY, {delivery_job_id(5, key, ""): 0.0, "delivery-9--" + key: 0.0})
    assert recover(open_queue(SEGMENT_QUEUE, redis)) == []
    assert recover(open_queue(DELIVERY_QUEUE, redis)) == jobs(key, 5)
    assert not redis.exists(WAITING_KEY)  # of a job that is gone nothing is left either


def test_a_delivery_that_waits_nowhere_can_be_asked_for_again(
    client: SegmentClient, redis: Redis
) -> None:
    key = asked(client, 5)
    redis.delete(WAITING_KEY)
    asked(client, 5)
    assert redis.zrange(WAITING_KEY, 0, -1) == [delivery_job_id(5, key, "").encode()]
