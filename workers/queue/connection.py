"""The three queues as both ends see them: job class, serializer, names, time-outs."""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

from redis import Redis, RedisError, ResponseError
from rq import Queue, Retry
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from workers import logs
from workers.messages import (
    CHECK_FUNCTION,
    DELIVERY_FUNCTION,
    EVENT_FUNCTION,
    FOLLOW_FUNCTION,
    LEARN_FUNCTION,
    SEGMENT_FUNCTION,
    WINDOW_FUNCTION,
)
from workers.queue.packing import unpacked
from workers.queue.server_errors import explain, is_of_another_type

log = logging.getLogger(__name__)

MODEL_FUNCTIONS = frozenset({SEGMENT_FUNCTION, LEARN_FUNCTION, WINDOW_FUNCTION})
ALLOWED_FUNCTIONS = MODEL_FUNCTIONS | {
    DELIVERY_FUNCTION,
    CHECK_FUNCTION,
    EVENT_FUNCTION,
    FOLLOW_FUNCTION,
}
JOB_SECONDS = 600  # a job of more is stopped; see `QueueWorker` for a hung C call
FINISHED_SECONDS = 60  # how long RQ remembers a finished job; the reply lives elsewhere
FAILED_SECONDS = 300
MOST_OUTAGES = 40  # of the queue's server, that a job meets before it fails
OUTAGE_SECONDS = 15
STORED_TASK = re.compile("[0-9]{1,18}")  # ids of tasks that Label Studio has stored
JOB_ID = re.compile("[A-Za-z0-9_-]{1,200}")  # of all others RQ wants to know nothing
DELIVERY = "delivery-"  # what ids of deliveries begin with; then task, project and key
ASKED = "asked:"  # what fields of segment jobs begin with that name a task
HANDS = "deliver:"  # what fields of segment jobs begin with that name a delivery which waits
# Fields of a job that RQ would read and this project has no use for.
UNREAD = frozenset({b"result", b"exc_info", b"webhooks"})


class QueueError(Exception):
    """The queue's server cannot be reached, or refuses.

    Args:
        message: cause and way out; no address and no password in it.
        passes: it may pass by itself; else a person must act.
    """

    def __init__(self, message: str, *, passes: bool = True) -> None:
        super().__init__(message)
        self.passes = passes


class ForbiddenJobError(Exception):
    """A job in Redis names something that this project does not run."""


class AllowedJob(Job):
    """A job that runs one of `ALLOWED_FUNCTIONS` and nothing else.

    RQ imports and calls any dotted name that it finds in a job, its callbacks included, and posts
    to any address in its webhooks. Who can write to Redis must not thereby run code here.

    Attributes:
        bench: what a worker with a model gives to the function of a job that it performs, as the
            first argument; never in Redis. None elsewhere.
        run: RQ's id of this run of the job, where a worker performs it; else empty.
    """

    bench: object = None
    run: str = ""

    @classmethod
    def create(cls, *arguments: Any, **named: Any) -> Job:
        """A new job; it carries the id of the request that asks for it, if there is one."""
        job = super().create(*arguments, **named)
        if asked_by := logs.current().get("request"):
            job.meta["request"] = asked_by
        return job

    @property
    def request_id(self) -> str:
        """The id of the request that asked for it first; empty where that is not known."""
        return logs.request_id(self.meta.get("request")) if isinstance(self.meta, dict) else ""

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

    def perform(self) -> Any:
        """Call the function; what the queue's server keeps it from is put off, not failed.

        A job that RQ tries again by itself, as a delivery, is left to that.
        """
        try:
            return super().perform()
        except (RedisError, QueueError) as error:
            if self.retries_left or (self.number_of_retries or 0) >= MOST_OUTAGES:
                raise
            cause = str(error) if isinstance(error, QueueError) else explain(error).message
            log.warning("job %s is put off: %s", self.id, cause)
            return Retry(max=MOST_OUTAGES, interval=OUTAGE_SECONDS)

    @property
    def success_callback(self) -> None:
        """Never: this project uses no callbacks."""

    @property
    def failure_callback(self) -> None:
        """Never: this project uses no callbacks."""

    @property
    def stopped_callback(self) -> None:
        """Never: this project uses no callbacks."""

    @classmethod
    def fetch(cls, id: str, *args: Any, **kwargs: Any) -> Job:
        """The job of an id.

        Raises:
            NoSuchJobError: there is none, it cannot be read, or nothing can have this id.
        """
        if JOB_ID.fullmatch(id.partition(":")[0]) is None:  # the run of a job may stand behind it
            log.warning("job %s is dropped: no job has such an id", ascii(id)[:200])
            raise NoSuchJobError("no job has such an id")
        return super().fetch(id, *args, **kwargs)

    def refresh(self) -> None:
        """Read the fields of the job; what stands under its name and is no job is deleted.

        Raises:
            NoSuchJobError: there is none, or it cannot be read.
        """
        try:
            super().refresh()  # type: ignore[no-untyped-call]
        except ResponseError as error:
            if not is_of_another_type(error):
                raise
            self._drop(error)

    def restore(self, raw_data: Mapping[bytes, bytes]) -> None:
        """Take the fields of a job from Redis, as far as they are those of a job.

        RQ passes over a job that is not there. Whatever else this raises ends a worker, and the
        next one would be given the same job; so a job that cannot be read is deleted.

        Raises:
            NoSuchJobError: it cannot be read.
        """
        fields = {name: value for name, value in raw_data.items() if name not in UNREAD}
        try:
            if b"data" in fields:
                fields[b"data"] = unpacked(fields[b"data"])
            super().restore(fields)
            self.meta = self.meta if isinstance(self.meta, dict) else {}
            self._deserialize_data()  # type: ignore[no-untyped-call]
            if not self._is_call():
                raise TypeError("its call is none")
        except NoSuchJobError:
            raise
        except Exception as error:
            self._drop(error)

    def _drop(self, error: Exception) -> NoReturn:
        log.warning(
            "job %s is dropped: what Redis holds of it cannot be read (%s)",
            ascii(self.id)[:200],
            type(error).__name__,
        )
        self.connection.delete(self.key)
        raise NoSuchJobError("what Redis holds of it cannot be read") from None

    def _is_call(self) -> bool:
        """Whether what is to be called is a name, and, where it may be, with one request."""
        if not isinstance(self._func_name, str) or not isinstance(self._args, list):
            return False
        one = [type(each) for each in self._args] == [dict] and self._kwargs == {}
        return one or self._func_name not in ALLOWED_FUNCTIONS

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


@contextmanager
def reaching_redis() -> Iterator[None]:
    """Turn what the Redis client raises into `QueueError`; also a decorator.

    Raises:
        QueueError: the server cannot be reached, or refuses.
    """
    try:
        yield
    except RedisError as error:
        cause = explain(error)
        raise QueueError(cause.message, passes=cause.passes) from error


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
    return f"{DELIVERY}{task_id}-{project}-{key}"


def check_job_id(task_id: int, key: str) -> str:
    """Id of the job that looks whether that was stored once."""
    return f"check-{task_id}-{key}"


def task_of_delivery(job_id: str) -> str:
    """The task that a job delivers to; empty for another kind of job."""
    return job_id.removeprefix(DELIVERY).partition("-")[0] if job_id.startswith(DELIVERY) else ""


def asker(task_id: str) -> str:
    """Field of a segment job that says for which task it was asked; RQ leaves it alone.

    Those who ask for what is no task of Label Studio, as bulk runs do, share one.
    """
    return f"{ASKED}{task_id if STORED_TASK.fullmatch(task_id) else ''}"
