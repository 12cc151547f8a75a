"""The three queues as both ends see them: job class, serializer, names, time-outs."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry as ConnectionRetry
from rq import Queue
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from workers.messages import (
    DELIVERY_FUNCTION,
    EVENT_FUNCTION,
    FOLLOW_FUNCTION,
    LEARN_FUNCTION,
    SEGMENT_FUNCTION,
)

MODEL_FUNCTIONS = frozenset({SEGMENT_FUNCTION, LEARN_FUNCTION})
ALLOWED_FUNCTIONS = MODEL_FUNCTIONS | {DELIVERY_FUNCTION, EVENT_FUNCTION, FOLLOW_FUNCTION}
JOB_SECONDS = 600  # a job of more is stopped; see `QueueWorker` for a hung C call
FINISHED_SECONDS = 60  # how long RQ remembers a finished job; the reply lives elsewhere
FAILED_SECONDS = 300
STORED_TASK = re.compile("[0-9]{1,18}")  # ids of tasks that Label Studio has stored
DELIVERY = (
    "delivery-"  # what ids of deliveries begin with; then the task's, the key and the project
)
MOST_CONNECTIONS = 1024  # as many as the web server may have threads; redis-py alone allows 100


class QueueError(Exception):
    """Redis cannot be reached, or does not answer in time."""


class ForbiddenJobError(Exception):
    """A job in Redis names something that this project does not run."""


class AllowedJob(Job):
    """A job that runs one of `ALLOWED_FUNCTIONS` and nothing else.

    RQ imports and calls any dotted name that it finds in a job, its callbacks included, and posts
    to any address in its webhooks. Who can write to Redis must not thereby run code here.

    Attributes:
        bench: what a worker with a model gives to the function of a job that it performs, as the
            first argument; never in Redis. None elsewhere.
    """

    bench: object = None

    @property
    def func(self) -> Any:
        """The function to call.

        Raises:
            ForbiddenJobError: it is not on the list, or needs a model and there is none.
        """
        if self.func_name not in ALLOWED_FUNCTIONS or self.instance is not None:
            raise ForbiddenJobError(f"job {self.id} names {self.func_name!r}, which is not allowed")
        if self.func_name not in MODEL_FUNCTIONS:
            return super().func
        if self.bench is None:
            raise ForbiddenJobError(f"job {self.id} needs a model: only a segment worker runs it")
        return partial(super().func, self.bench)

    @property
    def success_callback(self) -> None:
        """Never: this project uses no callbacks."""

    @property
    def failure_callback(self) -> None:
        """Never: this project uses no callbacks."""

    @property
    def stopped_callback(self) -> None:
        """Never: this project uses no callbacks."""

    def send_webhooks(self, status: str | JobStatus, *, exc_string: str | None = None) -> None:
        """Never: this project uses no webhooks."""


def open_queue(name: str, redis: Redis) -> Queue:
    """The queue of that name, with the job class and serializer that both ends must share."""
    return Queue(
        name,
        connection=redis,
        job_class=AllowedJob,
        serializer=JSONSerializer,
        default_timeout=JOB_SECONDS,
    )


def connect(url: str, seconds: float = 1.0) -> Redis:
    """A client for a process that must not wait, as the web server.

    Args:
        url: `redis://…`, `rediss://…` or `unix://…`.
        seconds: limit to connect, and for each answer.
    """
    # One retry: a connection kept in the pool is dead after the server restarts. None after a
    # time-out, which would double the wait.
    retry = ConnectionRetry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
    return Redis.from_url(
        url,
        socket_connect_timeout=seconds,
        socket_timeout=seconds,
        max_connections=MOST_CONNECTIONS,
        retry=retry,
    )


@contextmanager
def reaching_redis() -> Iterator[None]:
    """Turn what the Redis client raises into `QueueError`; also a decorator.

    Raises:
        QueueError: Redis cannot be reached, or does not answer in time.
    """
    try:
        yield
    except RedisError as error:
        raise QueueError(
            f"the queue does not answer ({type(error).__name__}: {error}): "
            "check that Redis runs and that REDIS_URL is right"
        ) from error


def fields_of(job: Job) -> list[str | bytes | int]:
    """A job's hash as the flat list that HSET takes."""
    return [part for item in job.to_dict().items() for part in item]


def segment_job_id(key: str) -> str:
    """Id of the job that answers `SegmentRequest.key`."""
    return f"segment-{key}"


def delivery_job_id(task_id: int, key: str, project: str) -> str:
    """Id of the job that pushes the reply of `key` to a task of a project.

    Whoever names another project for the task does not take the place of who names its own.
    """
    return f"{DELIVERY}{task_id}-{key}-{project}"


def task_of_delivery(job_id: str) -> str:
    """The task that a job delivers to; empty for another kind of job."""
    return job_id.removeprefix(DELIVERY).partition("-")[0] if job_id.startswith(DELIVERY) else ""


def asker(task_id: str) -> str:
    """Field of a segment job that says for which task it was asked; RQ leaves it alone.

    Those who ask for what is no task of Label Studio, as bulk runs do, share one.
    """
    return f"asked:{task_id if STORED_TASK.fullmatch(task_id) else ''}"
