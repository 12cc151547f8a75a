"""Windows of a scene judged by the workers of a queue, and blended here in the order they lie.

Few windows are in the queue at once, a handful for each worker: its server's memory stays small,
and people's jobs never wait behind a scene. What comes back goes to the disk before the queue
forgets it, so a run that was killed goes on where it ended.
"""

import logging
import signal
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Self, TypeVar

from redis import Redis

from backend.commands.segment.scene_work import SceneOptions
from backend.commands.segment.spool import Place, Spool
from dgl_rsis.scenes.cells import Cells
from dgl_rsis.scenes.identity import identity
from dgl_rsis.scenes.pipeline import SceneWork
from dgl_rsis.types import Label
from workers.queue.connection import QueueError
from workers.queue.servers import connect
from workers.queue.windows import Outcome, WindowFailure, WindowQueue, WindowRequest
from workers.settings import WorkerSettings

LOG = logging.getLogger(__name__)

Answer = TypeVar("Answer")

AHEAD = 2  # windows in the queue for each worker: one in work, and one that hides the way
POLL_SECONDS = 0.05
LOOK_SECONDS = 2.0  # between two looks at workers and at what was lost
OUTAGE_SECONDS = 600.0  # how long a queue may be away, or without a worker
OUTAGE_PAUSE_SECONDS = 2.0
QUEUE_SECONDS = 30.0  # to connect, and for an answer
MOST_TRIES = 3  # of a window whose failure may pass
MOST_LOSSES = 20  # of a window, by a queue that forgets, or another command that took it
SHOWN = 5  # missing windows in a message, and workers


class QueueLostError(ValueError):
    """Nobody judges windows; the message says why, and the way out."""


@dataclass(frozen=True)
class Missing:
    """A window that nobody could judge.

    Attributes:
        area: first column, first row, width, height in the scene, pixels.
        why: in words.
    """

    area: tuple[int, int, int, int]
    why: str

    def __str__(self) -> str:
        column, row, width, height = self.area
        return f"{width} × {height} pixels from column {column}, row {row}: {self.why}"


@dataclass
class QueuedScene:
    """A scene whose windows are judged through a queue: a `Judge`.

    Attributes:
        queue: with workers of the model.
        root: the folder that all hosts share, resolved.
        options: how the scene is read.
        spool: file for what was judged.
        model_version: of the model.
        missing: windows that nobody could judge.
    """

    queue: WindowQueue
    root: Path
    options: SceneOptions
    spool: Path
    model_version: str
    missing: list[Missing] = field(init=False, default_factory=list)

    def __call__(self, work: SceneWork) -> Generator[Cells | None, None, None]:
        """What the windows of a scene say, in order.

        Raises:
            QueueLostError: the queue was away for too long, or no worker can read the scene.
            SpoolError: the file for what was judged is another run's.
            InputError: the scene is outside of the shared folder.
            OSError: the disk.
        """
        scene_path = self._below_root(work)
        digest = identity(work.scene)

        def request(place: Place) -> WindowRequest:
            return self._request(work, scene_path, digest, place)

        about = {"scene and options": request((0, 0)).scene_key, "model": self.model_version}
        with Spool(self.spool, about) as spool, _ended_by_signals():
            if len(spool):
                LOG.info("%s: %d windows were judged before", work.scene.name, len(spool))
            coming = _Coming(self.queue, spool, request, work)
            try:
                yield from self._windows(work, coming)
            finally:
                coming.withdraw()
            if identity(work.scene) != digest:
                raise QueueLostError(
                    f"{work.scene.path} was changed while it was segmented: remove {self.spool} "
                    "and run the command again"
                )

    def _windows(self, work: SceneWork, coming: "_Coming") -> Iterator[Cells | None]:
        for place in work.places():
            try:
                yield coming.wait_for(place)
            except _GivenUpError as error:
                self.missing.append(Missing(work.area(place), str(error)))
                yield None

    def _below_root(self, work: SceneWork) -> str:
        path = work.scene.path.resolve()
        if not path.is_relative_to(self.root):
            raise QueueLostError(
                f"{path} does not lie below SCENES_ROOT ({self.root}), the folder that all hosts "
                "share: put it there"
            )
        return path.relative_to(self.root).as_posix()

    def _request(self, work: SceneWork, scene: str, digest: str, place: Place) -> WindowRequest:
        options, windows, known = self.options, work.windows, work.resolution
        labels: tuple[Label, ...] = work.words.labels
        return WindowRequest(
            scene=scene,
            identity=digest,
            bands=options.bands,
            nir=options.nir,
            swir=options.swir,
            nodata=options.nodata,
            labels=labels,
            costs=work.costs,
            resolution=None if known is None else (known.metres, known.spread, known.source),
            model_version=self.model_version,
            row=place[0],
            column=place[1],
            **asdict(windows),
        )


