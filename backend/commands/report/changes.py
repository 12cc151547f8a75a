"""How much people changed of what the model proposed.

[ours] A pre-label is compared with the annotation that started from it: the one that the annotation
names, else the one whose regions it still holds (a region that is copied keeps its id). Where
somebody began from nothing there is nothing to compare, and only their number is reported.

Pixels are compared class by class, over the union of the regions of a class. Regions are paired by
id, then, since some are drawn anew, by their overlap.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from backend.regions import planes
from backend.regions.records import Annotation, Item, Prediction, Region
from dgl_rsis.runs import Runs, area, lengths
from dgl_rsis.types import Mask

SAME_OBJECT = 0.5  # IoU above which regions without a common id are the same object
UNKNOWN = "unknown"


@dataclass
class Tally:
    """What became of one class of one model version.

    Attributes:
        images: pairs of pre-label and annotation in which either has the class.
        predicted, corrected: regions before and after.
        accepted: predicted regions that are in the annotation with the same mask.
        changed: that are in it with another mask.
        added: regions that nothing was predicted for.
        removed: predicted regions that are gone, or have another label now.
        predicted_pixels, corrected_pixels: of the union of the regions, summed over the images.
        shared_pixels: in both.
        ious: IoU of each image; 1 where both sides are without a pixel.
    """

    images: int = 0
    predicted: int = 0
    corrected: int = 0
    accepted: int = 0
    changed: int = 0
    added: int = 0
    removed: int = 0
    predicted_pixels: int = 0
    corrected_pixels: int = 0
    shared_pixels: int = 0
    ious: list[float] = field(default_factory=list)

    @property
    def mean_iou(self) -> float | None:
        """Mean over the images; None without any."""
        return float(np.mean(self.ious)) if self.ious else None

    @property
    def total_iou(self) -> float | None:
        """Of the pixels of all images; None without any image, 1 without any pixel."""
        union = self.predicted_pixels + self.corrected_pixels - self.shared_pixels
        return None if not self.images else self.shared_pixels / union if union else 1.0

    @property
    def accepted_share(self) -> float | None:
        """Of the predicted regions; None when there were none."""
        return self.accepted / self.predicted if self.predicted else None

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON types; without the IoU of each image."""
        counts = {name: value for name, value in asdict(self).items() if name != "ious"}
        shares = {name: getattr(self, name) for name in ("mean_iou", "total_iou", "accepted_share")}
        return {**counts, **shares}


@dataclass
class Version:
    """What became of the pre-labels of one model version.

    Attributes:
        pairs: pre-labels with the annotation that started from them.
        untouched: pairs in which every region is as it was.
        labels: the classes of either side.
        relabelled: regions that kept their id and changed their label, as (old, new).
    """

    pairs: int = 0
    untouched: int = 0
    labels: dict[str, Tally] = field(default_factory=dict)
    relabelled: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def total(self) -> Tally:
        """All classes together: sums, and the IoU of every class of every image."""
        total = Tally(images=self.pairs)
        for tally in self.labels.values():
            for name in vars(total):
                if name != "images":
                    setattr(total, name, getattr(total, name) + getattr(tally, name))
        return total

    @property
    def class_iou(self) -> float | None:
        """Mean over the classes of their total IoU; None without a class."""
        ious = [iou for t in self.labels.values() if (iou := t.total_iou) is not None]
        return float(np.mean(ious)) if ious else None

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON types."""
        moved = [
            {"from": old, "to": new, "regions": count}
            for (old, new), count in self.relabelled.most_common()
        ]
        return {
            "pairs": self.pairs,
            "untouched": self.untouched,
            "class_iou": self.class_iou,
            "total": self.total.to_json(),
            "labels": {name: tally.to_json() for name, tally in sorted(self.labels.items())},
            "relabelled": moved,
        }


@dataclass
class Report:
    """What became of all pre-labels.

    Attributes:
        tasks: items that were read.
        annotations: submitted.
        unaided: annotations that started from nothing.
        unknown: annotations of which it is not known what they started from.
        waiting: items with a pre-label that nobody has annotated.
        versions: by the name of the model version.
    """

    tasks: int = 0
    annotations: int = 0
    unaided: int = 0
    unknown: int = 0
    waiting: int = 0
    versions: dict[str, Version] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON types."""
        return {
            "tasks": self.tasks,
            "annotations": self.annotations,
            "unaided": self.unaided,
            "unknown": self.unknown,
            "waiting": self.waiting,
            "versions": {
                name: version.to_json() for name, version in sorted(self.versions.items())
            },
        }


