"""Which projects are to follow what is served, and how far they are.

A project that learnt something is served another model version. Its open tasks then want new
predictions, and Label Studio must be told which version to show; `backend.studio.following` does
both, as a job. Here is who asks for that job; `workers.queue.progress` is what it remembers.

    dgl:following:P           hash: `version` that is followed, `after` which task, whether all were
                              `walked`, `wait` before the next look, `seen`: the last version of
                              which a prediction was made
    dgl:following:P:missing   task → key of its request; "" for one that nobody asked for yet: what
                              must have a prediction of `version` before that is shown
    dgl:following:P:job       the job that waits
    dgl:following:P:busy      the job that runs
    dgl:following:P:called    exists for a while after Label Studio called /setup
    dgl:following:calls       such calls of this minute, of projects that nobody follows so far
    dgl:following:P:note      what a person has to set in Label Studio; absent for nothing

At most one job of a project waits. What is learnt moves it to later, until there is quiet.
"""

import time
import uuid

from redis import Redis

from workers.messages import DELIVERY_QUEUE, FOLLOW_FUNCTION
from workers.queue import notes
from workers.queue.connection import (
    FAILED_SECONDS,
    FINISHED_SECONDS,
    AllowedJob,
    fields_of,
    open_queue,
    reaching_redis,
)

REFRESH_SECONDS = 20.0
LONGEST_WAIT = 5  # times that: who is corrected without a pause is followed all the same
CALLED_SECONDS = 60  # Label Studio calls /setup again and again
# Anybody may call /setup, in the name of any project: so many new ones are looked at in a minute.
MOST_NEW = 60
STORED_SECONDS = 5.0  # by then Label Studio has stored what it was answered
REFILL = 25  # tasks missing: then the next are looked for
NEW_KEY = "dgl:following:calls"

# KEYS: waiting, queue, scheduled. ARGV: job, due (0 for at once), quiet, latest, prefix of jobs,
# push, fields. Of a job that waits only the time changes: "quiet" moves it to later, up to its
# latest time; what is not may only move it nearer, and leaves a quiet one alone.
_ASK = """
local due, quiet, held = tonumber(ARGV[2]), ARGV[3] == '1', redis.call('GET', KEYS[1])
if held then
  local job, waits = ARGV[5] .. held, redis.call('ZSCORE', KEYS[3], held)
  if waits then
    if due == 0 and (ARGV[6] == 'LPUSH' or redis.call('HEXISTS', job, 'latest') == 0) then
      redis.call('ZREM', KEYS[3], held)
      redis.call('HSET', job, 'status', 'queued')
      redis.call(ARGV[6], KEYS[2], held)
    elseif quiet then
      redis.call('HSETNX', job, 'latest', ARGV[4])
      redis.call('ZADD', KEYS[3], math.min(due, tonumber(redis.call('HGET', job, 'latest'))), held)
    elseif redis.call('HEXISTS', job, 'latest') == 0 then
      redis.call('ZADD', KEYS[3], math.min(due, tonumber(waits)), held)
    end
    return 0
  end
  if redis.call('HGET', job, 'status') == 'queued' then
    if ARGV[6] == 'LPUSH' and redis.call('LREM', KEYS[2], 1, held) == 1 then
      redis.call('LPUSH', KEYS[2], held)
    end
    return 0
  end
end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('HSET', ARGV[5] .. ARGV[1], unpack(ARGV, 7))
if due == 0 then
  redis.call('HSET', ARGV[5] .. ARGV[1], 'status', 'queued')
  redis.call(ARGV[6], KEYS[2], ARGV[1])
else
  redis.call('HSET', ARGV[5] .. ARGV[1], 'status', 'scheduled')
  if quiet then redis.call('HSET', ARGV[5] .. ARGV[1], 'latest', ARGV[4]) end
  redis.call('ZADD', KEYS[3], due, ARGV[1])
end
return 1
"""

# KEYS: state, missing. ARGV: version, task, key, how many missing tasks call for the next.
_LANDED = """
local first = 0
if ARGV[1] ~= '' and redis.call('HGET', KEYS[1], 'seen') ~= ARGV[1] then
  redis.call('HSET', KEYS[1], 'seen', ARGV[1])
  first = 1
end
local wanted = redis.call('HGET', KEYS[2], ARGV[2])
if not wanted then return {first, 0} end
local same = wanted == ARGV[3] or redis.call('HGET', KEYS[1], 'version') == ARGV[1]
if not same then return {first, 0} end
redis.call('HDEL', KEYS[2], ARGV[2])
local left = redis.call('HLEN', KEYS[2])
return {first, (left == 0 or left == tonumber(ARGV[4])) and 1 or 0}
"""


