"""The committed lists: questions for things that are absent, and large images to be looked at.

They name images relative to the folder that holds all data sets, and were written by looking at
each image before anything was tuned on them.
"""

import csv
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from dgl_rsis.evaluation.datasets.judged import Concept
from dgl_rsis.evaluation.datasets.samples import read_image
from dgl_rsis.evaluation.datasets.things import AIRPLANE, CAR, SHIP
from dgl_rsis.types import RGB

# What is counted by eye → its column in the list.
COUNTED: Mapping[Concept, str] = {CAR: "vehicles", SHIP: "ships", AIRPLANE: "airplanes"}


@dataclass(frozen=True)
class Question:
    """A sentence about something that is not in the picture.

    Attributes:
        name: of the image, relative to the folder of all data sets; the questions of an image
            follow each other.
        image: (H, W, 3) uint8.
        sentence: what is asked for.
    """

    name: str
    image: RGB
    sentence: str


@dataclass(frozen=True)
class Overview:
    """A large image and about how many things are in it, counted by eye.

    Attributes:
        name: of the image, relative to the folder of all data sets.
        image: (H, W, 3) uint8.
        counts: name of the concept → how many there are.
    """

    name: str
    image: RGB
    counts: Mapping[str, int]


def absent(folder: Path) -> Iterator[Question]:
    """The hundred questions for absent things.

    Args:
        folder: of all data sets.

    Raises:
        DatasetError: an image is missing.
    """
    path, image = "", None
    for row in csv.DictReader(_text("absent.csv").splitlines()):
        if image is None or row["image"] != path:
            path, image = row["image"], read_image(folder / row["image"])
        yield Question(path, image, row["sentence"])


def large(folder: Path) -> Iterator[Overview]:
    """The large images, in which vehicles, ships and airplanes that are found can be counted.

    Args:
        folder: of all data sets.

    Raises:
        DatasetError: an image is missing.
    """
    for entry in tomllib.loads(_text("false_objects.toml"))["images"]:
        counts = {each.name: int(entry[column]) for each, column in COUNTED.items()}
        yield Overview(entry["image"], read_image(folder / entry["image"]), counts)


def _text(name: str) -> str:
    return files("dgl_rsis.evaluation").joinpath(name).read_text("utf-8")
