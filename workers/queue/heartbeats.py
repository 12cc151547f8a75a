"""Signs of life: which model is served, and which workers are alive and well.

Two questions, two spans. Whether a worker serves (`live`): its last beat is a few seconds old, and
its process is there where this machine can see that. Whether its jobs may be given to others
(`is_alive`): it was silent for half a minute, since giving a job away twice costs more than
waiting; where this machine sees that its process is gone, at once. Ages are those of the queue's
server, so the clocks of machines need not agree.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from redis import Redis

from workers.queue import notes

ANNOUNCEMENT_KEY = "dgl:model"
WORKERS_KEY = "dgl:workers"
BEAT_SECONDS = 5.0
FRESH_SECONDS = 15.0  # three missed beats: the worker does not serve
# Six missed beats: the worker is dead, and its jobs are given to others. `recovery` looks every
# `BEAT_SECONDS` and twice, so that they are in other hands within 50 s of the last sign.
SILENCE_SECONDS = 30


@dataclass(frozen=True)
class Announcement:
    """The model that answers.

    Attributes:
        model_version: a function of weights, parameters and package version.
        device: where it runs.
        at: when it was announced, seconds since the epoch.
    """

    model_version: str
    device: str
    at: float


@dataclass(frozen=True)
class Heartbeat:
    """One worker, as of its last beat.

    Attributes:
        name: of the RQ worker.
        host: the machine's name.
        pid: process id there.
        queue: the one queue it listens on.
        device: where its model is; "" without a model.
        job: id of the job in work; "" when idle.
        at: when it beat, seconds since the epoch.
        self_test: when its model last passed a forward pass, seconds since the epoch; 0 without a
            model.
        model: version of its model; "" without one.
        machine: `this_machine` of the worker; "" where that cannot be told.
        resident: bytes of its memory that are in RAM; 0 where that cannot be told.
        age: seconds since it beat, by the clock of the queue's server; 0 in what is sent.
    """

    name: str
    host: str
    pid: int
    queue: str
    device: str
    job: str
    at: float
    self_test: float
    model: str = ""
    machine: str = ""
    resident: int = 0
    age: float = field(default=0.0, compare=False)

    @property
    def is_live(self) -> bool:
        """Whether it serves: it beat a moment ago, and its process was not killed since."""
        return self.age < FRESH_SECONDS and not self.is_gone

    @property
    def is_gone(self) -> bool:
        """Whether this machine sees that its process does not run any more."""
        return _is_gone(self.machine, self.pid)


def announce(redis: Redis, announcement: Announcement, *, if_lost: bool = False) -> None:
    """Tell the web side which model answers. No expiry: /setup must answer while none runs.

    Args:
        redis: the queue's server.
        announcement: the model.
        if_lost: only where none stands, as after a restart of a server that keeps no data.
    """
    redis.set(ANNOUNCEMENT_KEY, notes.write(announcement), nx=if_lost)


def announced(redis: Redis) -> Announcement | None:
    """The model announced last; None before the first worker is ready."""
    stored = redis.get(ANNOUNCEMENT_KEY)
    return notes.read(Announcement, stored)


def beat(redis: Redis, heartbeat: Heartbeat) -> None:
    """Say that this worker lives, for `SILENCE_SECONDS`."""
    with redis.pipeline() as pipe:
        pipe.set(_key(heartbeat.name), notes.write(heartbeat), ex=SILENCE_SECONDS)
        pipe.sadd(WORKERS_KEY, heartbeat.name)
        pipe.execute()


def fall_silent(redis: Redis, name: str) -> None:
    """Say that a worker is gone."""
    with redis.pipeline() as pipe:
        pipe.delete(_key(name))
        pipe.srem(WORKERS_KEY, name)
        pipe.execute()


def last_sign(redis: Redis, name: str) -> Heartbeat | None:
    """The last beat of a worker; None when it is older than `SILENCE_SECONDS`."""
    return notes.read(Heartbeat, redis.get(_key(name)))


def beats(redis: Redis) -> list[Heartbeat]:
    """The workers that beat within the last `SILENCE_SECONDS`, by name.

    Those gone silent are struck off the list.
    """
    names = sorted(notes.text(name) for name in redis.smembers(WORKERS_KEY))
    if not names:
        return []
    with redis.pipeline(transaction=False) as pipe:
        pipe.mget([_key(name) for name in names])
        for name in names:
            pipe.pttl(_key(name))
        stored, *lives = pipe.execute()
    silent = [name for name, value in zip(names, stored, strict=True) if value is None]
    if silent:
        redis.srem(WORKERS_KEY, *silent)
    read = [notes.read(Heartbeat, value) for value in stored]
    return [
        replace(each, age=_age(milliseconds))
        for each, milliseconds in zip(read, lives, strict=True)
        if each is not None
    ]


def live(redis: Redis, queue: str) -> Sequence[Heartbeat]:
    """The workers of a queue that serve now."""
    return [worker for worker in beats(redis) if worker.queue == queue and worker.is_live]


@cache
def this_machine() -> str:
    """A name of the space in which a process id means this machine's process.

    The machine's name would not do: containers that share it have process ids of their own. So it
    is the kernel's run and its namespace; empty on other systems than Linux.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot}:{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def resident_bytes() -> int:
    """Memory of this process that is in RAM; 0 on other systems than Linux."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _age(milliseconds: int) -> float:
    """Seconds since a key was written that had `SILENCE_SECONDS` to live."""
    return max(0.0, SILENCE_SECONDS - milliseconds / 1000)


def _is_gone(machine: str, pid: int) -> bool:
    """Whether a process of this machine does not run any more; False where nobody can tell."""
    if not machine or machine != this_machine():
        return False
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        return state[:1] == ["Z"]  # killed, and its parent has not looked yet
    except (ProcessLookupError, FileNotFoundError):
        return True
    except (OSError, OverflowError):  # somebody else's
        return False


def _key(name: str) -> str:
    return f"dgl:worker:{name}"
