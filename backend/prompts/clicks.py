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
- The mask to correct is the stored one of the prompt's label that holds the newest click, else one
  that holds another click of the prompt. Of that mask the touched parts are corrected and the
  others stay: a region may hold every object of its class, and a prompt means one of them.
- A negative click that lies in a mask of another label says which class the place belongs to: that
  mask is a part of the correction, too, and so is the mask of the prompt's label that lies nearest
  where none holds a click.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from backend.project.tasks import TaskError
from backend.prompts import stored
from backend.prompts.memory import Signs
from backend.prompts.stored import WHOLE, StoredMask, View
from backend.regions import geometry
from backend.regions.allowance import Allowance
from backend.regions.shapes import Size
from dgl_rsis.runs import Runs
from dgl_rsis.types import Json
from workers.messages import Point

MOST_POINTS = 500


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
class Correction:
    """What is to become another mask.

    Attributes:
        target: the mask that is corrected.
        prior: its parts that the clicks touch: what the answer takes the place of.
        others: masks of other labels that hold a negative click, newest first.
        written: what somebody wrote or chose of these masks, results under their ids.
    """

    target: StoredMask
    prior: Runs
    others: tuple[StoredMask, ...] = ()
    written: tuple[Json, ...] = ()


@dataclass(frozen=True)
class Clicks:
    """The clicks of the present prompt.

    Attributes:
        positive: x and y, shares of the image.
        negative: x and y, shares of the image.
        correction: what they correct; None when they begin anew.
    """

    positive: tuple[Point, ...] = ()
    negative: tuple[Point, ...] = ()
    correction: Correction | None = None


def read(
    keypoints: Sequence[Json],
    regions: Sequence[Json],
    label: str,
    signs: Signs,
    task_id: str,
    view: View = WHOLE,
    allowance: Allowance | None = None,
) -> Clicks:
    """The clicks of a prompt.

    Args:
        keypoints: regions of one label, the newest last.
        regions: of the task, see `stored.newest_regions`.
        label: of the prompt; empty for none.
        signs: of earlier calls.
        task_id: Label Studio's id of the task.
        view: of the prompt.
        allowance: of the prompt, for the masks of the task; None for one of its own.

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
    clicks = [
        Click(
            geometry.point(region),
            signs.of(task_id, region),
            isinstance(region.get("is_positive"), bool | int),
        )
        for region in keypoints
    ]
    size = geometry.size_of(keypoints[-1])
    held = None if size is None else _Held(regions, size, view, allowance or Allowance())
    masks = [] if held is None else _masks(clicks, held, label)
    kept = _of_the_newest(clicks, masks)
    return Clicks(
        tuple(click.at for click in kept if click.positive),
        tuple(click.at for click in kept if not click.positive),
        None if held is None else _correction(kept, masks, held, label),
    )


@dataclass(frozen=True)
class _Held:
    """What a task holds.

    Attributes:
        regions: see `stored.newest_regions`.
        size: of the image, pixels.
        view: of the prompt.
        allowance: of the prompt.
    """

    regions: Sequence[Json]
    size: Size
    view: View
    allowance: Allowance

    def masks(self, wanted: Callable[[Sequence[str]], bool]) -> Iterator[StoredMask]:
        """Those that are wanted by their labels."""
        return stored.stored(self.regions, self.size, wanted, self.view, self.allowance)


def _masks(clicks: Sequence[Click], held: _Held, label: str) -> list[StoredMask]:
    """The stored masks that hold clicks, newest first; other clicks' only where they matter."""
    masks = []
    newest = clicks[-1].at
    others = any(not click.present for click in clicks[:-1])
    for mask in held.masks(lambda names: _has(names, label)):
        if stored.holds(mask.runs, newest):
            masks.append(mask)
            if not others:
                break
        elif any(stored.holds(mask.runs, click.at) for click in clicks[:-1]):
            masks.append(mask)
    return masks


def _of_the_newest(clicks: Sequence[Click], masks: Sequence[StoredMask]) -> list[Click]:
    """The clicks of the newest one's prompt."""
    newest = clicks[-1]
    mine = next((mask for mask in masks if stored.holds(mask.runs, newest.at)), None)

    def counts(click: Click) -> bool:
        if click.present or click is newest or (mine is None and not newest.positive):
            return True
        if mine is not None and stored.holds(mine.runs, click.at):
            return True
        return not any(stored.holds(mask.runs, click.at) for mask in masks)

    return [click for click in clicks if counts(click)]


def _correction(
    clicks: Sequence[Click], masks: Sequence[StoredMask], held: _Held, label: str
) -> Correction | None:
    """What the clicks of one prompt correct.

    Args:
        clicks: of the prompt, the newest last.
        masks: those of its label that hold clicks.
        held: by the task.
        label: of the prompt; empty for none.
    """
    points = [click.at for click in clicks]
    negative = [click.at for click in clicks if not click.positive]
    target = _held(clicks, masks)
    others: tuple[StoredMask, ...] = ()
    own = label or (target.label if target else "")
    if own and negative:
        others = _others(negative, held, own)
    prior: Runs | None = None
    if target is not None:
        prior = stored.parts_at(target.runs, points)
    elif others and len(negative) == len(points):
        target = _nearest(negative[-1], held, own)
        prior = None if target is None else target.runs
    if target is None or prior is None:
        return None
    written = [each for mask in (target, *others) for each in stored.written(held.regions, mask)]
    return Correction(target, prior, others, tuple(written))


def _others(negative: Sequence[Point], held: _Held, label: str) -> tuple[StoredMask, ...]:
    """The masks of other labels that hold a negative click, each in one state."""
    others: dict[str, StoredMask] = {}
    for number, mask in enumerate(held.masks(lambda names: _has_other(names, label))):
        if any(stored.holds(mask.runs, point) for point in negative):
            others.setdefault(str(mask.region.get("id", f"?{number}")), mask)
    return tuple(others.values())


def _held(clicks: Sequence[Click], masks: Sequence[StoredMask]) -> StoredMask | None:
    """The stored mask that holds the newest click that any mask holds."""
    for click in reversed(clicks):
        for mask in masks:
            if stored.holds(mask.runs, click.at):
                return mask
    return None


def _nearest(point: Point, held: _Held, label: str) -> StoredMask | None:
    """The stored mask of a label that lies nearest to a point."""
    masks = held.masks(lambda names: _has(names, label))
    return min(masks, key=lambda mask: stored.distance(mask.runs, point), default=None)


def _has(names: Sequence[str], label: str) -> bool:
    """Whether a label is among some; empty for any."""
    return not label or label in names


def _has_other(names: Sequence[str], label: str) -> bool:
    """Whether there are labels, and not this one among them."""
    return bool(names) and label not in names
