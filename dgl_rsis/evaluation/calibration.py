"""Calibration: whether what is said to be 80 per cent sure is right in 80 of 100 cases."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dgl_rsis.evaluation.scores import overlap
from dgl_rsis.types import Floats, Mask

BINS = 15  # of equal width, as Guo et al. (ICML 2017, arXiv 1706.04599) measure


def _zeros() -> NDArray[np.float64]:
    return np.zeros(BINS, dtype=np.float64)


@dataclass
class Reliability:
    """Answers by how sure they were: how many, how sure on average, and how good on average.

    Attributes:
        counts: (`BINS`,) float64, answers whose confidence is in [i, i + 1) / `BINS`; the last bin
            holds 1, too.
        confidence: (`BINS`,) float64, sum of their confidences.
        outcome: (`BINS`,) float64, sum of their outcomes: 1 for a right pixel, the
            IoU of a mask.
    """

    counts: NDArray[np.float64] = field(default_factory=_zeros)
    confidence: NDArray[np.float64] = field(default_factory=_zeros)
    outcome: NDArray[np.float64] = field(default_factory=_zeros)

    def add(self, confidence: ArrayLike, outcome: ArrayLike) -> None:
        """Count some answers.

        Args:
            confidence: (n,), in [0, 1].
            outcome: (n,), in [0, 1].

        Raises:
            ValueError: the shapes differ.
        """
        sure, good = np.ravel(confidence).astype(np.float64), np.ravel(outcome).astype(np.float64)
        if sure.shape != good.shape:
            raise ValueError(f"{len(sure)} confidences, {len(good)} outcomes")
        bins = np.clip((sure * BINS).astype(np.intp), 0, BINS - 1)
        for total, weights in ((self.counts, None), (self.confidence, sure), (self.outcome, good)):
            total += np.bincount(bins, weights, BINS)

    def add_mask(self, mask: Mask, probability: Floats, positive: Mask, known: Mask) -> None:
        """Count one mask: its mean probability against its IoU where the truth is known.

        A mask without a known pixel does not count.

        Args:
            mask: (H, W) bool, what was found.
            probability: (H, W) float32 in [0, 1].
            positive: (H, W) bool, the truth, within `known`.
            known: (H, W) bool, where there is one.
        """
        if (mask & known).any():
            self.add([probability[mask].mean()], [overlap(mask & known, positive).iou])

    @property
    def ece(self) -> float:
        """Expected calibration error, [0, 1]; NaN of none.

        The mean |confidence − outcome| of the bins, weighted by their answers.
        """
        total = self.counts.sum()
        return float(np.abs(self.confidence - self.outcome).sum() / total) if total else math.nan

    @property
    def rows(self) -> list[tuple[float, int, float, float]]:
        """Lower edge, answers, mean confidence and mean outcome of each bin that has some."""
        return [
            (i / BINS, int(n), float(sure / n), float(good / n))
            for i, (n, sure, good) in enumerate(
                zip(self.counts, self.confidence, self.outcome, strict=True)
            )
            if n
        ]
