"""From a relief to basins, and from basins to a tree: bottom-up, the cheapest pair first.

[ours] Ward's criterion on colour and texture, with the strength of the shared border added. The
loops over pixels and merges are compiled, `native/` (decision 60).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dgl_rsis.types import Floats, Mask

try:
    from dgl_rsis.regions import _native
except ImportError as error:
    raise ImportError(
        f"the region tree's compiled part cannot be loaded ({error}): run `make install`, or "
        "`python setup.py build_ext --inplace` where this code lies"
    ) from None

Labels = NDArray[np.int32]
NO_LEAF = -1


@dataclass(frozen=True)
class Grown:
    """A tree of regions over an image; its fields are those of `tree.RegionTree`."""

    parent: Labels
    first: Labels
    last: Labels
    area: Labels
    cost: NDArray[np.float64]
    box: Labels
    outline: Floats
    pairs: Labels
    contrast: Floats


def flood(relief: Floats, seeds: NDArray[np.integer[Any]], wanted: Mask) -> Labels:
    """Watershed: water rises from the seeds, the lowest pixel first, until it meets.

    What lies lower than the water around it is flooded at once; of pixels of the same height that
    which was reached first. Pixels touch along their sides.

    Args:
        relief: (h, w) float32, without NaN.
        seeds: (h, w) the number of each pixel's seed, from 1; 0 for none.
        wanted: (h, w) bool, what is flooded; seeds lie in it.

    Returns:
        (h, w) int32, the number of the seed whose water reached each pixel; 0 where none did.
    """
    basins = np.array(seeds, dtype=np.int32, order="C")
    heights = np.ascontiguousarray(relief, np.float32)
    height, width = relief.shape
    _native.flood(heights, basins, np.ascontiguousarray(wanted), height, width)
    return basins


def grow(
    labels: Labels,
    channels: Floats,
    gradient: Floats,
    edge_weight: float,
    apart: int = NO_LEAF,
) -> Grown:
    """Merge the cheapest pair of regions that touch until none touch.

    What it costs to merge two: the rise of the squared error of the channels if both become one,
    with the squared mean gradient along their border added to their squared difference.

    Args:
        labels: (h, w) int32, the leaf of each pixel, from 0; no number is left out.
        channels: (h, w, 4) float32, what their means compare.
        gradient: (h, w) float32, at least 0: how likely a border runs through each pixel.
        edge_weight: of the squared mean gradient along a border, against squared differences.
        apart: a leaf that merges with none and has no borders.

    Raises:
        ValueError: labels are not numbered from 0, or arrays differ in size.
    """
    height, width = labels.shape
    parent, first, last, area, cost, box, outline, pairs, contrast = _native.grow(
        np.ascontiguousarray(labels, np.int32),
        np.ascontiguousarray(channels, np.float32),
        np.ascontiguousarray(gradient, np.float32),
        height,
        width,
        int(labels.max()) + 1,
        apart,
        edge_weight,
    )
    return Grown(
        parent=_read(parent, np.int32),
        first=_read(first, np.int32),
        last=_read(last, np.int32),
        area=_read(area, np.float64).astype(np.int32),
        cost=_read(cost, np.float64),
        box=_read(box, np.int32).reshape(-1, 4),
        outline=_read(outline, np.float32).reshape(-1, 2),
        pairs=_read(pairs, np.int32).reshape(-1, 2),
        contrast=_read(contrast, np.float32),
    )


def _read(items: bytes, kind: DTypeLike) -> NDArray[Any]:
    return np.frombuffer(items, dtype=kind)