class _GivenUpError(Exception):
    """A window is missing; the message says why."""


class _Coming:
    """Windows on their way: asked for, collected, kept.

    Args:
        queue: with workers of the model.
        spool: where windows are kept.
        request: of a place.
        work: the scene.
    """

    def __init__(
        self,
        queue: WindowQueue,
        spool: Spool,
        request: Callable[[Place], WindowRequest],
        work: SceneWork,
    ) -> None:
        self._queue, self._spool, self._request, self._work = queue, spool, request, work
        self._places = work.places()  # that were not asked for yet
        self._pending: dict[str, Place] = {}  # by key
        self._tries: dict[Place, int] = {}
        self._given_up: dict[Place, str] = {}
        self._workers = _Workers(queue, request((0, 0)))
        self._looked = 0.0  # at what was lost
        self._pumped = 0.0

    def wait_for(self, place: Place) -> Cells | None:
        """What a window says; None where nothing of it is valid.

        Raises:
            _GivenUpError: nobody could judge it.
            QueueLostError: nobody judges any.
        """
        while True:
            if time.monotonic() - self._pumped >= POLL_SECONDS:
                self._pump()  # also while what was judged before is blended
            if place in self._spool:
                packed = self._spool.read(place)
                if packed == b"":
                    return None
                if packed is not None and (cells := self._unpacked(place, packed)) is not None:
                    return cells
                if self._again(place, "what came of it is damaged", MOST_TRIES):
                    self._ask([place])
            if place in self._given_up:
                raise _GivenUpError(self._given_up[place])
            time.sleep(max(0.0, POLL_SECONDS - (time.monotonic() - self._pumped)))

    def withdraw(self) -> None:
        """Take back what waits in the queue, as far as it can be reached."""
        if not self._pending:
            return
        try:
            self._queue.withdraw(list(self._pending))
        except QueueError as error:
            LOG.warning("windows may wait in the queue: %s", error)

    def _unpacked(self, place: Place, packed: bytes) -> Cells | None:
        """A window; None, and it is not kept any more, where it is damaged or another one."""
        _, _, width, height = self._work.area(place)
        with suppress(ValueError):
            cells = Cells.unpack(packed)
            if cells.scores_shape == (height, width, len(self._work.words.asked)):
                return cells
        self._spool.drop(place)
        return None

    def _pump(self) -> None:
        """Ask for as many windows as the workers need, and keep what came."""
        self._reach(self._fill)
        outcomes = self._reach(lambda: self._queue.take(list(self._pending)))
        for key, outcome in outcomes.items():
            self._settle(key, outcome)
        self._reach(lambda: self._queue.forget(outcomes))
        again = [place for place in map(self._pending.get, outcomes) if place is not None]
        if again:
            self._ask(again)
        if outcomes:
            self._workers.heard()
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._look()
        self._pumped = time.monotonic()

    def _fill(self) -> None:
        room = AHEAD * self._workers.count() - len(self._pending)
        places: list[Place] = []
        while len(places) < room and (place := next(self._places, None)) is not None:
            if place not in self._spool:
                places.append(place)
        self._ask(places)

    def _ask(self, places: list[Place]) -> None:
        requests = [self._request(place) for place in places]
        for place, request in zip(places, requests, strict=True):
            self._pending[request.key] = place
        if requests:
            self._reach(lambda: self._queue.submit(requests))

    def _settle(self, key: str, outcome: Outcome) -> None:
        """Keep one window, or why it is missing; what is to be tried again stays pending."""
        place = self._pending[key]
        if not isinstance(outcome, WindowFailure):
            self._spool.write(place, outcome)
            del self._pending[key]
        elif not self._again(place, outcome.message, MOST_TRIES if outcome.may_pass else 1):
            del self._pending[key]

    def _again(self, place: Place, why: str, most: int) -> bool:
        """Whether a window that failed is tried again, after `most` tries not; it is given up."""
        self._tries[place] = self._tries.get(place, 0) + 1
        if self._tries[place] < most:
            return True
        self._given_up[place] = why
        return False

    def _look(self) -> None:
        """See to what dead workers held, and to what the queue forgot."""
        self._reach(self._queue.tend)
        for key in self._reach(lambda: self._queue.lost(list(self._pending))):
            place = self._pending[key]
            if self._again(place, "the queue's workers gave it up or lost it", MOST_LOSSES):
                self._ask([place])
            else:
                del self._pending[key]
        self._looked = time.monotonic()

    def _reach(self, ask: Callable[[], Answer]) -> Answer:
        """What the queue says, once it is back.

        Raises:
            QueueLostError: it was away for too long, or a person must act.
        """
        since = time.monotonic()
        while True:
            try:
                return ask()
            except QueueError as error:
                if not error.passes or time.monotonic() - since > OUTAGE_SECONDS:
                    raise QueueLostError(f"{error}; {self._kept()}") from None
                if time.monotonic() - since < POLL_SECONDS:
                    LOG.warning("waiting for the queue: %s", error)
                time.sleep(OUTAGE_PAUSE_SECONDS)

    def _kept(self) -> str:
        return f"{len(self._spool)} windows are kept: run the same command again to go on"


