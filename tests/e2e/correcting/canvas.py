"""The class map that an annotator makes, and how right it is.

Where regions overlap the smaller one is on top, as in exports.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.types import Mask

NOTHING = -1  # the class of a pixel that no region covers, or that the truth leaves open


@dataclass(frozen=True)
class Shape:
    """One region.

    Attributes:
        label: number of its class, from 0.
        top: first row of `mask` in the image.
        left: first column.
        mask: (h, w) bool, cropped.
        area: its pixels.
    """

    label: int
    top: int
    left: int
    mask: Mask
    area: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Where it lies in the image."""
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def shape_of(label: int, mask: Mask, top: int = 0, left: int = 0) -> Shape | None:
    """A region of a mask; None when the mask is empty.

    Args:
        label: number of its class.
        mask: (h, w) bool.
        top: row of the image where `mask` begins.
        left: column.
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return None
    inner = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
    return Shape(label, top + int(rows[0]), left + int(columns[0]), inner, int(inner.sum()))


class Canvas:
    """Regions over an image whose true classes are known.

    Attributes:
        truth: (H, W) int16, class of each pixel, or `NOTHING` where none counts.
        classes: (H, W) int16, the class on top, or `NOTHING`.
        regions: by their ids.
    """

    def __init__(self, truth: NDArray[np.int16]) -> None:
        self.truth = truth
        self.labelled = max(1, int((truth != NOTHING).sum()))
        self.regions: dict[str, Shape] = {}
        self._clear()

    @property
    def wrong(self) -> Mask:
        """(H, W) bool, pixels that count and are of another class, or of none."""
        wrong: Mask = (self.classes != self.truth) & (self.truth != NOTHING)
        return wrong

    @property
    def accuracy(self) -> float:
        """Share of the pixels that count which are right."""
        return 1 - int(self.wrong.sum()) / self.labelled

    def gain(self, shape: Shape) -> int:
        """How many pixels more would be right with one region more; negative if fewer."""
        visible = shape.mask & (shape.area < self._areas[shape.window])
        truth = self.truth[shape.window][visible]
        before = self.classes[shape.window][visible]
        return int((truth == shape.label).sum() - ((before == truth) & (truth != NOTHING)).sum())

    def put(self, regions: Iterable[tuple[str, Shape]], *, instead_of: Iterable[str] = ()) -> None:
        """Add regions; one of the same id is replaced, those of `instead_of` go."""
        for name in instead_of:
            self.regions.pop(name, None)
        self.regions.update(regions)
        self._clear()
        for number, name in enumerate(sorted(self.regions, key=self._order)):
            shape = self.regions[name]
            self.classes[shape.window][shape.mask] = shape.label
            self._areas[shape.window][shape.mask] = shape.area
            self._owners[shape.window][shape.mask] = number

    def copy(self) -> "Canvas":
        """Another one with the same regions."""
        other = Canvas(self.truth)
        other.put(self.regions.items())
        return other

    def renamings(self, labels: int) -> list[tuple[int, str, int]]:
        """What another label of a region would gain: pixels, id, label; only what gains some.

        Args:
            labels: how many classes there are.
        """
        names = sorted(self.regions, key=self._order)
        seen = (self._owners >= 0) & (self.truth != NOTHING)
        places = self._owners[seen] * labels + self.truth[seen]
        counts = np.bincount(places, minlength=len(names) * labels).reshape(-1, labels)
        rows = []
        for name, row in zip(names, counts, strict=True):
            best = int(row.argmax())
            gain = int(row[best] - row[self.regions[name].label])
            if gain > 0:
                rows.append((gain, name, best))
        return rows

    def rename(self, name: str, label: int) -> None:
        """Give a region another label."""
        self.put([(name, replace(self.regions[name], label=label))])

    def _order(self, name: str) -> tuple[int, int, str]:
        shape = self.regions[name]
        return -shape.area, shape.label, name

    def _clear(self) -> None:
        self.classes = np.full(self.truth.shape, NOTHING, dtype=np.int16)
        self._areas = np.full(self.truth.shape, np.iinfo(np.int32).max, dtype=np.int32)
        self._owners = np.full(self.truth.shape, -1, dtype=np.int32)
