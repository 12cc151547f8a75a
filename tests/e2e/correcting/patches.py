"""Where a map is not as it should be, part by part."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from dgl_rsis.types import Mask
from tests.e2e.correcting.canvas import Canvas

SMALLEST = 150  # pixels of a patch or an object that is looked at
PATCHES = 40  # the largest ones, of one look


@dataclass(frozen=True)
class Patch:
    """A connected part of one class, as it is or as it should be.

    Attributes:
        label: number of the true class.
        top: first row of `mask` in the image.
        left: first column.
        mask: (h, w) bool.
    """

    label: int
    top: int
    left: int
    mask: Mask

    @property
    def area(self) -> int:
        """Its pixels."""
        return int(self.mask.sum())

    @cached_property
    def deepest(self) -> tuple[int, int, float]:
        """Row and column of the pixel farthest from its border, and how far that is."""
        depth = cv2.distanceTransform(np.pad(self.mask.view(np.uint8), 1), cv2.DIST_L2, 5)
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        return self.top + int(row) - 1, self.left + int(column) - 1, float(depth.max())


def wrong_patches(canvas: Canvas) -> list[Patch]:
    """The largest connected parts that should be of a class and are not, largest first."""
    wrong = canvas.wrong
    labels = range(int(canvas.truth.max()) + 1)
    each = [one for label in labels for one in parts(wrong & (canvas.truth == label), label)]
    return sorted(each, key=lambda patch: -patch.area)[:PATCHES]


def parts(mask: Mask, label: int) -> Iterator[Patch]:
    """The connected parts of a mask that are large enough."""
    count, numbered, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    for number in range(1, count):
        left, top, width, height, area = (int(value) for value in statistics[number])
        if area >= SMALLEST:
            inner = numbered[top : top + height, left : left + width] == number
            yield Patch(label, top, left, inner)
