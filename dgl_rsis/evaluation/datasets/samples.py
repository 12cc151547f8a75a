"""Labelled images: what readers yield, how they read, and the readers of the simplest layouts.

A reader yields lazily. What is not as it should be is a `DatasetError` that names the file: a class
table that does not fit is worth more than a score that is wrong. The layouts of the published
benchmarks are in `landcover` and `referring`; `catalogue` knows all.
"""

import io
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from scipy import ndimage

from dgl_rsis.evaluation.scores import IGNORE
from dgl_rsis.formats import IMAGE_SUFFIXES
from dgl_rsis.rasters import MOST_PIXELS, read_rgb
from dgl_rsis.types import RGB, ImageError, Mask

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
FAIR_CLASSES = ("building", "background")
INDEX_MODES = {"1": 1, "L": 255, "P": 255, "I;16": 65535, "I": 65535}  # Pillow's → largest value


class DatasetError(ValueError):
    """A data set is not as its reader expects. The message names the file."""


@dataclass(frozen=True)
class Sample:
    """One labelled image.

    Attributes:
        name: of the file, without suffix.
        image: (H, W, 3) uint8.
        truth: (H, W) uint16, class index or `IGNORE`.
    """

    name: str
    image: RGB
    truth: NDArray[np.uint16]


@dataclass(frozen=True)
class Referral:
    """One expression and what it refers to.

    Attributes:
        name: of the image's file, without suffix; the same for all expressions of an image.
        image: (H, W, 3) uint8.
        expression: as the data set spells it.
        mask: (H, W) bool.
        category: class of the target; empty where the data set does not say.
        stratum: what tells the target from the rest; empty where the data set does not say.
    """

    name: str
    image: RGB
    expression: str
    mask: Mask
    category: str = ""
    stratum: str = ""


@dataclass(frozen=True)
class Instances:
    """One image and its objects.

    Attributes:
        name: of the file, without suffix.
        image: (H, W, 3) uint8.
        numbers: (H, W) int32; 0 = none, i = the i-th object. One array, since a mask for each of a
            thousand buildings would fill the memory.
    """

    name: str
    image: RGB
    numbers: NDArray[np.int32]


def dubai(folder: Path, tiles: Iterable[int]) -> Iterator[Sample]:
    """Dubai: "Semantic segmentation of aerial imagery" (Humans in the Loop, MBRSC; CC0).

    Layout: that of its download, `Tile T/images/image_part_PPP.jpg` and `Tile T/masks/….png` of the
    same name and size with one colour a class, in the folder or in the one folder inside it; or
    `tileT_PPP.jpg` and its PNG beside it.

    Raises:
        DatasetError: no image of a tile, a label of another size, or a colour not in the table.
    """
    for tile in tiles:
        for name, path, label in _dubai_tile(folder, tile):
            image = read_image(path)
            yield Sample(name, image, read_colours(label, image, DUBAI_COLOURS))


def _dubai_tile(folder: Path, tile: int) -> Iterator[tuple[str, Path, Path]]:
    """Name, image and label of each part of a tile."""
    downloaded = [
        place
        for place in (folder / f"Tile {tile}", *folder.glob(f"*/Tile {tile}"))
        if place.is_dir()
    ]
    if not downloaded:
        for path in sorted_files(folder, f"tile{tile}_*.jpg"):
            yield path.stem, path, path.with_suffix(".png")
        return
    for path in sorted_files(downloaded[0] / "images", "*.jpg"):
        number = path.stem.rpartition("_")[2]
        yield f"tile{tile}_{number}", path, downloaded[0] / "masks" / f"{path.stem}.png"


def fair(folder: Path) -> Iterator[Sample]:
    """Building tiles of hotosm/fAIr-utilities (OpenAerialMap, CC BY 4.0; labels ODbL).

    Layout: `images/NAME.png` and `masks/NAME.png` of one channel, building = not 0. Classes are
    `FAIR_CLASSES`.

    Raises:
        DatasetError: no images, no mask of an image, or one of another size.
    """
    for path in sorted_files(folder / "images", "*.png"):
        image = read_image(path)
        mask = read_mask(folder / "masks" / path.name, image)
        yield Sample(path.stem, image, np.where(mask, 0, 1).astype(np.uint16))


def plain_classes(folder: Path) -> tuple[str, ...]:
    """The classes of a plain folder: the lines of its `classes.txt`.

    Raises:
        DatasetError: no such file, none in it, one twice, or more than the labels can hold.
    """
    path = folder / "classes.txt"
    names = [name for line in read_lines(path) if (name := line.strip())]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice or len(names) > IGNORE:
        reason = f"names {twice[0]!r} twice" if twice else f"names {len(names)} classes"
        raise DatasetError(f"{path} {reason}: write one class a line, in the order of the labels")
    return tuple(names)


def plain(folder: Path) -> Iterator[Sample]:
    """A folder of one's own.

    Layout: `classes.txt`, one class a line; `images/NAME.*`; `labels/NAME.png` of one channel and
    of the image's size, whose pixels are line numbers of `classes.txt` counted from 0. 255 (of 8
    bits) and 65535 (of 16) are ignored.

    Raises:
        DatasetError: what is missing, of another size, or not a class.
    """
    count = len(plain_classes(folder))
    values = {i: i for i in range(count)} | {IGNORE: IGNORE}
    if count <= 255:
        values[255] = IGNORE
    paths = [p for p in sorted_files(folder / "images", "*") if p.suffix.lower() in IMAGE_SUFFIXES]
    if not paths:
        raise DatasetError(f"{folder / 'images'} holds no image ({', '.join(IMAGE_SUFFIXES)})")
    for path in paths:
        image = read_image(path)
        label = folder / "labels" / f"{path.stem}.png"
        yield Sample(path.stem, image, read_indices(label, image, values))


