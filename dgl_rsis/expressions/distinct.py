"""Instances among overlapping masks. [ours].

Nodes of a tree of regions show the same building several times. Unless they are one instance, the
second from the left is the first again, and "two ships" are two masks of one ship.
"""

from dataclasses import dataclass

import numpy as np

from dgl_rsis.expressions.shapes import Indices, Shapes
from dgl_rsis.types import Floats


@dataclass(frozen=True)
class DistinctParameters:
    """Which masks count as instances of their class, and when two are one.

    Attributes:
        likely: masks of at least this share of the greatest probability count.
        overlap: two of them whose IoU is greater are one, the more probable one; 1 keeps all.
    """

    likely: float = 0.5
    overlap: float = 0.5


@dataclass(frozen=True)
class Distinct:
    """The instances that overlapping masks show.

    Attributes:
        members: one mask for each instance, the most probable first.
        owners: (N,) the member whose near-duplicate each mask is; others are their own.
    """

    members: Indices
    owners: Indices


def distinct(masks: Shapes, weights: Floats, parameters: DistinctParameters) -> Distinct:
    """The likely instances: greedy non-maximum suppression on mask IoU.

    IoU, not containment: a block of houses must not swallow its houses, though it holds them.

    Args:
        masks: N of them.
        weights: (N,) float32, probabilities.
        parameters: see there.
    """
    boxes, areas = masks.boxes.astype(np.float64), masks.areas.astype(np.float64)
    owners = np.arange(len(masks), dtype=np.intp)
    kept: list[int] = []
    for i in likely(weights * (masks.areas > 0), parameters.likely).tolist():
        # What the boxes share bounds what the masks share: few pairs need their pixels.
        low = np.maximum(boxes[kept, :2], boxes[i, :2])
        high = np.minimum(boxes[kept, 2:], boxes[i, 2:])
        common = np.minimum(np.maximum(high - low, 0).prod(axis=1), areas[i])
        possible = common > parameters.overlap * (areas[kept] + areas[i] - common)
        rivals = (j for j, may in zip(kept, possible, strict=True) if may)
        owners[i] = next((j for j in rivals if _iou(masks, i, j) > parameters.overlap), i)
        if owners[i] == i:
            kept.append(i)
    return Distinct(np.array(kept, dtype=np.intp), owners)


def likely(weights: Floats, share: float) -> Indices:
    """Indices of the weights above 0 and of at least this share of the greatest, that one first."""
    order = np.argsort(-weights, kind="stable")
    enough = (weights > 0) & (weights >= share * weights.max(initial=0))
    chosen: Indices = order[enough[order]]
    return chosen


def _iou(masks: Shapes, i: int, j: int) -> float:
    common = float(masks.take([i]).intersections(masks.crops[j], masks.origins[j])[0])
    return common / (float(masks.areas[i] + masks.areas[j]) - common)
