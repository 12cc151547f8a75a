"""Semantic segmentation: one PNG an image whose pixels are class numbers.

Layout: a folder for each split, which this project's own reader of plain folders reads
(`evaluate ovss folder:FOLDER`), with `classes.txt`, `images/NAME.*` and `labels/NAME.png`. 0 is
the background, i the i-th label; the palette holds the labels' colours.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backend.commands.export.dataset import BACKGROUND, DatasetVocabulary, Example, copy_image
from backend.regions import planes

BLACK = (0, 0, 0)
MOST_IN_A_BYTE = 254  # 255 means "ignored" to readers
NAMES_OF_NOTHING = (BACKGROUND, "unlabelled", "nothing")


def write(examples: Iterable[Example], vocabulary: DatasetVocabulary, out: Path) -> None:
    """Write the set.

    Args:
        examples: gone over once.
        vocabulary: of at most 65,534 labels.
        out: folder for the splits.
    """
    for example in examples:
        folder = out / example.split
        if not (folder / "classes.txt").exists():
            folder.mkdir(parents=True, exist_ok=True)
            lines = [" ".join(name.split()) + "\n" for name in class_names(vocabulary)]
            (folder / "classes.txt").write_text("".join(lines), "utf-8")
        copy_image(example, folder / "images")
        file = folder / "labels" / f"{example.stem}.png"
        file.parent.mkdir(exist_ok=True)
        picture(index_map(example, vocabulary), vocabulary).save(file, optimize=True)


def class_names(vocabulary: DatasetVocabulary) -> tuple[str, ...]:
    """The names of the numbers from 0; the first means that nothing was marked."""
    nothing = next(name for name in NAMES_OF_NOTHING if name not in vocabulary.numbers)
    return nothing, *vocabulary.labels


def index_map(example: Example, vocabulary: DatasetVocabulary) -> NDArray[np.uint16]:
    """The class of each pixel: (H, W) uint16; 0 = none, i = the i-th label."""
    numbers = {label: number + 1 for label, number in vocabulary.numbers.items()}
    return planes.class_map(example.regions, numbers, example.item.height, example.item.width)[0]


def picture(numbers: NDArray[np.uint16], vocabulary: DatasetVocabulary) -> Image.Image:
    """A class map as an image of the same numbers, whose palette holds the labels' colours.

    Args:
        numbers: (H, W) as `index_map` gives them.
        vocabulary: of more than 254 labels the image has 16 bits, and no palette.
    """
    if len(vocabulary.labels) > MOST_IN_A_BYTE:
        return Image.fromarray(numbers)
    image = Image.fromarray(numbers.astype(np.uint8), mode="P")
    image.putpalette([part for colour in (BLACK, *vocabulary.colours) for part in colour])
    return image
