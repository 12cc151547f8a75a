"""What a bulk run works on: one task each, and what came of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.messages import SegmentReply
from workers.queue.replies import Failure

LOOK_SECONDS = 0.2


class PrelabelError(ValueError):
    """The run cannot begin or go on as it was given; the message says the way out."""


class ItemError(ValueError):
    """One item cannot be asked for; the run goes on without it."""


@dataclass(frozen=True)
class PrelabelItem:
    """One task to pre-label.

    Attributes:
        name: its identity in the journal, the same in every run over the same source.
        task: as Label Studio imports it, `data` at least; with an `id` when it is stored there.
        file: the image, when it is a file of this machine; None when the task's own reference is
            what the workers read.
        problem: why it cannot be segmented, known from the start; empty for none.
        predicted: Label Studio has a prediction of this version already.
    """

    name: str
    task: Mapping[str, Any]
    file: Path | None = None
    problem: str = ""
    predicted: bool = False


@dataclass(frozen=True)
class Answered:
    """An item and its masks, or why it has none.

    Attributes:
        item: what was asked for.
        answer: what came of it.
        key: under which the queue keeps the answer; empty for none.
    """

    item: PrelabelItem
    answer: SegmentReply | Failure
    key: str = ""


@dataclass
class Stop:
    """Asks a run to end at the next safe place; set by a signal handler.

    A plain attribute: taking a lock in a signal handler could wait for ever.
    """

    asked: bool = False

    def rest(self, seconds: float) -> None:
        """Sleep in short pieces, until that is over or a stop is asked for."""
        until = time.monotonic() + seconds
        while not self.asked and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, LOOK_SECONDS))
