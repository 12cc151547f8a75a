"""Queues of which the first goes before the others, with RQ's second list for each.

RQ waits for several queues at once by a command that keeps no second list: a worker that dies right
after it has lost the job. So the others are looked at now and then.
"""

import time
from collections.abc import Iterable
from typing import Any, Self

from redis import Redis
from rq import Queue
from rq.exceptions import DequeueTimeout
from rq.job import Job
from rq.serializers import JSONSerializer

from workers.queue.connection import JOB_SECONDS, AllowedJob

LOOK_SECONDS = 1  # between two looks at the others, while a worker waits for the first


class Ordered(Queue):
    """RQ's queue, popped in order.

    Attributes:
        opens_at: by the monotonic clock, before which nothing is popped from it as the second.
    """

    opens_at = 0.0

    @classmethod
    def called(cls, name: str, redis: Redis) -> Self:
        """The queue of that name, as `open_queue` makes it."""
        return cls(
            name,
            connection=redis,
            job_class=AllowedJob,
            serializer=JSONSerializer,
            default_timeout=JOB_SECONDS,
        )

    @classmethod
    def dequeue_any(
        cls,
        queues: Iterable[Queue],
        timeout: int | None,
        connection: Redis,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[Job, Queue] | None:
        """The next job of the first queue, or of the next while nothing waits in that.

        Args:
            queues: in order.
            timeout: seconds to wait; None returns at once.
            connection: of the queues.
            args: as RQ's.
            kwargs: as RQ's.

        Raises:
            DequeueTimeout: nothing came.
        """
        ordered = list(queues)
        until = time.monotonic() + (timeout or 0)
        while len(ordered) > 1:
            for queue in filter(_is_open, ordered):
                found = super().dequeue_any([queue], None, connection, *args, **kwargs)
                if found is not None:
                    return found
            if timeout is None:
                return None
            left = until - time.monotonic()
            if left < LOOK_SECONDS:
                raise DequeueTimeout(timeout, [queue.key for queue in ordered])
            try:
                return super().dequeue_any(ordered[:1], LOOK_SECONDS, connection, *args, **kwargs)
            except DequeueTimeout:
                continue
        return super().dequeue_any(ordered, timeout, connection, *args, **kwargs)


def _is_open(queue: Queue) -> bool:
    return not isinstance(queue, Ordered) or time.monotonic() >= queue.opens_at
