"""Which jobs wait, and for how long."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from redis import Redis
from rq import Queue
from rq.utils import str_to_date

from workers.messages import (
    DELIVERY_QUEUE,
    INTERACTIVE_QUEUE,
    SEGMENT_FUNCTION,
    SEGMENT_QUEUE,
    SegmentRequest,
)
from workers.queue import notes
from workers.queue.connection import AllowedJob, open_queue
from workers.queue.packing import unpacked

QUEUES = (SEGMENT_QUEUE, INTERACTIVE_QUEUE, DELIVERY_QUEUE)


def oldest(redis: Redis) -> dict[str, float]:
    """Seconds that a job of each queue has waited: the longer of its first and its last one.

    Those in between are not looked at, since there may be any number; people's jobs go first. Two
    round trips.
    """
    keys = [open_queue(name, redis).key for name in QUEUES]
    with redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.lindex(key, 0)
            pipe.lindex(key, -1)
        ends = [None if end is None else notes.text(end) for end in pipe.execute()]
        for job_id in ends:
            pipe.hget(AllowedJob.key_for(job_id or ""), "created_at")
        ages = [_age(made) for made in pipe.execute()]
    return dict(zip(QUEUES, map(max, ages[::2], ages[1::2]), strict=True))


def next_images(
    queue: Queue, count: int, known: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """References of the images of the next jobs, by the jobs' ids, in order; the jobs stay.

    Args:
        queue: of the jobs.
        count: jobs.
        known: what was returned before: an image may come along with its request, which is large.
    """
    waiting = [notes.text(each) for each in queue.connection.lrange(queue.key, 0, count - 1)]
    new = [each for each in waiting if each not in known]
    with queue.connection.pipeline(transaction=False) as pipe:
        for job_id in new:
            pipe.hget(AllowedJob.key_for(job_id), "data")
        read = dict(zip(new, map(_images, pipe.execute()), strict=True))
    return {job_id: known.get(job_id) or read.get(job_id, ()) for job_id in waiting}


def images_of(function: str, arguments: Sequence[Any]) -> tuple[str, ...]:
    """References of the images that a job needs; none where it is not about images of a task."""
    if function != SEGMENT_FUNCTION:
        return ()
    try:
        return SegmentRequest.from_json(arguments[0]).images
    except (ValueError, TypeError, LookupError, AttributeError):
        return ()  # whoever performs it says so


def _images(packed: bytes | None) -> tuple[str, ...]:
    """The same of a job as it lies in Redis; None is one that is gone."""
    try:
        function, _, arguments, _ = json.loads(unpacked(packed or b""))
    except (ValueError, TypeError):
        return ()
    return images_of(function, arguments) if isinstance(arguments, list) else ()


def _age(created_at: bytes | None) -> float:
    """Seconds since RQ's time of a job; 0 where there is none, or it is gone meanwhile."""
    try:
        made = str_to_date(created_at) if created_at is not None else None
    except ValueError:
        return 0.0
    return 0.0 if made is None else max(0.0, time.time() - made.timestamp())