def cut(samples: Iterable[Sample], side: int) -> Iterator[Sample]:
    """Cut what is larger into a grid of nearly equal pieces, none longer than `side` pixels.

    [ours] without overlap, so that every pixel counts once; pieces without any truth are left out.
    """
    for sample in samples:
        rows, columns = (_edges(length, side) for length in sample.truth.shape)
        for i, (top, bottom) in enumerate(rows):
            for j, (left, right) in enumerate(columns):
                window = np.s_[top:bottom, left:right]
                if (sample.truth[window] != IGNORE).any():
                    whole = len(rows) == len(columns) == 1
                    name = sample.name if whole else f"{sample.name}_{i}_{j}"
                    yield Sample(name, sample.image[window], sample.truth[window])


def _edges(length: int, side: int) -> list[tuple[int, int]]:
    count = -(-length // side)
    edges = [round(i * length / count) for i in range(count + 1)]
    return list(pairwise(edges))


def objects(samples: Iterable[Sample], index: int) -> Iterator[Instances]:
    """The connected parts of a class (8-neighbourhood) as objects."""
    for sample in samples:
        numbers, _ = ndimage.label(sample.truth == index, structure=np.ones((3, 3)))
        yield Instances(sample.name, sample.image, numbers.astype(np.int32))


# ---- reading, for all readers --------------------------------------------------------------------


def sorted_files(folder: Path, pattern: str) -> list[Path]:
    """The files of a pattern, sorted.

    Raises:
        DatasetError: there are none.
    """
    paths = sorted(folder.glob(pattern))
    if not paths:
        raise DatasetError(f"{folder} holds no {pattern}")
    return paths


def read_lines(path: Path) -> list[str]:
    """The lines of a text file in UTF-8.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from None


def read_json(path: Path) -> Any:
    """A file of JSON.

    Raises:
        DatasetError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON: {error}") from None


def read_image(path: Path) -> RGB:
    """An image file: (H, W, 3) uint8.

    Raises:
        DatasetError: no such file, or it is no image.
    """
    if not path.is_file():
        raise DatasetError(f"no image {path}")
    try:
        return read_rgb(path.read_bytes(), MOST_PIXELS)  # iSAID has images of 100 million
    except ImageError as error:
        raise DatasetError(f"{path}: {error}") from None


def read_colours(
    path: Path, image: RGB, colours: Mapping[tuple[int, int, int], int]
) -> NDArray[np.uint16]:
    """A label with one colour a class → class indices.

    Args:
        path: of the label.
        image: (H, W, 3) that it belongs to.
        colours: RGB → class index or `IGNORE`.

    Raises:
        DatasetError: no such file, of another size, or a colour not in the table.
    """
    label = _same_size(path, _read_label(path), image).astype(np.int32)
    packed = label @ np.array([65536, 256, 1], dtype=np.int32)
    table = {red * 65536 + green * 256 + blue: i for (red, green, blue), i in colours.items()}
    return _translated(path, packed, table, "the colour #{:06X}")


def read_indices(path: Path, image: RGB, values: Mapping[int, int]) -> NDArray[np.uint16]:
    """A label of one channel → class indices.

    Args:
        path: of the label.
        image: (H, W, 3) that it belongs to.
        values: pixel value → class index or `IGNORE`.

    Raises:
        DatasetError: no such file, of another size, of several channels, or a value not in the
            table.
    """
    return _translated(path, _read_plane(path, image), values, "the value {}")


def read_mask(path: Path, image: RGB) -> Mask:
    """A label of one channel, object = not 0.

    Raises:
        DatasetError: no such file, of another size, or of several channels.
    """
    mask: Mask = _read_plane(path, image) != 0
    return mask


def _read_label(path: Path) -> RGB:
    if not path.is_file():
        raise DatasetError(f"no label {path}")
    return read_image(path)


def _read_plane(path: Path, image: RGB) -> NDArray[np.int32]:
    """The pixel values themselves: of an image with a palette its indices."""
    if not path.is_file():
        raise DatasetError(f"no label {path}")
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            picture = Image.open(io.BytesIO(path.read_bytes()))
        mode, plane = picture.mode, np.asarray(picture)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
        raise DatasetError(f"{path} cannot be read as an image: {error}") from None
    if mode not in INDEX_MODES:
        raise DatasetError(f"{path} has {mode} pixels; one channel of class numbers is expected")
    return _same_size(path, plane.astype(np.int32), image)


def _same_size(path: Path, label: NDArray[np.generic], image: RGB) -> NDArray[np.int32]:
    if label.shape[:2] != image.shape[:2]:
        raise DatasetError(
            f"{path} is {label.shape[:2]}, its image {image.shape[:2]} (rows, columns)"
        )
    return label  # type: ignore[return-value]


def _translated(
    path: Path, label: NDArray[np.int32], table: Mapping[int, int], what: str
) -> NDArray[np.uint16]:
    indices = np.full(label.shape, -1, dtype=np.int32)
    for value, index in table.items():
        indices[label == value] = index
    if (indices < 0).any():
        first = what.format(int(label[indices < 0][0]))
        raise DatasetError(f"{path} has {first}, which is not in the class table")
    return indices.astype(np.uint16)