class _Workers:
    """Who judges windows of a scene, and what the user has to know of the others.

    Args:
        queue: with workers of the model.
        scene: a request of the scene, whichever.
    """

    def __init__(self, queue: WindowQueue, scene: WindowRequest) -> None:
        self._queue, self._scene = queue, scene
        self._count, self._looked = 0, -LOOK_SECONDS
        self._last: float | None = None  # when somebody could judge
        self._told: set[str] = set()

    def heard(self) -> None:
        """A window came."""
        self._last = time.monotonic()

    def count(self) -> int:
        """How many judge now.

        Raises:
            QueueLostError: all refuse, none has the model, or none was there for too long.
        """
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return self._count
        fit, others = self._queue.workers()
        refusals = self._queue.refusals(self._scene.scene_key)
        able = [worker for worker in fit if worker.name not in refusals]
        self._looked, self._count = time.monotonic(), len(able)
        for worker in others:
            self._tell(worker.name, f"has another model ({worker.model})")
        for name, why in refusals.items():
            self._tell(name, why)
        if able:
            self.heard()
        elif fit:
            why = "; ".join(sorted(set(refusals.values()))[:SHOWN])
            raise QueueLostError(f"no worker can read {self._scene.scene}: {why}")
        elif others:
            versions = ", ".join(sorted({worker.model for worker in others})[:SHOWN])
            raise QueueLostError(
                f"no worker has the model {self._scene.model_version}; those that are alive have "
                f"{versions}: give --model and PROPOSALS as they have it, and the same release"
            )
        elif self._last is None or time.monotonic() - self._last > OUTAGE_SECONDS:
            raise QueueLostError(
                "no segment worker is alive: start some with `dgl-rsis worker`, and run the same "
                "command again"
            )
        else:
            self._tell("", "no segment worker is alive: start some with `dgl-rsis worker`")
        return self._count

    def _tell(self, worker: str, what: str) -> None:
        """Once for each worker."""
        if worker not in self._told:
            self._told.add(worker)
            LOG.warning("%s%s", f"worker {worker} takes no part: " if worker else "", what)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does, so that what waits in the queue is taken back."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True)
class SceneQueue:
    """A queue, and the folder that its workers share with this process.

    Attributes:
        redis: the queue's server.
        root: the folder, resolved.
    """

    redis: Redis
    root: Path

    @classmethod
    def from_settings(cls, settings: WorkerSettings, url: str) -> Self:
        """The queue at an address.

        Args:
            settings: with the folder.
            url: as REDIS_URL.

        Raises:
            QueueLostError: there is no folder.
        """
        if settings.scenes_root is None:
            raise QueueLostError(
                "SCENES_ROOT is not set: name the folder with the scenes that this machine and "
                "all workers share, here and there"
            )
        return cls(connect(url, QUEUE_SECONDS), settings.scenes_root)

    def scene(self, options: SceneOptions, spool: Path, model_version: str) -> QueuedScene:
        """A judge of one scene.

        Args:
            options: how it is read.
            spool: file for what was judged.
            model_version: of the model.
        """
        queue = WindowQueue(self.redis, model_version)
        return QueuedScene(queue, self.root, options, spool, model_version)
