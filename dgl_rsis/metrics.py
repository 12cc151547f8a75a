"""Scores of semantic segmentations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IGNORE = 65535


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
        ratio = np.full(len(hits), np.nan)
        np.divide(hits, union, out=ratio, where=union > 0)
        return ratio

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that occur."""
        return float(np.nanmean(self.iou))

    @property
    def pixel_accuracy(self) -> float:
        """Share of right pixels (aAcc)."""
        return float(np.diag(self.counts[:, 1:]).sum() / max(1, self.counts.sum()))
