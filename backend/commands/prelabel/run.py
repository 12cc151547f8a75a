"""Bulk pre-labelling: every item of a source gets its prediction, once, however often it is run.

Sources, engines and sinks are strangers to each other; this file alone knows the order. What is
done stands in the journal of the output folder, so a run may be killed at any point: the next one
goes on, cuts off what was written without being noted, and takes from the queue what the workers
finished in between.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from backend.commands.journal import Journal
from backend.commands.prelabel.engines import Engine
from backend.commands.prelabel.items import Answered, PrelabelItem, Stop
from backend.commands.prelabel.requests import Requests
from backend.commands.prelabel.sources import Source
from backend.commands.progress import Meter
from backend.project.label_config import LabelConfig
from backend.regions.writing import to_predictions
from dgl_rsis.types import Json
from workers.messages import SegmentReply
from workers.queue.replies import Failure

LOG = logging.getLogger(__name__)


INTERRUPTED = 130  # exit status, as of a program that Ctrl-C ended
SHOWN_FAILURES = 20
FAILED = "failed.json"


class Sink(Protocol):
    """Where predictions go; notes in the journal what has arrived."""

    def write(self, predicted: Sequence[tuple[PrelabelItem, list[Json]]]) -> None:
        """Take the predictions of some items."""

    def close(self, *, finished: bool) -> None:
        """Put down what is in work; the run is finished, or stopped to go on later."""

    def abandon(self) -> None:
        """Leave what is in work to the next run."""


@dataclass(frozen=True)
class Prelabel:
    """One run.

    Attributes:
        source: of the items.
        config: the vocabulary, and the form of the predictions.
        journal: of the output folder.
        engine: answers.
        requests: what it is asked.
        sink: takes the predictions.
        stop: asks the run to end.
        retry_failed: take items again that failed in an earlier run.
        by_margin: write the margin as the predictions' score, see `writing.to_predictions`.
    """

    source: Source
    config: LabelConfig
    journal: Journal
    engine: Engine
    requests: Requests
    sink: Sink
    stop: Stop
    retry_failed: bool = False
    by_margin: bool = False

    def run(self, meter: Meter) -> int:
        """Do what is left to do.

        Returns:
            Exit status: 0, 1 when some items failed in this or an earlier run, or `INTERRUPTED`.

        Raises:
            PrelabelError: queue or Label Studio did not let the run go on; what is done is kept.
        """
        try:
            with meter:
                for answered in self.engine.answers(self.requests, self._left(meter)):
                    self._take(answered, meter)
                self.sink.close(finished=not self.stop.asked)
                if self.requests.overlaps is not None and not self.stop.asked:
                    self.requests.overlaps.forget()
        finally:
            self.sink.abandon()
            failed = self._list_failed()
        progress = self.journal.progress
        LOG.info(
            "%d done now, %d before, %d failed; %.1f a second",
            meter.done, meter.before, len(failed), meter.rate,
        )  # fmt: skip
        if self.stop.asked:
            LOG.warning("stopped with %d done: the same command goes on", len(progress.done))
            return INTERRUPTED
        return 1 if failed else 0

    def _left(self, meter: Meter) -> Iterator[PrelabelItem]:
        """The items that this run has to do."""
        progress = self.journal.progress
        for item in self.source.items():
            if item.predicted or item.name in progress.done:
                if item.name in progress.failed:  # somebody else has predicted it meanwhile
                    self.journal.write([{"pushed": [item.name]}])
                meter.count(before=1)
            elif item.name in progress.failed and not self.retry_failed:
                meter.count(before=1)
            else:
                yield item

    def _take(self, answered: Sequence[Answered], meter: Meter) -> None:
        failed = [each for each in answered if isinstance(each.answer, Failure)]
        self.journal.write([_failure(each) for each in failed])
        predicted = [
            (
                each.item,
                to_predictions(
                    self._settled(each.item, each.answer),
                    self.config,
                    self.requests.model_version,
                    by_margin=self.by_margin,
                ),
            )
            for each in answered
            if not isinstance(each.answer, Failure)
        ]
        if predicted:
            self.sink.write(predicted)
            self.engine.taken(
                [a.key for a in answered if a.key and not isinstance(a.answer, Failure)]
            )
        meter.count(done=len(predicted), failed=len(failed))

    def _settled(self, item: PrelabelItem, reply: SegmentReply) -> SegmentReply:
        """The reply, in agreement with those to the tiles beside it."""
        overlaps = self.requests.overlaps
        return reply if overlaps is None else overlaps.settled(item, reply)

    def _list_failed(self) -> dict[str, str]:
        """All items that have failed, in `failed.json` and the first of them in the log."""
        failed = self.journal.progress.failed
        path = self.journal.path.with_name(FAILED)
        if not failed:
            path.unlink(missing_ok=True)
            return failed
        rows = [{"item": name, "reason": reason} for name, reason in failed.items()]
        path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", "utf-8")
        for row in rows[:SHOWN_FAILURES]:
            LOG.error("failed: %s: %s", _short(row["item"]), row["reason"])
        if len(rows) > SHOWN_FAILURES:
            LOG.error("… and %d more, see %s", len(rows) - SHOWN_FAILURES, path)
        LOG.error("%d failed, listed in %s; --retry-failed takes them again", len(rows), path)
        return failed


def _failure(answered: Answered) -> Json:
    assert isinstance(answered.answer, Failure)
    return {"failed": answered.item.name, "reason": answered.answer.message}


def _short(name: str, most: int = 120) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
