"""Windows over a scene, and their class scores blended where they overlap.

Of two windows that overlap, each pixel takes a mean whose weights fall smoothly from one to the
other and sum to one. Only what later windows still need is kept: in memory the strip to the right
of the last window, and in a file, since it is as long as the scene is wide, the strip below a row
of windows. Windows that say nothing cost nothing. [ours].
"""

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.types import Floats, InputError


@dataclass(frozen=True)
class Axis:
    """Windows along one side of a scene, of which no more than two meet at any pixel.

    Attributes:
        starts: first pixel of each window, ascending.
        ends: one behind its last pixel.
    """

    starts: tuple[int, ...]
    ends: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.starts)

    def side(self, index: int) -> int:
        """Pixels of a window."""
        return self.ends[index] - self.starts[index]

    def shared(self, index: int) -> int:
        """Pixels that window `index` shares with the next one; 0 for the last window."""
        return self.ends[index] - self.starts[index + 1] if index + 1 < len(self) else 0

    def weights(self, index: int) -> Floats:
        """(side,) float32 in [0, 1]: over all windows they sum to 1 at every pixel.

        Where two windows meet: sin² of angles that grow evenly.
        """
        weights = np.ones(self.side(index), dtype=np.float32)
        before, after = self.shared(index - 1) if index else 0, self.shared(index)
        if before:
            weights[:before] = _rising(before)
        if after:
            weights[-after:] = 1 - _rising(after)
        return weights

    def inner(self, share: float) -> "Axis":
        """The same windows without a share of their overlaps, half of it at each end.

        What a window's border cuts is then judged by the window that sees more of it.
        """
        starts, ends = list(self.starts), list(self.ends)
        for i in range(len(self) - 1):
            context = int(share * self.shared(i) / 2)
            starts[i + 1] += context
            ends[i] -= context
        return Axis(tuple(starts), tuple(ends))


