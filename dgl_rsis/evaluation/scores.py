"""Scores: of semantic maps, of single masks, and of proposals."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dgl_rsis.types import Floats, Mask, Proposals

Box = tuple[slice, slice]  # rows and columns

IGNORE = 65535
# IoU at which average recall is measured: 0.5, 0.55 … 0.95 (COCO).
RECALL_THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))


@dataclass
class Confusion:
    """Pixels of each true class (rows) that were given each class (columns).

    Attributes:
        names: C classes.
        counts: (C, 1 + C) int64; column 0 counts pixels left unlabelled.
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64]

    @classmethod
    def empty(cls, names: tuple[str, ...]) -> "Confusion":
        """No pixels yet."""
        return cls(names, np.zeros((len(names), 1 + len(names)), dtype=np.int64))

    def add(self, truth: NDArray[np.uint16], predicted: NDArray[np.uint16]) -> None:
        """Count the pixels of one image.

        Args:
            truth: (H, W) uint16, class index 0 … C−1 or `IGNORE`.
            predicted: (H, W) uint16, 0 = unlabelled, i = the i-th class.

        Raises:
            ValueError: the shapes differ.
        """
        if truth.shape != predicted.shape:
            raise ValueError(f"truth is {truth.shape}, the prediction {predicted.shape}")
        known = truth != IGNORE
        columns = 1 + len(self.names)
        bins = truth[known].astype(np.int64) * columns + predicted[known]
        self.counts += np.bincount(bins, minlength=self.counts.size).reshape(self.counts.shape)

    @property
    def iou(self) -> NDArray[np.float64]:
        """(C,) intersection over union of each class in [0, 1]; NaN where it never occurs."""
        hits = np.diag(self.counts[:, 1:]).astype(float)
        union = self.counts.sum(axis=1) + self.counts[:, 1:].sum(axis=0) - hits
        return _ratio(hits, union)

    @property
    def recall(self) -> NDArray[np.float64]:
        """(C,) share of each class's pixels that were found; NaN where the truth has none."""
        return _ratio(np.diag(self.counts[:, 1:]).astype(float), self.counts.sum(axis=1))

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that occur; NaN where none does."""
        return _mean(self.iou)

    @property
    def mean_accuracy(self) -> float:
        """Mean recall over the classes of the truth (mAcc); NaN where there are none."""
        return _mean(self.recall)

    @property
    def pixel_accuracy(self) -> float:
        """Share of right pixels (aAcc)."""
        return float(np.diag(self.counts[:, 1:]).sum() / max(1, self.counts.sum()))

    def majority(self) -> "Confusion":
        """What the same pixels would give if all were called the most frequent class."""
        totals = self.counts.sum(axis=1)
        counts = np.zeros_like(self.counts)
        counts[:, 1 + int(totals.argmax())] = totals
        return Confusion(self.names, counts)


@dataclass
class Tally:
    """Claims against the truth: of pixels, of boxes, or of images that hold something.

    Attributes:
        hits: claims that are right.
        claimed: claims.
        real: what there was to claim.
    """

    hits: int = 0
    claimed: int = 0
    real: int = 0

    def add(self, hits: int, claimed: int, real: int) -> None:
        """Count more."""
        self.hits, self.claimed, self.real = (
            self.hits + hits, self.claimed + claimed, self.real + real,
        )  # fmt: skip

    @property
    def precision(self) -> float:
        """Share of the claims that are right, [0, 1]; NaN without claims."""
        return self.hits / self.claimed if self.claimed else math.nan

    @property
    def recall(self) -> float:
        """Share of what is real that was claimed, [0, 1]; NaN where nothing is."""
        return self.hits / self.real if self.real else math.nan

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall (Dice), [0, 1]; NaN of nothing at all."""
        whole = self.claimed + self.real
        return 2 * self.hits / whole if whole else math.nan

    @property
    def iou(self) -> float:
        """Intersection over union, [0, 1]; NaN of nothing at all."""
        union = self.claimed + self.real - self.hits
        return self.hits / union if union else math.nan


def total(tallies: Iterable[Tally]) -> Tally:
    """All claims together: what micro averages are of."""
    whole = Tally()
    for tally in tallies:
        whole.add(tally.hits, tally.claimed, tally.real)
    return whole


def box_ious(boxes: Floats, others: Floats) -> NDArray[np.float64]:
    """Intersection over union of boxes.

    Args:
        boxes: (n, 4), XYXY, right and bottom edge excluded.
        others: (m, 4), likewise.

    Returns:
        (n, m) in [0, 1].
    """
    a, b = boxes[:, None].astype(np.float64), others[None].astype(np.float64)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])  # (n, m, 2)
    shared = np.clip(sides, 0, None).prod(axis=-1)
    areas = [(x[..., 2:] - x[..., :2]).prod(axis=-1) for x in (a, b)]
    union = areas[0] + areas[1] - shared
    ious: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ious


def matched(ious: NDArray[np.float64], threshold: float) -> int:
    """How many of the claims hit, each object being hit once at most.

    Greedy, as PASCAL VOC and COCO match: each claim in turn takes the free object with which its
    IoU is highest, if that reaches the threshold.

    Args:
        ious: (n, m) of each claim with each object, the surest claim first.
        threshold: smallest IoU of a hit.
    """
    free, hits = np.ones(ious.shape[1], dtype=bool), 0
    for row in ious:
        candidates = np.where(free & (row >= threshold), row, -1.0)
        if candidates.size and candidates.max() >= 0:
            free[candidates.argmax()] = False
            hits += 1
    return hits


