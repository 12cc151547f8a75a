"""Who answers a task: one of several opens and deliveries, never two.

Label Studio stores a prediction for every answer, also when two people open a task at once, and a
delivery may arrive in between. So whoever answers first claims (task, key). A claim is one key of
Redis: `push` while a delivery waits its turn, else the name of who is answering. An open takes over
from a waiting delivery, since a person is waiting; nobody takes over from one who is answering.
"""

from redis import Redis

from workers.queue.connection import reaching_redis

PUSH = "push"
ANSWER_SECONDS = 24 * 3600  # a delivery keeps its claim over all its retries
WAIT_SECONDS = 7 * 24 * 3600

_OPEN = """
local held = redis.call('GET', KEYS[1])
if held and held ~= 'push' then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""

_BEGIN_PUSH = """
local held = redis.call('GET', KEYS[1])
if held ~= 'push' and held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""

_YIELD_PUSH = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], 'push', 'EX', ARGV[2])
return 1
"""

# A late release must not shorten the claim of a delivery that came to wait in the meantime.
_RELEASE = """
if redis.call('GET', KEYS[1]) ~= 'push' then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
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
        """Claim for a delivery that begins; `owner` is its job id, so that a retry passes too.

        Returns:
            False when an open answered instead: then there is nothing to deliver.
        """
        return bool(self._begin_push([claim_key(task_id, key)], [_checked(owner), ANSWER_SECONDS]))

    @reaching_redis()
    def yield_push(self, task_id: int | str, key: str, owner: str) -> bool:
        """Let opens take over again while a delivery that failed waits for its next try."""
        return bool(self._yield_push([claim_key(task_id, key)], [_checked(owner), WAIT_SECONDS]))

    @reaching_redis()
    def release(self, task_id: int | str, key: str, seconds: float) -> None:
        """End a claim after `seconds`: enough for Label Studio to store the answer; 0 at once."""
        self._release([claim_key(task_id, key)], [_whole(seconds) if seconds > 0 else 0])


def _checked(owner: str) -> str:
    if owner == PUSH:
        raise ValueError(f"a claim's owner cannot be called {PUSH!r}: it marks a waiting delivery")
    return owner


def _whole(seconds: float) -> int:
    return max(1, round(seconds))
