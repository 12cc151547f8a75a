"""What every writer of a training set takes: examples, and the labels that their masks may have.

A writer is a module with one verb, `write(examples, vocabulary, out)`: it goes over the examples
once, holds none of them, and makes files below `out`.
"""

import itertools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
        categories: number of each label that Label Studio's own exports give it, by its `category`
            in the label config; mostly none.
    """

    labels: tuple[str, ...]
    colours: tuple[Colour, ...]
    categories: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        labels: Sequence[str],
        css: Mapping[str, str] | None = None,
        categories: Mapping[str, int] | None = None,
    ) -> Self:
        """Some labels with their CSS colours; one without gets one by its name."""
        by_label = colours.colours(labels, css)
        rgb = tuple(colours.rgb(by_label[name]) for name in labels)
        return cls(tuple(labels), rgb, categories or {})

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """Position of each label, counted from 0."""
        return {label: i for i, label in enumerate(self.labels)}

    def numbered(self, first: int) -> Mapping[str, int]:
        """Number of each label: its category, and for the others what is free from `first` on.

        A number that two labels claim belongs to the first of them.
        """
        given: dict[str, int] = {}
        for label in self.labels:
            number = self.categories.get(label)
            if number is not None and number not in given.values():
                given[label] = number
        taken = {*given.values()}
        free = (number for number in itertools.count(first) if number not in taken)
        return {label: given[label] if label in given else next(free) for label in self.labels}


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
