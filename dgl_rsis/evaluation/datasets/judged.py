"""Images whose truth is known in part: readers of the open sets with masks.

A pixel without a label means something else in each set: "none of it", or that nobody looked. So a
mask is read as judgements, of one concept at a time: it is, it is not, or nobody knows. A concept
is what the set judges; labels are what a user asks for, and several may count as one concept.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.classes import knowledge
from dgl_rsis.evaluation.datasets.samples import (
    DatasetError,
    Sample,
    read_image,
    read_indices,
    read_json,
    sorted_files,
)
from dgl_rsis.evaluation.scores import IGNORE
from dgl_rsis.types import RGB

Judgement = NDArray[np.int8]  # (H, W): YES, NO or UNKNOWN

YES, NO, UNKNOWN = 1, 0, -1
VALIDATION, TRAIN, ALL = "validation", "train", "all"
LAST = 6  # images of a set without named places, by name, that are its validation part


@dataclass(frozen=True)
class Concept:
    """What a data set judges.

    Attributes:
        name: for people.
        words: a label that means one of these counts; by the project's knowledge, so that "house"
            counts as building and "grass" as vegetation.
    """

    name: str
    words: tuple[str, ...]

    def counts(self, label: str) -> bool:
        """Whether a label of this name counts as the concept."""
        return any(knowledge.means(label, word) for word in self.words)


@dataclass(frozen=True)
class Judged:
    """One image and what is known of it.

    Attributes:
        name: of the file, without suffix.
        image: (H, W, 3) uint8.
        judgements: name of the concept → (H, W) int8, `YES`, `NO` or `UNKNOWN`.
    """

    name: str
    image: RGB
    judgements: Mapping[str, Judgement]


@dataclass(frozen=True)
class OpenSet:
    """One open set: `images/NAME.jpg`, and `masks/NAME.png` of those that are labelled.

    Attributes:
        title: for people.
        concepts: what is judged → pixel value of a mask → judgement.
        labels: asked for where the user names none.
        validation: names, in order → those of its validation places; None where it has none.
        unjudged: concept → images, by a part of their names, of which nobody looked for it.
    """

    title: str
    concepts: Mapping[Concept, Mapping[int, int]]
    labels: tuple[str, ...]
    validation: Callable[[Sequence[str]], Sequence[str]] | None
    unjudged: Mapping[str, str] = field(default_factory=dict)


def starting(*prefixes: str) -> Callable[[Sequence[str]], Sequence[str]]:
    """The names that start with one of these."""
    return lambda names: [name for name in names if name.startswith(prefixes)]


def last(names: Sequence[str]) -> Sequence[str]:
    """The last `LAST` names."""
    return names[-LAST:]


def concept(name: str, *others: str) -> Concept:
    """A concept that is called like the word it is asked for by, and counts for others besides."""
    return Concept(name, (name, *others))


_LAND_COVER = ("building", "road", "tree", "grass", "bare land")
_BINARY = {0: NO, 1: YES}
OPEN_SETS: Mapping[str, OpenSet] = {
    # Very tight polygons of OpenStreetMap; 0 is no building. Tiles without a mask are unlabelled.
    "oam-banepa-z19": OpenSet(
        "Banepa (drone, zoom 19)", {concept("building"): _BINARY}, _LAND_COVER, starting("banepa_")
    ),
    "oam-buildings": OpenSet(
        "OpenAerialMap buildings",
        {concept("building"): _BINARY},
        _LAND_COVER,
        starting("banepa_"),
    ),
    # 1 is vegetation of any kind: trees are discs of a few pixels around a point, their crowns are
    # 1 like grass, so that 1 says nothing of trees. 2 holds some dark pools that were missed, and
    # all pools of 2016: they were looked for in the images of 2018 and 2020 alone.
    "naip-urban-trees": OpenSet(
        "NAIP, six Californian cities",
        {
            concept("vegetation"): {0: UNKNOWN, 1: YES, 2: NO, 3: YES, 4: NO},
            concept("tree"): {0: UNKNOWN, 1: UNKNOWN, 2: NO, 3: YES, 4: NO},
            concept("swimming pool"): {0: UNKNOWN, 1: NO, 2: NO, 3: NO, 4: YES},
        },
        (*_LAND_COVER, "swimming pool"),
        starting("palm_", "santa_"),
        {"swimming pool": "_2016_"},
    ),
    # 0 is judged, too: no road.
    "gsi-road-japan": OpenSet("GSI roads, Japan", {concept("road"): _BINARY}, _LAND_COVER, last),
    # 0 is no panel; small panels on the roofs of homes are often missed.
    "gsi-solar-japan": OpenSet(
        "GSI solar panels, Japan",
        {concept("solar panel"): _BINARY},
        (*_LAND_COVER, "solar panel"),
        last,
    ),
    # 2 is everything but forest; 0 does not occur.
    "amazon-forest-s2": OpenSet(
        "Amazon forest (Sentinel-2)",
        {Concept("forest", ("tree",)): {0: UNKNOWN, 1: YES, 2: NO}},
        ("forest", "farmland", "bare land", "water"),
        last,
    ),
    # Land is farmland and grassland; a few dark ponds are 0. Only 2015 to 2018 have masks.
    "naip-prairie": OpenSet(
        "NAIP prairie potholes",
        {
            concept("water"): {0: UNKNOWN, 1: NO, 2: YES},
            concept("land", "vegetation"): {0: UNKNOWN, 1: YES, 2: NO},
        },
        ("water", "farmland", "grass", "bare land"),
        None,
    ),
    # 0 is no ship.
    "sen2ships": OpenSet(
        "Sentinel-2 ports", {concept("ship"): _BINARY}, ("ship", "water", "building", "land"), None
    ),
}


def read(folder: Path, chosen: OpenSet, split: str) -> Iterator[Judged]:
    """The labelled images of an open set.

    Args:
        folder: the parent of `images` and `masks`.
        chosen: how its masks are read.
        split: "validation", "train", "all", or how the names begin.

    Raises:
        DatasetError: no mask, none of the split, a missing image, a mask of another size or with a
            value that is not in the table, or an empty one where `boxes.json` has objects.
    """
    masks = {path.stem: path for path in sorted_files(folder / "masks", "*.png")}
    boxes = folder / "boxes.json"
    every = read_json(boxes) if boxes.is_file() else {}
    marked = {Path(name).stem for name, each in every.items() if each}
    for name in part(list(masks), split, chosen.validation, folder):
        image = read_image(folder / "images" / f"{name}.jpg")
        judgements = _judgements(masks[name], image, chosen, name in marked)
        for unjudged, part_of_name in chosen.unjudged.items():
            if part_of_name in name:
                judgements[unjudged][:] = UNKNOWN
        yield Judged(name, image, judgements)


def _judgements(path: Path, image: RGB, chosen: OpenSet, marked: bool) -> dict[str, Judgement]:
    values = {value: value for each in chosen.concepts.values() for value in each}
    plane = read_indices(path, image, values)
    if marked and not plane.any():
        raise DatasetError(
            f"{path} is empty, though boxes.json has objects in this image: the mask is damaged. "
            "Measure the boxes with `dgl-rsis evaluate objects`, or get the masks again"
        )
    judgements = {}
    for each, table in chosen.concepts.items():
        judgement = np.full(plane.shape, UNKNOWN, dtype=np.int8)
        for value, verdict in table.items():
            judgement[plane == value] = verdict
        judgements[each.name] = judgement
    return judgements


def part(
    names: Sequence[str],
    split: str,
    validation: Callable[[Sequence[str]], Sequence[str]] | None,
    folder: Path,
) -> list[str]:
    """The names of a split, in order.

    Args:
        names: all, in order.
        split: "validation", "train", "all", or how the names begin.
        validation: see `OpenSet`.
        folder: for messages.

    Raises:
        DatasetError: none is of that split.
    """
    held_out = set(validation(names)) if validation else set()
    chosen = {
        VALIDATION: [name for name in names if name in held_out],
        TRAIN: [name for name in names if name not in held_out],
        ALL: list(names),
    }.get(split, [name for name in names if name.startswith(split)])
    if not chosen:
        raise DatasetError(
            f"{folder} has nothing of the split {split!r}: give validation, train, all, or how the "
            f"names begin, as in {names[0].split('_')[0]}"
        )
    return chosen


def from_sample(sample: Sample, names: Sequence[str]) -> Judged:
    """Complete truth as judgements: each class is a concept.

    Args:
        sample: its truth is an index of `names`, or `IGNORE`, which nobody knows.
        names: of the classes.
    """
    known = sample.truth != IGNORE
    return Judged(
        sample.name,
        sample.image,
        {
            name: np.where(known, sample.truth == i, UNKNOWN).astype(np.int8)
            for i, name in enumerate(names)
        },
    )
