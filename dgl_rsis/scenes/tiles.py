"""Tiles of a scene: where they lie, what they show, and whose each pixel is when they come back.

[ours].
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.scenes.reading import Scene
from dgl_rsis.types import RGB, InputError, Mask

FAR = np.iinfo(np.int32).max  # how deep a pixel lies that no side of the tile is near to


class Window(NamedTuple):
    """A part of a scene, pixels."""

    column: int
    row: int
    width: int
    height: int


@dataclass(frozen=True)
class TileParameters:
    """How to cut scenes.

    Attributes:
        size: of both sides of a tile, pixels; a side of the scene where that is shorter.
        overlap: that neighbouring tiles share, pixels; those at the end share more.
    """

    size: int
    overlap: int

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.size:
            raise InputError(
                f"tiles of {self.size} pixels cannot overlap by {self.overlap}: take less, such "
                f"as {max(0, self.size) // 16}"
            )


@dataclass(frozen=True)
class Tile:
    """One tile.

    Attributes:
        window: of the scene.
        image: (height, width, 3) uint8, black where nothing is valid; None where nothing is valid
            anywhere.
    """

    window: Window
    image: RGB | None


def windows(width: int, height: int, tiling: TileParameters) -> list[Window]:
    """The windows that cover a scene, row by row, all of one size.

    Args:
        width: of the scene, pixels.
        height: of the scene, pixels.
        tiling: how to cut.
    """
    across, down = min(tiling.size, width), min(tiling.size, height)
    return [
        Window(column, row, across, down)
        for row in _starts(height, tiling)
        for column in _starts(width, tiling)
    ]


def cut(scene: Scene, tiling: TileParameters) -> Iterator[Tile]:
    """The tiles of a scene, one at a time, in the order of `windows`.

    Raises:
        InputError: the file is damaged.
    """
    for window in windows(scene.grid.width, scene.grid.height, tiling):
        image, valid = scene.read(*window)
        yield Tile(window, image if valid.any() else None)


@dataclass(frozen=True)
class Seams:
    """Which tile's word counts where tiles overlap.

    A pixel is owned by the tile that it lies deepest in. Its depth is its distance to the nearest
    side of the tile; sides that are the scene's own do not count, since nothing was cut off there.
    Of two tiles in which it is equally deep the one that comes first owns it. So each pixel that
    tiles cover has exactly one owner, whatever the tiles hold.

    Attributes:
        tiles: all windows of the scene, no two alike.
        width, height: of the scene, pixels.
    """

    tiles: Sequence[Window]
    width: int
    height: int

    def owned(self, index: int) -> Mask:
        """(h, w) bool, the pixels that a tile owns."""
        own = self.tiles[index]
        depth = self._depth(own, own)
        owned = np.ones(depth.shape, dtype=np.bool_)
        for other in self._overlapping(own):
            if other == index:
                continue
            shared = _shared(own, self.tiles[other])
            theirs = self._depth(self.tiles[other], shared)
            top, left = shared.row - own.row, shared.column - own.column
            part = slice(top, top + shared.height), slice(left, left + shared.width)
            owned[part] &= depth[part] >= theirs if index < other else depth[part] > theirs
        return owned

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        """(4, N) int64: first columns, first rows, and those after the last."""
        column, row, width, height = np.array(self.tiles, dtype=np.int64).T
        return np.stack([column, row, column + width, row + height])

    def _overlapping(self, own: Window) -> list[int]:
        """Indices of the tiles that share a pixel with this one."""
        left, top, right, bottom = self._ends
        across = (left < own.column + own.width) & (own.column < right)
        down = (top < own.row + own.height) & (own.row < bottom)
        indices: list[int] = np.flatnonzero(across & down).tolist()
        return indices

    def _depth(self, tile: Window, part: Window) -> NDArray[np.int32]:
        """(h, w) int32, how deep the pixels of a part of a tile lie in it."""
        across = _along(tile.column, tile.width, part.column, part.width, self.width)
        down = _along(tile.row, tile.height, part.row, part.height, self.height)
        return np.minimum(down[:, None], across)


def _starts(length: int, tiling: TileParameters) -> list[int]:
    """First pixels of the tiles along one side; the last tile is moved inward to end with it."""
    last = max(0, length - tiling.size)
    step = tiling.size - tiling.overlap
    return [*range(0, last, step), last]


def _shared(a: Window, b: Window) -> Window:
    column, row = max(a.column, b.column), max(a.row, b.row)
    right = min(a.column + a.width, b.column + b.width)
    bottom = min(a.row + a.height, b.row + b.height)
    return Window(column, row, right - column, bottom - row)


def _along(start: int, size: int, first: int, count: int, length: int) -> NDArray[np.int32]:
    """(count,) int32, distance to the nearer end of a tile along one side of the scene."""
    at = np.arange(first, first + count, dtype=np.int32)
    before = at - start if start > 0 else np.full_like(at, FAR)
    after = start + size - 1 - at if start + size < length else np.full_like(at, FAR)
    return np.minimum(before, after)
