"""How long jobs have waited."""

import time

from redis import Redis
from rq.utils import as_text, str_to_date

from workers.messages import DELIVERY_QUEUE, INTERACTIVE_QUEUE, SEGMENT_QUEUE
from workers.queue.connection import AllowedJob, open_queue

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
        ends = [None if end is None else as_text(end) for end in pipe.execute()]
        for job_id in ends:
            pipe.hget(AllowedJob.key_for(job_id or ""), "created_at")
        ages = [_age(made) for made in pipe.execute()]
    return dict(zip(QUEUES, map(max, ages[::2], ages[1::2]), strict=True))


def _age(created_at: bytes | None) -> float:
    """Seconds since RQ's time of a job; 0 where there is none, or it is gone meanwhile."""
    try:
        made = str_to_date(created_at) if created_at is not None else None
    except ValueError:
        return 0.0
    return 0.0 if made is None else max(0.0, time.time() - made.timestamp())
