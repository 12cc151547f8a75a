"""Binary masks as row-major run lengths, the form in which they cross the queue. NumPy only."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.types import Mask


@dataclass(frozen=True)
class Runs:
    """A binary mask as run lengths.

    Attributes:
        height: rows, pixels.
        width: columns, pixels.
        counts: lengths of alternating runs in row-major order; the first run is background and may
            be 0; their sum is height · width.
    """

    height: int
    width: int
    counts: tuple[int, ...]

    def to_json(self) -> list[Any]:
        """A list of JSON types; `from_json` inverts it."""
        return [self.height, self.width, list(self.counts)]

    @classmethod
    def from_json(cls, payload: list[Any]) -> Self:
        """Read what `to_json` wrote."""
        height, width, counts = payload
        return cls(height, width, tuple(counts))


@dataclass(frozen=True)
class Crop:
    """The part of a mask that holds all of its foreground rows.

    Attributes:
        mask: (h, W) bool; full width.
        top: row of the mask's first row in the image, pixels.
    """

    mask: Mask
    top: int


def to_runs(mask: Mask) -> Runs:
    """Row-major runs of a mask.

    Args:
        mask: (H, W) bool, at least one pixel.

    Raises:
        ValueError: the mask is empty or not two-dimensional.
    """
    if mask.ndim != 2 or mask.size == 0:
        raise ValueError(f"a mask has two axes and at least one pixel, got shape {mask.shape}")
    flat = mask.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate(([0], changes, [flat.size]))
    counts = np.diff(edges).tolist()
    height, width = mask.shape
    return Runs(height, width, (0, *counts) if flat[0] else tuple(counts))


def from_runs(runs: Runs) -> Mask:
    """The mask of some runs: (H, W) bool.

    Raises:
        ValueError: the runs do not sum to height · width.
    """
    counts = lengths(runs)
    foreground = np.arange(len(counts)) % 2 == 1
    return np.repeat(foreground, counts).reshape(runs.height, runs.width)


def cropped(runs: Runs) -> Crop | None:
    """The rows between the first and the last foreground pixel; None when there is none.

    A small object in a large image costs its own rows, not the whole image.
    """
    counts = lengths(runs)
    ends = np.cumsum(counts)
    foreground = np.flatnonzero(counts[1::2]) * 2 + 1
    if foreground.size == 0:
        return None
    first, last = foreground[0], foreground[-1]
    top = int(ends[first - 1]) // runs.width
    bottom = (int(ends[last]) - 1) // runs.width + 1
    edges = np.clip(np.concatenate(([0], ends)), top * runs.width, bottom * runs.width)
    values = np.arange(len(counts)) % 2 == 1
    mask = np.repeat(values, np.diff(edges)).reshape(bottom - top, runs.width)
    return Crop(mask, top)


def area(runs: Runs) -> int:
    """Foreground pixels."""
    return sum(runs.counts[1::2])


def lengths(runs: Runs) -> NDArray[np.int64]:
    """`runs.counts` as an array, checked.

    Raises:
        ValueError: a count is negative, or they do not sum to height · width.
    """
    counts = np.asarray(runs.counts, dtype=np.int64)
    pixels = runs.height * runs.width
    if counts.size == 0 or counts.min() < 0 or int(counts.sum()) != pixels:
        raise ValueError(
            f"runs of a {runs.width} × {runs.height} mask must be non-negative and sum to "
            f"{pixels}, got {len(runs.counts)} runs with the sum {int(counts.sum())}"
        )
    return counts
