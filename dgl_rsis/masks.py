"""Binary masks: boxes, depths, connected components. Their run lengths are `runs`."""

import math
import mmap
from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dgl_rsis.types import Floats, Mask

Boxes = NDArray[np.integer[Any]]  # (N, 4)


def box(mask: Mask) -> tuple[int, int, int, int]:
    """Smallest box around the mask: XYXY pixels, right and bottom edge excluded.

    Raises:
        ValueError: the mask is empty.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        raise ValueError("an empty mask has no box")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def planes(count: int, height: int, width: int) -> Mask:
    """(count, height, width) bool, all False; what is never written to takes no memory.

    By mmap, since NumPy asks for huge pages, of which one plane's few rows would fill all.

    Raises:
        MemoryError: there is not so much.
    """
    shape = (count, height, width)
    if not math.prod(shape):
        return np.zeros(shape, dtype=np.bool_)
    try:  # private: what is only read of it takes no memory, either
        plain = mmap.mmap(-1, math.prod(shape), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"no memory for {count} masks of {width} × {height} pixels") from error
    return np.frombuffer(plain, dtype=np.bool_).reshape(shape)


def depth(mask: Mask) -> Floats:
    """(H, W) float32, distance to the nearest pixel outside; beyond the image is outside."""
    padded = np.pad(mask, 1).astype(np.uint8)
    distances = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distances[1:-1, 1:-1], dtype=np.float32)


def largest_share(mask: Mask) -> float:
    """The share of a mask that its largest connected part holds (8-neighbourhood); 0 if empty."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    return float(areas.max() / areas.sum()) if len(areas) else 0.0


def components(mask: Mask, min_area: int) -> Iterator[Mask]:
    """Connected parts of a mask, largest first (8-neighbourhood), one at a time.

    Args:
        mask: (H, W) bool.
        min_area: parts of fewer pixels are left out.

    Yields:
        Disjoint (H, W) bool masks.
    """
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    yield from parts(labels, min_area)


def parts(labels: NDArray[np.integer[Any]], min_area: int) -> Iterator[Mask]:
    """The numbered parts of an image, largest first, one at a time.

    Args:
        labels: (H, W), the number of each pixel's part, 0 for none.
        min_area: parts of fewer pixels are left out.

    Yields:
        Disjoint (H, W) bool masks.
    """
    boxes = ndimage.find_objects(labels)
    for number in largest(labels, min_area):
        part = np.zeros(labels.shape, dtype=np.bool_)
        window = boxes[number - 1]
        part[window] = labels[window] == number
        yield part


def largest(labels: NDArray[np.integer[Any]], min_area: int) -> list[int]:
    """The numbers of an image's parts, largest first, without those of fewer pixels.

    Args:
        labels: (H, W), the number of each pixel's part, 0 for none.
        min_area: pixels.
    """
    areas: NDArray[np.int64] = np.bincount(labels.reshape(-1), minlength=1)[1:]
    order = np.argsort(-areas, kind="stable")
    numbers: list[int] = (1 + order[areas[order] >= min_area]).tolist()
    return numbers


class Cover(NamedTuple):
    """Which masks lie on each pixel, told once for all pixels under the same masks.

    Attributes:
        cell: (H, W) of int32 or int64, the row of each pixel, 0 … U − 1.
        members: (N, U) bool, whether a mask holds the pixels of a cell.
    """

    cell: NDArray[np.integer[Any]]
    members: NDArray[np.bool_]


class DrawnMasks:
    """(N, H, W) masks that take hardly any memory: each is drawn from its cells when it is read.

    An index of masks, perhaps with one of rows and one of columns behind it, gives the array that
    the masks themselves would give.

    Args:
        cover: of the masks.
    """

    def __init__(self, cover: Cover) -> None:
        self.cover = cover
        self.shape = (len(cover.members), *cover.cell.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Mask:
        chosen, *window = index if isinstance(index, tuple) else (index,)
        drawn: Mask = self.cover.members[chosen][..., self.cover.cell[tuple(window)]]
        return drawn

    def __iter__(self) -> Iterator[Mask]:
        return (self[number] for number in range(len(self)))


def cover(masks: Mask | DrawnMasks, boxes: Boxes | None = None) -> Cover:
    """The sets of pixels that lie under the same masks: far fewer than pixels.

    Args:
        masks: (N, H, W) bool.
        boxes: (N, 4) XYXY pixels that nothing of a mask lies outside of; None to look for them.
    """
    if isinstance(masks, DrawnMasks):
        return masks.cover
    count, height, width = masks.shape
    # Every mask adds a random number to its pixels: equal sums for equal sets, and for different
    # ones with a probability of about 2⁻⁶⁴ a pair.
    numbers = np.random.default_rng(0).integers(0, 2**64, count, dtype=np.uint64)
    keys = np.zeros((height, width), dtype=np.uint64)
    for i, number in enumerate(numbers):
        window = _rows(masks[i]) if boxes is None else _window(boxes[i])
        np.add(keys[window], number, out=keys[window], where=masks[i][window])
    # Neighbours in a row are mostly in the same set: only where it changes is there to compare.
    flat = keys.reshape(-1)
    begins = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    _, first, cell = np.unique(flat[begins], return_index=True, return_inverse=True)
    lengths = np.diff(begins, append=flat.size)
    whole = np.repeat(cell.astype(np.int64), lengths).reshape(height, width)
    # Not −1 for the length: there may be no mask.
    return Cover(whole, masks.reshape(count, whole.size)[:, begins[first]])


def _rows(mask: Mask) -> tuple[slice, slice]:
    """From the first row of a mask to the last."""
    seen = np.flatnonzero(mask.any(axis=1))
    return slice(seen[0], seen[-1] + 1) if len(seen) else slice(0), slice(None)


def _window(box: Boxes) -> tuple[slice, slice]:
    left, top, right, bottom = box.tolist()
    return slice(top, bottom), slice(left, right)
