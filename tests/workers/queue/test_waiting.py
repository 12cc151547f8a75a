import zlib
from dataclasses import replace

import pytest
from redis import Redis
from rq import Queue

from tests.workers.fake_worker import request
from workers.messages import DELIVERY_QUEUE, INTERACTIVE_QUEUE, SEGMENT_QUEUE
from workers.queue import waiting
from workers.queue.client import SegmentClient
from workers.queue.connection import segment_job_id


def test_the_oldest_of_each_queue(redis: Redis, client: SegmentClient) -> None:
    assert waiting.oldest(redis) == dict.fromkeys(
        (SEGMENT_QUEUE, INTERACTIVE_QUEUE, DELIVERY_QUEUE), 0.0
    )
    first, last = request("first"), request("last")
    client.submit([first, last])
    job = f"rq:job:{segment_job_id(last.key)}"
    redis.hset(job, "created_at", "2026-01-01T00:00:00.000000Z")
    assert waiting.oldest(redis)[SEGMENT_QUEUE] > 1e6
    redis.delete(job)  # cancelled between the two looks
    assert 0 < waiting.oldest(redis)[SEGMENT_QUEUE] < 60


@pytest.mark.parametrize("written", ["", "yesterday", "9999"])
def test_a_time_that_is_none_is_no_age(redis: Redis, client: SegmentClient, written: str) -> None:
    client.submit([request("first")])
    redis.hset(f"rq:job:{segment_job_id(request('first').key)}", "created_at", written)
    assert waiting.oldest(redis)[SEGMENT_QUEUE] == 0.0


def test_the_images_of_the_next_jobs(redis: Redis, client: SegmentClient, queue: Queue) -> None:
    asked = [request("label", image=f"https://host/{n}.png") for n in range(3)]
    several = replace(asked[0], more=("https://host/more.png",))
    client.submit([several, *asked[1:]])
    names = [segment_job_id(each.key) for each in (several, *asked[1:])]
    images = waiting.next_images(queue, 2, {})
    assert images == {
        names[0]: ("https://host/0.png", "https://host/more.png"),
        names[1]: ("https://host/1.png",),
    }
    assert list(images) == names[:2]
    assert queue.job_ids == names  # nothing was taken
    queue.remove(names[0])
    redis.hdel(f"rq:job:{names[1]}", "data")  # what is known is not read again
    assert waiting.next_images(queue, 3, images) == {
        names[1]: ("https://host/1.png",),
        names[2]: ("https://host/2.png",),
    }


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"",
        b"no packed bytes",
        zlib.compress(b"no JSON"),
        zlib.compress(b"[1, 2]"),
        zlib.compress(b'["workers.processes.jobs.segment", null, [], {}]'),
        zlib.compress(b'["workers.processes.jobs.segment", null, 7, {}]'),
        zlib.compress(b'["workers.processes.jobs.segment", null, [{"image": 1}], {}]'),
        zlib.compress(b'["workers.processes.jobs.learn", null, [{}], {}]'),
    ],
)
def test_what_cannot_be_read_has_no_images(redis: Redis, queue: Queue, data: bytes | None) -> None:
    redis.rpush(queue.key, "strange")
    if data is not None:
        redis.hset("rq:job:strange", "data", data)
    assert waiting.next_images(queue, 1, {}) == {"strange": ()}


def test_an_id_that_is_no_text_is_of_no_job(redis: Redis, queue: Queue) -> None:
    redis.rpush(queue.key, b"\xff")
    assert list(waiting.next_images(queue, 1, {}).values()) == [()]
