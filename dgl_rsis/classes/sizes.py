"""What is too small or too large to be what the map says it is. [ours].

Ten pixels of "building" on a lawn are three square metres, which no building is: they are what is
likeliest of the rest. A tennis court as wide as a village is none either.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from dgl_rsis import masks
from dgl_rsis.classes.matching import SemanticMap
from dgl_rsis.classes.scales import Phrases
from dgl_rsis.resolution import Resolution
from dgl_rsis.types import Floats

LONGEST = 10.0  # times the largest thing: rows of things that touch are no longer
LEAST_SHARE = 0.5  # of the square of the smallest usual width: things are seldom squares
CAUTION = 2.0  # standard deviations that the resolution may be wrong by, at the thing's advantage


@dataclass(frozen=True)
class Limits:
    """What sizes parts of a class can have.

    Attributes:
        least: pixels of a part, at least.
        widest: pixels across the largest circle in it, at most: cars that touch in a car park are
            one part, which is as long as the row and as wide as a car.
        narrowest: pixels, of the smallest usual width; 0 where nobody knows.
        longest: pixels, of the longest thing there is, as far as anybody knows; what is longer is
            several.
    """

    least: float = 0.0
    widest: float = np.inf
    narrowest: float = 0.0
    longest: float = np.inf


def limits(phrases: Phrases, resolution: Resolution | None, factor: float) -> list[Limits]:
    """The limits of each class: those of its first phrase.

    Args:
        phrases: of C classes.
        resolution: of the image; None where nobody knows: then everything is possible.
        factor: pixels of the map along one of the image.
    """
    first = [list(phrases.owners).index(owner) for owner in range(max(phrases.owners) + 1)]
    if resolution is None:
        return [Limits()] * len(first)
    known = []
    for phrase in first:
        extent, largest = phrases.extents[phrase], phrases.largest[phrase]
        doubt = np.exp(CAUTION * resolution.spread)
        pixel = resolution.metres / factor  # metres along a pixel of the map
        narrowest = 0.0 if extent is None else extent[0] / pixel
        longest = np.inf if largest is None else largest / pixel
        least = LEAST_SHARE * (narrowest / doubt) ** 2
        known.append(Limits(least, longest * doubt, narrowest, longest))
    return known


def possible(semantic: SemanticMap, bounds: Sequence[Limits]) -> SemanticMap:
    """The map without parts that cannot be what they are called.

    Args:
        semantic: the map, C classes.
        bounds: of the first of them; classes beyond have none.

    Returns:
        The same map where everything was possible. Elsewhere pixels of such a part are told one by
        one, with probability 0 for its class.
    """
    best = semantic.best
    wrong = np.full(best.shape, -1, dtype=np.int32)
    for number, bound in enumerate(bounds):
        if bound.least <= 1 and bound.widest >= max(best.shape):
            continue
        mask = best == number
        count, parts, stats, _ = cv2.connectedComponentsWithStats(
            mask.astype(np.uint8), connectivity=8
        )
        longest = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1)
        cannot = stats[:, cv2.CC_STAT_AREA] < bound.least
        if (longest[1:] > bound.widest).any():
            across = 2 * ndimage.maximum(masks.depth(mask), parts, np.arange(count))
            cannot |= (across > bound.widest) | (longest > LONGEST * bound.widest)
        cannot[0] = False  # the rest of the image
        wrong[cannot[parts]] = number
    where = wrong >= 0
    if not where.any():
        return semantic
    rows: Floats = semantic.classes[semantic.cell[where]].copy()  # (n, C)
    rows[np.arange(len(rows)), wrong[where]] = 0
    rows /= np.maximum(rows.sum(axis=1, keepdims=True), 1e-9)
    cell = semantic.cell.copy()
    cell[where] = len(semantic.classes) + np.arange(len(rows))
    return SemanticMap(cell, np.concatenate([semantic.classes, rows]))
