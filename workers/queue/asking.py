"""How jobs come into the queues: by scripts, in the server, so that nothing comes between.

Check and enqueue are one step. RQ's own `unique=True` was not enough: it cannot be pipelined (a
thousand round trips), knows nothing of our replies and failures, and refuses a job for as long as
RQ remembers an earlier run. A SET NX marker beside RQ's job would outlive a crash between the two
writes, or expire while a long queue still waits. The job's own hash is the one marker that exists
exactly as long as the job does. What all jobs of a call have in common is sent once.
"""

import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from redis import Redis
from redis.client import Pipeline
from rq import Queue
from rq.job import Job, Retry
from rq.serializers import JSONSerializer

from workers.messages import (
    DELIVERY_FUNCTION,
    DELIVERY_QUEUE,
    SEGMENT_FUNCTION,
    DeliveryRequest,
    SegmentRequest,
)
from workers.queue.claims import WAIT_SECONDS, claim_key
from workers.queue.connection import (
    FAILED_SECONDS,
    FINISHED_SECONDS,
    AllowedJob,
    asker,
    delivery_job_id,
    open_queue,
    segment_job_id,
)
from workers.queue.handover import WAITING_KEY, failure_key, reply_key

MOST_WAITING = 100_000  # tasks
RESERVE = 1000  # beyond these, for people who wait
PART = 1000  # tasks of one pipeline: no buffer grows large
SCRIPT = 100  # tasks of one script: the server is busy for a few milliseconds
# Label Studio may be down for a night: 19 hours in all.
DELIVERY_RETRY_SECONDS = (10, 30, 60, 300, 900, 1800, *[3600] * 18)

Value = str | bytes | int | float
Task = TypeVar("Task")

# An open moves its waiting job to the front. The job also holds who asked for it, so that what one
# of them cancels is not taken from the others. KEYS: queue, its scheduled jobs; for each task its
# job, reply and failure. ARGV: push, how many may wait, number of values that all jobs share,
# these; for each task id of the job, field that says who asked, data, description. Returns for
# each task 1, 0 where nothing was to be done, or -1 where there is no room.
_SUBMIT = """
local shared, outcomes = tonumber(ARGV[3]), {}
local room = tonumber(ARGV[2]) - redis.call('LLEN', KEYS[1]) - redis.call('ZCARD', KEYS[2])
for i = 1, (#KEYS - 2) / 3 do
  local job, a = KEYS[3 * i], 4 * i - 1 + shared
  local id, asked = ARGV[a + 1], ARGV[a + 2]
  local status = redis.call('HGET', job, 'status')
  outcomes[i] = 0
  if redis.call('EXISTS', KEYS[3 * i + 1], KEYS[3 * i + 2]) > 0 then
  elseif status and status ~= 'finished' and status ~= 'failed' then
    redis.call('HSET', job, asked, '')
    if ARGV[1] == 'LPUSH' and status == 'scheduled' and redis.call('ZREM', KEYS[2], id) == 1 then
      redis.call('HSET', job, 'status', 'queued')
      redis.call('LPUSH', KEYS[1], id)
    elseif ARGV[1] == 'LPUSH' and redis.call('LREM', KEYS[1], 1, id) == 1 then
      redis.call('LPUSH', KEYS[1], id)
    end
  elseif room < 1 then
    outcomes[i] = -1
  else
    redis.call('DEL', job)
    redis.call('HSET', job, asked, '', 'data', ARGV[a + 3], 'description', ARGV[a + 4],
      unpack(ARGV, 4, 3 + shared))
    redis.call(ARGV[1], KEYS[1], id)
    room = room - 1
    outcomes[i] = 1
  end
end
return outcomes
"""

# The same for deliveries, which wait for the result of their segment job where that is to come
# (`workers.queue.handover`). One that waits for its next try goes at once: who asks for it again is
# Label Studio, which is back. KEYS: queue, what waits to be handed over, scheduled jobs; for each
# task its job, claim, segment job, reply and failure. ARGV: now, how long a claim waits, how many
# may wait, number of shared values, these; then as above.
_DELIVER = """
local shared, outcomes = tonumber(ARGV[4]), {}
local room = tonumber(ARGV[3]) - redis.call('LLEN', KEYS[1])
for i = 2, 3 do room = room - redis.call('ZCARD', KEYS[i]) end
for i = 1, (#KEYS - 3) / 5 do
  local k, a = 5 * i - 2, 4 * i + shared
  local job, claim, segment = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
  local id, held = ARGV[a + 1], redis.call('GET', claim)
  local status = redis.call('HGET', job, 'status')
  local lost = status == 'deferred' and not redis.call('ZSCORE', KEYS[2], id)
  local known = status and status ~= 'finished' and status ~= 'failed' and not lost
  outcomes[i] = 0
  if held and held ~= 'push' then
  elseif known then
    redis.call('SET', claim, 'push', 'EX', ARGV[2])
    if status == 'scheduled' and redis.call('ZREM', KEYS[3], id) == 1 then
      redis.call('HSET', job, 'status', 'queued')
      redis.call('RPUSH', KEYS[1], id)
    end
  elseif room < 1 then
    outcomes[i] = -1
  else
    redis.call('SET', claim, 'push', 'EX', ARGV[2])
    redis.call('DEL', job)
    redis.call('HSET', job, 'data', ARGV[a + 3], 'description', ARGV[a + 4],
      unpack(ARGV, 5, 4 + shared))
    local state = redis.call('HGET', segment, 'status')
    local comes = state and state ~= 'finished' and state ~= 'failed'
    if comes and redis.call('EXISTS', KEYS[k + 4], KEYS[k + 5]) == 0 then
      redis.call('HSET', job, 'status', 'deferred')
      redis.call('HSET', segment, ARGV[a + 2], '', 'deliver:' .. id, '')
      redis.call('ZADD', KEYS[2], ARGV[1], id)
    else
      redis.call('RPUSH', KEYS[1], id)
    end
    room = room - 1
    outcomes[i] = 1
  end
end
return outcomes
"""


