"""Jobs whose worker is dead go back to the queue.

RQ notices a dead `SimpleWorker` only at the job's time-out plus some minutes, and then records the
job as failed. Here a worker's heartbeat decides: without one for `SILENCE_SECONDS`, or when its
process is seen to be gone, whatever it held is queued again. Any process may call `recover`, and
any number at once.

Heartbeats are also missing when the queue's server was away, and then of all workers. So nobody is
dead before somebody has missed him twice, with time in between to beat again.
"""

import logging
import time
from typing import Any

from redis import Redis
from rq import Queue
from rq.executions import Execution
from rq.job import Job

from workers.messages import (
    DELIVERY_FUNCTION,
    DELIVERY_QUEUE,
    INTERACTIVE_QUEUE,
    SEGMENT_FUNCTION,
    DeliveryRequest,
    SegmentRequest,
)
from workers.queue import failures, notes, tallies
from workers.queue.claims import claim_key
from workers.queue.connection import FAILED_SECONDS, JOB_ID, open_queue
from workers.queue.failures import TaskFailure
from workers.queue.handover import sweep
from workers.queue.heartbeats import BEAT_SECONDS, last_sign, live
from workers.queue.ledger import Ledger, Outcome
from workers.queue.replies import keep_request, store_failure

log = logging.getLogger(__name__)

# Between the first and the last look at what seems to be lost. Workers beat every five seconds.
SILENT_SECONDS = 10.0
# Between pop and begin lie some milliseconds of RQ; a worker that is held up for longer than this
# loses the job to another, and ends without booking it (`QueueWorker.handle_execution_ended`).
POPPED_SECONDS = 20.0
MISSED_SECONDS = 40  # how long a first look counts
MOST_DUE = 1000  # in one step
MOST_RECOVERIES = 5  # of one job; a segment job gives up by itself before
FORGOTTEN_SECONDS = 3 * BEAT_SECONDS  # after which a worker's beats name the job that it has begun
RETRY_SECONDS = 7 * 24 * 3600  # how long such a job can be asked for again on the page

# Whoever removes the entry queues the job, in one step: none is lost and none is queued twice. RQ
# calls a job scheduled before it stands in the timetable, so one whose worker died between the two
# is no more settled than one that was begun.
_REQUEUE = """
local removed
if ARGV[1] == 'started' then
  removed = redis.call('ZREM', KEYS[1], ARGV[2])
else
  removed = redis.call('LREM', KEYS[1], 1, ARGV[2])
end
local status = nil
if redis.call('TYPE', KEYS[2])['ok'] == 'hash' then
  status = redis.call('HGET', KEYS[2], 'status')
end
if status == 'scheduled' and not redis.call('ZSCORE', KEYS[4], ARGV[3]) then status = ARGV[1] end
if removed == 0 or status ~= ARGV[1] then return 'settled' end
if redis.call('HINCRBY', KEYS[2], 'recoveries', 1) > tonumber(ARGV[4]) then
  redis.call('HSET', KEYS[2], 'status', 'failed')
  redis.call('EXPIRE', KEYS[2], ARGV[5])
  return 'given up'
end
redis.call('HSET', KEYS[2], 'status', 'queued')
redis.call('RPUSH', KEYS[3], ARGV[3])
return 'queued again'
"""

# RQ's own scheduler is not used: it holds a lock, and one that is killed with it keeps the retries
# of all waiting for more than a minute. Moved in one step, nothing is queued twice.
_QUEUE_DUE = """
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, id in ipairs(due) do
  redis.call('ZREM', KEYS[1], id)
  if redis.call('TYPE', ARGV[2] .. id)['ok'] == 'hash' then
    redis.call('HSET', ARGV[2] .. id, 'status', 'queued')
    redis.call('RPUSH', KEYS[2], id)
  end
end
return due
"""

# To the front, in their order. RQ keeps its books of a job under the name of the job's queue.
_TAKE_OVER = """
local waiting = redis.call('LRANGE', KEYS[1], 0, -1)
for _, later in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do table.insert(waiting, later) end
for i = #waiting, 1, -1 do
  local job = ARGV[1] .. waiting[i]
  if redis.call('TYPE', job)['ok'] == 'hash' then
    redis.call('HSET', job, 'origin', ARGV[2], 'status', 'queued')
    redis.call('LPUSH', KEYS[2], waiting[i])
  end
end
redis.call('DEL', KEYS[1], KEYS[3])
return waiting
"""


def recover(queue: Queue) -> list[str]:
    """Queue the jobs of dead workers again, behind the others; deliveries that wait in vain, too.

    Returns:
        Ids of the jobs that were queued again.
    """
    drop_unreadable(queue)
    lost = sweep(queue.connection) if queue.name == DELIVERY_QUEUE else ()
    return [*_recover_started(queue), *_recover_popped(queue), *lost]


