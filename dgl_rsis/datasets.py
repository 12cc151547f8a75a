"""Readers of labelled images, each in the layout of the data set's own download."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.metrics import IGNORE
from dgl_rsis.rasters import read_rgb
from dgl_rsis.types import RGB

DUBAI_CLASSES = ("building", "land", "road", "vegetation", "water")
# The colours of the data set's own class table; the last two are "unlabelled".
DUBAI_COLOURS: Mapping[tuple[int, int, int], int] = {
    (0x3C, 0x10, 0x98): 0,
    (0x84, 0x29, 0xF6): 1,
    (0x6E, 0xC1, 0xE4): 2,
    (0xFE, 0xDD, 0x3A): 3,
    (0xE2, 0xA9, 0x29): 4,
    (0x9B, 0x9B, 0x9B): IGNORE,
    (0x00, 0x00, 0x00): IGNORE,
}


class DatasetError(ValueError):
    """A data set is not as its reader expects. The message names the file."""


@dataclass(frozen=True)
class Sample:
    """One labelled image.

    Attributes:
        name: of the file, without suffix.
        image: (H, W, 3) uint8.
        truth: (H, W) uint16, class index or `metrics.IGNORE`.
    """

    name: str
    image: RGB
    truth: NDArray[np.uint16]


def dubai(folder: Path, tiles: Iterable[int]) -> Iterator[Sample]:
    """Dubai: "Semantic segmentation of aerial imagery" (Humans in the Loop, MBRSC; CC0).

    Layout: `tileT_PPP.jpg` and a PNG of the same name and size with one colour a class.

    Raises:
        DatasetError: no image of a tile, a label of another size, or a colour not in the table.
    """
    for tile in tiles:
        paths = sorted(folder.glob(f"tile{tile}_*.jpg"))
        if not paths:
            raise DatasetError(f"{folder} holds no tile{tile}_*.jpg")
        for path in paths:
            label = path.with_suffix(".png")
            image = read_rgb(path.read_bytes())
            yield Sample(path.stem, image, _indices(label, image.shape[:2], DUBAI_COLOURS))


def _indices(
    path: Path, shape: tuple[int, ...], colours: Mapping[tuple[int, int, int], int]
) -> NDArray[np.uint16]:
    """A colour-coded label image → class indices."""
    if not path.is_file():
        raise DatasetError(f"no label {path}")
    label = read_rgb(path.read_bytes()).astype(np.int32)
    if label.shape[:2] != shape:
        raise DatasetError(f"{path} is {label.shape[:2]}, its image {shape} (rows, columns)")
    packed = label @ np.array([65536, 256, 1])
    found = np.full(shape, -1, dtype=np.int64)
    for (red, green, blue), index in colours.items():
        found[packed == red * 65536 + green * 256 + blue] = index
    if (found < 0).any():
        colour = int(packed[found < 0][0])
        raise DatasetError(f"{path} has the colour #{colour:06X}, which is not in the class table")
    return found.astype(np.uint16)
