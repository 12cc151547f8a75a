"""Polygons of the classes of a scene, block by block; what a block's border cuts becomes one again.

[ours] Every block is cut into connected parts (4-neighbourhood: parts that share only a corner are
two, so that rings stay simple). Parts that touch across a border share a component; a component is
finished, and leaves memory, once the row of blocks below it does not go on with it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import shapes
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry
from skimage.measure import label as connected

from dgl_rsis.types import Floats

BLOCK = 1024  # pixels

Classes = NDArray[np.uint8 | np.uint16]  # (h, w); 0 = none
ReadBlock = Callable[[int, int, int, int], tuple[Classes, Floats]]


@dataclass(frozen=True)
class Component:
    """A connected part of one class.

    Attributes:
        value: of the class raster.
        geometry: polygon with its holes, in pixels (x right, y down; 0 is the outer edge).
        pixels: how many it covers.
        score: mean probability inside, [0, 1].
    """

    value: int
    geometry: BaseGeometry
    pixels: int
    score: float


@dataclass
class _Part:
    """What is known of a component so far: geometries as WKB, which takes the least memory."""

    value: int
    pixels: int = 0
    total: float = 0.0
    pieces: list[bytes] = field(default_factory=list)

    def take(self, other: "_Part") -> None:
        self.pixels += other.pixels
        self.total += other.total
        self.pieces += other.pieces

    def finished(self) -> Component:
        pieces = shapely.from_wkb(self.pieces)
        geometry = pieces[0] if len(pieces) == 1 else shapely.union_all(pieces)
        if not geometry.is_valid:
            geometry = shapely.make_valid(geometry, method="structure", keep_collapsed=False)
        if len(pieces) > 1:
            geometry = geometry.simplify(0)  # without the corners that the borders left
        return Component(self.value, geometry, self.pixels, self.total / self.pixels)


class _Parts:
    """Open components and which of them have been found to be one (union-find)."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}
        self._parts: dict[int, _Part] = {}
        self._next = 1

    def add(self, part: _Part) -> int:
        number, self._next = self._next, self._next + 1
        self._parent[number], self._parts[number] = number, part
        return number

    def root(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number

    def value(self, number: int) -> int:
        return self._parts[self.root(number)].value

    def join(self, first: int, second: int) -> None:
        a, b = self.root(first), self.root(second)
        if a == b:
            return
        if len(self._parts[a].pieces) < len(self._parts[b].pieces):
            a, b = b, a
        self._parent[b] = a
        self._parts[a].take(self._parts.pop(b))

    def close(self, still_open: set[int]) -> Iterator[_Part]:
        """Take out all but these roots."""
        for number in [n for n in self._parts if n not in still_open]:
            yield self._parts.pop(number)
        self._parent = {number: number for number in self._parts}


def components(
    width: int, height: int, read: ReadBlock, least: float = 0, block: int = BLOCK
) -> Iterator[Component]:
    """Connected parts of all classes of a scene.

    Args:
        width: of the scene, pixels.
        height: of the scene, pixels.
        read: row, column, height and width of a block → its classes and probabilities.
        least: components of fewer pixels are left out.
        block: side of the blocks, pixels; does not change the answer.

    Yields:
        Components, in the order in which they are finished.
    """
    parts = _Parts()
    above: NDArray[np.int64] = np.zeros(width, dtype=np.int64)  # component of each pixel
    for row in range(0, height, block):
        rows = min(block, height - row)
        below = np.zeros(width, dtype=np.int64)
        beside: NDArray[np.int64] = np.zeros(rows, dtype=np.int64)
        for column in range(0, width, block):
            columns = min(block, width - column)
            classes, probability = read(row, column, rows, columns)
            numbers = _cut(classes, probability, parts, row, column)
            inside = slice(column, column + columns)
            _join(parts, above[inside], numbers[0])
            _join(parts, beside, numbers[:, 0])
            below[inside], beside = numbers[-1], numbers[:, -1]
        above = _roots(parts, below)
        last = row + rows >= height
        for part in parts.close(set() if last else set(np.unique(above).tolist())):
            if part.pixels >= least:
                yield part.finished()


def _cut(
    classes: Classes, probability: Floats, parts: _Parts, row: int, column: int
) -> NDArray[np.int64]:
    """Add the connected parts of a block: (h, w) their numbers, 0 where there is no class."""
    if not classes.any():
        return np.zeros(classes.shape, dtype=np.int64)
    local = connected(classes, background=0, connectivity=1).astype(np.int32)
    count = int(local.max(initial=0))
    flat = local.reshape(-1)
    pixels = np.bincount(flat, minlength=count + 1)
    totals = np.bincount(flat, probability.reshape(-1), minlength=count + 1)
    values = np.zeros(count + 1, dtype=np.int64)
    values[flat] = classes.reshape(-1)
    numbers: NDArray[np.int64] = np.zeros(count + 1, dtype=np.int64)
    place = Affine.translation(column, row)
    for geometry, number in shapes(local, mask=local > 0, connectivity=4, transform=place):
        i = int(number)
        piece = shapely.to_wkb(shape(geometry))
        numbers[i] = parts.add(_Part(int(values[i]), int(pixels[i]), float(totals[i]), [piece]))
    placed: NDArray[np.int64] = numbers[local]
    return placed


def _join(parts: _Parts, known: NDArray[np.int64], numbers: NDArray[np.int64]) -> None:
    """Join the parts on both sides of a border where they have the same class."""
    pairs = np.unique(np.stack([known, numbers], axis=1)[(known > 0) & (numbers > 0)], axis=0)
    for first, second in pairs.tolist():
        if parts.value(first) == parts.value(second):
            parts.join(first, second)


def _roots(parts: _Parts, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The component that each of these numbers belongs to now; 0 stays 0."""
    known, inverse = np.unique(numbers, return_inverse=True)
    roots = np.array([parts.root(n) if n else 0 for n in known.tolist()], dtype=np.int64)
    expanded: NDArray[np.int64] = roots[inverse]
    return expanded
