"""Windows of scenes as jobs: what is asked, what came of it, and who may answer.

    rq:queue:windows:V      windows that wait for workers whose model has the version V
    dgl:window:K            what came of the window with the key K, until whoever asked took it
    dgl:window:sending:K    it was judged, and is on its way
    dgl:window:refused:S    workers that cannot read the scene S → why

Each version has a queue of its own, so that no window is ever judged by another model than asked
for. A segment worker takes from it what nobody else's job keeps it from (`workers.processes`).
What came of a window lies in the server for the moment until it is taken.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, Self

from redis import Redis
from rq.job import JobStatus

from dgl_rsis.resolution import Source
from dgl_rsis.types import Label
from workers.messages import SEGMENT_QUEUE, WINDOW_FUNCTION
from workers.queue import heartbeats, notes
from workers.queue.connection import (
    FAILED_SECONDS,
    FINISHED_SECONDS,
    AllowedJob,
    fields_of,
    open_queue,
    reaching_redis,
)
from workers.queue.heartbeats import Heartbeat
from workers.queue.recovery import queue_due, recover

WINDOWS = "windows:"  # what names of these queues begin with; then the model's version
RESULT_SECONDS = 3600  # of what nobody takes: whoever asked was killed, and may come back
SENDING_SECONDS = 60  # as long as a window may take from its worker to the server
REFUSAL_SECONDS = 90  # longer than a worker that refused leaves windows alone
LEAST_SIDE, MOST_SIDE = 64, 8192  # pixels of a window
MOST_LABELS = 255
MOST_TAKEN = 4  # results at a time: each may be tens of megabytes
MOST_AROUND = 1024  # pixels


@dataclass(frozen=True)
class WindowRequest:
    """One window of a scene, and all that its answer depends on.

    Attributes:
        scene: path of the raster below the folder that all hosts share, as "2024/scene.tif".
        identity: digest of its files, see `dgl_rsis.scenes.identity`.
        bands: numbers, from 1, of red, green and blue; None leaves the choice to the file.
        nir, swir: numbers of the infrared bands; None leaves them to the file.
        nodata: a value that says that nothing was measured, beside what the file declares.
        labels: the vocabulary.
        side, overlap, context, surroundings: of the windows, as in `WindowParameters`.
        costs: where the hierarchy of regions is cut.
        resolution: metres, spread and source; None where nobody knows it.
        model_version: of the model that is to answer.
        row, column: of the window, counted in windows.

    Raises:
        ValueError: something of it is out of range.
    """

    scene: str
    identity: str
    bands: tuple[int, ...] | None
    nir: int | None
    swir: int | None
    nodata: float | None
    labels: tuple[Label, ...]
    side: int
    overlap: int | None
    context: float
    surroundings: int
    costs: tuple[float, ...]
    resolution: tuple[float, float, Source] | None
    model_version: str
    row: int
    column: int

    def __post_init__(self) -> None:
        path = PurePosixPath(self.scene)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in self.scene:
            raise ValueError(f"the scene {self.scene!r} is no path below a folder")
        if not 1 <= len(self.labels) <= MOST_LABELS:
            raise ValueError(f"{len(self.labels)} labels: give 1 to {MOST_LABELS}")
        if not LEAST_SIDE <= self.side <= MOST_SIDE:
            raise ValueError(f"windows of {self.side} pixels: give {LEAST_SIDE} to {MOST_SIDE}")
        if not (0 <= self.surroundings <= MOST_AROUND and 0 <= self.context < 1):
            raise ValueError("the surroundings of a window are out of range")
        if min(self.row, self.column) < 0:
            raise ValueError(f"no window has row {self.row}, column {self.column}")
        if not all(map(math.isfinite, self.costs)):
            raise ValueError("the costs of the regions are no numbers")

    @cached_property
    def key(self) -> str:
        """Digest of all fields; 32 hexadecimal digits."""
        content = json.dumps(self.to_json(), sort_keys=True).encode()
        return hashlib.sha256(content).hexdigest()[:32]

    @cached_property
    def scene_key(self) -> str:
        """The same for all windows of a scene."""
        return replace(self, row=0, column=0).key

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON types; `from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, payload: dict[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or malformed.
        """
        labels = tuple(
            Label(**each | {"synonyms": tuple(each["synonyms"])}) for each in payload["labels"]
        )
        bands, resolution = payload["bands"], payload["resolution"]
        return cls(
            **payload
            | {
                "bands": None if bands is None else tuple(map(int, bands)),
                "labels": labels,
                "costs": tuple(map(float, payload["costs"])),
                "resolution": None if resolution is None else tuple(resolution),
            }
        )


