"""Items of a Label Studio project, and their predictions back to it, in bulk and never twice.

Label Studio stores a batch as a whole or not at all, and may do so although its answer is lost. So
before each try it is asked what it holds, and the journal remembers which batches had begun when a
run was killed: Label Studio may still be storing those.
"""

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.commands.journal import Journal
from backend.commands.prelabel.items import PrelabelError, PrelabelItem, Stop
from backend.commands.prelabel.sources import Source
from backend.studio.client import StudioClient, StudioError
from backend.studio.shown import show, standing
from dgl_rsis.types import Json

LOG = logging.getLogger(__name__)


PAGE = 200  # tasks of a call
MOST_BYTES = 8_000_000  # of a batch: Label Studio stores one in a second or two
MOST_TASKS = 200
PAUSES = (20.0, 30.0, 60.0, 120.0, 300.0)  # before a try again, seconds
DOUBTFUL_PAUSES = PAUSES[:3]  # after what Label Studio refuses, as while it starts
SETTLE_SECONDS = 60.0  # a push that a killed run began is over by then
BATCH_SECONDS = 30.0  # what a slow model made must not wait long


@dataclass(frozen=True)
class Project:
    """Where the tasks are.

    Attributes:
        studio: Label Studio.
        id: of the project there.
        model_version: of the predictions that it is to have.
        stop: ends waits for a Label Studio that does not answer.
    """

    studio: StudioClient
    id: int
    model_version: str
    stop: Stop

    def source(self) -> Source:
        """All tasks; those with a prediction of this version are marked.

        Raises:
            PrelabelError: there is no task.
            StudioError: unreachable or refused.
        """
        _, total = self.studio.tasks_after(self.id, 0, 1)
        if not total:
            raise PrelabelError(f"project {self.id} has no tasks: import some first")
        return Source(self._items, total)

    def _items(self) -> Iterator[PrelabelItem]:
        last = 0
        while page := self._page(last):
            for task in page:
                last = int(task["id"])
                yield PrelabelItem(str(last), task, predicted=self.has_prediction(task))

    def _page(self, last: int) -> list[Json]:
        """The next tasks, whatever patience it takes.

        Raises:
            PrelabelError: Label Studio stayed away, or refuses.
        """
        for pause in (*PAUSES, None):
            try:
                return self.studio.tasks_after(self.id, last, PAGE)[0]
            except StudioError as error:
                if pause is None or not _is_worth(pause, error) or self.stop.asked:
                    raise PrelabelError(f"{error}; the same command goes on from here") from None
                LOG.warning("%s; another try in %.0f s", error, pause)
                self.stop.rest(pause)
        raise AssertionError("the last try returns or raises")

    def has_prediction(self, task: Mapping[str, Any]) -> bool:
        """Whether a listed task has a prediction of this version."""
        return self.studio.has_prediction(task, self.model_version)


def _is_worth(pause: float, error: StudioError) -> bool:
    """Whether a call is tried again after a pause."""
    return error.retry or (error.doubtful and pause in DOUBTFUL_PAUSES)


@dataclass(frozen=True)
class _Waiting:
    """What is to be pushed for one item: rows as Label Studio takes them, and their bytes."""

    name: str
    rows: Sequence[Json]
    size: int


