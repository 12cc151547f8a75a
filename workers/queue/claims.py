"""Who answers a task: one of several opens and deliveries, never two.

Label Studio stores a prediction for every answer, also when two people open a task at once, and a
delivery may arrive in between. So whoever answers first claims (task, key). A claim is one key of
Redis: `push` while a delivery waits its turn, else the name of who is answering. An open takes over
from a waiting delivery, since a person is waiting; nobody takes over from one who is answering.

A delivery answers as `JOB:RUN`. When its worker is taken for dead, another one runs the same job
and takes the claim over; the first, should it only have stood still, sees that by `holds` before it
writes anything more.
"""

from redis import Redis

from workers.messages import DELIVERY_QUEUE
from workers.queue.connection import reaching_redis

PUSH = "push"
ANSWER_SECONDS = 3600  # longer than a delivery runs, and than its next run waits for its turn
BEGUN_KEY = f"rq:wip:{DELIVERY_QUEUE}"  # RQ's list of runs
WAIT_SECONDS = 7 * 24 * 3600

_OPEN = """
local held = redis.call('GET', KEYS[1])
if held and held ~= 'push' then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""

_BEGIN_PUSH = """
local held = redis.call('GET', KEYS[1])
local same = held and string.match(held, '^[^:]*') == string.match(ARGV[1], '^[^:]*')
if held ~= 'push' and not same then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""

# A claim that is gone, as of a server that lost its last second, is made anew by whoever was begun.
_HOLDS = """
local held = redis.call('GET', KEYS[1])
if not held and redis.call('ZSCORE', KEYS[2], ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
  return 1
end
return held == ARGV[1] and 1 or 0
"""

_YIELD_PUSH = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], 'push', 'EX', ARGV[2])
return 1
"""

# A late release must not shorten the claim of a delivery that came to wait in the meantime, nor
# that of another run.
_RELEASE = """
local held = redis.call('GET', KEYS[1])
if held ~= 'push' and (ARGV[2] == '' or held == ARGV[2]) then
  redis.call('EXPIRE', KEYS[1], ARGV[1])
end
"""


def claim_key(task_id: int | str, key: str) -> str:
    """Where the claim of a task and a request is kept."""
    return f"dgl:claim:{task_id}:{key}"


class Claims:
    """Atomic claims on (task, key); every method is one round trip.

    Args:
        redis: the queue's server.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._open = redis.register_script(_OPEN)
        self._begin_push = redis.register_script(_BEGIN_PUSH)
        self._holds = redis.register_script(_HOLDS)
        self._yield_push = redis.register_script(_YIELD_PUSH)
        self._release = redis.register_script(_RELEASE)

    @reaching_redis()
    def claim_open(self, task_id: int | str, key: str, owner: str, seconds: float) -> bool:
        """Claim for a person who opened the task.

        Args:
            task_id: Label Studio's id.
            key: `SegmentRequest.key`.
            owner: a name that no other open has; not "push".
            seconds: the claim ends by itself after these, should the process die.

        Returns:
            True when nobody held the claim, or only a delivery that had not begun.
        """
        return bool(self._open([claim_key(task_id, key)], [_checked(owner), _whole(seconds)]))

    @reaching_redis()
    def claim_push(self, task_id: int | str, key: str) -> bool:
        """Claim for a delivery that waits its turn; True when nobody held the claim."""
        return bool(self._redis.set(claim_key(task_id, key), PUSH, nx=True, ex=WAIT_SECONDS))

    @reaching_redis()
    def begin_push(self, task_id: int | str, key: str, owner: str) -> bool:
        """Claim for a delivery that begins, also from another run of its job.

        Args:
            task_id: Label Studio's id.
            key: `SegmentRequest.key`.
            owner: `JOB:RUN`.

        Returns:
            False when an open answered instead: then there is nothing to deliver.
        """
        return bool(self._begin_push([claim_key(task_id, key)], [_checked(owner), ANSWER_SECONDS]))

    @reaching_redis()
    def holds(self, task_id: int | str, key: str, owner: str) -> bool:
        """Whether this run of a delivery still answers the task, and no other."""
        keys = [claim_key(task_id, key), BEGUN_KEY]
        return bool(self._holds(keys, [owner, ANSWER_SECONDS]))

    @reaching_redis()
    def yield_push(self, task_id: int | str, key: str, owner: str) -> bool:
        """Let opens take over again while a delivery that failed waits for its next try."""
        return bool(self._yield_push([claim_key(task_id, key)], [_checked(owner), WAIT_SECONDS]))

    @reaching_redis()
    def release(self, task_id: int | str, key: str, seconds: float, owner: str = "") -> None:
        """End a claim after `seconds`: enough for Label Studio to store the answer; 0 at once.

        Args:
            task_id: Label Studio's id.
            key: `SegmentRequest.key`.
            seconds: until then.
            owner: only a claim of theirs; empty for whose it is.
        """
        span = _whole(seconds) if seconds > 0 else 0
        self._release([claim_key(task_id, key)], [span, owner])


def _checked(owner: str) -> str:
    if owner == PUSH:
        raise ValueError(f"a claim's owner cannot be called {PUSH!r}: it marks a waiting delivery")
    return owner


def _whole(seconds: float) -> int:
    return max(1, round(seconds))
