"""What the job that has a project follow what is served remembers from one run to the next.

The keys are described in `workers.queue.following`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from redis import Redis

from workers.queue import notes
from workers.queue.cancelling import Cancelling
from workers.queue.connection import JOB_SECONDS
from workers.queue.following import CALLED_SECONDS, key_of

# KEYS: busy, waiting. ARGV: job, seconds. A job that was recovered passes again.
_BEGIN = """
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""


@dataclass(frozen=True)
class Progress:
    """How far a project follows.

    Attributes:
        version: that it follows; empty before the first time.
        after: the last task that was looked at.
        walked: all tasks were.
        wait: seconds before the next look at what is missing; they grow.
        missing: task → key of its request, empty where nobody asked for one.
    """

    version: str
    after: int
    walked: bool
    wait: int
    missing: Mapping[int, str]


class Following:
    """What the job of one project remembers.

    Args:
        redis: the queue's server; without `decode_responses`.
        project: Label Studio's id.
    """

    def __init__(self, redis: Redis, project: str) -> None:
        self._redis = redis
        self._project = project

    def begin(self, job_id: str) -> bool:
        """Claim the project for a job; False while another one is at it."""
        self._redis.set(key_of(self._project, "called"), 1, ex=CALLED_SECONDS)  # what we cause
        keys = [key_of(self._project, "busy"), key_of(self._project, "job")]
        return bool(self._redis.register_script(_BEGIN)(keys, [job_id, JOB_SECONDS]))

    def end(self) -> None:
        """Let the next job begin."""
        self._redis.delete(key_of(self._project, "busy"))

    def progress(self) -> Progress:
        """How far it is."""
        with self._redis.pipeline() as pipe:
            pipe.hgetall(key_of(self._project))
            pipe.hgetall(key_of(self._project, "missing"))
            state, missing = (_texts(held) for held in pipe.execute())
        return Progress(
            version=state.get("version", ""),
            after=int(state.get("after", 0)),
            walked=state.get("walked") == "1",
            wait=int(state.get("wait", 0)),
            missing={int(task): key for task, key in missing.items()},
        )

    def restart(self, version: str) -> None:
        """Follow another version: what waits for the former one is dropped."""
        waiting = [(str(task), key) for task, key in self.progress().missing.items() if key]
        Cancelling(self._redis).cancel(self._project, waiting, keep=False)
        with self._redis.pipeline() as pipe:
            pipe.delete(key_of(self._project, "missing"))
            state: list[str | int] = ["version", version, "after", 0, "walked", 0, "wait", 0]
            pipe.hset(key_of(self._project), items=state)
            pipe.execute()

    def walked(self, after: int, missing: Mapping[int, str], *, all_of_them: bool) -> None:
        """Note some tasks as looked at, and those among them that miss a prediction."""
        with self._redis.pipeline() as pipe:
            state: list[str | int] = ["after", after, "walked", int(all_of_them), "wait", 0]
            pipe.hset(key_of(self._project), items=state)
            if missing:
                pipe.hset(key_of(self._project, "missing"), mapping=dict(missing.items()))
            pipe.execute()

    def settle(self, tasks: Iterable[int], wait: int) -> None:
        """Note tasks as no longer missing, and how long to wait before the next look."""
        gone = [str(task) for task in tasks]
        self._redis.hset(key_of(self._project), "wait", wait)
        if gone:
            self._redis.hdel(key_of(self._project, "missing"), *gone)

    def say(self, note: str) -> bool:
        """Keep what a person has to set; empty for nothing.

        Returns:
            Whether it says something that it did not say before.
        """
        name = key_of(self._project, "note")
        before = self._redis.get(name)
        if note:
            self._redis.set(name, note)
        else:
            self._redis.delete(name)
        return bool(note) and (before is None or notes.text(before) != note)


def _texts(held: Mapping[bytes, bytes]) -> dict[str, str]:
    return {notes.text(name): notes.text(value) for name, value in held.items()}
