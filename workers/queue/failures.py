"""The last failures of all processes, for the status page, and how many there were.

What fails in a job of a batch is seen by nobody who waits. So whoever gives a task up says it here.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from redis import Redis

from workers.queue import notes

FAILURES_KEY = "dgl:failures"
COUNTS_KEY = "dgl:failures:counts"
KEPT_FAILURES = 100
LEARNING = "learning"  # stage of what would have been learnt or taken back


@dataclass(frozen=True)
class TaskFailure:
    """Why a task got no prediction.

    Attributes:
        stage: where it ended: "predict" (no job was made of it), "interactive", "learning", or the
            name of the queue of the job that gave it up.
        task_id: Label Studio's id; empty where it is about an annotation.
        message: one line: the value, the cause and the way out.
        at: seconds since the epoch.
        project: Label Studio's id, digits; empty where the process does not know it.
    """

    stage: str
    task_id: str
    message: str
    at: float = field(default_factory=time.time)
    project: str = ""


def record(redis: Redis, failures: Sequence[TaskFailure]) -> None:
    """Note and count some failures; only the last `KEPT_FAILURES` are kept."""
    if not failures:
        return
    lines = [notes.write(failure) for failure in failures[-KEPT_FAILURES:]]
    with redis.pipeline() as pipe:
        pipe.lpush(FAILURES_KEY, *lines)
        pipe.ltrim(FAILURES_KEY, 0, KEPT_FAILURES - 1)
        for stage, count in Counter(failure.stage for failure in failures).items():
            pipe.hincrby(COUNTS_KEY, stage, count)
        pipe.execute()


def last(redis: Redis) -> list[TaskFailure]:
    """The failures that are kept, newest first."""
    lines = [notes.read(TaskFailure, line) for line in redis.lrange(FAILURES_KEY, 0, -1)]
    return [failure for failure in lines if failure is not None]


def counts(redis: Redis) -> dict[str, int]:
    """How many tasks were ever given up, by stage."""
    return {
        notes.text(stage): int(notes.number(count))
        for stage, count in redis.hgetall(COUNTS_KEY).items()
    }