class Push:
    """Pushes predictions in batches of some MB.

    Args:
        project: where to.
        journal: of the run.
    """

    def __init__(self, project: Project, journal: Journal) -> None:
        self._project = project
        self._journal = journal
        self._stop = project.stop
        self._waiting: dict[int, _Waiting] = {}  # by task id
        self._begun_at = 0.0
        self._count = 0

    def write(self, predicted: Sequence[tuple[PrelabelItem, list[Json]]]) -> None:
        """Take some predictions, and push what makes a batch.

        Raises:
            PrelabelError: Label Studio refuses all, or did not answer for a long time.
        """
        for item, predictions in predicted:
            task = int(item.task["id"])
            rows = [{**prediction, "task": task} for prediction in predictions]
            size = len(json.dumps(rows))
            if self._waiting and self._bytes() + size > MOST_BYTES:
                self._push_waiting()
            if not self._waiting:
                self._begun_at = time.monotonic()
            self._waiting[task] = _Waiting(item.name, rows, size)
        late = time.monotonic() - self._begun_at > BATCH_SECONDS
        if late or len(self._waiting) >= MOST_TASKS:
            self._push_waiting()

    def close(self, *, finished: bool) -> None:
        """Push what is left, also of a run that was stopped.

        Raises:
            PrelabelError: as `write`.
        """
        self._push_waiting()
        if finished:
            self._show()

    def note(self) -> str:
        """What has become of the predictions."""
        return f"{self._count} predictions are in project {self._project.id} of Label Studio"

    def _push_waiting(self) -> None:
        batch, self._waiting = self._waiting, {}
        if batch:
            self._settle_before(batch)
            names = [each.name for each in batch.values()]
            self._journal.write([{"pushing": names, "at": time.time()}])
            self._push(batch)

    def _show(self) -> None:
        """Have the project show what it was given; that it is there does not depend on it."""
        project = self._project
        try:
            stands = standing(project.studio, project.id)
            if stands.counts.get(project.model_version):
                note = show(project.studio, project.id, stands, project.model_version)
                LOG.info("%s", note or f"the project shows {project.model_version}")
        except StudioError as error:
            LOG.warning("%s", error)

    def abandon(self) -> None:
        """What is not pushed yet is left to the next run."""
        self._waiting = {}

    def _bytes(self) -> int:
        return sum(each.size for each in self._waiting.values())

    def _settle_before(self, batch: Mapping[int, _Waiting]) -> None:
        begun = self._journal.progress.unsettled
        since = max((begun.get(each.name, 0.0) for each in batch.values()), default=0.0)
        left = min(since + SETTLE_SECONDS - time.time(), SETTLE_SECONDS)
        if left > 0:
            LOG.info("%.0f s for what the last run had begun to push", left)
            self._stop.rest(left)

    def _push(self, batch: dict[int, _Waiting]) -> None:
        """Push one batch whatever it takes; a single task that is refused has failed."""
        for pause in (*PAUSES, None):
            try:
                batch = self._missing(batch)
                rows = [row for each in batch.values() for row in each.rows]
                if rows:
                    self._project.studio.push_rows(self._project.id, rows)
                self._pushed(batch)
                return
            except StudioError as error:
                if not error.retry and (pause is None or not _is_worth(pause, error)):
                    self._refused(batch, error)
                    return
                if pause is None or self._stop.asked:
                    raise PrelabelError(f"{error}; the same command goes on from here") from None
                LOG.warning("%s; another try in %.0f s", error, pause)
                self._stop.rest(pause)

    def _missing(self, batch: Mapping[int, _Waiting]) -> dict[int, _Waiting]:
        """The part of a batch that Label Studio does not hold yet; notes the rest."""
        tasks = {int(task["id"]): task for task in self._tasks(list(batch))}
        stored = {t: each for t, each in batch.items() if self._is_stored(tasks.get(t))}
        gone = [each.name for t, each in batch.items() if t not in tasks]
        reason = f"the task is no longer in project {self._project.id}"
        self._pushed(stored)
        self._journal.write([{"failed": name, "reason": reason} for name in gone])
        return {t: each for t, each in batch.items() if t in tasks and t not in stored}

    def _tasks(self, ids: Sequence[int]) -> list[Json]:
        return self._project.studio.tasks_of(self._project.id, ids) if ids else []

    def _is_stored(self, task: Json | None) -> bool:
        return task is not None and self._project.has_prediction(task)

    def _pushed(self, batch: Mapping[int, _Waiting]) -> None:
        if batch:
            self._journal.write([{"pushed": [each.name for each in batch.values()]}])
            self._count += len(batch)

    def _refused(self, batch: dict[int, _Waiting], error: StudioError) -> None:
        """Find out which tasks of a batch Label Studio does not take.

        Raises:
            PrelabelError: it takes none, as without rights.
        """
        if error.status not in (400, 413):
            raise PrelabelError(f"{error}; then the same command goes on from here") from None
        if len(batch) == 1:
            (only,) = batch.values()
            self._journal.write([{"failed": only.name, "reason": str(error)}])
            return
        ids = list(batch)
        for half in (ids[: len(ids) // 2], ids[len(ids) // 2 :]):
            self._push({task: batch[task] for task in half})
