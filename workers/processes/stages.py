"""How far a worker is with its job, for whoever looks at the page."""

import contextlib
import time
from dataclasses import replace

from redis import Redis, RedisError
from redis.client import Pipeline

from workers.queue.running import Running, note

FIRST = "fetching the image"


class Stages:
    """Tells the queue's server what a worker has in hand; a server that is away is no error.

    Args:
        redis: the queue's server.
        worker: name of the worker.

    Attributes:
        worker: see above.
    """

    def __init__(self, redis: Redis, worker: str) -> None:
        self._redis = redis
        self.worker = worker
        self._running: Running | None = None

    def begin(self, pipe: Pipeline, job: str, key: str, task_id: str, stage: str = FIRST) -> None:
        """A job is begun; told in the pipeline in which its tries are counted."""
        self._running = Running(self.worker, job, key, task_id, stage, time.time())
        note(pipe, self._running)

    def __call__(self, stage: str) -> None:
        """The job in hand comes to a stage; without one, as in a self-test, nothing is told."""
        if self._running is None:
            return
        self._running = replace(self._running, stage=stage)
        with contextlib.suppress(RedisError):
            note(self._redis, self._running)

    def end(self) -> None:
        """Nothing is in hand."""
        self._running = None