class Asking:
    """Makes jobs of requests and deliveries, in pipelines of the queue's server.

    Args:
        redis: the queue's server; without `decode_responses`.
    """

    def __init__(self, redis: Redis) -> None:
        self._delivery = open_queue(DELIVERY_QUEUE, redis)
        self._submit = redis.register_script(_SUBMIT)
        self._deliver = redis.register_script(_DELIVER)

    def submit(
        self, pipe: Pipeline, requests: Sequence[SegmentRequest], queue: Queue, push: str, most: int
    ) -> int:
        """Have requests answered; what is answered, failed lately or waiting is left alone.

        Args:
            pipe: of the queue's server; its answers are for `refused`.
            requests: any number; equal ones count once.
            queue: whose workers answer.
            push: LPUSH to the front, RPUSH behind.
            most: that may wait in the queue.

        Returns:
            How many answers the pipeline gets.
        """
        pipe.sadd(queue.redis_queues_keys, queue.key)
        job = queue.create_job(
            SEGMENT_FUNCTION, result_ttl=FINISHED_SECONDS, failure_ttl=FAILED_SECONDS
        )
        shared = _shared(job)
        head: list[Value] = [push, most, len(shared), *shared]
        for part in parts(requests, SCRIPT):
            keys, values = [queue.key, queue.scheduled_job_registry.key], [*head]
            for each in part:
                name = segment_job_id(each.key)
                keys += [AllowedJob.key_for(name), reply_key(each.key), failure_key(each.key)]
                # RQ's default description is the whole call, with the image's address.
                told = f"segment task {each.task_id}"
                packed = _packed(SEGMENT_FUNCTION, each.to_json())
                values += [name, asker(each.task_id), packed, told]
            self._submit(keys, values, pipe)
        return -(-len(requests) // SCRIPT)

    def deliver(self, pipe: Pipeline, deliveries: Sequence[DeliveryRequest], most: int) -> int:
        """Have replies pushed to Label Studio: now, or when their segment job is done.

        Args:
            pipe: of the queue's server; its answers are for `refused`.
            deliveries: any number.
            most: that may wait.

        Returns:
            How many answers the pipeline gets.
        """
        queue = self._delivery
        pipe.sadd(queue.redis_queues_keys, queue.key)
        job = queue.create_job(
            DELIVERY_FUNCTION,
            result_ttl=FINISHED_SECONDS,
            failure_ttl=FAILED_SECONDS,
            retry=Retry(max=len(DELIVERY_RETRY_SECONDS), interval=list(DELIVERY_RETRY_SECONDS)),
        )
        shared = _shared(job)
        head: list[Value] = [int(time.time()), WAIT_SECONDS, most, len(shared), *shared]
        for part in parts(deliveries, SCRIPT):
            keys = [queue.key, WAITING_KEY, queue.scheduled_job_registry.key]
            values = [*head]
            for each in part:
                name, key = delivery_job_id(each.task_id, each.key, each.project), each.key
                keys += [AllowedJob.key_for(name), claim_key(each.task_id, key)]
                keys += [AllowedJob.key_for(segment_job_id(key)), reply_key(key), failure_key(key)]
                told = f"deliver task {each.task_id}"
                packed = _packed(DELIVERY_FUNCTION, each.to_json())
                values += [name, asker(str(each.task_id)), packed, told]
            self._deliver(keys, values, pipe)
        return -(-len(deliveries) // SCRIPT)


def parts(tasks: Sequence[Task], size: int = PART) -> Iterator[Sequence[Task]]:
    """Some tasks at a time."""
    return (tasks[start : start + size] for start in range(0, len(tasks), size))


def refused(tasks: Sequence[Task], answers: Sequence[Sequence[int]]) -> list[Task]:
    """Those of the tasks for which the scripts found no room."""
    outcomes = [outcome for part in answers for outcome in part]
    return [task for task, outcome in zip(tasks, outcomes, strict=True) if outcome < 0]


def _shared(job: Job) -> list[Value]:
    """A job's hash without what is each one's own, as the flat list that HSET takes."""
    fields = job.to_dict().items()
    return [part for item in fields if item[0] not in ("data", "description") for part in item]


def _packed(function: str, payload: Mapping[str, Any]) -> bytes:
    """RQ's data of a job: function, instance, arguments, named ones."""
    return zlib.compress(JSONSerializer.dumps((function, None, [payload], {})))