@dataclass(frozen=True)
class WindowFailure:
    """Why a window was not judged.

    Attributes:
        message: names the value, the cause and the way out; fit for users.
        may_pass: another try may go well.
    """

    message: str
    may_pass: bool = False


# Bytes of `dgl_rsis.scenes.cells.Cells.pack`; empty where nothing of the window is valid.
Outcome = bytes | WindowFailure

_JUDGED, _FAILED = b"=", b"!"  # the first byte of what is kept


def queue_name(model_version: str) -> str:
    """The queue of windows for workers with a model."""
    return f"{WINDOWS}{model_version}"


def result_key(key: str) -> str:
    """Where it is kept what came of `WindowRequest.key`."""
    return f"dgl:window:{key}"


def _sending_key(key: str) -> str:
    return f"dgl:window:sending:{key}"


def window_job_id(key: str) -> str:
    """Id of the job that judges `WindowRequest.key`."""
    return f"window-{key}"


def keep(redis: Redis, key: str, outcome: Outcome) -> None:
    """Keep what came of a window until somebody takes it, for `RESULT_SECONDS` at most."""
    if isinstance(outcome, WindowFailure):
        value = _FAILED + json.dumps(asdict(outcome)).encode()
    else:
        value = _JUDGED + outcome
    with redis.pipeline(transaction=False) as pipe:
        pipe.set(result_key(key), value, ex=RESULT_SECONDS)
        pipe.delete(_sending_key(key))
        pipe.execute()


def announce_sending(redis: Redis, key: str) -> None:
    """Say that a window was judged, and that `keep` follows."""
    redis.set(_sending_key(key), b"", ex=SENDING_SECONDS)


def refuse(redis: Redis, scene_key: str, worker: str, why: str) -> None:
    """Say that a worker cannot read a scene."""
    with redis.pipeline() as pipe:
        pipe.hset(_refusals_key(scene_key), worker, why)
        pipe.expire(_refusals_key(scene_key), REFUSAL_SECONDS)
        pipe.execute()


def waiting(redis: Redis) -> int:
    """How many windows wait, of all versions; two round trips."""
    names = [notes.text(name) for name in redis.smembers("rq:queues")]
    keys = [name for name in names if name.startswith(f"rq:queue:{WINDOWS}")]
    with redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.llen(key)
        return sum(pipe.execute())


