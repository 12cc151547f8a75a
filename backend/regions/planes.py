"""What regions cover, label by label, as arrays: to compare people, to count and to draw."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from backend.regions.records import Region
from dgl_rsis import runs
from dgl_rsis.types import Mask


def by_label(regions: Iterable[Region]) -> dict[str, Mask]:
    """The pixels that at least one region of a label covers: label → (H, W) bool."""
    masks: dict[str, Mask] = {}
    for region in regions:
        mask = runs.from_runs(region.runs)
        before = masks.get(region.label)
        masks[region.label] = mask if before is None else before | mask
    return masks


def class_map(
    regions: Iterable[Region], numbers: Mapping[str, int], height: int, width: int
) -> tuple[NDArray[np.uint16], bool]:
    """The class of each pixel; where regions overlap, that of the one on top.

    Args:
        regions: all of that size.
        numbers: of their labels, from 1.
        height: of the map, pixels.
        width: of the map, pixels.

    Returns:
        (H, W) uint16, 0 where nothing is; whether regions of different labels overlap.
    """
    classes = np.zeros((height, width), dtype=np.uint16)
    overlapping = False
    for region in stacked(regions, numbers):
        crop = runs.cropped(region.runs)
        if crop is None:
            continue
        rows, number = classes[crop.top : crop.top + len(crop.mask)], numbers[region.label]
        below = rows[crop.mask]
        overlapping |= bool(((below != 0) & (below != number)).any())
        rows[crop.mask] = number
    return classes, overlapping


def stacked(regions: Iterable[Region], numbers: Mapping[str, int]) -> list[Region]:
    """Regions from the lowest to the one on top.

    [ours] The smaller one is above; of equal ones, the label with the larger number.
    """

    def height(region: Region) -> tuple[int, int, str]:
        return -runs.area(region.runs), numbers[region.label], region.id

    return sorted(regions, key=height)


def agreement(one: Mapping[str, Mask], other: Mapping[str, Mask]) -> float:
    """Mean over the labels of either side of the intersection over the union, [0, 1].

    1 when neither side marked anything: they agree that there is nothing.
    """
    labels = sorted({*one, *other})
    if not labels:
        return 1.0
    return float(np.mean([_iou(one.get(label), other.get(label)) for label in labels]))


def _iou(one: Mask | None, other: Mask | None) -> float:
    if one is None or other is None:
        return 0.0
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0