@dataclass(frozen=True)
class Pairing:
    """Regions of one label, before and after.

    Attributes:
        accepted: pairs with the same mask.
        changed: pairs with different masks.
        removed, added: those that have no partner.
    """

    accepted: int
    changed: int
    removed: tuple[Region, ...]
    added: tuple[Region, ...]


def compare(items: Iterable[Item]) -> Report:
    """Compare all annotations with what they started from; holds one item at a time."""
    report = Report()
    for item in items:
        report.tasks += 1
        report.annotations += len(item.annotations)
        report.waiting += bool(item.predictions and not item.annotations)
        for annotation in item.annotations:
            start = started_from(annotation, item.predictions)
            if start is None and annotation.start_known:
                report.unaided += 1
            elif start is None:
                report.unknown += 1
            else:
                name = start.model_version or UNKNOWN
                _add(report.versions.setdefault(name, Version()), start, annotation)
    return report


def started_from(annotation: Annotation, predictions: Sequence[Prediction]) -> Prediction | None:
    """The pre-label behind an annotation; None when there is none.

    Some exports do not name it. Then it is the newest of those with most of the regions' ids, or
    the newest of all when a region says that it was predicted.
    """
    if annotation.predicted is not None or not predictions:
        return annotation.predicted
    ids = {region.id for region in annotation.regions}
    shared = [len(ids & {region.id for region in each.regions}) for each in predictions]
    if max(shared):
        return predictions[max(range(len(shared)), key=lambda i: (shared[i], i))]
    copied = any(region.origin.startswith("prediction") for region in annotation.regions)
    return predictions[-1] if copied else None


def pair(before: Sequence[Region], after: Sequence[Region]) -> Pairing:
    """Pair the regions of one label: by id, then as many as possible by their overlap."""
    newer: dict[str, Region] = {region.id: region for region in reversed(after)}
    pairs = [(old, newer[old.id]) for old in _once(before) if old.id in newer]
    olds = _without(before, [old for old, _ in pairs])
    news = _without(after, [new for _, new in pairs])
    overlapping = _overlapping(olds, news)
    pairs += overlapping
    same = sum(_is_same(old.runs, new.runs) for old, new in pairs)
    return Pairing(
        accepted=same,
        changed=len(pairs) - same,
        removed=tuple(_without(olds, [old for old, _ in overlapping])),
        added=tuple(_without(news, [new for _, new in overlapping])),
    )


def shared_pixels(one: Runs, other: Runs) -> int:
    """Pixels that two masks of an image share, without making either of them."""
    edges = np.concatenate(([0], np.cumsum(lengths(one))))
    starts, ends = edges[1:-1:2], edges[2::2]
    covered = _covered(other, ends) - _covered(other, starts)
    return int(covered.sum())


