"""What a window says of its pixels, in bytes that can travel, exact to the bit. [ours].

Pixels that share their class probabilities share a row of a table. Where the model judges regions
these are few; where it judges each pixel by itself, nearly each has a row of its own. The rows are
not compressed: zlib takes a second for a tenth of their bytes.
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


@dataclass(frozen=True)
class Cells:
    """Class probabilities of the pixels of a window.

    Attributes:
        rows: (U + 1, C) float32, probabilities; the first row is 0, of pixels that are not valid.
        cell: (h, w) uint16 or uint32, the row of each pixel.
    """

    rows: Floats
    cell: NDArray[np.uint16] | NDArray[np.uint32]

    @classmethod
    def of(cls, classes: Floats, cell: NDArray[np.integer[Any]], valid: Mask) -> Self:
        """Those rows that valid pixels have.

        Args:
            classes: (N, C) float32.
            cell: (h, w), row of each pixel in `classes`.
            valid: (h, w) bool.
        """
        used = np.zeros(len(classes), dtype=np.bool_)
        used[cell[valid]] = True
        kept = np.flatnonzero(used)
        kind = np.uint16 if len(kept) < 2**16 else np.uint32
        numbers = np.zeros(len(classes), dtype=kind)
        numbers[kept] = np.arange(1, len(kept) + 1)
        rows = np.zeros((len(kept) + 1, classes.shape[1]), dtype=np.float32)
        rows[1:] = classes[kept]
        return cls(rows, np.where(valid, numbers[cell], kind(0)))

    @property
    def scores_shape(self) -> tuple[int, int, int]:
        """h, w and C."""
        height, width = self.cell.shape
        return height, width, self.rows.shape[1]

    @property
    def scores(self) -> Floats:
        """(h, w, C) float32; 0 where nothing is valid."""
        scores: Floats = self.rows[self.cell]
        return scores

    def pack(self) -> bytes:
        """As bytes; `unpack` inverts it exactly."""
        height, width = self.cell.shape
        count, classes = self.rows.shape
        head = {"cell": [height, width, self.cell.dtype.itemsize], "rows": [count, classes]}
        # Differences along a line are mostly 0. They wrap around, and so does their sum.
        steps = np.diff(self.cell, axis=1, prepend=self.cell.dtype.type(0))
        cell = zlib.compress(steps.astype(steps.dtype.newbyteorder("<")).tobytes(), FAST)
        return json.dumps(head).encode() + b"\n" + self.rows.astype("<f4").tobytes() + cell

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
        table, most = 4 * count * classes, height * width * size
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
        rows = np.frombuffer(body[:table], "<f4").reshape(count, classes)
        return cls(rows.astype(np.float32, copy=False), cell)


def _sizes(line: bytes) -> tuple[int, int, int, int, int]:
    """Height, width, bytes of a number, rows and classes."""
    try:
        head = json.loads(line)
        (height, width, size), (count, classes) = head["cell"], head["rows"]
        sizes = (height, width, size, count, classes)
        fits = all(type(each) is int and each > 0 for each in sizes)
        fits = fits and height * width <= MOST_PIXELS and 4 * count * classes <= MOST_BYTES
    except (ValueError, TypeError, LookupError, RecursionError):
        fits = False
    if not fits or size not in (2, 4):
        raise ValueError("a damaged window: its first line says no sizes")
    return sizes
