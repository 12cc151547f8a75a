"""Windows of an image for a model that sees squares of one size: tiles at several scales. [ours].

Squeezed into one square, a large image loses its small things; cut into tiles alone, it loses what
is larger than a tile. So it is seen at its own size and at halves of it, until one square holds it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from dgl_rsis.types import RGB

OVERLAP = 0.25  # share of a tile that its neighbour covers again
STRETCH = 1.25  # times the side that an image may have to be seen by one square


@dataclass(frozen=True)
class View:
    """A window of an image at one of its sizes.

    Attributes:
        level: 0 of the image's own size, 1 of half of it, and so on.
        box: XYXY pixels of the image.
    """

    level: int
    box: tuple[int, int, int, int]

    def cut(self, image: RGB) -> RGB:
        """Its pixels, at its size: (h, w, 3) uint8."""
        left, top, right, bottom = self.box
        window = image[top:bottom, left:right]
        if not self.level:
            return np.ascontiguousarray(window)
        size = max(1, (right - left) >> self.level), max(1, (bottom - top) >> self.level)
        return np.asarray(cv2.resize(window, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


@dataclass(frozen=True)
class Views:
    """All windows of an image.

    Attributes:
        height, width: H and W of the image, pixels.
        levels: the windows of each size, the image's own first.
    """

    height: int
    width: int
    levels: tuple[tuple[View, ...], ...]

    @cached_property
    def factors(self) -> tuple[float, ...]:
        """How much smaller the image is made at each level; the first is 1."""
        return tuple(0.5**level for level in range(len(self.levels)))


def views(height: int, width: int, side: int) -> Views:
    """The windows of an image.

    Args:
        height: H of the image, pixels.
        width: W.
        side: of the square that the model sees, pixels.
    """
    levels: list[tuple[View, ...]] = []
    while True:
        level = len(levels)
        reach = side << level  # pixels of the image that a square spans at this level
        if max(height, width) <= reach * STRETCH:
            levels.append((View(level, (0, 0, width, height)),))
            return Views(height, width, tuple(levels))
        levels.append(
            tuple(
                View(level, (left, top, min(width, left + reach), min(height, top + reach)))
                for top in starts(height, reach)
                for left in starts(width, reach)
            )
        )


def starts(length: int, reach: int) -> Sequence[int]:
    """Where windows begin that cover a length, evenly, each at least `OVERLAP` of the next."""
    if length <= reach:
        return (0,)
    count = int(np.ceil((length - reach) / (reach * (1 - OVERLAP)))) + 1
    return tuple(np.round(np.linspace(0, length - reach, count)).astype(int).tolist())
