"""Polygons and ellipses → runs: a pixel belongs to a shape when its centre lies inside.

Row by row and without a plane of the image's size, so that the web process, which learns from
annotations, holds no more than their outlines. (rasterio draws polygons by the same rule, but is
not there on the web side.)
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.runs import Runs

Size = tuple[int, int]  # height, width
Points = NDArray[np.float64]  # (N, 2) XY, pixels; 0 is the outer edge of the first pixel
Ints = NDArray[np.int64]

MOST_CROSSINGS = 2**20  # of rows and sides that are computed in one go


def polygon(corners: Points, size: Size) -> Runs:
    """The inside of a polygon, by the even-odd rule.

    Args:
        corners: (N, 2); closed without repeating the first.
        size: of the image, pixels.
    """
    width = size[1]
    starts, ends = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for top, bottom in _portions(corners, size):
        row, x = _crossings(corners, top, bottom)
        order = np.lexsort((x, row))
        # Sides hold their upper and not their lower end: each row crosses an even number of them.
        edges = np.clip(np.ceil(x[order] - 0.5), 0, width).astype(np.int64) + row[order] * width
        starts.append(edges[0::2])
        ends.append(edges[1::2])
    return _runs(np.concatenate(starts), np.concatenate(ends), size)


def crossings(corners: Points, size: Size) -> int:
    """How often the sides of a polygon cross the middle of a row: what drawing it costs."""
    first, behind = _rows(corners, 0, size[0])
    return int((behind - first).sum())


def rectangle(origin: tuple[float, float], extent: tuple[float, float], turn: float) -> Points:
    """The corners of a rectangle, (4, 2).

    Args:
        origin: x and y of the corner about which it is turned.
        extent: width and height; negative ones reach to the left and up.
        turn: clockwise, radians.
    """
    cosine, sine = math.cos(turn), math.sin(turn)
    along = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * extent  # (4, 2)
    corners: Points = along @ np.array([(cosine, sine), (-sine, cosine)]) + origin
    return corners


def ellipse(
    centre: tuple[float, float], radii: tuple[float, float], turn: float, size: Size
) -> Runs:
    """The inside of an ellipse.

    Args:
        centre: x and y.
        radii: along its own x and y, not 0.
        turn: clockwise, radians.
        size: of the image, pixels.
    """
    height, width = size
    cosine, sine = math.cos(turn), math.sin(turn)
    flat, steep = radii[0] ** -2, radii[1] ** -2
    # Along the row y: a x² + 2 b x + c ≤ 0, x and y from the centre.
    y = np.arange(height) + 0.5 - centre[1]  # (H,)
    a = cosine**2 * flat + sine**2 * steep
    b = y * (cosine * sine * (flat - steep))
    c = y**2 * (sine**2 * flat + cosine**2 * steep) - 1
    inside = b**2 - a * c
    rows: Ints = np.flatnonzero(inside >= 0)
    half, middle = np.sqrt(inside[rows]) / a, centre[0] - b[rows] / a
    first = np.clip(np.ceil(middle - half - 0.5), 0, width).astype(np.int64)
    last = np.clip(np.floor(middle + half + 0.5), 0, width).astype(np.int64)
    return _runs(rows * width + first, rows * width + np.maximum(first, last), size)


def _portions(corners: Points, size: Size) -> Iterator[tuple[int, int]]:
    """Rows, [top, bottom), whose crossings are computed in one go; those without are left out."""
    height = size[0]
    first, behind = _rows(corners, 0, height)
    steps = np.bincount(first, minlength=height + 1) - np.bincount(behind, minlength=height + 1)
    before = np.concatenate([[0], np.cumsum(np.cumsum(steps[:height]))])  # (H + 1,) crossings
    top = int(np.searchsorted(before, 0, side="right")) - 1
    while top < height and before[top] < before[-1]:
        bottom = int(np.searchsorted(before, before[top] + MOST_CROSSINGS, side="right")) - 1
        bottom = min(max(bottom, top + 1), height)
        yield top, bottom
        top = bottom


def _rows(corners: Points, top: int, bottom: int) -> tuple[Ints, Ints]:
    """Of each side, the first row whose middle it crosses and the one behind the last, (N,)."""
    ys = corners[:, 1], np.roll(corners[:, 1], -1)
    first, behind = (
        np.clip(np.ceil(end(*ys) - 0.5), top, bottom).astype(np.int64)
        for end in (np.minimum, np.maximum)
    )
    return first, behind


def _crossings(corners: Points, top: int, bottom: int) -> tuple[Ints, Points]:
    """Where the middles of some rows cross the sides: rows and x, (n,) each."""
    start, end = corners, np.roll(corners, -1, axis=0)
    upper = np.where((start[:, 1] <= end[:, 1])[:, None], start, end)  # (N, 2)
    lower = np.where((start[:, 1] <= end[:, 1])[:, None], end, start)
    first, behind = _rows(corners, top, bottom)
    count = behind - first
    side = np.repeat(np.arange(len(corners)), count)  # (n,)
    row: Ints = np.arange(len(side)) - np.repeat(np.cumsum(count) - count, count) + first[side]
    run, rise = (lower - upper)[side].T
    return row, upper[side, 0] + (row + 0.5 - upper[side, 1]) * run / rise


def _runs(starts: Ints, ends: Ints, size: Size) -> Runs:
    """Runs of pixels [start, end) of the flat image, in order and apart or touching."""
    some = starts < ends
    starts, ends = starts[some], ends[some]
    apart = starts[1:] > ends[:-1]
    starts = starts[np.concatenate([[True] * bool(len(starts)), apart]).astype(np.bool_)]
    ends = ends[np.concatenate([apart, [True] * bool(len(ends))]).astype(np.bool_)]
    pixels = size[0] * size[1]
    bounds = np.stack([starts, ends], axis=1).reshape(-1)
    counts = np.diff(np.concatenate([[0], bounds, [pixels]])).tolist()
    return Runs(*size, tuple(counts[:-1] if len(bounds) and bounds[-1] == pixels else counts))