class Overlap(NamedTuple):
    """Pixels that a mask shares with the truth, and those of either."""

    intersection: int
    union: int

    @property
    def iou(self) -> float:
        """Intersection over union in [0, 1]; 0 where both are empty."""
        return self.intersection / self.union if self.union else 0.0


def overlap(mask: Mask, truth: Mask) -> Overlap:
    """Overlap of two masks.

    Args:
        mask: (H, W) bool.
        truth: (H, W) bool.

    Raises:
        ValueError: the shapes differ.
    """
    if mask.shape != truth.shape:
        raise ValueError(f"truth is {truth.shape}, the prediction {mask.shape}")
    return Overlap(int(np.count_nonzero(mask & truth)), int(np.count_nonzero(mask | truth)))


def mean_iou(overlaps: Sequence[Overlap]) -> float:
    """Mean over the overlaps (RES: mIoU); NaN of none."""
    return sum(o.iou for o in overlaps) / len(overlaps) if overlaps else math.nan


def overall_iou(overlaps: Sequence[Overlap]) -> float:
    """ΣI / ΣU (RES: oIoU), which large objects decide; NaN of none."""
    if not overlaps:
        return math.nan
    return Overlap(sum(o.intersection for o in overlaps), sum(o.union for o in overlaps)).iou


def precision(overlaps: Sequence[Overlap], threshold: float) -> float:
    """Share of overlaps whose IoU reaches a threshold (RES: Pr@threshold); NaN of none."""
    return sum(o.iou >= threshold for o in overlaps) / len(overlaps) if overlaps else math.nan


def proposal_overlaps(proposals: Proposals, truth: Mask) -> list[Overlap]:
    """Overlap of each proposal with one object, at the size of the image.

    Args:
        proposals: N masks of (h, w); the pixel of the image at row y counts as that at y · h // H.
        truth: (H, W) bool.
    """
    return _overlaps(proposals, _full_areas(proposals), truth, _box(truth))


def object_ious(
    proposals: Proposals, numbers: NDArray[np.int32], min_area: int = 1
) -> NDArray[np.float64]:
    """IoU of each proposal with each object, best proposals first.

    Args:
        proposals: N masks.
        numbers: (H, W) int32; 0 = none, i = the i-th object.
        min_area: pixels; smaller objects are left out.

    Returns:
        (N, M) in [0, 1]; rows fall by `quality`.
    """
    areas = _full_areas(proposals)
    columns = []
    boxes: Sequence[Box | None] = ndimage.find_objects(numbers)  # type: ignore[assignment]
    for number, box in enumerate(boxes, start=1):
        if box is None:
            continue
        part = numbers[box] == number
        if np.count_nonzero(part) >= min_area:
            columns.append([o.iou for o in _overlaps(proposals, areas, part, box)])
    ious = np.array(columns, dtype=np.float64).reshape(len(columns), len(proposals)).T
    order = np.argsort(-proposals.quality, kind="stable")
    ordered: NDArray[np.float64] = ious[order]
    return ordered


def best_ious(ious: NDArray[np.float64], budget: int | None = None) -> NDArray[np.float64]:
    """The best IoU of each object among the first proposals.

    Args:
        ious: (N, M), best proposals first.
        budget: proposals that count; None for all.

    Returns:
        (M,); 0 without proposals.
    """
    best: NDArray[np.float64] = ious[:budget].max(axis=0, initial=0.0)
    return best


def average_recall(best: Iterable[float]) -> float:
    """Share of objects found, averaged over `RECALL_THRESHOLDS`; NaN of no objects."""
    values = np.fromiter(best, dtype=np.float64)
    if not values.size:
        return math.nan
    return float(np.mean([(values >= threshold).mean() for threshold in RECALL_THRESHOLDS]))


def _ratio(part: NDArray[np.float64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    ratio = np.full(len(part), np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def _box(mask: Mask) -> Box:
    """The slices around a mask; empty ones of an empty mask."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _overlaps(
    proposals: Proposals, areas: NDArray[np.int64], part: Mask, box: Box
) -> list[Overlap]:
    """Only the object's box is looked at; `part` is the object, of the box or of the image."""
    rows, columns = (
        np.arange(side.start, side.stop) * small // large
        for side, small, large in zip(
            box, proposals.masks.shape[1:], (proposals.height, proposals.width), strict=True
        )
    )
    inside = part if part.shape == (len(rows), len(columns)) else part[box]
    window = proposals.masks[:, rows[:, None], columns]  # (N, box height, box width)
    shared = np.count_nonzero(window & inside, axis=(1, 2))
    size = int(np.count_nonzero(inside))
    return [Overlap(i, a + size - i) for i, a in zip(shared.tolist(), areas.tolist(), strict=True)]


def _full_areas(proposals: Proposals) -> NDArray[np.int64]:
    """(N,) pixels of each mask once it is enlarged to the image by the nearest pixel."""
    height, width = proposals.masks.shape[1:]
    down = np.bincount(np.arange(proposals.height) * height // proposals.height, minlength=height)
    across = np.bincount(np.arange(proposals.width) * width // proposals.width, minlength=width)
    areas: NDArray[np.int64] = np.array(
        [int(down @ (mask @ across)) for mask in proposals.masks], dtype=np.int64
    )
    return areas
