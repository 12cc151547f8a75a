"""Looking again at what was delivered, where it may have been stored twice, or later than told.

Label Studio may store what it was sent after whoever sent it has given up to wait; nothing in a
delivery can know that. So some time after it a job looks at the task once more, and again later.
"""

import time

from redis import Redis
from rq import Retry

from workers.messages import CHECK_FUNCTION, DELIVERY_QUEUE, DeliveryRequest
from workers.queue.connection import (
    FAILED_SECONDS,
    FINISHED_SECONDS,
    check_job_id,
    fields_of,
    open_queue,
    reaching_redis,
)

FIRST_SECONDS = 60
# Label Studio's own server ends a call after two minutes; a proxy or a database may take longer.
AGAIN_SECONDS = (540, 3600)

# KEYS: job, scheduled. ARGV: id, when, fields. One that waits is moved to later, one that has its
# turn is left alone: it has a second look.
_LATER = """
local status = redis.call('HGET', KEYS[1], 'status')
if status == 'queued' or status == 'started' then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('HSET', KEYS[1], 'status', 'scheduled')
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
return 1
"""


@reaching_redis()
def check_later(redis: Redis, delivery: DeliveryRequest, seconds: float = FIRST_SECONDS) -> None:
    """Have it looked, in some seconds, whether what was delivered is stored once.

    Raises:
        QueueError: Redis cannot be reached.
    """
    queue = open_queue(DELIVERY_QUEUE, redis)
    job = queue.create_job(
        CHECK_FUNCTION,
        args=[delivery.to_json()],
        job_id=check_job_id(delivery.task_id, delivery.key),
        description=f"check task {delivery.task_id}",
        result_ttl=FINISHED_SECONDS,
        failure_ttl=FAILED_SECONDS,
        retry=again(),
    )
    keys = [job.key, queue.scheduled_job_registry.key]
    due = round(time.time() + seconds)
    redis.register_script(_LATER)(keys, [job.id, due, *fields_of(job)])


def again() -> Retry:
    """When such a job looks again."""
    return Retry(max=len(AGAIN_SECONDS), interval=list(AGAIN_SECONDS))
