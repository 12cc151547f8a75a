import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue

from tests.workers.registry.shelves import shelf as shelf
from workers.messages import SEGMENT_QUEUE
from workers.queue.client import SegmentClient
from workers.queue.connection import open_queue


@pytest.fixture
def client(redis: Redis) -> SegmentClient:
    return SegmentClient(redis)


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return open_queue(SEGMENT_QUEUE, redis)


@pytest.fixture
def worker(redis: Redis, queue: Queue, tmp_path: Path) -> Iterator[object]:
    """A `ModelWorker` in this process, to be run in one burst."""
    from tests.workers.fake_worker import fake_bench  # torch, which few of these tests need
    from workers.processes.model_worker import ModelWorker

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    worker = ModelWorker(queue, fake_bench(redis, tmp_path), "cpu")
    worker.warm_up()
    yield worker
    for number, handler in handlers.items():
        signal.signal(number, handler)
