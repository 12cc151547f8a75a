"""Which masks an expression means: candidates ranked by class, geometry and Grad-CAM.

[paper] pixel-level Grad-CAM activations are integrated into the mask-level output. [ours] how: the
weighted geometric mean of what each stage says of a mask, non-maximum suppression among nested
masks, and the union of several targets. As in HybridGL, a mask's activation is that inside of it
against that outside; both as means, weighted alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.masks import box
from dgl_rsis.types import Floats, Mask

LEAST = 1e-4  # what a part of 0 counts as: it sinks a candidate without hiding the other parts


@dataclass(frozen=True)
class SelectionParameters:
    """How candidates are weighed.

    Attributes:
        weights: exponent of each part in the score; a part that is not named counts nothing.
        overlap: of two candidates whose IoU is greater only the better one is kept.
        group: targets of a plural without a number reach this share of the best score
            (published programs for groups have the rule "above 0.8 · max").
        most: candidates that are ranked: more cannot be targets of one plural.
        least: candidates whose part "class" is smaller are none, [0, 1].
        fitting: with geometry, candidates of a smaller score are not what was asked for, [0, 1].
    """

    weights: Mapping[str, float] = field(
        default_factory=lambda: {"class": 1.0, "geometry": 1.0, "cam": 0.5, "quality": 0.25}
    )
    overlap: float = 0.5
    group: float = 0.85
    most: int = 20
    least: float = 0.15
    fitting: float = 0.06


@dataclass(frozen=True)
class Ranking:
    """Candidates, best first.

    Attributes:
        order: (n,) indices into the masks.
        scores: (n,) float32 in [0, 1], falling.
    """

    order: NDArray[np.int64]
    scores: Floats


def rank(
    masks: Mask, parts: Mapping[str, Floats], most: int, parameters: SelectionParameters
) -> Ranking:
    """The best candidates that do not overlap.

    score_i = exp(Σ_p w_p · ln max(part_p,i, 1e-4) / Σ_p w_p), a weighted geometric mean.

    Args:
        masks: (N, h, w) bool.
        parts: (N,) float32 in [0, 1] each, by the names of `SelectionParameters.weights`.
        most: candidates returned at most.
        parameters: see there.
    """
    scores = combined(parts, parameters)
    kept: dict[int, _Cut] = {}
    for index in np.argsort(-scores, kind="stable").tolist():
        if len(kept) == most:
            break
        candidate = _Cut.of(masks[index])
        if all(candidate.iou(other) <= parameters.overlap for other in kept.values()):
            kept[index] = candidate
    order = np.array(list(kept), dtype=np.int64)
    return Ranking(order, scores[order])


def combined(parts: Mapping[str, Floats], parameters: SelectionParameters) -> Floats:
    """The weighted geometric mean of the parts: (N,) float32 in [0, 1]."""
    weights = {name: parameters.weights.get(name, 0.0) for name in parts}
    total = sum(weights.values())
    if total <= 0:
        raise ValueError(f"no part of {sorted(parts)} has a weight in {dict(parameters.weights)}")
    logarithm = sum(
        weights[name] * np.log(np.clip(part, LEAST, 1.0).astype(np.float64))
        for name, part in parts.items()
    )
    scores: Floats = np.exp(np.asarray(logarithm) / total).astype(np.float32)
    return scores


def members(ranking: Ranking, count: int | None, parameters: SelectionParameters) -> int:
    """How many of the first candidates an expression in the plural means together.

    Args:
        ranking: candidates, best first.
        count: of "two ships"; None for a plural without a number.
        parameters: see there.
    """
    if not len(ranking.order):
        return 0
    if count is not None:
        return min(count, len(ranking.order))
    return int((ranking.scores >= parameters.group * ranking.scores[0]).sum())


def contrast(masks: Mask, boxes: NDArray[np.int64], activation: Floats) -> Floats:
    """How much more active a map is inside a mask than outside of it.

    Args:
        masks: (N, h, w) bool, none empty.
        boxes: (N, 4) XYXY pixels, nothing of a mask lies outside its box.
        activation: (h, w) float32 in [0, 1].

    Returns:
        (N,) float32 in [0, 1]: (1 + mean inside − mean outside) / 2.
    """
    inside, areas = np.zeros(len(masks)), np.zeros(len(masks))
    for index, (mask, corners) in enumerate(zip(masks, boxes.tolist(), strict=True)):
        left, top, right, bottom = corners
        window = (slice(top, bottom), slice(left, right))
        shown = activation[window][mask[window]]
        inside[index], areas[index] = shown.sum(dtype=np.float64), len(shown)
    outside = activation.sum(dtype=np.float64) - inside
    outside /= np.maximum(activation.size - areas, 1)
    scores: Floats = ((1 + inside / np.maximum(areas, 1) - outside) / 2).astype(np.float32)
    return scores


@dataclass(frozen=True)
class _Cut:
    """A mask and where to look at it.

    Attributes:
        mask: (h, w) bool.
        box: XYXY, around it.
        area: pixels.
    """

    mask: Mask
    box: tuple[int, int, int, int]
    area: int

    @classmethod
    def of(cls, mask: Mask) -> "_Cut":
        area = np.count_nonzero(mask)
        return cls(mask, box(mask) if area else (0, 0, 0, 0), area)

    def iou(self, other: "_Cut") -> float:
        """Intersection over union; 0 of two empty masks."""
        (left, top), (right, bottom) = (
            map(choose, self.box[i : i + 2], other.box[i : i + 2])
            for i, choose in ((0, max), (2, min))
        )
        if left >= right or top >= bottom:
            return 0.0
        area = (slice(top, bottom), slice(left, right))
        common = np.count_nonzero(self.mask[area] & other.mask[area])
        return common / (self.area + other.area - common)
