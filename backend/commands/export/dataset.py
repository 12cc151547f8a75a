"""What every writer of a training set takes: examples, and the labels that their masks may have.

A writer is a module with one verb, `write(examples, vocabulary, out)`: it goes over the examples
once, holds none of them, and makes files below `out`.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from backend.project import colours
from backend.regions.records import Annotation, Item, Region

Split = Literal["train", "val", "test"]
Colour = tuple[int, int, int]  # red, green, blue, 0-255

SPLITS: tuple[Split, ...] = ("train", "val", "test")
BACKGROUND = "background"


@dataclass(frozen=True)
class DatasetVocabulary:
    """The labels of a set, in the order in which formats number them.

    Attributes:
        labels: different names, none of them for the background.
        colours: of each label.
    """

    labels: tuple[str, ...]
    colours: tuple[Colour, ...]

    @classmethod
    def of(cls, labels: Sequence[str], css: Mapping[str, str] | None = None) -> Self:
        """Some labels with their CSS colours; one without gets one by its name."""
        by_label = colours.colours(labels, css)
        return cls(tuple(labels), tuple(colours.rgb(by_label[name]) for name in labels))

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """Position of each label, counted from 0."""
        return {label: i for i, label in enumerate(self.labels)}


@dataclass(frozen=True)
class Example:
    """One image of a training set and the masks that count as its truth.

    Attributes:
        item: the task that it comes from.
        regions: the truth; every label is in the vocabulary. Empty when there is nothing to see.
        split: the part of the set that it belongs to.
        scene: what it was cut from; all examples of a scene are in one split.
        file: name of the image in the set, with suffix. No two examples share its stem.
        source: file that holds the image now.
        annotation: whose regions these are; None when they are of several people, or of a model.
        model_version: of the model whose pre-label this is; empty when a person marked it.
    """

    item: Item
    regions: tuple[Region, ...]
    split: Split
    scene: str
    file: str
    source: Path
    annotation: Annotation | None = None
    model_version: str = ""

    @property
    def stem(self) -> str:
        """What the files that belong to the image are called, without suffix."""
        return Path(self.file).stem


def copy_image(example: Example, folder: Path) -> Path:
    """Put the image into a folder of the set; the file's new place."""
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(example.source, folder / example.file))
