"""What a window says of its pixels, in few bytes that can travel. [ours].

Pixels that share their class probabilities share a row of a table. Where the model judges regions
these are few; where it judges each pixel by itself, nearly each has a row of its own. A probability
is kept in steps of 1 / 65535, here and wherever windows are judged, so what travels is exact. The
rows are not compressed: zlib takes a second for a tenth of their bytes.
"""

import json
import zlib
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.types import Floats, Mask

FAST = 1  # of zlib: neighbours are alike, so that slower levels save little
MOST_PIXELS = 2**26  # of a window
MOST_BYTES = 2**30  # of a table
LONGEST_HEADER = 200  # bytes
ONE = 65535  # of a probability
SEARCHED = 4  # pixels to a row, at least, for those rows to be looked for that pixels have


@dataclass(frozen=True)
class Cells:
    """Class probabilities of the pixels of a window.

    Attributes:
        rows: (U + 1, C) uint16, probabilities times `ONE`; the first row is 0, of pixels that are
            not valid.
        cell: (h, w) uint16 or uint32, the row of each pixel.
    """

    rows: NDArray[np.uint16]
    cell: NDArray[np.uint16] | NDArray[np.uint32]

    @classmethod
    def of(cls, classes: Floats, cell: NDArray[np.integer[Any]], valid: Mask) -> Self:
        """The rows that valid pixels have; of many rows, perhaps some more.

        Args:
            classes: (N, C) float32 in [0, 1].
            cell: (h, w), row of each pixel in `classes`.
            valid: (h, w) bool.
        """
        if cell.size >= SEARCHED * len(classes):
            used = np.zeros(len(classes), dtype=np.bool_)
            used[cell[valid]] = True
            numbers = np.cumsum(used, dtype=np.uint32)
            classes, number = classes[used], numbers[cell]
        else:
            number = cell.astype(np.uint32) + np.uint32(1)
        steps = classes * np.float32(ONE)
        steps += np.float32(0.5)
        rows = np.zeros((len(classes) + 1, classes.shape[1]), dtype=np.uint16)
        rows[1:] = steps  # rounded down
        number[~valid] = 0
        return cls(rows, number.astype(np.uint16) if len(classes) < 2**16 else number)

    @property
    def scores_shape(self) -> tuple[int, int, int]:
        """h, w and C."""
        height, width = self.cell.shape
        return height, width, self.rows.shape[1]

    @property
    def scores(self) -> Floats:
        """(h, w, C) float32; 0 where nothing is valid."""
        scores: Floats = self.rows[self.cell] * np.float32(1 / ONE)
        return scores

    def pack(self) -> bytes:
        """As bytes; `unpack` inverts it exactly."""
        height, width = self.cell.shape
        count, classes = self.rows.shape
        head = {"cell": [height, width, self.cell.dtype.itemsize], "rows": [count, classes]}
        # Differences along a line are mostly 0. They wrap around, and so does their sum.
        steps = np.diff(self.cell, axis=1, prepend=self.cell.dtype.type(0))
        cell = zlib.compress(steps.astype(steps.dtype.newbyteorder("<")).tobytes(), FAST)
        return json.dumps(head).encode() + b"\n" + self.rows.astype("<u2").tobytes() + cell

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Read what `pack` wrote.

        Raises:
            ValueError: it is damaged, or stands for more than a window may be.
        """
        line, newline, body = packed.partition(b"\n")
        if not newline or len(line) > LONGEST_HEADER:
            raise ValueError("no window: its first line is missing")
        height, width, size, count, classes = _sizes(line)
        table, most = 2 * count * classes, height * width * size
        unpacker = zlib.decompressobj()
        try:
            whole = unpacker.decompress(body[table:], most + 1)
        except zlib.error as error:
            raise ValueError(f"a damaged window: {error}") from None
        if not unpacker.eof or len(whole) != most:
            raise ValueError("a damaged window: it is longer or shorter than its first line says")
        kind = np.dtype(f"<u{size}")
        steps = np.frombuffer(whole, kind).reshape(height, width)
        cell = np.cumsum(steps, axis=1, dtype=kind)
        if cell.max(initial=0) >= count:
            raise ValueError("a damaged window: a pixel has no row")
        rows = np.frombuffer(body[:table], "<u2").reshape(count, classes)
        return cls(rows.astype(np.uint16, copy=False), cell)


def _sizes(line: bytes) -> tuple[int, int, int, int, int]:
    """Height, width, bytes of a number, rows and classes."""
    try:
        head = json.loads(line)
        (height, width, size), (count, classes) = head["cell"], head["rows"]
        sizes = (height, width, size, count, classes)
        fits = all(type(each) is int and each > 0 for each in sizes)
        fits = fits and height * width <= MOST_PIXELS and 2 * count * classes <= MOST_BYTES
    except (ValueError, TypeError, LookupError, RecursionError):
        fits = False
    if not fits or size not in (2, 4):
        raise ValueError("a damaged window: its first line says no sizes")
    return sizes
