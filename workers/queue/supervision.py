"""What a supervisor says of its processes, for whoever looks at the page.

It is kept in the queue's server for some seconds and said again as long as the supervisor lives.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from redis import Redis

from workers.queue import notes

SUPERVISORS_KEY = "dgl:supervisors"
TOLD_SECONDS = 15  # a supervisor that said nothing for so long is gone


@dataclass(frozen=True)
class Supervised:
    """One supervised process.

    Attributes:
        host: the machine's name.
        name: what the supervisor calls it.
        pid: its process id; 0 while it does not run.
        state: "running", "starting" or "pausing", before it starts again.
        ends: how often it died or was killed because it hung.
        in_a_row: how often without having come to anything in between.
        status: its last exit status, or the number of the signal that killed it, negative; None
            when it never ended.
        cause: of its last end, in its own words or the supervisor's; empty where it said nothing.
        ended: when it ended last, seconds since the epoch; None when it never did.
        again: when it starts again, seconds since the epoch; None while it runs.
    """

    host: str
    name: str
    pid: int
    state: str
    ends: int
    in_a_row: int
    status: int | None
    cause: str
    ended: float | None
    again: float | None


def tell(redis: Redis, supervisor: str, processes: Sequence[Supervised]) -> None:
    """Say how the processes of a supervisor are."""
    with redis.pipeline() as pipe:
        said = json.dumps([asdict(each) for each in processes])
        pipe.set(_key(supervisor), said, ex=TOLD_SECONDS)
        pipe.sadd(SUPERVISORS_KEY, supervisor)
        pipe.execute()


def supervised(redis: Redis) -> list[Supervised]:
    """The processes of all supervisors that live."""
    names = sorted(notes.text(name) for name in redis.smembers(SUPERVISORS_KEY))
    if not names:
        return []
    told = redis.mget([_key(name) for name in names])
    gone = [name for name, said in zip(names, told, strict=True) if said is None]
    if gone:
        redis.srem(SUPERVISORS_KEY, *gone)
    return [each for said in told for each in notes.read_all(Supervised, said)]


def _key(supervisor: str) -> str:
    return f"dgl:supervised:{supervisor}"
