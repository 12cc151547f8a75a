"""The masks that a click may correct: those that the task holds, each in its newest state.

Drafts, annotations and predictions travel with every prompt, up to tens of megabytes. So a mask is
decoded only when its label and size fit, newest first, and only as many as the budget allows.

An annotation is made of a prediction, a draft of either, and their regions keep their ids. So of
the regions with one id the newest alone is what a person sees, and what is missing in a draft or
an annotation was deleted there: what it was made of is not searched.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np

from backend.project.pictures import Pictures
from backend.regions.allowance import HELD, Allowance, SpentError
from backend.regions.geometry import MOST_PIXELS, RegionError, form_of, size_of, value_of
from backend.regions.results import identity_of, labels_beside, labels_of
from backend.regions.shapes import Size
from dgl_rsis.runs import Runs, from_runs, lengths, to_runs
from dgl_rsis.types import Json
from workers.messages import Point

LOG = logging.getLogger(__name__)

# What a click may correct. Rectangles and ellipses are no masks that somebody wants better, but
# what smart tools were asked with.
CORRECTED = frozenset({"brush", "bitmask", "polygon"})

PATCH = 8  # neighbours by corners, too, as in outlines
LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class View:
    """What a prompt sees of a task, and how.

    Attributes:
        names: what Label Studio stores for a label → its name, where that differs.
        pictures: how the task holds several pictures.
        number: of the picture that the prompt is on, from 0.
        count: of all pictures of the task.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    pictures: Pictures = field(default_factory=Pictures)
    number: int = 0
    count: int = 1

    def shows(self, region: Json) -> bool:
        """Whether a region lies on the picture of the prompt."""
        return self.count == 1 or self.pictures.number_of(region, self.count) == self.number

    def labels(self, names: Iterable[str]) -> list[str]:
        """The names of labels as they are stored."""
        return list(dict.fromkeys(self.names.get(name, name) for name in names))


WHOLE = View()


@dataclass(frozen=True)
class StoredMask:
    """A mask that Label Studio holds.

    Attributes:
        region: as Label Studio has it.
        labels: its own, or those of the result beside it (`<Labels>` and a shape are two).
        runs: its pixels.
    """

    region: Json
    labels: tuple[str, ...]
    runs: Runs

    @property
    def label(self) -> str:
        """The first of its labels; empty when it has none."""
        return next(iter(self.labels), "")


def stored(
    regions: Sequence[Json],
    size: Size,
    wanted: Callable[[Sequence[str]], bool],
    view: View = WHOLE,
    allowance: Allowance | None = None,
) -> Iterator[StoredMask]:
    """Those of some regions that are masks, decoded one by one as they are asked for.

    Args:
        regions: of one task, see `newest_regions`.
        size: height and width of the prompt's image, pixels.
        wanted: whether a region may be the one that is sought, by its labels.
        view: says how labels are called.
        allowance: of the prompt: where the search ends, which the log says; None for one of its
            own.
    """
    allowance = allowance or Allowance()
    beside = labels_beside(regions)
    for number, region in enumerate(regions):
        if number >= allowance.budget.regions or allowance.spent:
            LOG.info("not all stored masks were searched for the one that a click corrects")
            return
        apart = beside.get(identity_of(region), ()) if beside else ()
        labels = view.labels((*labels_of(region), *apart))
        if not _is_held(region, size) or not wanted(labels):
            continue
        try:
            yield StoredMask(region, tuple(labels), allowance.mask(region, size))
        except SpentError as error:
            LOG.info("a stored mask is not searched for a click: %s", error)
        except RegionError as error:
            LOG.info("a stored mask cannot be read: %r", str(error))


def newest_regions(
    task: Mapping[str, Any], recent: Sequence[Json] = (), view: View = WHOLE
) -> Iterator[Json]:
    """What a prompt sees of a task, each region in its newest state: drafts first, newest first.

    Before them comes what was suggested a moment ago. Whether it was accepted no draft tells yet:
    so the stored state of such a mask comes, too, for a click that the suggestion does not hold.

    Args:
        task: as Label Studio sends it.
        recent: what was answered so lately that no draft may hold it, newest first; see
            `memory.Suggestions.recent`.
        view: of the prompt.
    """
    drafts = _newest_first(task.get("drafts"))
    for suggested in recent:
        if not any(_decided(suggested, draft) for draft in drafts):
            yield from filter(view.shows, filter(is_mask, suggested["result"]))
    seen: set[str] = set()
    for state in _states(drafts, task):
        newer = frozenset(seen)
        for region in state:
            name = region.get("id")
            if isinstance(name, str):
                # What is written or chosen of a region has its id, and is as old as the region.
                if name in newer or (is_mask(region) and name in seen):
                    continue
                if is_mask(region):
                    seen.add(name)
            if view.shows(region):
                yield region


