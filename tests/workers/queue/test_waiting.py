import pytest
from redis import Redis

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
