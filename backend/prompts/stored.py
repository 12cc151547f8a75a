"""The mask that a click corrects: one that Label Studio already holds for the task.

Drafts, annotations and predictions travel with every prompt, up to tens of megabytes. So a mask is
decoded only when its label and size fit, newest first, and only as many as the budget allows.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from backend.regions import reading
from backend.regions.geometry import MOST_PIXELS, RegionError, form_of, size_of, value_of
from backend.regions.shapes import Size
from dgl_rsis.runs import Runs, from_runs, lengths, to_runs
from dgl_rsis.types import Json
from workers.messages import Point

LOG = logging.getLogger(__name__)

# What a click may correct, and what of it tells how much there is to decode. Rectangles and
# ellipses are no masks that somebody wants better, but what smart tools were asked with.
HELD = {"brush": "rle", "bitmask": "imageDataURL", "polygon": "points"}

PATCH = 8  # neighbours by corners, too, as in outlines


@dataclass(frozen=True)
class Budget:
    """How much is decoded for one prompt.

    Attributes:
        regions: looked at.
        masks: decoded.
        items: bytes of brush RLE, characters of PNG, or corners, of all decoded masks in sum.
    """

    regions: int = 20_000
    masks: int = 12
    items: int = 2_000_000


BUDGET = Budget()


def stored(
    task: Mapping[str, Any], label: str, size: Size, budget: Budget = BUDGET
) -> Iterator[Runs]:
    """Masks of a label, decoded one by one as they are asked for: drafts first, newest first.

    Args:
        task: as Label Studio sends it.
        label: of the prompt; empty for any.
        size: height and width of the prompt's image, pixels.
        budget: where the search ends, which the log says.
    """
    left, items = budget.masks, budget.items
    for number, region in enumerate(_regions(task)):
        if number >= budget.regions or left <= 0:
            LOG.info("not all stored masks were searched for the one that a click corrects")
            return
        cost = _cost(region, label, size)
        if cost is None or cost > items:
            continue
        left, items = left - 1, items - cost
        try:
            yield reading.mask(region, size)
        except RegionError as error:
            LOG.info("a stored mask cannot be read: %r", str(error))


def holds(runs: Runs, point: Point) -> bool:
    """Whether the pixel under a point is foreground."""
    row, column = _pixel(point, runs)
    index = row * runs.width + column
    ends = np.cumsum(lengths(runs))
    return bool(np.searchsorted(ends, index, side="right") % 2)


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


def _regions(task: Mapping[str, Any]) -> Iterator[Json]:
    """All stored regions, the newest first within each kind."""
    for kind in ("drafts", "annotations", "predictions"):
        held = task.get(kind)
        for one in reversed(held if isinstance(held, list) else []):
            result = one.get("result") if isinstance(one, dict) else None
            for region in reversed(result if isinstance(result, list) else []):
                if isinstance(region, dict):
                    yield region


def _cost(region: Json, label: str, size: Size) -> int | None:
    """What decoding it costs; None when it cannot be the mask."""
    if (label and label not in reading.labels_of(region)) or size_of(region) != size:
        return None
    held = value_of(region).get(HELD.get(form_of(region), ""))
    return len(held) if isinstance(held, list | str) and held else None


def _pixel(point: Point, runs: Runs) -> tuple[int, int]:
    """Row and column of the pixel under a point."""
    row, column = int(point[1] * runs.height), int(point[0] * runs.width)
    return min(row, runs.height - 1), min(column, runs.width - 1)
