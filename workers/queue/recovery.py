"""Jobs whose worker is dead go back to the queue.

RQ notices a dead `SimpleWorker` only at the job's time-out plus some minutes, and then records the
job as failed. Here a worker's heartbeat decides: without one for `SILENCE_SECONDS`, whatever it
held is queued again. Any process may call `recover`, and any number at once.
"""

import logging
from typing import Any

from redis import Redis
from rq import Queue
from rq.executions import Execution
from rq.job import Job

from workers.messages import INTERACTIVE_QUEUE, SEGMENT_FUNCTION, SegmentRequest
from workers.queue import failures
from workers.queue.connection import FAILED_SECONDS, JOB_ID, open_queue
from workers.queue.failures import TaskFailure
from workers.queue.heartbeats import is_alive, live
from workers.queue.replies import keep_request, store_failure

log = logging.getLogger(__name__)

MOST_RECOVERIES = 5  # of one job; a segment job gives up by itself before
RETRY_SECONDS = 7 * 24 * 3600  # how long such a job can be asked for again on the page

# Whoever removes the entry queues the job, in one step: none is lost and none is queued twice.
_REQUEUE = """
local removed
if ARGV[1] == 'started' then
  removed = redis.call('ZREM', KEYS[1], ARGV[2])
else
  removed = redis.call('LREM', KEYS[1], 1, ARGV[2])
end
if removed == 0 or redis.call('HGET', KEYS[2], 'status') ~= ARGV[1] then return 'settled' end
if redis.call('HINCRBY', KEYS[2], 'recoveries', 1) > tonumber(ARGV[4]) then
  redis.call('HSET', KEYS[2], 'status', 'failed')
  redis.call('EXPIRE', KEYS[2], ARGV[5])
  return 'given up'
end
redis.call('HSET', KEYS[2], 'status', 'queued')
redis.call('RPUSH', KEYS[3], ARGV[3])
return 'queued again'
"""

# To the front, in their order. RQ keeps its books of a job under the name of the job's queue.
_TAKE_OVER = """
local waiting = redis.call('LRANGE', KEYS[1], 0, -1)
for _, later in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do table.insert(waiting, later) end
for i = #waiting, 1, -1 do
  local job = ARGV[1] .. waiting[i]
  if redis.call('EXISTS', job) == 1 then
    redis.call('HSET', job, 'origin', ARGV[2], 'status', 'queued')
    redis.call('LPUSH', KEYS[2], waiting[i])
  end
end
redis.call('DEL', KEYS[1], KEYS[3])
return waiting
"""


def recover(queue: Queue) -> list[str]:
    """Queue the jobs of dead workers again, behind the others.

    Returns:
        Ids of the jobs that were queued again.
    """
    drop_unreadable(queue)
    return [*_recover_started(queue), *_recover_popped(queue)]


def drop_unreadable(queue: Queue, *, all_that_waits: bool = False) -> None:
    """Take out of a queue what is no id of a job: RQ would end whoever reads it.

    Args:
        queue: whose.
        all_that_waits: not only of what a worker has taken from it.
    """
    redis = queue.connection
    for key in (queue.intermediate_queue.key, *([queue.key] if all_that_waits else [])):
        waiting: set[Any] = set(redis.lrange(key, 0, -1))
        for entry in filter(_is_no_id, waiting):
            log.warning("%s is dropped from %s: no job has such an id", str(entry)[:200], key)
            redis.lrem(key, 0, entry)
    key = queue.started_job_registry.key
    started: list[Any] = list(redis.zrange(key, 0, -1))
    for entry in started:
        job_id, colon, execution = entry.partition(b":")
        if _is_no_id(job_id) or (colon and _is_no_id(execution)):
            log.warning("%s is dropped from %s: no job has such an id", str(entry)[:200], key)
            redis.zrem(key, entry)


def _is_no_id(entry: bytes) -> bool:
    return JOB_ID.fullmatch(entry.decode("ascii", "replace")) is None


def take_over(segment: Queue) -> list[str]:
    """Have segment workers do what was meant for a worker reserved for people, where none lives.

    Args:
        segment: the segment queue.

    Returns:
        Ids of the jobs that were moved to its front.
    """
    redis = segment.connection
    reserved = open_queue(INTERACTIVE_QUEUE, redis)
    recover(reserved)
    if live(redis, INTERACTIVE_QUEUE):
        return []
    prefix = segment.job_class.key_for("")
    keys = [reserved.key, segment.key, reserved.scheduled_job_registry.key]
    moved = redis.register_script(_TAKE_OVER)(keys, [prefix, segment.name])
    if moved:
        log.warning("no worker is left for people who wait: %d jobs go to the others", len(moved))
    return [job_id.decode() for job_id in moved]


def _recover_started(queue: Queue) -> list[str]:
    """Jobs that a worker had begun."""
    registry = queue.started_job_registry
    orphans = [
        (job_id, execution_id)
        for job_id, execution_id in registry.get_job_and_execution_ids(cleanup=False)
        if not _is_alive(queue.connection, job_id, execution_id)
    ]
    return [
        job_id
        for job_id, execution_id in orphans
        if _requeue(queue, registry.key, "started", f"{job_id}:{execution_id}", job_id)
    ]


def _recover_popped(queue: Queue) -> list[str]:
    """Jobs that a worker had taken from the queue and not yet begun.

    Nothing says which worker; but it takes milliseconds, so one that is still there a minute later
    is lost.
    """
    popped = queue.intermediate_queue
    lost = [
        job_id
        for job_id in popped.get_job_ids()
        if not popped.set_first_seen(job_id) and popped.should_be_cleaned_up(job_id)
    ]
    for job_id in lost:
        queue.connection.delete(popped.get_first_seen_key(job_id))
    return [job_id for job_id in lost if _requeue(queue, popped.key, "queued", job_id, job_id)]


def _is_alive(redis: Redis, job_id: str, execution_id: str) -> bool:
    try:
        execution = Execution.fetch(execution_id, job_id, redis)
    except ValueError:  # expired: past the job's time-out
        return False
    return is_alive(redis, execution.worker_name)


def _requeue(queue: Queue, entries: str, status: str, entry: str, job_id: str) -> bool:
    """Move one job from `entries` back to the queue if it still has that status."""
    keys = [entries, queue.job_class.key_for(job_id), queue.key]
    outcome = queue.connection.register_script(_REQUEUE)(
        keys, [status, entry, job_id, MOST_RECOVERIES, FAILED_SECONDS]
    )
    if outcome == b"settled":
        return False
    log.warning("job %s: its worker is dead: %s", job_id, outcome.decode())
    if outcome == b"given up" and (job := queue.fetch_job(job_id)) is not None:
        _give_up(queue, job)
        queue.enqueue_dependents(job)
    return bool(outcome == b"queued again")


def _give_up(queue: Queue, job: Job) -> None:
    """Leave word for whoever waits for the job, and on the status page."""
    payload = job.args[0]
    message = f"its worker died {MOST_RECOVERIES + 1} times: the cause is in that worker's log"
    if job.func_name == SEGMENT_FUNCTION:
        request = SegmentRequest.from_json(payload)
        store_failure(queue.connection, request.key, message)
        keep_request(queue.connection, request, message, RETRY_SECONDS)
    task = str(payload.get("task_id", "?"))  # what follows a project has none
    failures.record(queue.connection, [TaskFailure(queue.name, task, message)])
