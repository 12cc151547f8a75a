"""From the segmentation to its delivery: what waits for a result, and how it gets its turn.

    dgl:handover        deliveries that wait for their segmentation: job → when it was looked at

A delivery whose segmentation is not there stands in that set, and a field of the segment job names
it. Storing the reply, or why there is none, moves it into the delivery queue in
the same script: nobody can come between, so none waits for a result that is there. RQ's own
dependencies are not used: they stalled for minutes where several workers ended jobs at once
(decision 49). What cannot happen while the server keeps its data is found all the same: `sweep`
looks for deliveries whose segmentation will never be stored, and queues them to say so.
"""

import logging
import time

from redis import Redis

from workers.messages import DELIVERY_QUEUE
from workers.queue.connection import HANDS, AllowedJob, segment_job_id

log = logging.getLogger(__name__)

WAITING_KEY = "dgl:handover"
DELIVERIES_KEY = f"rq:queue:{DELIVERY_QUEUE}"
LOOK_SECONDS = 20.0  # between two looks at a delivery that waits
MOST_LOOKED_AT = 2000  # in one look: some milliseconds of the server

# A function of the scripts that store a result. It takes the keys of the waiting deliveries, of the
# delivery queue and of the segment job, and what keys of jobs begin with.
HAND_OVER = f"""
local function hand_over(waiting, queue, segment, jobs)
  for _, field in ipairs(redis.call('HKEYS', segment)) do
    local id = string.match(field, '^{HANDS}(.+)$')
    if id and redis.call('ZREM', waiting, id) == 1 and redis.call('EXISTS', jobs .. id) == 1 then
      redis.call('HSET', jobs .. id, 'status', 'queued')
      redis.call('RPUSH', queue, id)
    end
  end
end
"""

# KEYS: waiting, queue. ARGV: now, looked at before, how many, what keys of jobs, of segment jobs,
# of replies and of failures begin with. Returns those that were queued, and by them whether there
# is a result, which then was not handed over.
_SWEEP = """
local moved = {}
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])
for _, id in ipairs(ids) do
  local key = string.sub(id, -32)
  local status = redis.call('HGET', ARGV[5] .. key, 'status')
  local ended = not status or status == 'finished' or status == 'failed'
  local answered = redis.call('EXISTS', ARGV[6] .. key, ARGV[7] .. key) > 0
  if redis.call('EXISTS', ARGV[4] .. id) == 0 then
    redis.call('ZREM', KEYS[1], id)
  elseif ended or answered then
    redis.call('ZREM', KEYS[1], id)
    redis.call('HSET', ARGV[4] .. id, 'status', 'queued')
    redis.call('RPUSH', KEYS[2], id)
    moved[#moved + 1] = id
  else
    redis.call('ZADD', KEYS[1], 'XX', ARGV[1], id)
  end
end
return moved
"""


def reply_key(key: str) -> str:
    """Where the reply to `SegmentRequest.key` is kept."""
    return f"dgl:reply:{key}"


def failure_key(key: str) -> str:
    """Where the failure of `SegmentRequest.key` is kept."""
    return f"dgl:failure:{key}"


def handed_over(key: str) -> tuple[list[str], list[str]]:
    """What `HAND_OVER` takes for the result of a request: keys of Redis, and values."""
    segment = AllowedJob.key_for(segment_job_id(key))
    return [WAITING_KEY, DELIVERIES_KEY, segment], [AllowedJob.key_for("")]


def sweep(redis: Redis, look_seconds: float = LOOK_SECONDS) -> list[str]:
    """Queue the deliveries whose segmentation has ended without handing them over.

    Any process may call it, and any number at once.

    Args:
        redis: the queue's server.
        look_seconds: since the last look at a delivery.

    Returns:
        Ids of their jobs.
    """
    now = time.time()
    jobs, segments = AllowedJob.key_for(""), AllowedJob.key_for(segment_job_id(""))
    head: list[str | float] = [now, now - look_seconds, MOST_LOOKED_AT, jobs, segments]
    script = redis.register_script(_SWEEP)
    moved = script([WAITING_KEY, DELIVERIES_KEY], [*head, reply_key(""), failure_key("")])
    if moved:
        log.warning("%d deliveries waited for segmentations that are gone", len(moved))
    return [job_id.decode() for job_id in moved]
