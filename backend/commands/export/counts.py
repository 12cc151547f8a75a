"""How much of what a training set holds."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backend.commands.export.dataset import SPLITS, DatasetVocabulary, Example, Split
from backend.regions import outlines, planes
from dgl_rsis import runs


@dataclass
class LabelCounts:
    """Of one label in one split.

    Attributes:
        regions: as they were marked.
        objects: connected parts of them, also by corners.
        pixels: that at least one region covers.
        images: with at least one region.
    """

    regions: int = 0
    objects: int = 0
    pixels: int = 0
    images: int = 0


@dataclass
class SplitCounts:
    """Of one split.

    Attributes:
        images: all of them.
        empty: those on which nothing is to be seen.
        pixels: of all images.
        scenes: how many images of each.
        labels: counts of each label.
    """

    images: int = 0
    empty: int = 0
    pixels: int = 0
    scenes: Counter[str] = field(default_factory=Counter)
    labels: dict[str, LabelCounts] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        labels = {name: vars(counts) for name, counts in self.labels.items()}
        return {**vars(self), "scenes": dict(self.scenes), "labels": labels}


def count(examples: Iterable[Example], vocabulary: DatasetVocabulary) -> dict[Split, SplitCounts]:
    """The counts of each split that has images, in the order of `SPLITS`."""
    by_split = {
        part: SplitCounts(labels={name: LabelCounts() for name in vocabulary.labels})
        for part in SPLITS
    }
    for example in examples:
        _add(example, by_split[example.split])
    return {part: counts for part, counts in by_split.items() if counts.images}


def _add(example: Example, counts: SplitCounts) -> None:
    counts.images += 1
    counts.empty += not example.regions
    counts.pixels += example.item.height * example.item.width
    counts.scenes[example.scene] += 1
    for region in example.regions:
        of_label = counts.labels[region.label]
        of_label.regions += 1
        of_label.objects += outlines.number_of_parts(region)
    for label, pixels in _covered(example).items():
        counts.labels[label].pixels += pixels
        counts.labels[label].images += 1


def _covered(example: Example) -> dict[str, int]:
    """Pixels of each label; a label with one region needs no drawing."""
    single = Counter(region.label for region in example.regions)
    alone = {r.label: runs.area(r.runs) for r in example.regions if single[r.label] == 1}
    others = planes.by_label(r for r in example.regions if single[r.label] > 1)
    return alone | {label: int(np.count_nonzero(mask)) for label, mask in others.items()}
