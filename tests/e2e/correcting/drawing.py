"""What a person may draw next: outlines and strokes that put right what is wrong.

Whoever draws is exact only where it matters. Inside of what is of the same class, and where smaller
regions lie on top, an outline may run as is convenient: so every wrong patch is offered with more
and less of its surroundings, by more and fewer corners, as a rectangle and, if it is thin, as
strokes of a brush; and every object of the truth likewise, alone and closed over what lies in it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.morphology import skeletonize

from dgl_rsis.types import Mask
from tests.e2e.correcting.canvas import NOTHING, Canvas, Shape, shape_of
from tests.e2e.correcting.pace import Corners, Pace
from tests.e2e.correcting.patches import Patch, parts

SLACK = (0, 6, 20, 60)  # pixels around a patch, where it is of the same class
CLOSED = (0, 8, 25)  # pixels over which parts of an object are drawn as one
TOLERANCES = (2.0, 4.0, 8.0)  # pixels between a border and the polygon
STROKE = 3.0  # pixels beside the middle of a thin thing
THINNEST, THICKEST = 4.0, 50.0  # pixels of what is painted with strokes
SHORTEST = 10  # pixels of a stroke


@dataclass(frozen=True)
class Drawing:
    """Something to draw, and how long that takes a person.

    Attributes:
        shape: what it covers.
        seconds: of the person.
    """

    shape: Shape
    seconds: float


class Drawings:
    """All that may be drawn on one image; what was offered once is kept."""

    def __init__(self, truth: NDArray[np.int16], pace: Pace) -> None:
        self._truth = truth
        self._pace = pace
        self._objects = list(self._of_objects())
        self._patches: dict[tuple[int, int, int, bytes], list[Drawing]] = {}

    def best(self, canvas: Canvas, patches: list[Patch]) -> tuple[int, Drawing] | None:
        """What gains most pixels a second; None when nothing gains any."""
        drawings = list(self._objects)
        for patch in patches:
            key = (patch.label, patch.top, patch.left, np.packbits(patch.mask).tobytes())
            if key not in self._patches:
                self._patches[key] = list(self._of_patch(patch))
            drawings += self._patches[key]
        wrong = cv2.integral(canvas.wrong.view(np.uint8)).astype(np.int64)  # (H + 1, W + 1)
        bounded = [(_most(wrong, each) / each.seconds, each) for each in drawings]
        best, rate = None, 0.0
        for bound, each in sorted(bounded, key=lambda pair: -pair[0]):
            if bound <= rate:
                break
            gain = canvas.gain(each.shape)
            if gain / each.seconds > rate:
                best, rate = (gain, each), gain / each.seconds
        return best

    def _of_objects(self) -> Iterator[Drawing]:
        for label in range(int(self._truth.max()) + 1):
            own = self._truth == label
            for slack in CLOSED:
                for patch in parts(_closed(own, slack), label):
                    yield from self._outlines(patch.label, patch.mask, patch.top, patch.left)
                    if not slack:
                        yield from self._strokes(patch)
            yield from self._outlines(label, np.ones(own.shape, dtype=np.bool_), 0, 0)

    def _of_patch(self, patch: Patch) -> Iterator[Drawing]:
        pad = max(SLACK) + 2
        top, left = max(0, patch.top - pad), max(0, patch.left - pad)
        height, width = patch.mask.shape
        window = np.s_[top : patch.top + height + pad, left : patch.left + width + pad]
        truth = self._truth[window]
        free = (truth == patch.label) | (truth == NOTHING)
        mask = np.zeros(truth.shape, dtype=np.bool_)
        rows, columns = patch.top - top, patch.left - left
        mask[rows : rows + height, columns : columns + width] = patch.mask
        away = cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, 5)
        for slack in SLACK:
            yield from self._outlines(patch.label, (away <= slack) & free, top, left)
        for corners in _simple(mask):
            yield from self._polygon(patch.label, corners, mask.shape, TOLERANCES[1], top, left)
        yield from self._strokes(patch)

    def _outlines(self, label: int, mask: Mask, top: int, left: int) -> Iterator[Drawing]:
        contour = _contour(mask)
        if contour is None:
            return
        for tolerance in TOLERANCES:
            corners = _corners(contour, tolerance)
            yield from self._polygon(label, corners, mask.shape, tolerance, top, left)

    def _polygon(
        self,
        label: int,
        corners: Corners,
        size: tuple[int, ...],
        tolerance: float,
        top: int,
        left: int,
    ) -> Iterator[Drawing]:
        if len(corners) < 3:
            return
        plane = np.zeros(size, dtype=np.uint8)
        cv2.fillPoly(plane, [corners], 1)
        shape = shape_of(label, plane.view(np.bool_), top, left)
        if shape is not None:
            yield Drawing(shape, self._pace.outline(corners, tolerance))

    def _strokes(self, patch: Patch) -> Iterator[Drawing]:
        """Strokes along the middle of a thin thing: all of them at once, and one by one."""
        mask = np.pad(patch.mask, 1)
        contour = _contour(mask)
        if contour is None:
            return
        width = 2 * patch.area / max(1.0, cv2.arcLength(contour, closed=True))
        if not THINNEST <= width <= THICKEST:
            return
        middle = skeletonize(mask)
        depth = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 5)
        neighbours = cv2.filter2D(middle.astype(np.uint8), -1, np.ones((3, 3), dtype=np.uint8))
        count, numbered, statistics, _ = cv2.connectedComponentsWithStats(
            (middle & (neighbours <= 3)).astype(np.uint8)
        )
        painted, lengths = np.zeros(mask.shape, dtype=np.uint8), []
        for number in range(1, count):
            length = int(statistics[number, cv2.CC_STAT_AREA])
            if length < SHORTEST:
                continue
            stroke = numbered == number
            brush = max(1, round(float(np.median(depth[stroke]))))
            away = cv2.distanceTransform((~stroke).view(np.uint8), cv2.DIST_L2, 5)
            alone = away <= brush
            painted |= alone.view(np.uint8)
            lengths.append(1.1 * length)  # pixels along diagonals are 1.41 apart
            yield from self._painted(patch, alone, lengths[-1:])
        if len(lengths) > 1:
            yield from self._painted(patch, painted.view(np.bool_), lengths)

    def _painted(self, patch: Patch, mask: Mask, lengths: list[float]) -> Iterator[Drawing]:
        shape = shape_of(patch.label, mask[1:-1, 1:-1], patch.top, patch.left)
        if shape is not None:
            yield Drawing(shape, self._pace.strokes(lengths, STROKE))


def _most(wrong: NDArray[np.int64], drawing: Drawing) -> float:
    """How many wrong pixels there are where it lies."""
    rows, columns = drawing.shape.window
    inside = int(
        wrong[rows.stop, columns.stop]
        - wrong[rows.start, columns.stop]
        - wrong[rows.stop, columns.start]
        + wrong[rows.start, columns.start]
    )
    return float(min(inside, drawing.shape.area))


def _closed(mask: Mask, pixels: int) -> Mask:
    if not pixels:
        return mask
    near = cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, 5) <= pixels
    deep = cv2.distanceTransform(near.view(np.uint8), cv2.DIST_L2, 5)
    closed: Mask = (deep > pixels) | mask
    return closed


def _contour(mask: Mask) -> NDArray[np.int32] | None:
    contours, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    return max(contours, key=cv2.contourArea, default=None)  # type: ignore[return-value]


def _simple(mask: Mask) -> Iterator[Corners]:
    """The smallest rectangle around it, and its convex hull."""
    contour = _contour(mask)
    if contour is None:
        return
    yield np.round(cv2.boxPoints(cv2.minAreaRect(contour))).astype(np.int32)
    yield _corners(cv2.convexHull(contour).astype(np.int32), TOLERANCES[1])


def _corners(contour: NDArray[np.int32], tolerance: float) -> Corners:
    """Those of a contour that keep it to a tolerance (Douglas and Peucker)."""
    kept = cv2.approxPolyDP(contour, tolerance, closed=True)
    return kept.reshape(-1, 2).astype(np.int32)
