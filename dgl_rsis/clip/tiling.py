"""An image cut into square tiles of whole patches, as image towers are shown it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dgl_rsis.types import RGB


@dataclass(frozen=True)
class Tiling:
    """An image cut into square tiles that overlap and together cover it.

    Attributes:
        pixels: (3, H', W') uint8, the image extended by reflection to whole patches and to at
            least one tile.
        rows, columns: h and w, patches of the image without what extends it.
        starts: row and column of each tile's first patch.
        cells: t, patches along a tile.
        patch: side of a patch, pixels.
    """

    pixels: Tensor
    rows: int
    columns: int
    starts: tuple[tuple[int, int], ...]
    cells: int
    patch: int

    def cut(self, starts: Sequence[tuple[int, int]]) -> Tensor:
        """Some of its tiles: (B, 3, S, S) uint8."""
        patch, side = self.patch, self.cells * self.patch
        return torch.stack(
            [self.pixels[:, y * patch :, x * patch :][:, :side, :side] for y, x in starts]
        )

    def owners(self) -> Tensor:
        """(h, w) int64, the tile in whose middle each patch lies the most."""
        ramp = _ramp(self.cells)
        # Not `pyramid`: along the image's edge it has the same small value everywhere.
        weights = ramp[:, None] * ramp  # (t, t)
        shape = (self.pixels.shape[1] // self.patch, self.pixels.shape[2] // self.patch)
        best, owner = torch.zeros(shape), torch.zeros(shape, dtype=torch.int64)
        for index, (top, left) in enumerate(self.starts):
            area = (slice(top, top + self.cells), slice(left, left + self.cells))
            better = weights > best[area]
            owner[area][better] = index
            best[area][better] = weights[better]
        return owner[: self.rows, : self.columns]


def tiled(image: RGB, side: int, patch: int, overlap: float) -> Tiling:
    """Cut an image.

    Args:
        image: (H, W, 3) uint8.
        side: S of a tile, pixels.
        patch: side of a patch, pixels.
        overlap: share of a tile that its neighbour covers again, [0, 1).
    """
    height, width = image.shape[:2]
    cells = side // patch
    pixels = padded(image, side, patch)  # (3, H', W') uint8
    rows, columns = pixels.shape[1] // patch, pixels.shape[2] // patch
    step = max(1, int(cells * (1 - overlap)))
    starts = tuple(
        (top, left) for top in _starts(rows, cells, step) for left in _starts(columns, cells, step)
    )
    return Tiling(pixels, -(-height // patch), -(-width // patch), starts, cells, patch)


def padded(image: RGB, side: int, patch: int) -> Tensor:
    """An image extended by reflection to whole patches, and to at least one tile.

    Returns:
        (3, H', W') uint8.
    """
    height, width = image.shape[:2]
    below = max(side, -(-height // patch) * patch) - height
    right = max(side, -(-width // patch) * patch) - width
    extended = np.pad(image, ((0, below), (0, right), (0, 0)), mode="symmetric")
    return torch.from_numpy(extended).permute(2, 0, 1)


def _starts(cells: int, tile: int, step: int) -> list[int]:
    """First cells of tiles that cover `cells`; the last one ends at the edge."""
    return [*range(0, cells - tile, step), cells - tile]


def pyramid(cells: int) -> Tensor:
    """(t, t, 1) float32: a pyramid, 1 at the centre, small and positive at the edge."""
    ramp = _ramp(cells)
    return torch.minimum(ramp[:, None], ramp[None, :])[:, :, None]


def _ramp(cells: int) -> Tensor:
    """(t,) float32: 1 at the centre, small and positive at the ends."""
    return 1 - (torch.arange(cells) + 0.5 - cells / 2).abs() / (cells / 2)
