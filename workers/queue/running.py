"""What each worker with a model has in hand right now, and how far it is.

A note is written when a job begins, with the count of its tries, and never taken back: that would
cost each job a round trip. `in_hand` tells by heartbeats and replies which notes still hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from redis import Redis
from redis.client import Pipeline

from workers.queue import notes
from workers.queue.connection import segment_job_id
from workers.queue.heartbeats import Heartbeat
from workers.queue.replies import reply_key

KEPT_SECONDS = 900  # longer than a job may take


@dataclass(frozen=True)
class Running:
    """A job in work.

    Attributes:
        worker: name of the worker.
        job: its id.
        key: of the request.
        task_id: Label Studio's id, or what a command calls the image; from strangers.
        stage: what is being done, in words: "fetching the image".
        since: when the job was begun, seconds since the epoch.
    """

    worker: str
    job: str
    key: str
    task_id: str
    stage: str
    since: float

    @property
    def segments(self) -> bool:
        """Whether masks come of it; else a worker learns."""
        return self.job == segment_job_id(self.key)


def note(redis: Redis | Pipeline, running: Running) -> None:
    """Say what a worker has in hand."""
    redis.set(_key(running.worker), notes.write(running), ex=KEPT_SECONDS)


def in_hand(redis: Redis, workers: Sequence[Heartbeat]) -> list[Running]:
    """What these workers have in hand; two round trips."""
    if not workers:
        return []
    stored = redis.mget([_key(worker.name) for worker in workers])
    by_name = {worker.name: worker for worker in workers}
    read = [notes.read(Running, value) for value in stored]
    held = [each for each in read if each is not None and _holds(each, by_name)]
    with redis.pipeline(transaction=False) as pipe:
        for each in held:
            pipe.exists(reply_key(each.key))
        ended = pipe.execute()
    return [each for each, reply in zip(held, ended, strict=True) if not reply]


def _holds(note: Running, workers: Mapping[str, Heartbeat]) -> bool:
    """Whether the last beat names the job, or came before it was begun: by one clock, its own."""
    worker = workers[note.worker]
    return worker.job == note.job or note.since > worker.at


def _key(worker: str) -> str:
    return f"dgl:running:{worker}"