def _covered(runs: Runs, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Foreground pixels before each position."""
    counts = lengths(runs)
    edges = np.concatenate(([0], np.cumsum(counts)))
    own = counts * (np.arange(len(counts)) % 2)
    sums = np.concatenate(([0], np.cumsum(own)))
    at = np.clip(np.searchsorted(edges, positions, side="right") - 1, 0, len(counts) - 1)
    inside = np.minimum(positions - edges[at], counts[at]) * (at % 2)
    covered: NDArray[np.int64] = sums[at] + inside
    return covered


def _is_same(one: Runs, other: Runs) -> bool:
    return area(one) == area(other) == shared_pixels(one, other)


def _iou(one: Runs, other: Runs) -> float:
    shared = shared_pixels(one, other)
    union = area(one) + area(other) - shared
    return shared / union if union else 1.0


def _spans(regions: Sequence[Region]) -> NDArray[np.int64]:
    """First and one behind the last pixel of each mask, in the order of rows: (N, 2)."""
    counts = [lengths(region.runs) for region in regions]
    rest = [int(each[-1]) if len(each) % 2 else 0 for each in counts]
    return np.array([(int(c[0]), int(c.sum()) - r) for c, r in zip(counts, rest, strict=True)])


def _overlapping(olds: list[Region], news: list[Region]) -> list[tuple[Region, Region]]:
    """As many pairs as possible that overlap enough, and among those the best."""
    if not olds or not news:
        return []
    before, after = _spans(olds), _spans(news)  # (O, 2), (N, 2)
    near = (before[:, :1] < after[:, 1]) & (after[:, 0] < before[:, 1:])  # (O, N)
    near |= (before[:, :1] >= before[:, 1:]) & (after[:, 0] >= after[:, 1])  # both without a pixel
    ious = np.zeros(near.shape)
    for i, j in np.argwhere(near):  # of a thousand small objects each, a few that share a row
        ious[i, j] = _iou(olds[i].runs, news[j].runs)
    # A pair counts more than all overlaps together, and an equal pair more than other overlaps.
    most = min(ious.shape) + 1
    worth = np.where(ious > SAME_OBJECT, 2 * most + ious + (ious == 1), 0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return [
        (olds[i], news[j]) for i, j in zip(rows, columns, strict=True) if ious[i, j] > SAME_OBJECT
    ]


def _once(regions: Sequence[Region]) -> list[Region]:
    """The first of each id."""
    return list({region.id: region for region in reversed(regions)}.values())[::-1]


def _without(regions: Sequence[Region], gone: Sequence[Region]) -> list[Region]:
    taken = {id(region) for region in gone}
    return [region for region in regions if id(region) not in taken]


def _add(version: Version, start: Prediction, annotation: Annotation) -> None:
    """Count one pair of pre-label and annotation."""
    before, after = planes.by_label(start.regions), planes.by_label(annotation.regions)
    removed: list[Region] = []
    added: list[Region] = []
    touched = 0
    for label in dict.fromkeys((*before, *after)):
        tally = version.labels.setdefault(label, Tally())
        olds = [region for region in start.regions if region.label == label]
        news = [region for region in annotation.regions if region.label == label]
        pairing = pair(olds, news)
        _count_regions(tally, olds, news, pairing)
        _count_pixels(tally, before.get(label), after.get(label))
        removed += pairing.removed
        added += pairing.added
        touched += pairing.changed + len(pairing.removed) + len(pairing.added)
    version.pairs += 1
    version.untouched += not touched
    version.relabelled.update(_relabelled(removed, added))


def _count_regions(
    tally: Tally, olds: Sequence[Region], news: Sequence[Region], pairing: Pairing
) -> None:
    tally.images += 1
    tally.predicted += len(olds)
    tally.corrected += len(news)
    tally.accepted += pairing.accepted
    tally.changed += pairing.changed
    tally.removed += len(pairing.removed)
    tally.added += len(pairing.added)


def _count_pixels(tally: Tally, before: Mask | None, after: Mask | None) -> None:
    old = 0 if before is None else int(np.count_nonzero(before))
    new = 0 if after is None else int(np.count_nonzero(after))
    shared = 0 if before is None or after is None else int(np.count_nonzero(before & after))
    tally.predicted_pixels += old
    tally.corrected_pixels += new
    tally.shared_pixels += shared
    union = old + new - shared
    missing = before is None or after is None
    tally.ious.append(shared / union if union else 0.0 if missing else 1.0)


def _relabelled(
    removed: Sequence[Region], added: Sequence[Region]
) -> Mapping[tuple[str, str], int]:
    """Regions that are gone from one label and there under another, by id."""
    now = {region.id: region.label for region in added}
    return Counter((old.label, now[old.id]) for old in removed if old.id in now)
