"""Taking tasks out of the queues: by a script, in the server, so that nothing comes between."""

from collections.abc import Sequence

from redis import Redis

from workers.messages import DELIVERY_QUEUE, SEGMENT_QUEUE
from workers.queue.claims import claim_key
from workers.queue.connection import (
    AllowedJob,
    asker,
    delivery_job_id,
    open_queue,
    segment_job_id,
)
from workers.queue.handover import WAITING_KEY
from workers.queue.replies import MOST_KEPT_BYTES, retry_key

PART = 1000  # tasks at a time
CANCELLED_SECONDS = 24 * 3600  # how long what was cancelled can be asked for again here

# KEYS: delivery queue, what waits to be handed over, scheduled deliveries, segment queue, its
# scheduled jobs; then for each task: delivery job, claim, segment job, and where its request is
# kept. ARGV: how long that is, and up to which size; then for each task: id of the delivery job, id
# of the segment job, the task's field in it. A queue is gone over once, however many leave it.
# Returns 1 for each task that is not being delivered at this moment.
_CANCEL = """
local gone_deliveries, gone_segments, outcome = {}, {}, {}
local deliveries, segments = 0, 0
local held = {}
local function waits_in(queue)
  if not held[queue] then
    held[queue] = {}
    for _, id in ipairs(redis.call('LRANGE', queue, 0, -1)) do held[queue][id] = true end
  end
  return held[queue]
end
for i = 1, #ARGV / 3 do
  local k, a = 4 * i + 1, 3 * i
  local job, claim, segment = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
  local status = redis.call('HGET', job, 'status')
  local free = true
  if status == 'started' then free = false
  elseif status == 'queued' and not waits_in(KEYS[1])[ARGV[a]] then free = false
  elseif status == 'queued' then gone_deliveries[ARGV[a]] = true deliveries = deliveries + 1
  elseif status == 'deferred' then redis.call('ZREM', KEYS[2], ARGV[a])
  elseif status == 'scheduled' then redis.call('ZREM', KEYS[3], ARGV[a]) end
  if free then
    if status and status ~= 'finished' and status ~= 'failed' then
      redis.call('DEL', job)
    end
    if redis.call('GET', claim) == 'push' then redis.call('DEL', claim) end
    redis.call('HDEL', segment, ARGV[a + 2])
    local data = redis.call('HGET', segment, 'data')
    if data and #data <= tonumber(ARGV[2]) then
      redis.call('SET', KEYS[k + 4], data, 'EX', ARGV[1])
    end
    local wanted = false
    for _, name in ipairs(redis.call('HKEYS', segment)) do
      if string.sub(name, 1, 6) == 'asked:' then wanted = true end
    end
    local state = redis.call('HGET', segment, 'status')
    if not wanted and state == 'queued' and waits_in(KEYS[4])[ARGV[a + 1]] then
      gone_segments[ARGV[a + 1]] = true
      segments = segments + 1
      redis.call('DEL', segment)
    elseif not wanted and state == 'scheduled' then
      redis.call('ZREM', KEYS[5], ARGV[a + 1])
      redis.call('DEL', segment)
    end
  end
  outcome[i] = free and 1 or 0
end
local function leave(queue, gone)
  local kept = {}
  for _, id in ipairs(redis.call('LRANGE', queue, 0, -1)) do
    if not gone[id] then kept[#kept + 1] = id end
  end
  redis.call('DEL', queue)
  for i = 1, #kept, 1000 do
    redis.call('RPUSH', queue, unpack(kept, i, math.min(i + 999, #kept)))
  end
end
if deliveries > 0 then leave(KEYS[1], gone_deliveries) end
if segments > 0 then leave(KEYS[4], gone_segments) end
return outcome
"""


class Cancelling:
    """Takes the jobs of tasks out of the queues; those that others wait for stay.

    Args:
        redis: the queue's server; without `decode_responses`.
    """

    def __init__(self, redis: Redis) -> None:
        delivery, segment = open_queue(DELIVERY_QUEUE, redis), open_queue(SEGMENT_QUEUE, redis)
        self._script = redis.register_script(_CANCEL)
        self._queues = [
            delivery.key,
            WAITING_KEY,
            delivery.scheduled_job_registry.key,
            segment.key,
            segment.scheduled_job_registry.key,
        ]

    def cancel(self, project: str, tasks: Sequence[tuple[str, str]], *, keep: bool) -> list[bool]:
        """Take tasks out.

        Args:
            project: Label Studio's id of theirs.
            tasks: ids, each with the key of its request.
            keep: their requests can be asked for again, for `CANCELLED_SECONDS`.

        Returns:
            For each whether it was not too late: its delivery is not at work.
        """
        parts = [tasks[start : start + PART] for start in range(0, len(tasks), PART)]
        return [bool(free) for part in parts for free in self._cancel(project, part, keep)]

    def _cancel(self, project: str, tasks: Sequence[tuple[str, str]], keep: bool) -> Sequence[int]:
        keys = list(self._queues)
        arguments: list[str | int] = [CANCELLED_SECONDS, MOST_KEPT_BYTES if keep else 0]
        for task, key in tasks:
            delivery, segment = delivery_job_id(int(task), key, project), segment_job_id(key)
            keys += [
                AllowedJob.key_for(delivery),
                claim_key(task, key),
                AllowedJob.key_for(segment),
                retry_key(key),
            ]
            arguments += [delivery, segment, asker(task)]
        freed: Sequence[int] = self._script(keys, arguments)
        return freed