class WindowQueue:
    """Has windows judged by the workers of one model; every method raises `QueueError`.

    Args:
        redis: the queue's server; without `decode_responses`.
        model_version: of the model.
    """

    def __init__(self, redis: Redis, model_version: str) -> None:
        self._redis = redis
        self._version = model_version
        self._queue = open_queue(queue_name(model_version), redis)

    @reaching_redis()
    def workers(self) -> tuple[list[Heartbeat], list[Heartbeat]]:
        """The segment workers that serve now: those with this model, and those with another."""
        live = heartbeats.live(self._redis, SEGMENT_QUEUE)
        fit = [worker for worker in live if worker.model == self._version]
        return fit, [worker for worker in live if worker.model != self._version]

    @reaching_redis()
    def refusals(self, scene_key: str) -> dict[str, str]:
        """Workers that could not read a scene of late → why."""
        held = self._redis.hgetall(_refusals_key(scene_key))
        return {notes.text(name): notes.text(why) for name, why in held.items()}

    @reaching_redis()
    def submit(self, requests: Sequence[WindowRequest]) -> None:
        """Have windows judged; what waits, is in work or was judged is left alone."""
        held = self._held([each.key for each in requests])
        with self._redis.pipeline() as pipe:
            pipe.sadd(self._queue.redis_queues_keys, self._queue.key)
            for each in requests:
                if not held[each.key]:
                    self._enqueue(pipe, each)
            pipe.execute()

    def _enqueue(self, pipe: Any, request: WindowRequest) -> None:
        job = self._queue.create_job(
            WINDOW_FUNCTION,
            args=(request.to_json(),),
            job_id=window_job_id(request.key),
            description=f"window {request.row}, {request.column}",
            result_ttl=FINISHED_SECONDS,
            failure_ttl=FAILED_SECONDS,
            status=JobStatus.QUEUED,
        )
        pipe.delete(job.key)
        pipe.hset(job.key, items=fields_of(job))
        pipe.rpush(self._queue.key, job.id)

    @reaching_redis()
    def take(self, keys: Sequence[str]) -> dict[str, Outcome]:
        """What came of some windows, of `MOST_TAKEN` at most; it stays until `forget`."""
        with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.exists(result_key(key))
            there = [key for key, found in zip(keys, pipe.execute(), strict=True) if found]
        some = there[:MOST_TAKEN]
        values = self._redis.mget([result_key(key) for key in some]) if some else []
        found = zip(some, values, strict=True)
        return {key: _outcome(value) for key, value in found if isinstance(value, bytes)}

    @reaching_redis()
    def forget(self, keys: Iterable[str]) -> None:
        """What came of these windows is kept elsewhere now, or is to be found out anew."""
        names = [result_key(key) for key in keys]
        if names:
            self._redis.delete(*names)

    @reaching_redis()
    def lost(self, keys: Sequence[str]) -> list[str]:
        """Those of some windows that nobody will judge: a server forgot them, or gave them up."""
        return [key for key, held in self._held(keys).items() if not held]

    @reaching_redis()
    def tend(self) -> None:
        """Queue again what dead workers had in hand: there may be no other worker to do so."""
        recover(self._queue)
        queue_due(self._queue)

    @reaching_redis()
    def withdraw(self, keys: Sequence[str]) -> int:
        """Take back what waits; returns how many that were. What is in work goes on."""
        jobs = [window_job_id(key) for key in keys]
        with self._redis.pipeline() as pipe:
            for job in jobs:
                pipe.lrem(self._queue.key, 0, job)
                pipe.zrem(self._queue.scheduled_job_registry.key, job)
            counts = pipe.execute()
        gone = [job for i, job in enumerate(jobs) if counts[2 * i] or counts[2 * i + 1]]
        if gone:
            self._redis.delete(*[AllowedJob.key_for(job) for job in gone])
        return len(gone)

    def _held(self, keys: Sequence[str]) -> Mapping[str, bool]:
        """For each window whether it waits, is in work, or was judged."""
        with self._redis.pipeline() as pipe:
            for key in keys:
                pipe.exists(result_key(key), _sending_key(key))
                pipe.hget(AllowedJob.key_for(window_job_id(key)), "status")
            found = pipe.execute()
        pairs = zip(keys, found[::2], found[1::2], strict=True)
        return {
            key: bool(judged) or (status is not None and notes.text(status) not in _ENDED)
            for key, judged, status in pairs
        }


_ENDED = ("finished", "failed")


def _refusals_key(scene_key: str) -> str:
    return f"dgl:window:refused:{scene_key}"


def _outcome(value: bytes) -> Outcome:
    """What `keep` kept; what it did not is a failure that another try mends."""
    if value[:1] == _JUDGED:
        return value[1:]
    try:
        held = json.loads(value[1:])
        return WindowFailure(str(held["message"]), held["may_pass"] is True)
    except (ValueError, TypeError, LookupError, RecursionError):
        return WindowFailure("what the queue holds of it cannot be read", may_pass=True)