def axis(length: int, side: int, overlap: int, tile: int = 1, step: int = 1) -> Axis:
    """Windows that cover a length, of `side` pixels at most, and overlap by `overlap` or more.

    They lie on a grid that belongs to the scene: they start at multiples of `step`, and all but the
    last are a tile and whole steps long. So a model that works by tiles sees every place through
    the same tiles, whatever the window. The last one is as short as the scene leaves it, so that
    the share of what is computed twice does not depend on the length.

    Args:
        length: of the scene, pixels.
        side: pixels.
        overlap: pixels.
        tile: side of the model's tiles, pixels.
        step: between its tiles, pixels.

    Raises:
        InputError: windows too small for the overlap.
    """
    if length <= side:
        return Axis((0,), (length,))
    own = _whole(side, tile, step)
    stride = (own - overlap) // step * step
    if overlap < 0 or own < tile or stride < 1 or 2 * stride < own:  # else three windows meet
        raise InputError(
            f"windows of {side} pixels with an overlap of {overlap}: take windows of "
            f"{2 * (overlap + step) + tile} pixels or more, or less overlap"
        )
    count = -(-(length - own) // stride) + 1
    starts = tuple(stride * i for i in range(count))
    return Axis(starts, tuple(min(start + own, length) for start in starts))


def widest_overlap(side: int, tile: int = 1, step: int = 1) -> int:
    """The most that windows of `side` pixels may overlap, pixels; see `axis`."""
    own = _whole(side, tile, step)
    return max(0, own - -(-own // (2 * step)) * step)


def _whole(side: int, tile: int, step: int) -> int:
    """Pixels of a tile and whole steps, `side` at most."""
    return tile + (side - tile) // step * step


@dataclass(frozen=True)
class Block:
    """A part of the scene whose scores no later window changes.

    Attributes:
        row, column: of its first pixel in the scene.
        scores: (h, w, C) float32, weighted means of the windows' scores; not to be written to.
        empty: no window says anything here: all scores are 0, and take no memory.
    """

    row: int
    column: int
    scores: Floats
    empty: bool = False


class Blender:
    """Adds windows row by row, each row from left to right, and gives back finished blocks.

    To be closed, by a `with` block.

    Args:
        rows: windows along the scene's height.
        columns: along its width.
        classes: C.
    """

    def __init__(self, rows: Axis, columns: Axis, classes: int) -> None:
        self._rows, self._columns, self._classes = rows, columns, classes
        # What the last row of windows shares with the next one, without those columns that the
        # next window of the same row still adds to: they wait in `_beside`.
        tallest = max(rows.shared(i) for i in range(len(rows)))
        widest = max(columns.side(i) for i in range(len(columns)))
        self._below = _Strips(tallest * widest * classes * np.dtype(np.float32).itemsize)
        self._beside: Floats | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._below.close()

    def add(self, row: int, column: int, scores: NDArray[np.floating[Any]] | None) -> Block:
        """The block that is finished once a window is added.

        Args:
            row: of the window, counted in windows.
            column: of the window, counted in windows.
            scores: (h, w, C) of the window; None for one that says nothing.

        Raises:
            OSError: the strip between two rows of windows cannot be written.
        """
        top, left = self._rows.starts[row], self._columns.starts[column]
        across, down = self._columns.shared(column), self._rows.shared(row)
        height, width = self._rows.side(row) - down, self._columns.side(column) - across
        above, beside = self._below.take(column), self._beside
        self._beside = None
        if scores is None and beside is None and above is None:
            nothing = np.broadcast_to(np.float32(0), (height, width, self._classes))
            return Block(top, left, nothing, empty=True)
        own = self._weighted(row, column, scores)  # (h, w, C)
        if beside is not None:
            own[:, : beside.shape[1]] += beside
        done = own[:, :width]
        if above is not None:
            done[: len(above)] += above
        if across and scores is not None:
            self._beside = own[:, width:].copy()
        if down and (scores is not None or beside is not None):
            self._below.keep(column, done[height:])
        return Block(top, left, done[:height])

    def _weighted(self, row: int, column: int, scores: NDArray[np.floating[Any]] | None) -> Floats:
        if scores is None:
            shape = self._rows.side(row), self._columns.side(column), self._classes
            return np.zeros(shape, dtype=np.float32)
        down, across = self._rows.weights(row), self._columns.weights(column)
        weights = (down[:, None] * across)[:, :, None]
        weighted: Floats = np.multiply(scores, weights, dtype=np.float32)
        return weighted


class _Strips:
    """Arrays of float32 that wait in a file, one at the most for each column of windows.

    In memory they would grow with the scene: 130 MB for ten classes on 20,000 pixels.

    Args:
        largest: bytes of an array, at most.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._file: IO[bytes] | None = None
        self._shapes: dict[int, tuple[int, ...]] = {}

    def keep(self, column: int, strip: Floats) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="dgl-rsis-")  # noqa: SIM115  see `close`
        self._file.seek(column * self._largest)
        self._file.write(strip.tobytes())
        self._shapes[column] = strip.shape

    def take(self, column: int) -> Floats | None:
        shape = self._shapes.pop(column, None)
        if shape is None or self._file is None:
            return None
        self._file.seek(column * self._largest)
        size = math.prod(shape) * np.dtype(np.float32).itemsize
        return np.frombuffer(self._file.read(size), dtype=np.float32).reshape(shape)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def places(rows: Axis, columns: Axis) -> Iterator[tuple[int, int]]:
    """Row and column of every window, in the order that a `Blender` wants."""
    for row in range(len(rows)):
        for column in range(len(columns)):
            yield row, column


def _rising(count: int) -> Floats:
    """(count,) float32 between 0 and 1."""
    angles = (np.arange(count) + 0.5) * (np.pi / 2 / count)
    weights: Floats = (np.sin(angles) ** 2).astype(np.float32)
    return weights
