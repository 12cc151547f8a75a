"""Spectral indices: what infrared bands say of regions, beside the model. [ours].

NDVI: Tucker, "Red and photographic infrared linear combinations for monitoring vegetation", 1979.
NDWI: McFeeters, "The use of the Normalized Difference Water Index (NDWI) in the delineation of open
water features", 1996. NDBI: Zha, Gao and Ni, "Use of normalized difference built-up index in
automatically mapping urban areas from TM imagery", 2003.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from dgl_rsis.types import Floats, Proposals, Tie

# Each is (a − b) / (a + b) of two bands.
INDICES = {"ndvi": ("nir", "red"), "ndwi": ("green", "nir"), "ndbi": ("swir", "nir")}
# Share of regions whose index misleads: shadow, haze, a crop before it is green. So no index is
# more certain than ln(0.98 / 0.02) = 3.9, and the picture can outvote it. Our choice.
DOUBT = 0.02

# Threshold, and softness: how far from it the odds are e to 1. Negative: the class lies below.


def normalised_difference(first: Floats, second: Floats) -> Floats:
    """(a − b) / (a + b).

    Args:
        first: a, (H, W) float32, reflectances or proportional to them; NaN for none.
        second: b, as `first`.

    Returns:
        (H, W) float32 in [−1, 1]; NaN where a value is not finite or negative, or both are 0.
    """
    defined = np.isfinite(first) & np.isfinite(second) & (first >= 0) & (second >= 0)
    defined &= (first > 0) | (second > 0)
    difference: Floats = np.full(first.shape, np.nan, dtype=np.float32)
    # The larger one is divided out first: sums of large values would overflow.
    larger = np.maximum(first, second)[defined]
    a, b = first[defined] / larger, second[defined] / larger
    difference[defined] = (a - b) / (a + b)
    return difference


def indices(bands: Mapping[str, Floats]) -> dict[str, Floats]:
    """The indices that the bands allow.

    Args:
        bands: (H, W) float32 of each of "red", "green", "nir" and "swir" that is known; NaN where
            there is no value.

    Returns:
        (H, W) float32 in [−1, 1], NaN where undefined, by name: "ndvi", "ndwi", "ndbi".
    """
    return {
        name: normalised_difference(bands[first], bands[second])
        for name, (first, second) in INDICES.items()
        if first in bands and second in bands
    }


def evidence(
    planes: Mapping[str, Floats], proposed: Proposals, ties: Sequence[Mapping[str, Tie]]
) -> Floats:
    """What the indices say for and against each phrase in each region.

    Args:
        planes: (H, W) float32 of each index, NaN where undefined.
        proposed: N regions of the image.
        ties: of each of P phrases: index → threshold and softness; empty where none says anything.

    Returns:
        (N, P) float32, sums of `log_odds`; 0 where nothing is said.
    """
    logits: Floats = np.zeros((len(proposed), len(ties)), dtype=np.float32)
    for name, plane in planes.items():
        means = region_means(plane, proposed)
        for phrase, tied in enumerate(ties):
            if name in tied:
                logits[:, phrase] += log_odds(means, tied[name])
    return logits


def region_means(plane: Floats, proposed: Proposals) -> Floats:
    """The mean of an index over each region.

    Args:
        plane: (H, W) float32, NaN where undefined.
        proposed: N regions of the image.

    Returns:
        (N,) float32; NaN where the index is defined nowhere in the region.
    """
    height, width = proposed.masks.shape[1:]
    rows = (np.arange(height) * 2 + 1) * plane.shape[0] // (2 * height)
    columns = (np.arange(width) * 2 + 1) * plane.shape[1] // (2 * width)
    seen = plane[rows[:, None], columns]  # (h, w), at the size of the masks
    defined = np.isfinite(seen)
    values = np.where(defined, seen, 0)
    means: Floats = np.full(len(proposed), np.nan, dtype=np.float32)
    for number, mask in enumerate(proposed.masks):
        if count := np.count_nonzero(mask & defined):
            means[number] = values[mask].sum(dtype=np.float64) / count
    return means


def log_odds(values: Floats, tie: Tie) -> Floats:
    """ln(p / (1 − p)) of p = ε + (1 − 2ε) · σ((x − threshold) / softness), ε = `DOUBT`.

    Args:
        values: (N,) float32 in [−1, 1]; NaN where nothing is known.
        tie: threshold and softness.

    Returns:
        (N,) float32 in ±ln((1 − ε) / ε); 0 for NaN.
    """
    threshold, softness = tie
    # σ(z) by tanh: no exponential that overflows.
    certain = (1 + np.tanh((values - threshold) / (2 * softness))) / 2
    likely = DOUBT + (1 - 2 * DOUBT) * certain
    odds: Floats = np.nan_to_num(np.log(likely / (1 - likely)), nan=0.0).astype(np.float32)
    return odds
