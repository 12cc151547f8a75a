"""Colours measured in masks, and the words for them. [ours].

CLIP's opinion of "the white car" is weak where the car has 40 pixels; the mean colour is not. It is
compared in CIELAB with prototypes of the colour terms, as lightness L (0-100), chroma C and hue h.
"""

from collections.abc import Mapping
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from dgl_rsis.expressions.distinct import likely
from dgl_rsis.types import RGB, Floats, Proposals

Doubles = NDArray[np.float64]
Prototype = tuple[float, float, float]  # L, C, h in degrees

# The eleven basic colour terms (Berlin and Kay 1969), cyan and beige, as surfaces look from above:
# through haze, and so far less saturated than a monitor's red or blue. The values are ours: usual
# roofs, soils, waters, lawns and vehicles, from the paint itself to its weathered shade.
TERMS: Mapping[str, tuple[Prototype, ...]] = {
    "white": ((95, 2, 100), (88, 4, 100)),
    "grey": ((75, 3, 270), (62, 3, 270), (50, 3, 270), (38, 3, 270)),
    "black": ((22, 3, 270), (10, 2, 270)),
    "red": ((52, 75, 38), (46, 50, 36), (47, 36, 40), (38, 34, 36)),
    "orange": ((66, 65, 62), (64, 44, 58)),
    "yellow": ((87, 75, 96), (78, 60, 90), (84, 42, 98)),
    "green": ((55, 60, 138), (45, 34, 132), (34, 20, 132), (50, 17, 150), (60, 26, 124)),
    "blue": ((40, 60, 290), (44, 34, 280), (48, 22, 255), (62, 26, 258), (26, 20, 268)),
    "cyan": ((82, 42, 198), (66, 30, 205), (50, 24, 210)),
    "purple": ((42, 50, 318), (46, 28, 315)),
    "pink": ((74, 34, 0), (62, 50, 352)),
    "brown": ((30, 16, 56), (42, 18, 60), (52, 20, 60)),
    "beige": ((86, 14, 84), (77, 19, 80), (67, 18, 78)),
}
# Other words for them, and words between them.
SYNONYMS: Mapping[str, str] = {
    "greyish": "grey",
    "whitish": "white",
    "blackish": "black",
    "reddish": "red",
    "greenish": "green",
    "bluish": "blue",
    "yellowish": "yellow",
    "brownish": "brown",
    "pinkish": "pink",
    "purplish": "purple",
    "crimson": "red",
    "scarlet": "red",
    "maroon": "dark red",
    "violet": "purple",
    "teal": "dark cyan",
    "turquoise": "cyan",
    "golden": "yellow",
    "silver": "light grey",
    "cream": "beige",
    "navy": "dark blue",
    "navy blue": "dark blue",
    "sky blue": "light blue",
    "royal blue": "vivid blue",
}
SPECIAL: Mapping[str, tuple[Prototype, ...]] = {
    "light grey": ((80, 3, 270), (73, 3, 270)),
    "dark grey": ((40, 3, 270), (31, 3, 270)),
    "tan": ((68, 26, 74), (60, 24, 72)),
    "khaki": ((66, 24, 100), (56, 22, 100)),
    "magenta": ((55, 70, 335), (50, 45, 340)),
    "olive green": ((46, 30, 110), (38, 22, 108)),
    "lime green": ((80, 75, 125), (70, 55, 122)),
}
SHADES: Mapping[str, tuple[float, float]] = {  # added to L, factor of C
    "light": (16, 0.8),
    "pale": (16, 0.6),
    "dark": (-16, 0.9),
    "deep": (-12, 1.2),
    "dull": (-4, 0.6),
    "bright": (8, 1.3),
    "vivid": (0, 1.4),
}
# What counts as one step in lightness, chroma and hue: light and shadow vary lightness most.
LIGHTNESS_STEP, CHROMA_STEP, HUE_STEP = 12.0, 10.0, 8.0
KIND = 0.5  # share of the greatest class probability that things of one kind have at least
CAST, FEWEST = 0.5, 8  # share of a common chroma that is the light's, and how many must have it
LEAST_BEST = 0.05  # what fits less well does not count as the word's colour at all
# "dark", "bright" and "colourful" alone: the value of the even chance, and its softness.
DARK, BRIGHT, COLOURFUL, SOFTNESS = 42.0, 68.0, 25.0, 6.0


def mean_lab(image: RGB, proposals: Proposals) -> Floats:
    """Mean colour of each mask.

    Args:
        image: (H, W, 3) uint8, sRGB.
        proposals: N masks; the image is shrunk to their size first.

    Returns:
        (N, 3) float32, CIELAB under D65: L in 0-100, a, b; zeros for an empty mask.
    """
    rows, columns = proposals.masks.shape[1:]
    if image.shape[:2] != (rows, columns):
        resized = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
        image = np.asarray(resized, dtype=np.uint8)
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)  # (h, w, 3)
    scale = np.array([columns / proposals.width, rows / proposals.height] * 2)
    corners = proposals.boxes * scale  # (N, 4), pixels of the masks
    starts = np.floor(corners[:, :2]).astype(np.int64)
    ends = np.ceil(corners[:, 2:]).astype(np.int64)
    means = np.zeros((len(proposals), 3), dtype=np.float32)
    for i, ((left, top), (right, bottom)) in enumerate(
        zip(starts.tolist(), ends.tolist(), strict=True)
    ):
        window = slice(top, bottom), slice(left, right)
        inside = proposals.masks[i][window].view(np.uint8)
        if inside.size:
            means[i] = np.asarray(cv2.mean(lab[window], mask=inside))[:3]
    return means


