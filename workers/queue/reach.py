"""Whether deliveries reach Label Studio, as the delivery workers see it.

dgl:studio      hash: `since` when it refuses, whatever it was sent; `cause`, the last words.
Absent while it takes what it is sent
"""

import time
from dataclasses import dataclass

from redis import Redis

from workers.queue import notes

STUDIO_KEY = "dgl:studio"
KEPT_SECONDS = 2 * 3600  # longer than a delivery waits for its next try


@dataclass(frozen=True)
class Refusal:
    """Label Studio takes nothing.

    Attributes:
        since: seconds since the epoch.
        cause: what was said last, with the way out.
    """

    since: float
    cause: str

    @property
    def age(self) -> float:
        """Seconds since it began."""
        return max(0.0, time.time() - self.since)


def refused(redis: Redis, cause: str, *, known: bool = False) -> None:
    """A delivery failed for a reason that may pass.

    Args:
        redis: the queue's server.
        cause: with the way out.
        known: it takes the token, so that this being so proves nothing.
    """
    with redis.pipeline() as pipe:
        pipe.hsetnx(STUDIO_KEY, "since", time.time())
        pipe.hset(STUDIO_KEY, mapping={"cause": cause, "known": int(known)})
        pipe.expire(STUDIO_KEY, KEPT_SECONDS)
        pipe.execute()


def passed(redis: Redis) -> None:
    """Label Studio answered a delivery."""
    redis.delete(STUDIO_KEY)


def answers(redis: Redis) -> None:
    """Label Studio answered, and takes the token: what did not reach it will."""
    if redis.hget(STUDIO_KEY, "known") == b"0":
        redis.delete(STUDIO_KEY)


def refusal(redis: Redis) -> Refusal | None:
    """Since when and why Label Studio takes nothing; None while it does."""
    held = redis.hgetall(STUDIO_KEY)
    since = notes.number(held.get(b"since"))
    return Refusal(since, notes.text(held.get(b"cause", b""))) if since else None
