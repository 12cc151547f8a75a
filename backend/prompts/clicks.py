"""Which of the keypoints of a context are clicks of the present prompt, and with which sign.

Measured on Label Studio 1.23: a click sends every keypoint of its label in the annotation, in the
order in which they were made, also those that earlier prompts left behind; only the newest is sure
to carry `is_positive`. The rule, with what can be known of the others:

- Their signs are remembered from when they were the newest (`Signs`); one that was never seen, as
  after a restart, counts as positive.
- A keypoint that carries `is_positive` belongs to the present prompt.
- One without lies in a stored mask that does not hold the newest click: its prompt is finished, and
  it is left out. But when the newest is a negative click outside every mask, all of them count,
  since a negative click begins nothing.
- The mask to correct is the stored one that holds the newest click, else one that holds another
  click of the prompt.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.project.tasks import LONGEST_ID, TaskError, task_id_of
from backend.prompts import stored
from backend.regions import geometry
from backend.regions.shapes import Size
from dgl_rsis.runs import Runs
from dgl_rsis.types import Json
from workers.messages import Point

MOST_POINTS = 500
REMEMBERED = 20_000


class Signs:
    """The signs of the last keypoints, by task and region. Safe for threads."""

    def __init__(self, most: int = REMEMBERED) -> None:
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
class Click:
    """One keypoint.

    Attributes:
        at: x and y, shares of the image.
        positive: it lies on the object.
        present: it says itself that it belongs to the present prompt.
    """

    at: Point
    positive: bool
    present: bool


@dataclass(frozen=True)
class Clicks:
    """The clicks of the present prompt.

    Attributes:
        positive: x and y, shares of the image.
        negative: x and y, shares of the image.
        prior: the mask that they correct; None when they begin anew.
    """

    positive: tuple[Point, ...] = ()
    negative: tuple[Point, ...] = ()
    prior: Runs | None = None


def read(keypoints: Sequence[Json], task: Mapping[str, Any], label: str, signs: Signs) -> Clicks:
    """The clicks of a prompt.

    Args:
        keypoints: regions of one label, the newest last.
        task: as Label Studio sends it, with its stored masks.
        label: of the prompt; empty for none.
        signs: of earlier calls.

    Raises:
        TaskError: too many.
        RegionError: no numbers, or outside the image.
    """
    if not keypoints:
        return Clicks()
    if len(keypoints) > MOST_POINTS:
        raise TaskError(
            f"The prompt has {len(keypoints)} points; at most {MOST_POINTS} are answered: delete "
            "the keypoints that earlier prompts left behind."
        )
    task_id = task_id_of(task)
    clicks = [
        Click(
            geometry.point(region),
            signs.of(task_id, region),
            isinstance(region.get("is_positive"), bool | int),
        )
        for region in keypoints
    ]
    size = geometry.size_of(keypoints[-1])
    return _grouped(clicks, [] if size is None else _masks(clicks, task, label, size))


def _masks(clicks: Sequence[Click], task: Mapping[str, Any], label: str, size: Size) -> list[Runs]:
    """The stored masks that hold clicks, newest first; other clicks' only where they matter."""
    masks = []
    newest = clicks[-1].at
    others = any(not click.present for click in clicks[:-1])
    for runs in stored.stored(task, label, size):
        if stored.holds(runs, newest):
            masks.append(runs)
            if not others:
                break
        elif any(stored.holds(runs, click.at) for click in clicks[:-1]):
            masks.append(runs)
    return masks


def _grouped(clicks: Sequence[Click], masks: Sequence[Runs]) -> Clicks:
    """The clicks of the newest one's prompt, and the mask that they correct."""
    newest = clicks[-1]
    mine = next((runs for runs in masks if stored.holds(runs, newest.at)), None)

    def counts(click: Click) -> bool:
        if click.present or click is newest or (mine is None and not newest.positive):
            return True
        if mine is not None and stored.holds(mine, click.at):
            return True
        return not any(stored.holds(runs, click.at) for runs in masks)

    kept = [click for click in clicks if counts(click)]
    prior = mine or _prior(kept, masks)
    points = [click.at for click in kept]
    return Clicks(
        tuple(click.at for click in kept if click.positive),
        tuple(click.at for click in kept if not click.positive),
        None if prior is None else stored.parts_at(prior, points),
    )


def _prior(clicks: Sequence[Click], masks: Sequence[Runs]) -> Runs | None:
    """The stored mask that holds the newest click that any mask holds."""
    for click in reversed(clicks):
        for runs in masks:
            if stored.holds(runs, click.at):
                return runs
    return None
