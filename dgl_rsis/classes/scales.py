"""At which of the scales that an image was looked at each phrase is judged, and how much.

[ours] A model knows things of a certain width in pixels: a shed that fills its whole field of view
looks like a car park. So an image is seen at its own size and made smaller, and a phrase is judged
at the scales where things of its size, which the knowledge file has in metres, are 12 to 96 pixels
wide. How large a pixel is on the ground is known, or estimated with a spread that the weights are
averaged over.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dgl_rsis.clip.pixel_features import PixelFeatures
from dgl_rsis.resolution import Resolution
from dgl_rsis.types import Extent, Floats

BEST_WIDTHS = (12.0, 96.0)  # pixels
SHARPNESS = 2.0  # exponent of that: what fits best is heard the most
LEAST = 0.1  # weight of a scale where nothing of the class has a good width, before normalisation
BAND_ROWS = 16  # of pixels that are compared with all phrases at a time
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(7)  # of averages over a normal distribution

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Phrases:
    """What regions are compared with.

    Attributes:
        texts: (P, D) float32, L2 norm 1.
        owners: P class indices, 0 … C − 1, each class at least once.
        extents: of the P phrases; None where nobody knows, or the size says nothing.
        largest: of the P phrases, how wide the things that it names can be, metres; None for what
            is no thing.
    """

    texts: Tensor
    owners: Sequence[int]
    extents: Sequence[Extent | None]
    largest: Sequence[float | None]


@dataclass(frozen=True)
class Weighting:
    """What counts for each phrase in an image.

    Attributes:
        shares: (K, P) float32, of the sizes that the image was seen at; columns sum to 1.
        priors: (P,) float32, added to the cosines: what the image as a whole says of the phrase.
    """

    shares: Floats
    priors: Floats


def joined(first: Phrases, second: Phrases) -> Phrases:
    """Both, one after the other."""
    return Phrases(
        torch.cat([first.texts, second.texts]),
        [*first.owners, *second.owners],
        [*first.extents, *second.extents],
        [*first.largest, *second.largest],
    )


def shares(
    extents: Sequence[Extent | None],
    resolution: Resolution | None,
    factors: Sequence[float],
) -> Floats:
    """The weight of each scale for each phrase.

    Args:
        extents: of P phrases; None where nobody knows, or the size says nothing.
        resolution: of the image; None where nobody knows.
        factors: K, how much smaller the image was made, 1 for not at all; the first is 1.

    Returns:
        (K, P) float32 in [0, 1], columns sum to 1. Where size or resolution is not known the image
        is judged as it is.
    """
    weights = np.zeros((len(factors), len(extents)), dtype=np.float32)
    weights[0] = 1.0
    if resolution is None or len(factors) == 1:
        return weights
    metres = resolution.metres * np.exp(resolution.spread * NODES)  # (nodes,)
    for phrase, extent in enumerate(extents):
        if extent is None:
            continue
        fitting = np.array([np.average(_fit(extent, metres / f), weights=WEIGHTS) for f in factors])
        fitting **= SHARPNESS
        weights[:, phrase] = fitting / fitting.sum()
    return weights


def by_size(phrases: Phrases, resolution: Resolution | None, factors: Sequence[float]) -> Weighting:
    """What counts by size alone, whatever the image as a whole says. See `shares`."""
    nothing = np.zeros(len(phrases.texts), dtype=np.float32)
    return Weighting(shares(phrases.extents, resolution, factors), nothing)


def _fit(extent: Extent, metres: Doubles) -> Doubles:
    """Share of the sizes of a class that have a good width, by octaves: (nodes,), above 0."""
    least, most = math.log(extent[0]), math.log(max(extent[1], extent[0] * 1.25))
    low = np.maximum(least, math.log(BEST_WIDTHS[0]) + np.log(metres))
    high = np.minimum(most, math.log(BEST_WIDTHS[1]) + np.log(metres))
    within = np.clip((high - low) / (most - least), 0, 1)
    # Where none has: the nearer to a good width, the better.
    fit: Doubles = within + LEAST * np.exp(-np.maximum(low - high, 0))
    return fit


def cosines(by_mask: Tensor, texts: Tensor, weighting: Weighting) -> Floats:
    """Cosines of regions and phrases over all scales, with the priors.

    Args:
        by_mask: (K, N, D) float32, L2 norm 1.
        texts: (P, D) float32, L2 norm 1.
        weighting: of the phrases.

    Returns:
        (N, P) float32: Σ_k w_kp · cos(v_kn, t_p) + b_p.
    """
    each = by_mask @ texts.T  # (K, N, P)
    fused = (each * torch.from_numpy(weighting.shares).to(each)[:, None]).sum(dim=0)
    weighted: Floats = fused.cpu().numpy() + weighting.priors
    return weighted


def pixel_cosines(
    levels: Sequence[PixelFeatures],
    directions: Tensor,
    owners: Sequence[int],
    weighting: Weighting,
) -> Tensor:
    """`cosines` of every pixel with the best phrase of each class.

    Args:
        levels: K, of the image at each size that it was seen at, the largest first.
        directions: (P, R) float32, the phrases in the coordinates of the pixels.
        owners: P class indices, 0 … C − 1.
        weighting: of the phrases.

    Returns:
        (C, h, w) float32, on the grid of the largest level.
    """
    rows, columns, rank = levels[0].coordinates.shape
    weights = torch.from_numpy(weighting.shares).to(directions)  # (K, P)
    priors = torch.from_numpy(weighting.priors).to(directions)[:, None]  # (P, 1)
    smaller = [
        _Widened.of(level, directions, shares, columns)
        for level, shares in zip(levels[1:], weights[1:], strict=True)
    ]
    fine = directions * weights[0][:, None]  # (P, R)
    best = directions.new_full((max(owners) + 1, rows, columns), -torch.inf)
    # Planes of all phrases would not fit in a processor's cache; a GPU wants them at once.
    step = BAND_ROWS if directions.device.type == "cpu" else rows
    for top in range(0, rows, step):
        band = slice(top, min(top + step, rows))
        total = fine @ levels[0].coordinates[band].reshape(-1, rank).T  # (P, b · w)
        total = total.add_(priors).reshape(len(fine), -1, columns)
        for level in smaller:
            total[level.heard] += level.between(band, rows)
        for owner, plane in zip(owners, total, strict=True):
            torch.maximum(best[owner, band], plane, out=best[owner, band])
    return best


@dataclass(frozen=True)
class _Widened:
    """What a smaller size says of the phrases that count there, as wide as the largest one.

    Attributes:
        heard: (p,) int64, which phrases these are: most count at few of the sizes.
        planes: (p, h', w) float32, their weighted cosines.
    """

    heard: Tensor
    planes: Tensor

    @classmethod
    def of(cls, level: PixelFeatures, directions: Tensor, shares: Tensor, columns: int) -> Self:
        rows, narrow, rank = level.coordinates.shape
        heard = shares.nonzero()[:, 0]
        if not len(heard):
            return cls(heard, directions.new_zeros(0, rows, columns))
        planes = (directions * shares[:, None])[heard] @ level.coordinates.reshape(-1, rank).T
        planes = planes.reshape(1, -1, rows, narrow)
        return cls(heard, F.interpolate(planes, size=(rows, columns), mode="bilinear")[0])

    def between(self, band: slice, rows: int) -> Tensor:
        """Some of `rows` rows, linear between its own: (p, b, w)."""
        own = self.planes.shape[1]
        place = torch.arange(band.start, band.stop, device=self.planes.device) + 0.5
        place = (place * (own / rows) - 0.5).clamp(0, own - 1)  # (b,)
        above = place.long()
        share = (place - above)[:, None]
        return torch.lerp(
            self.planes[:, above], self.planes[:, (above + 1).clamp(max=own - 1)], share
        )
