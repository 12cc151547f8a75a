"""Images with boxes around things, and images with tags of what is in them."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dgl_rsis.evaluation.datasets.judged import Concept, concept, part
from dgl_rsis.evaluation.datasets.samples import (
    DatasetError,
    read_image,
    read_json,
    read_lines,
)
from dgl_rsis.types import RGB, Floats


@dataclass(frozen=True)
class Boxed:
    """One image and the boxes around its things.

    Attributes:
        name: of the file, without suffix.
        image: (H, W, 3) uint8.
        boxes: name of the concept → (n, 4) float32, XYXY pixels, right and bottom edge excluded;
            every concept of the set is here, and all its things are boxed.
    """

    name: str
    image: RGB
    boxes: Mapping[str, Floats]


@dataclass(frozen=True)
class BoxSet:
    """One set of boxes: `images/NAME.jpg` and `boxes.json`.

    Attributes:
        title: for people.
        concepts: what is measured → the names of its boxes in the file; boxes of other names are
            left out.
        labels: asked for where the user names none.
    """

    title: str
    concepts: Mapping[Concept, frozenset[str]]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Tagged:
    """One image and what is in it.

    Attributes:
        name: of the file, without suffix.
        image: (H, W, 3) uint8.
        present: name of the concept → whether some of it is there.
    """

    name: str
    image: RGB
    present: Mapping[str, bool]


_GROUND = ("building", "road", "tree", "grass", "bare land", "water")
CAR, SHIP, AIRPLANE = concept("car", "large vehicle"), concept("ship"), concept("airplane")
BOX_SETS: Mapping[str, BoxSet] = {
    # Buildings are boxed, too, but their masks touch: `evaluate ovss` measures buildings elsewhere.
    "estonia-ortho-objects": BoxSet(
        "Estonian orthophotos",
        {
            CAR: frozenset({"car", "bus", "truck"}),
            SHIP: frozenset({"watercraft"}),
            AIRPLANE: frozenset({"airplane"}),
        },
        ("car", "ship", "airplane", *_GROUND),
    ),
    "sen2ships": BoxSet(
        "Sentinel-2 ports",
        {SHIP: frozenset({"ship"})},
        ("ship", "water", "building", "tree", "bare land"),
    ),
    "naip-aircraft-chips": BoxSet(
        "NAIP aircraft",
        {AIRPLANE: frozenset({"airplane"}), concept("helicopter"): frozenset({"helicopter"})},
        ("airplane", "helicopter", *_GROUND),
    ),
    "naip-wind-turbines": BoxSet(
        "NAIP wind turbines",
        {concept("wind turbine"): frozenset({"wind turbine"})},
        ("wind turbine", *_GROUND),
    ),
}
# What is asked for → tags of UC Merced that say so. Not measured: chaparral, dock, field.
# Pavement holds car parks as well as roads.
UC_MERCED_TAGS: Mapping[Concept, frozenset[str]] = {
    AIRPLANE: frozenset({"airplane"}),
    CAR: frozenset({"cars"}),
    SHIP: frozenset({"ship"}),
    concept("storage tank"): frozenset({"tanks"}),
    concept("tennis court"): frozenset({"court"}),
    concept("building"): frozenset({"buildings", "mobile-home"}),
    concept("tree"): frozenset({"trees"}),
    concept("water"): frozenset({"water", "sea"}),
    concept("road"): frozenset({"pavement"}),
    concept("grass"): frozenset({"grass"}),
    concept("bare land"): frozenset({"bare-soil", "sand"}),
}
UC_MERCED_ALL = frozenset().union(*UC_MERCED_TAGS.values()) | {"chaparral", "dock", "field"}
UC_MERCED_LABELS = tuple(each.name for each in UC_MERCED_TAGS)


def boxes(folder: Path, chosen: BoxSet, split: str) -> Iterator[Boxed]:
    """The images that `boxes.json` lists: NAME or NAME.jpg → [[x1, y1, x2, y2, what], …].

    Args:
        folder: the parent of `images` and `boxes.json`.
        chosen: what is measured.
        split: "all", or how the names begin.

    Raises:
        DatasetError: no such file or split, a missing image, or a box that is none or outside.
    """
    source = folder / "boxes.json"
    listed = read_json(source)
    if not isinstance(listed, dict) or not listed:
        raise DatasetError(f"{source} names no images: an object of NAME: boxes is expected")
    by_name = {Path(name).stem: each for name, each in listed.items()}
    for name in part(sorted(by_name), split, None, folder):
        image = read_image(folder / "images" / f"{name}.jpg")
        given = _checked(by_name[name], image, f"{source}, {name}")
        yield Boxed(
            name,
            image,
            {
                each.name: np.array(
                    [box for *box, what in given if what in names], dtype=np.float32
                ).reshape(-1, 4)
                for each, names in chosen.concepts.items()
            },
        )


def _checked(given: Sequence[Sequence[object]], image: RGB, where: str) -> list[list[object]]:
    height, width = image.shape[:2]
    for box in given:
        try:
            left, top, right, bottom = (float(side) for side in box[:4])  # type: ignore[arg-type]
            fits = len(box) == 5 and 0 <= left < right <= width and 0 <= top < bottom <= height
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise DatasetError(
                f"{where} has {box!r}: [x1, y1, x2, y2, what] inside {width} × {height} is expected"
            )
    return [list(box) for box in given]


def ucmerced(folder: Path, split: str) -> Iterator[Tagged]:
    """UC Merced's chips with the 17 object tags of Chaudhuri et al. (TGRS 2018).

    Layout: `tags.csv` with `name` and `tags`, "|" between them; `images/NAME`. All 17 were judged
    on every chip, so that a missing tag says that the thing is not there.

    Args:
        folder: the parent of `images` and `tags.csv`.
        split: "validation" (chips whose number is divisible by 5), "train", "all", or how the names
            begin.

    Raises:
        DatasetError: no such file or split, a line without those, an unknown tag, no image.
    """
    source = folder / "tags.csv"
    rows = {}
    for number, row in enumerate(csv.DictReader(read_lines(source)), start=2):
        if not row.get("name") or row.get("tags") is None:
            raise DatasetError(f"{source}, line {number}: a name and its tags are expected")
        tags = frozenset(filter(None, row["tags"].split("|")))
        if unknown := sorted(tags - UC_MERCED_ALL):
            raise DatasetError(f"{source}, line {number}: {unknown[0]!r} is none of the 17 tags")
        rows[row["name"]] = tags
    if not rows:
        raise DatasetError(f"{source} names no images")
    for name in part(sorted(rows), split, every_fifth, folder):
        present = {each.name: bool(rows[name] & tags) for each, tags in UC_MERCED_TAGS.items()}
        yield Tagged(Path(name).stem, read_image(folder / "images" / name), present)


def every_fifth(names: Sequence[str]) -> list[str]:
    """Those whose number is divisible by 5."""
    numbers = {name: re.search(r"(\d+)\.", name) for name in names}
    return [name for name, found in numbers.items() if found and int(found[1]) % 5 == 0]
