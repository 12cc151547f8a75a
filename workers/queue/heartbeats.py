"""Signs of life: which model is served, and which workers are alive and well."""

import json
from dataclasses import asdict, dataclass

from redis import Redis
from rq.utils import as_text

ANNOUNCEMENT_KEY = "dgl:model"
WORKERS_KEY = "dgl:workers"
BEAT_SECONDS = 20.0
SILENCE_SECONDS = 60  # three missed beats: the worker is dead


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
    """

    name: str
    host: str
    pid: int
    queue: str
    device: str
    job: str
    at: float
    self_test: float


def announce(redis: Redis, announcement: Announcement, *, if_lost: bool = False) -> None:
    """Tell the web side which model answers. No expiry: /setup must answer while none runs.

    Args:
        redis: the queue's server.
        announcement: the model.
        if_lost: only where none stands, as after a restart of a server that keeps no data.
    """
    redis.set(ANNOUNCEMENT_KEY, json.dumps(asdict(announcement)), nx=if_lost)


def announced(redis: Redis) -> Announcement | None:
    """The model announced last; None before the first worker is ready."""
    stored = redis.get(ANNOUNCEMENT_KEY)
    return Announcement(**json.loads(stored)) if stored is not None else None


def beat(redis: Redis, heartbeat: Heartbeat) -> None:
    """Say that this worker lives, for `SILENCE_SECONDS`."""
    with redis.pipeline() as pipe:
        pipe.set(_key(heartbeat.name), json.dumps(asdict(heartbeat)), ex=SILENCE_SECONDS)
        pipe.sadd(WORKERS_KEY, heartbeat.name)
        pipe.execute()


def fall_silent(redis: Redis, name: str) -> None:
    """Say that a worker is gone."""
    with redis.pipeline() as pipe:
        pipe.delete(_key(name))
        pipe.srem(WORKERS_KEY, name)
        pipe.execute()


def is_alive(redis: Redis, name: str) -> bool:
    """Whether the worker beat within the last `SILENCE_SECONDS`."""
    return bool(redis.exists(_key(name)))


def beats(redis: Redis) -> list[Heartbeat]:
    """The workers that are alive, by name; those gone silent are struck off the list."""
    names = sorted(as_text(name) for name in redis.smembers(WORKERS_KEY))
    if not names:
        return []
    stored = redis.mget([_key(name) for name in names])
    silent = [name for name, value in zip(names, stored, strict=True) if value is None]
    if silent:
        redis.srem(WORKERS_KEY, *silent)
    return [Heartbeat(**json.loads(value)) for value in stored if value is not None]


def _key(name: str) -> str:
    return f"dgl:worker:{name}"