def knows(word: str) -> bool:
    """Whether `colour` can judge this word."""
    return word in ("dark", "light", "bright", "colourful") or bool(_prototypes(word))


def colour(means: Floats, word: str) -> Floats:
    """How well measured colours fit a word.

    The word's distance d is that of its nearest prototype in steps of lightness, chroma and hue;
    the fit is exp(−(d² − d_best²) / 2), where d_best belongs to the best of the word and the basic
    terms. So the best name of a colour has 1, also under a cast or haze that moves all colours from
    all prototypes, and other names fall off softly. "reddish brown" is the geometric mean of both.

    Args:
        means: (N, 3) float32, CIELAB.
        word: "white", "grey", "dark green", "reddish brown", …

    Returns:
        (N,) float32 in [0, 1]; all 1 for an unknown word.
    """
    lightness, chroma = means[:, 0].astype(np.float64), np.hypot(means[:, 1], means[:, 2])
    if word == "dark":
        return _logistic((DARK - lightness) / SOFTNESS)
    if word in ("light", "bright"):
        return _logistic((lightness - BRIGHT) / SOFTNESS)
    if word == "colourful":
        return _logistic((chroma - COLOURFUL) / SOFTNESS)
    wanted = _prototypes(word)
    if not wanted:
        return np.ones(len(means), dtype=np.float32)
    fits = np.mean([_squares(means, p) for p in wanted], axis=0)  # the mean of logarithms
    best = np.minimum.reduce([fits, *(_squares(means, p) for p in TERMS.values())])
    shares: Floats = np.exp((best - fits) / 2).astype(np.float32)
    return shares


def balanced(means: Floats, weights: Floats) -> Floats:
    """Colours without half of the cast that a kind of things has in common.

    Haze and evening light move all colours alike, and things of one kind are neutral on the
    average: more or less, so that half of their median chroma is taken for the light's.

    Args:
        means: (N, 3) float32, CIELAB.
        weights: (N,) float32 in [0, 1], class probabilities; see `relative`.

    Returns:
        (N, 3) float32; the same where fewer than eight are of the kind.
    """
    kind = likely(weights, KIND)
    if len(kind) < FEWEST:
        return means
    cast = np.float32(CAST) * np.median(means[kind, 1:], axis=0)
    without_cast: Floats = np.concatenate([means[:, :1], means[:, 1:] - cast], axis=1)  # (N, 3)
    return without_cast


def relative(fits: Floats, weights: Floats) -> Floats:
    """How well colours fit a word, against the best of their kind.

    Among grey roofs the bluish one is "the blue building", though it is hardly blue. The root
    leaves other words a say: between two that are blue enough, size and place decide.

    Args:
        fits: (N,) float32 in [0, 1], see `colour`.
        weights: (N,) float32 in [0, 1], class probabilities. Those of at least half the greatest
            are of the kind.

    Returns:
        (N,) float32 in [0, 1]: √(fit / the best), where the best is at least 0.05, as nothing is
            blue only because all else is red.
    """
    best = max(float(fits[likely(weights, KIND)].max(initial=0)), LEAST_BEST)
    shares: Floats = np.sqrt(np.minimum(fits / best, 1)).astype(np.float32)
    return shares


@cache
def _prototypes(word: str) -> tuple[tuple[Prototype, ...], ...]:
    """One set for each colour that the word mixes; none for an unknown word."""
    word = word.replace("gray", "grey")
    word = SYNONYMS.get(word, word)
    known = TERMS.get(word) or SPECIAL.get(word)
    if known:
        return (known,)
    first, _, rest = word.partition(" ")
    base = _prototypes(rest) if rest else ()
    if base and first in SHADES:
        return tuple(tuple(_shaded(first, p) for p in prototypes) for prototypes in base)
    if base and first in SYNONYMS:  # "reddish brown"
        return (*_prototypes(first), *base)
    return ()


def _shaded(shade: str, prototype: Prototype) -> Prototype:
    step, factor = SHADES[shade]
    lightness, chroma, hue = prototype
    return min(max(lightness + step, 4), 98), chroma * factor, hue


def _squares(means: Floats, prototypes: tuple[Prototype, ...]) -> Doubles:
    """(N,) squared distance to the nearest of the prototypes, in steps.

    The difference in hue is the chord 2 · √(C₁C₂) · sin(Δh / 2), as in CIE 94: a grey has none.
    """
    lightness = means[:, :1].astype(np.float64)  # (N, 1)
    chroma = np.hypot(means[:, 1:2], means[:, 2:]).astype(np.float64)
    hue = np.arctan2(means[:, 2:], means[:, 1:2])
    known_lightness, known_chroma, degrees = np.array(prototypes, dtype=np.float64).T  # (P,)
    chord = 2 * np.sqrt(chroma * known_chroma) * np.sin((hue - np.deg2rad(degrees)) / 2)
    squares: Doubles = (
        ((lightness - known_lightness) / LIGHTNESS_STEP) ** 2
        + ((chroma - known_chroma) / CHROMA_STEP) ** 2
        + (chord / HUE_STEP) ** 2
    ).min(axis=1)
    return squares


def _logistic(x: Doubles) -> Floats:
    probability: Floats = (1 / (1 + np.exp(-x))).astype(np.float32)
    return probability
