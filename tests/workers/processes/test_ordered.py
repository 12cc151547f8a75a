import time

import pytest
from redis import Redis
from rq import Queue
from rq.exceptions import DequeueTimeout

from workers.messages import LEARN_FUNCTION, SEGMENT_QUEUE
from workers.processes.ordered import Ordered
from workers.queue.connection import AllowedJob


@pytest.fixture
def queues(redis: Redis) -> list[Ordered]:
    return [Ordered.called(SEGMENT_QUEUE, redis), Ordered.called("windows:v1", redis)]


def pop(queues: list[Ordered], redis: Redis, seconds: int | None = None) -> str | None:
    found = Ordered.dequeue_any(
        queues, seconds, redis, job_class=AllowedJob, serializer=queues[0].serializer
    )
    return None if found is None else f"{found[1].name}: {found[0].id}"


def add(queue: Queue, name: str) -> None:
    queue.enqueue(LEARN_FUNCTION, {}, job_id=name)


def test_the_first_goes_before_the_others(redis: Redis, queues: list[Ordered]) -> None:
    add(queues[1], "window-1")
    add(queues[0], "segment-1")
    assert pop(queues, redis) == "segment: segment-1"
    assert pop(queues, redis) == "windows:v1: window-1"
    assert pop(queues, redis) is None
    held = [queue.intermediate_queue.get_job_ids() for queue in queues]
    assert held == [["segment-1"], ["window-1"]]  # both can be recovered


def test_waiting_ends(redis: Redis, queues: list[Ordered]) -> None:
    with pytest.raises(DequeueTimeout):
        pop(queues, redis, 1)


def test_a_closed_one_is_passed_over(redis: Redis, queues: list[Ordered]) -> None:
    add(queues[1], "window-1")
    queues[1].opens_at = time.monotonic() + 1.5
    assert pop(queues, redis) is None
    assert pop(queues, redis, 30) == "windows:v1: window-1"
    assert time.monotonic() >= queues[1].opens_at


def test_one_alone_is_rqs_own(redis: Redis, queues: list[Ordered]) -> None:
    add(queues[0], "segment-1")
    assert pop(queues[:1], redis, 5) == "segment: segment-1"
