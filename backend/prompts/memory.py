"""What this process remembers of earlier prompts, since Label Studio does not send it again.

The sign of a keypoint comes while it is the newest. And a mask that somebody just accepted is in no
draft yet: the editor saves one every five seconds.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from backend.project.tasks import LONGEST_ID
from dgl_rsis.types import Json
from workers.messages import Point

REMEMBERED_SIGNS = 20_000
REMEMBERED_REASONS = 20_000
REMEMBERED_TASKS = 64  # each with a few masks
REMEMBERED_ANSWERS = 4  # of a task
UNSAVED_SECONDS = 6.0  # the editor's draft, and the way here
SHOWN_SECONDS = 60.0  # in which somebody who looks at a suggestion asks for all things like it


class Signs:
    """The signs of the last keypoints, by task and region. Safe for threads."""

    def __init__(self, most: int = REMEMBERED_SIGNS) -> None:
        self._most = most
        self._signs: OrderedDict[tuple[str, str], bool] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, task_id: str, region: Json) -> bool:
        """Whether a keypoint is positive; remembers one that says so."""
        key = (task_id, str(region.get("id"))[:LONGEST_ID])
        said = region.get("is_positive")
        with self._lock:
            if not isinstance(said, bool | int):
                return self._signs.get(key, True)
            self._signs[key] = bool(said)
            self._signs.move_to_end(key)
            while len(self._signs) > self._most:
                self._signs.popitem(last=False)
            return bool(said)


@dataclass(frozen=True)
class _Suggestion:
    """One answer to a prompt.

    Attributes:
        regions: what was suggested.
        asked_by: ids of the regions of its prompt.
        points: its positive points, shares of the image.
        at: when, seconds since the epoch.
    """

    regions: tuple[Json, ...]
    asked_by: frozenset[str]
    points: tuple[Point, ...]
    at: float


class Suggestions:
    """The last answers to prompts, by task. Safe for threads.

    Args:
        clock: seconds since the epoch, to be compared with Label Studio's.
        most: tasks.
        answers: of a task.
        seconds: after which they are forgotten.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        most: int = REMEMBERED_TASKS,
        answers: int = REMEMBERED_ANSWERS,
        seconds: float = UNSAVED_SECONDS,
    ) -> None:
        self._clock = clock
        self._most = most
        self._answers = answers
        self._seconds = seconds
        self._last: OrderedDict[str, list[_Suggestion]] = OrderedDict()
        self._lock = threading.Lock()

    def remember(
        self,
        task_id: str,
        regions: Sequence[Json],
        asked_by: Collection[str],
        points: Sequence[Point] = (),
    ) -> None:
        """Note an answer.

        Args:
            task_id: Label Studio's id of the task.
            regions: what is suggested.
            asked_by: ids of the regions of its prompt.
            points: its positive points, shares of the image.
        """
        now = self._clock()
        suggestion = _Suggestion(tuple(regions), frozenset(asked_by), tuple(points), now)
        with self._lock:
            for other, given in list(self._last.items()):  # masks are large: none is kept for long
                if given[0].at < now - self._seconds:
                    del self._last[other]
            last = [suggestion, *self._last.get(task_id, [])]
            self._last[task_id] = last[: self._answers]
            self._last.move_to_end(task_id)
            while len(self._last) > self._most:
                self._last.popitem(last=False)

    def recent(self, task_id: str, asked_by: Collection[str]) -> list[Json]:
        """What was suggested so lately that no draft may hold it, and is not pending; newest first.

        The keypoints of a prompt go when its suggestion is accepted or rejected. While one of them
        is there, the suggestion is still pending, and what is asked now takes its place.

        Args:
            task_id: Label Studio's id of the task.
            asked_by: ids of the regions of the present prompt.

        Returns:
            Each as Label Studio has drafts: `result` and `updated_at`; and `asked_by` and `points`,
            see `remember`.
        """
        since = self._clock() - self._seconds
        with self._lock:
            last = list(self._last.get(task_id, []))
        return [
            {
                "result": list(suggestion.regions),
                "updated_at": datetime.fromtimestamp(suggestion.at, UTC).isoformat(),
                "asked_by": suggestion.asked_by,
                "points": suggestion.points,
            }
            for suggestion in last
            if suggestion.at >= since and suggestion.asked_by.isdisjoint(asked_by)
        ]


class Reasons:
    """The tasks whose last prompt got no mask, and said why. Safe for threads."""

    def __init__(self, most: int = REMEMBERED_REASONS) -> None:
        self._most = most
        self._said: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, task_id: str, *, said: bool) -> bool:
        """Note whether the present answer says a reason; returns whether the last one did."""
        with self._lock:
            before = task_id in self._said
            if said:
                self._said[task_id] = None
                self._said.move_to_end(task_id)
                while len(self._said) > self._most:
                    self._said.popitem(last=False)
            else:
                self._said.pop(task_id, None)
            return before


@dataclass(frozen=True)
class Memory:
    """What is remembered of prompts.

    Attributes:
        signs: of keypoints.
        suggestions: the last answers.
        shown: the last answer alone, for longer: of what it shows somebody may want all.
        reasons: which of them said why there is none.
    """

    signs: Signs = field(default_factory=Signs)
    suggestions: Suggestions = field(default_factory=Suggestions)
    shown: Suggestions = field(
        default_factory=lambda: Suggestions(answers=1, seconds=SHOWN_SECONDS)
    )
    reasons: Reasons = field(default_factory=Reasons)
