"""Masks as shapes: measured once for an image, read by every geometry field. [ours]."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dgl_rsis.types import Floats, Mask

Indices = NDArray[np.intp]
Integers = NDArray[np.int64]
Doubles = NDArray[np.float64]
GRID = 256  # most cells along a side of the grid on which distances are measured


@dataclass(frozen=True)
class Cells:
    """Masks on a coarse grid, one after the other.

    Attributes:
        index: (K,) the cells that they touch, row-major; mask i has those from starts[i] on.
        share: (K,) float32 in [0, 1], how much of its mask lies in a cell.
        starts: (N,) first entry of each mask.
    """

    index: Indices
    share: Floats
    starts: Indices


@dataclass(frozen=True)
class Shapes:
    """N masks in pixels of their image, (H, W); x to the right, y down.

    Attributes:
        centroids: (N, 2) float32, x and y; the middle of the image for an empty mask.
        boxes: (N, 4) float32, XYXY, right and bottom edge excluded; zeros for an empty mask.
        areas: (N,) float32, square pixels.
        sides: (N, 2) float32, the long and the short side of the rectangle of the same second
            moments: length and width whatever the direction.
        crops: N masks cut to their boxes, at the size that the provider worked at: views.
        origins: (N, 2) int64, x and y of the first pixel of each crop.
        height, width: H and W.
        rows, columns: h and w, the size of the uncut masks.
    """

    centroids: Floats
    boxes: Floats
    areas: Floats
    sides: Floats
    crops: tuple[Mask, ...]
    origins: Integers
    height: int
    width: int
    rows: int
    columns: int

    def __len__(self) -> int:
        return len(self.crops)

    def __iter__(self) -> Iterator["Shapes"]:
        """Each of them alone."""
        return (self.take([i]) for i in range(len(self)))

    def take(self, chosen: Sequence[int] | Indices) -> "Shapes":
        """Some of them, in the order given."""
        index = np.asarray(chosen, dtype=np.intp)
        return Shapes(
            self.centroids[index],
            self.boxes[index],
            self.areas[index],
            self.sides[index],
            tuple(self.crops[i] for i in index.tolist()),
            self.origins[index],
            self.height,
            self.width,
            self.rows,
            self.columns,
        )

    @property
    def places(self) -> Floats:
        """(N, 2) float32 in [0, 1], centroids as shares of the image's width and height."""
        size = np.array([self.width, self.height], dtype=np.float32)
        places: Floats = self.centroids / size
        return places

    @property
    def spans(self) -> Floats:
        """(N, 2) float32, width and height of the boxes."""
        spans: Floats = self.boxes[:, 2:] - self.boxes[:, :2]
        return spans

    @property
    def side(self) -> int:
        """The image's shorter side, the unit of distances."""
        return min(self.height, self.width)

    @property
    def pixel(self) -> tuple[float, float]:
        """Width and height of a pixel of the masks, in pixels of the image."""
        return self.width / self.columns, self.height / self.rows

    @property
    def extents(self) -> Integers:
        """(N, 2) int64, width and height of the crops."""
        return np.array([c.shape[::-1] for c in self.crops], np.int64).reshape(-1, 2)

    def intersections(self, crop: Mask, origin: Integers) -> Floats:
        """Common area with a further mask of the same image, exact.

        Args:
            crop: (h', w') bool, the further mask, cut to any box that holds it.
            origin: (2,) int64, x and y of the crop's first pixel.

        Returns:
            (N,) float32, square pixels.
        """
        starts = np.maximum(self.origins, origin)
        ends = np.minimum(self.origins + self.extents, origin + crop.shape[::-1])
        common = np.zeros(len(self), dtype=np.float32)
        for i in np.flatnonzero((ends > starts).all(axis=1)).tolist():
            theirs = crop[_window(starts[i] - origin, ends[i] - origin)]
            ours = self.crops[i][_window(starts[i] - self.origins[i], ends[i] - self.origins[i])]
            common[i] = np.count_nonzero(ours & theirs)
        return common * np.float32(self.pixel[0] * self.pixel[1])

    def distances(self, other: "Shapes") -> Floats:
        """Distance from each mask to the one mask of `other`.

        The mean of two: how far its nearest pixel is, and how far its pixels are in the mean. So it
        matters to touch, and of several that touch, the one that keeps closest is the nearest.
        Measured between the centres of cells, on a grid of at most 256 a side.

        Returns:
            (N,) float32, pixels of the image; infinity where a mask is empty.
        """
        if not len(self) or not other.areas[0]:
            return np.full(len(self), np.inf, dtype=np.float32)
        free = np.ones(self._grid, dtype=bool)
        free.reshape(-1)[other.cells.index] = False
        across, down = (self._stride * p for p in self.pixel)
        away = ndimage.distance_transform_edt(free, sampling=(down, across)).reshape(-1)
        cells = self.cells
        nearest = np.minimum.reduceat(away[cells.index], cells.starts)
        nearest = np.maximum(nearest - (across + down) / 2, 0)  # neighbours touch
        mean = np.add.reduceat(away[cells.index] * cells.share, cells.starts)
        return np.where(self.areas > 0, (nearest + mean) / 2, np.inf).astype(np.float32)

    @cached_property
    def cells(self) -> Cells:
        """All masks on the grid; made when a distance is first asked for."""
        parts = [self._cells_of(i) for i in range(len(self))]
        starts = np.cumsum([0, *(len(index) for index, _ in parts)])[:-1].astype(np.intp)
        index = np.concatenate([index for index, _ in parts])
        share = np.concatenate([share for _, share in parts])
        return Cells(index, share, starts)

    def _cells_of(self, i: int) -> tuple[Indices, Floats]:
        crop, stride = self.crops[i], self._stride
        if not crop.size:  # one entry for each mask keeps the sums over masks simple
            return np.zeros(1, np.intp), np.zeros(1, np.float32)
        left, top = self.origins[i].tolist()
        down = _blocks(top, crop.shape[0], stride)
        across = _blocks(left, crop.shape[1], stride)
        pixels = np.add.reduceat(crop, down, axis=0, dtype=np.int32)
        pixels = np.add.reduceat(pixels, across, axis=1)
        y, x = np.nonzero(pixels)
        index = (y + top // stride) * self._grid[1] + x + left // stride
        share = pixels[y, x] / pixels.sum()
        return index.astype(np.intp), share.astype(np.float32)

    @property
    def _grid(self) -> tuple[int, int]:
        return ceil(self.rows / self._stride), ceil(self.columns / self._stride)

    @property
    def _stride(self) -> int:
        """Pixels of the masks along a side of a cell."""
        return max(1, ceil(max(self.rows, self.columns) / GRID))


def _window(start: Integers, end: Integers) -> tuple[slice, slice]:
    """Rows and columns between two corners, each x and y."""
    return slice(int(start[1]), int(end[1])), slice(int(start[0]), int(end[0]))


def _blocks(start: int, length: int, stride: int) -> Indices:
    """Where cells begin within a crop that begins at `start`."""
    return np.concatenate([[0], np.arange(stride - start % stride, length, stride)]).astype(np.intp)


def measure(
    masks: Mask, height: int, width: int, boxes: NDArray[np.integer[Any]] | None = None
) -> Shapes:
    """Measure masks.

    Args:
        masks: (N, h, w) bool, at the size that the provider worked at.
        height: H of the image, pixels.
        width: W.
        boxes: (N, 4) integers, XYXY pixels of the image, that hold the masks, where such are known:
            nothing outside them is looked at.
    """
    rows, columns = masks.shape[1:]
    scale = np.array([width / columns, height / rows])
    if boxes is None:
        windows = [(slice(0, rows), slice(0, columns))] * len(masks)
    else:
        windows = [_window(*corners) for corners in _in_masks(boxes, scale, rows, columns)]
    cut = [_cut(mask, window) for mask, window in zip(masks, windows, strict=True)]
    crops = tuple(crop for crop, _ in cut)
    origins = np.array([origin for _, origin in cut], dtype=np.int64).reshape(-1, 2)
    ends = origins + np.array([crop.shape[::-1] for crop in crops]).reshape(-1, 2)
    areas, middles, spreads = _moments(crops)
    spreads = spreads * np.outer(scale, scale)
    sides = np.sqrt(12 * np.maximum(np.linalg.eigvalsh(spreads), 0))[:, ::-1]  # long, short
    empty = (areas == 0)[:, None]
    return Shapes(
        np.where(empty, (width / 2, height / 2), (origins + middles) * scale).astype(np.float32),
        np.hstack([origins * scale, ends * scale]).astype(np.float32),
        (areas * scale.prod()).astype(np.float32),
        np.where(empty, 0, sides).astype(np.float32),
        crops,
        origins,
        height,
        width,
        rows,
        columns,
    )


def _in_masks(
    boxes: NDArray[np.integer[Any]], scale: Doubles, rows: int, columns: int
) -> NDArray[np.int64]:
    """(N, 2, 2) int64, first and last corner of the boxes in pixels of the masks."""
    size = (columns, rows)
    starts = np.clip(np.floor(boxes[:, :2] / scale), 0, size)
    ends = np.clip(np.ceil(boxes[:, 2:] / scale), 0, size)
    return np.stack([starts, ends], axis=1).astype(np.int64)


def _cut(mask: Mask, window: tuple[slice, slice]) -> tuple[Mask, tuple[int, int]]:
    """The mask cut to its own box, and x and y of its first pixel."""
    part = mask[window]
    rows = np.flatnonzero(part.any(axis=1))
    if not len(rows):
        return mask[:0, :0], (0, 0)
    part = part[rows[0] : rows[-1] + 1]
    columns = np.flatnonzero(part.any(axis=0))
    part = part[:, columns[0] : columns[-1] + 1]
    return part, (int(window[1].start + columns[0]), int(window[0].start + rows[0]))


def _moments(crops: Sequence[Mask]) -> tuple[Doubles, Doubles, Doubles]:
    """Pixels (N,), centroids (N, 2) and covariances (N, 2, 2) of their areas, x before y."""
    areas, middles, spreads = np.zeros(len(crops)), np.zeros((len(crops), 2)), []
    for i, crop in enumerate(crops):
        pixels = crop.astype(np.float32)
        across = pixels.sum(axis=0, dtype=np.float64)
        down = pixels.sum(axis=1, dtype=np.float64)
        areas[i] = down.sum()
        count = max(areas[i], 1)
        x, y = np.arange(len(across)) + 0.5, np.arange(len(down)) + 0.5
        middles[i] = across @ x / count, down @ y / count
        x, y = x - middles[i, 0], y - middles[i, 1]
        shared = y @ (pixels @ x.astype(np.float32)) / count
        within = 1 / 12  # variance within one pixel
        spreads.append(
            [[across @ x**2 / count + within, shared], [shared, down @ y**2 / count + within]]
        )
    return areas, middles, np.array(spreads).reshape(-1, 2, 2)