class FollowingClient:
    """Asks for the job that has a project follow what is served.

    Args:
        redis: the queue's server; without `decode_responses`.
        refresh_seconds: how long a project must have learnt nothing.
    """

    def __init__(self, redis: Redis, refresh_seconds: float = REFRESH_SECONDS) -> None:
        self._redis = redis
        self._refresh_seconds = refresh_seconds
        self._queue = open_queue(DELIVERY_QUEUE, redis)
        self._ask = redis.register_script(_ASK)
        self._landed = redis.register_script(_LANDED)

    @reaching_redis()
    def changed(self, project: str) -> None:
        """A project learnt or unlearnt something: follow once it is quiet."""
        seconds = self._refresh_seconds
        self._put(project, seconds, quiet=True)

    @reaching_redis()
    def now(self, project: str) -> None:
        """Follow at once, before all deliveries."""
        self._put(project, 0, front=True)

    @reaching_redis()
    def later(self, project: str, seconds: float = 0.0) -> None:
        """Follow in so many seconds, behind the deliveries, or with what comes before."""
        self._put(project, seconds)

    @reaching_redis()
    def called(self, project: str) -> None:
        """Label Studio called /setup, as it does when somebody connects the backend."""
        name = key_of(project, "called")
        if not project or not self._redis.set(name, 1, nx=True, ex=CALLED_SECONDS):
            return
        if self._redis.exists(key_of(project)) or self._is_one_of_few():
            self._put(project, STORED_SECONDS)

    def _is_one_of_few(self) -> bool:
        with self._redis.pipeline() as pipe:
            pipe.set(NEW_KEY, 0, nx=True, ex=CALLED_SECONDS)
            pipe.incr(NEW_KEY)
            return int(pipe.execute()[1]) <= MOST_NEW

    @reaching_redis()
    def landed(
        self, project: str, version: str, task: int | str, key: str, seconds: float = 0.0
    ) -> None:
        """A task got its prediction, or never will.

        One round trip, and a second for the first prediction of a version and at the end of what
        was missing.

        Args:
            project: Label Studio's id; empty when unknown, which is then nobody's.
            version: of the prediction; empty where there is none.
            task: Label Studio's id.
            key: `SegmentRequest.key`.
            seconds: in which Label Studio stores it; 0 when it has.
        """
        if not project:
            return
        keys = [key_of(project), key_of(project, "missing")]
        first, next_ones = self._landed(keys, [version, task, key, REFILL])
        if first or next_ones:
            self._put(project, seconds)

    @reaching_redis()
    def note(self, project: str) -> str:
        """What a person has to set in Label Studio, as a text for them; empty for nothing."""
        note = self._redis.get(key_of(project, "note"))
        return "" if note is None else notes.text(note)

    def _put(
        self, project: str, seconds: float, *, quiet: bool = False, front: bool = False
    ) -> None:
        job = self._queue.create_job(
            FOLLOW_FUNCTION,
            args=[{"project": project}],
            job_id=f"follow-{project}-{uuid.uuid4().hex[:12]}",
            description=f"follow project {project}",
            result_ttl=FINISHED_SECONDS,
            failure_ttl=FAILED_SECONDS,
        )
        now = time.time()
        due = round(now + seconds) if seconds > 0 or quiet else 0
        latest = round(now + LONGEST_WAIT * seconds)
        push = "LPUSH" if front else "RPUSH"
        scheduled = self._queue.scheduled_job_registry.key
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.sadd(self._queue.redis_queues_keys, self._queue.key)
            self._ask(
                [key_of(project, "job"), self._queue.key, scheduled],
                [job.id, due, int(quiet), latest, AllowedJob.key_for(""), push, *fields_of(job)],
                pipe,
            )
            pipe.execute()


def key_of(project: str, kind: str = "") -> str:
    """Where something of a project is kept."""
    return f"dgl:following:{project}:{kind}" if kind else f"dgl:following:{project}"