def queue_due(queue: Queue) -> list[str]:
    """Queue the jobs whose next try is due, behind the others. Any number may call it at once.

    Returns:
        Their ids; those of jobs that are gone, too.
    """
    prefix = queue.job_class.key_for("")
    keys = [queue.scheduled_job_registry.key, queue.key]
    script = queue.connection.register_script(_QUEUE_DUE)
    return [notes.text(job_id) for job_id in script(keys, [time.time(), prefix, MOST_DUE])]


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
        if _is_orphan(queue.connection, job_id, execution_id)
    ]
    return [
        job_id
        for job_id, execution_id in orphans
        if _requeue(queue, registry.key, "started", f"{job_id}:{execution_id}", job_id)
    ]


def _recover_popped(queue: Queue) -> list[str]:
    """Jobs that a worker had taken from the queue and not yet begun; nothing says which worker."""
    entries = queue.intermediate_queue.key
    lost = [
        job_id
        for job_id in queue.intermediate_queue.get_job_ids()
        if _missed_for(queue.connection, f"popped:{job_id}") > POPPED_SECONDS
    ]
    return [job_id for job_id in lost if _requeue(queue, entries, "queued", job_id, job_id)]


def _is_orphan(redis: Redis, job_id: str, execution_id: str) -> bool:
    """Whether nobody works on a job that was begun.

    A worker that lives and has something else in hand, or nothing, lost the job's end: in a
    failover the last writes before it may be gone. Both times are by the clock of that worker.
    """
    try:
        execution = Execution.fetch(execution_id, job_id, redis)
    except ValueError:  # expired: past the job's time-out
        return True
    sign = last_sign(redis, execution.worker_name)
    if sign is None:
        return _missed_for(redis, f"silent:{execution_id}") > SILENT_SECONDS
    begun = sign.at - execution.created_at.timestamp()
    return sign.is_gone or (sign.job != job_id and begun > FORGOTTEN_SECONDS)


def _missed_for(redis: Redis, what: str) -> float:
    """Seconds since something was first found to be missing, by the server's clock; then 0."""
    key = missed_key(what)
    if redis.set(key, "", nx=True, ex=MISSED_SECONDS):
        return 0.0
    return max(0.0, MISSED_SECONDS - int(redis.pttl(key)) / 1000)


def missed_key(what: str) -> str:
    """Where it is kept since when something is missing."""
    return f"dgl:missed:{what}"


def _requeue(queue: Queue, entries: str, status: str, entry: str, job_id: str) -> bool:
    """Move one job from `entries` back to the queue if it still has that status."""
    timetable = queue.scheduled_job_registry.key
    keys = [entries, queue.job_class.key_for(job_id), queue.key, timetable]
    outcome = queue.connection.register_script(_REQUEUE)(
        keys, [status, entry, job_id, MOST_RECOVERIES, FAILED_SECONDS]
    )
    queue.connection.delete(missed_key(f"popped:{job_id}"))  # it may be popped again
    if outcome == b"settled":
        return False
    log.warning("job %s: its worker is dead or lost it: %s", job_id, outcome.decode())
    if outcome == b"given up" and (job := queue.fetch_job(job_id)) is not None:
        _give_up(queue, job)
    return bool(outcome == b"queued again")


def _give_up(queue: Queue, job: Job) -> None:
    """Leave word for whoever waits for the job, and on the status page."""
    payload = job.args[0]
    message = f"its worker died {MOST_RECOVERIES + 1} times: the cause is in that worker's log"
    if job.func_name == SEGMENT_FUNCTION:
        request = SegmentRequest.from_json(payload)
        store_failure(queue.connection, request.key, message)
        keep_request(queue.connection, request, message, RETRY_SECONDS)
    if job.func_name == DELIVERY_FUNCTION:
        _end_delivery(queue.connection, DeliveryRequest.from_json(payload), message)
    with tallies.quietly(queue.connection) as pipe:
        tallies.count(pipe, "jobs", "failed")
        tallies.count(pipe, "job_failures", "worker-died")
    task = str(payload.get("task_id", "?"))  # what follows a project has none
    failures.record(queue.connection, [TaskFailure(queue.name, task, message)])


def _end_delivery(redis: Redis, delivery: DeliveryRequest, message: str) -> None:
    """Let others answer the task, and say on its page why it has no masks."""
    redis.delete(claim_key(delivery.task_id, delivery.key))
    if not delivery.like:  # which stands in no ledger
        outcome = Outcome(str(delivery.task_id), delivery.key, "given-up", message)
        Ledger(redis, RETRY_SECONDS).settle(delivery.project, [outcome])