def is_mask(region: Json) -> bool:
    """Whether it is of a form that a click may correct."""
    return form_of(region) in CORRECTED


def written(regions: Iterable[Json], mask: StoredMask) -> list[Json]:
    """What somebody wrote or chose of a mask: other results under its id.

    Args:
        regions: of its task, see `newest_regions`.
        mask: one of them.
    """
    name = mask.region.get("id")
    if not isinstance(name, str):
        return []
    return [each for each in regions if each.get("id") == name and not is_mask(each)]


def holds(runs: Runs, point: Point) -> bool:
    """Whether the pixel under a point is foreground."""
    row, column = _pixel(point, runs)
    index = row * runs.width + column
    ends = np.cumsum(lengths(runs))
    return bool(np.searchsorted(ends, index, side="right") % 2)


def distance(runs: Runs, point: Point) -> float:
    """Pixels from a point to the nearest foreground pixel; no end where there is none."""
    edges = np.cumsum(lengths(runs))
    starts, ends = edges[:-1:2], edges[1::2]  # of the foreground runs, (N,) each
    if not ends.size:
        return float("inf")
    row, column = _pixel(point, runs)
    rows, first = np.divmod(starts, runs.width)
    # Of a run that goes on in the next row only the first row counts, which is near enough.
    last = np.minimum(first + (ends - starts) - 1, runs.width - 1)
    across = np.maximum(np.maximum(first - column, column - last), 0)
    return float(np.hypot(rows - row, across).min())


def parts_at(runs: Runs, points: Sequence[Point]) -> Runs:
    """The connected parts that hold at least one of the points.

    A region may hold every object of its class, and a prompt means one of them. A mask that is too
    large to be drawn stays whole.
    """
    if runs.height * runs.width > MOST_PIXELS:
        return runs
    plane = from_runs(runs)
    _, numbered = cv2.connectedComponents(plane.view(np.uint8), connectivity=PATCH)
    wanted = {int(numbered[_pixel(point, runs)]) for point in points} - {0}
    return to_runs(np.isin(numbered, list(wanted)))


def _states(drafts: Sequence[Json], task: Mapping[str, Any]) -> Iterator[list[Json]]:
    """The regions of whatever nothing newer was made of, the newest first within each kind."""
    annotations, predictions = (
        _newest_first(task.get(kind)) for kind in ("annotations", "predictions")
    )
    changed = {_id(draft, "annotation") for draft in drafts} - {None}
    made_of = {_id(each, "parent_prediction") for each in annotations} - {None}
    annotations = [each for each in annotations if _id(each, "id") not in changed]
    begun = [_time(draft) for draft in drafts if draft.get("annotation") is None]
    predictions = [
        each
        for each in predictions
        if _id(each, "id") not in made_of and not any(_time(each) < other for other in begun)
    ]
    for held in (*drafts, *annotations, *predictions):
        result = held.get("result")
        every = reversed(result if isinstance(result, list) else [])
        yield [region for region in every if isinstance(region, dict)]


def _id(held: Json, name: str) -> int | str | None:
    """Whom a draft, an annotation or a prediction names; None for nobody."""
    value = held.get(name)
    return value if isinstance(value, int | str) else None


def _decided(suggested: Json, draft: Json) -> bool:
    """Whether a draft was saved after a suggestion was accepted or rejected, and so tells which.

    While it was only suggested, the points of its prompt were there.
    """
    result = draft.get("result")
    every = result if isinstance(result, list) else []
    names = {str(region.get("id")) for region in every if isinstance(region, dict)}
    return _time(draft) > _time(suggested) and names.isdisjoint(suggested["asked_by"])


def _newest_first(held: Any) -> list[Json]:
    """What a task holds of one kind; where times are equal or missing, the last of its list."""
    every = [one for one in (held if isinstance(held, list) else []) if isinstance(one, dict)]
    return sorted(every, key=_time)[::-1]


def _time(held: Json) -> datetime:
    """When it was changed last; long ago where Label Studio does not say."""
    for name in ("updated_at", "created_at"):
        try:
            at = datetime.fromisoformat(held.get(name))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            continue
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    return LONG_AGO


def _is_held(region: Json, size: Size) -> bool:
    """Whether it is a mask of the image that holds anything."""
    held = value_of(region).get(HELD.get(form_of(region), ""))
    return (
        is_mask(region) and size_of(region) == size and isinstance(held, list | str) and held != []
    )


def _pixel(point: Point, runs: Runs) -> tuple[int, int]:
    """Row and column of the pixel under a point."""
    row, column = int(point[1] * runs.height), int(point[0] * runs.width)
    return min(row, runs.height - 1), min(column, runs.width - 1)
