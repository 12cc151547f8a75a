"""What regions cover, label by label, as arrays: to compare people, to count and to draw."""

from collections.abc import Iterable, Mapping

import numpy as np

from backend import masks
from backend.export.records import Region
from backend.masks import Mask


def by_label(regions: Iterable[Region]) -> dict[str, Mask]:
    """The pixels that at least one region of a label covers: label → (H, W) bool."""
    found: dict[str, Mask] = {}
    for region in regions:
        mask = masks.from_runs(region.runs)
        held = found.get(region.label)
        found[region.label] = mask if held is None else held | mask
    return found


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
