"""Real images with what is known of their pixels: readers of Dubai and of the open sets.

Each set says in its README what a 0 or a missing box means; here that becomes judgements (see
`starter.training.concepts`). Validation places are left out: they are named in `held_out`.
"""

import csv
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dgl_rsis.evaluation.datasets import samples
from dgl_rsis.evaluation.datasets.judged import OPEN_SETS
from dgl_rsis.evaluation.datasets.samples import DUBAI_CLASSES, read_image
from dgl_rsis.evaluation.datasets.things import every_fifth
from dgl_rsis.evaluation.scores import IGNORE
from dgl_rsis.resolution import of_tile
from starter.training.boxes import Box, area, core
from starter.training.concepts import (
    EVERY,
    GROUND,
    NATURE,
    THINGS,
    VEGETATION,
    VEHICLES,
    WOODS,
    Judgements,
)  # fmt: skip

Truth = NDArray[np.uint8]  # (H, W) numbers of judgements

# Nobody says it; by the widths of lanes and villas, and as DubaiSat-2 sees.
DUBAI_METRES = 1.0
CHOSEN_ON = frozenset({"estonia_ortho_objects", "sen2ships"})  # every fifth image of these
# What sets call concepts.
RENAMED = {
    "watercraft": "ship", "bus": "large vehicle", "truck": "large vehicle", "alive": "tree",
    "dead": "tree",
}  # fmt: skip
# Of the Japanese sets: what hardly any of their chips shows.
RARE = frozenset({"airplane", "helicopter", "wind turbine", "ship", "storage tank", "runway"})


@dataclass
class Photograph:
    """A real image and what is known of it.

    Attributes:
        source: of which set.
        name: of the file, without suffix.
        image: (H, W, 3) uint8, RGB.
        truth: (H, W) uint8, number of each pixel's judgement.
        metres: a pixel; None where nobody knows.
        shows: concepts of which some pixels are there, though nobody says which.
    """

    source: str
    name: str
    image: NDArray[np.uint8]
    truth: Truth
    metres: float | None
    shows: frozenset[str] = field(default_factory=frozenset)


def held_out(source: str, names: Sequence[str]) -> frozenset[str]:
    """The images of a set that are for validation: the splits that `dgl-rsis evaluate` measures on.

    Where it has none, some to choose on are.

    Args:
        source: the set.
        names: of its files, in order.
    """
    if source in CHOSEN_ON:
        return frozenset(names[4::5])
    if source == "ucmerced":
        return frozenset(every_fifth(names))
    known = OPEN_SETS.get(source.replace("_", "-"))
    return frozenset(known.validation(names) if known and known.validation else ())


def read_mask(path: Path) -> NDArray[np.uint8]:
    """(H, W) uint8."""
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if mask is None:
        raise FileNotFoundError(path)
    return np.asarray(mask if mask.ndim == 2 else mask[..., 0])


def files_of(folder: Path, source: str, validation: bool) -> list[Path]:
    """The images of a set that are, or are not, for validation."""
    files = sorted((folder / source / "images").glob("*.*"))
    held = held_out(source, [path.name for path in files])
    return [path for path in files if (path.name in held) == validation]


def read_open(folder: Path, known: Judgements, *, validation: bool = False) -> list[Photograph]:
    """All photographs of the open sets.

    Args:
        folder: with a folder for each set.
        known: gets the judgements that they need.
        validation: those that are for validation instead of those for training.
    """
    photographs: list[Photograph] = []
    for source, read in READERS.items():
        if (folder / source).is_dir():
            photographs += read(folder, known, validation)
    return photographs


def _masked(
    source: str, numbers: Mapping[int, int], metres: float | None, folder: Path, validation: bool
) -> list[Photograph]:
    """Images that have a mask.

    Args:
        source: the set.
        numbers: what each value of its masks stands for; other values say nothing.
        metres: a pixel; None where the files are called as the map tiles that they are.
        folder: with a folder for each set.
        validation: those for validation instead of those for training.
    """
    table, read = _table(numbers), []
    for path in files_of(folder, source, validation):
        mask = folder / source / "masks" / f"{path.stem}.png"
        if mask.is_file():
            image, truth = read_image(path), table[read_mask(mask)]
            tile = of_tile(path.name, *image.shape[:2]) if metres is None else None
            own = tile.metres if tile else metres
            read.append(Photograph(source, path.stem, image, truth, own))
    return read


def _table(numbers: Mapping[int, int]) -> Truth:
    """(256,), the number of each value of a mask, 0 for those that say nothing."""
    table = np.zeros(256, np.uint8)
    table[list(numbers)] = list(numbers.values())
    return table


def _amazon(folder: Path, known: Judgements, validation: bool) -> list[Photograph]:
    woods, other = known.number(WOODS), known.number(NATURE - WOODS, "building", "parking lot")
    return _masked("amazon_forest_s2", {1: woods, 2: other}, 10.0, folder, validation)


def _roads(folder: Path, known: Judgements, validation: bool) -> list[Photograph]:
    road = known.number({"road", "roundabout", "bridge"} | VEHICLES)
    other = known.number(EVERY - {"road", "roundabout"} - RARE)
    return _masked("gsi_road_japan", {1: road, 0: other}, 0.2, folder, validation)


def _solar(folder: Path, known: Judgements, validation: bool) -> list[Photograph]:
    other = known.number(EVERY - {"solar panel"} - RARE)
    numbers = {1: known.number("solar panel"), 0: other}
    return _masked("gsi_solar_japan", numbers, 0.2, folder, validation)


def _prairie(folder: Path, known: Judgements, validation: bool) -> list[Photograph]:
    land = known.number((NATURE - {"water", "beach"}) | {"building"})
    numbers = {0: known.number(NATURE, "building"), 1: land, 2: known.number("water")}
    return _masked("naip_prairie", numbers, 5.0, folder, validation)


def _zanzibar(folder: Path, known: Judgements, validation: bool) -> list[Photograph]:
    absent = {
        "airplane", "helicopter", "storage tank", "tennis court", "baseball field", "runway",
        "ground track field", "wind turbine", "greenhouse", "roundabout", "solar panel",
    }  # fmt: skip
    numbers = {1: known.number("building"), 0: known.number(EVERY - {"building"} - absent)}
    sources = ("oam_buildings", "oam_banepa_z19")
    return [x for source in sources for x in _masked(source, numbers, None, folder, validation)]


def _naip(folder: Path, known: Judgements, validation: bool) -> list[Photograph]:
    source = "naip_urban_trees"
    things = json.loads((folder / source / "object_boxes.json").read_text("utf-8"))
    pools = json.loads((folder / source / "pool_boxes.json").read_text("utf-8"))
    absent = {"ship", "airplane", "helicopter", "storage tank", "wind turbine", "greenhouse"}
    no_plants = EVERY - VEGETATION - absent
    read = []
    for path in files_of(folder, source, validation):
        boxes = [(tuple(box[:4]), box[4]) for box in things.get(path.stem, ()) if box[4] in EVERY]
        shown = {name for _, name in boxes}
        # Dark pools were missed, and then the mask says "no vegetation" of them.
        dry = no_plants if path.stem not in pools else no_plants - {"swimming pool"}
        numbers = {
            0: known.number(EVERY - absent | shown),
            1: known.number(VEGETATION),
            2: known.number(dry | shown),
            3: known.number(WOODS),
            4: known.number("swimming pool"),
        }
        truth = read_mask(folder / source / "masks" / f"{path.stem}.png")
        each = Photograph(source, path.stem, read_image(path), _table(numbers)[truth], 0.6)
        draw_boxes(each, boxes, known)
        read.append(each)
    return read


def _estonia(folder: Path, known: Judgements, validation: bool) -> list[Photograph]:
    source = "estonia_ortho_objects"
    of_image = json.loads((folder / source / "boxes.json").read_text("utf-8"))
    absent = VEHICLES | {
        "ship", "airplane", "building", "helicopter", "wind turbine", "greenhouse", "runway",
    }  # fmt: skip
    elsewhere = known.number(EVERY - absent)
    read = []
    for path in files_of(folder, source, validation):
        image = read_image(path)
        boxes = _named(of_image.get(path.name, ()))
        # Airplanes stand on what is drawn nowhere.
        flown = any(name == "airplane" for _, name in boxes)
        number = known.number(EVERY - absent | {"runway"}) if flown else elsewhere
        truth = np.full(image.shape[:2], number, np.uint8)
        each = Photograph(source, path.stem, image, truth, 0.2)
        draw_boxes(each, boxes, known)
        read.append(each)
    return read


def _ships(folder: Path, known: Judgements, validation: bool) -> list[Photograph]:
    """Its boxes; the masks of the copy at hand are empty."""
    elsewhere = (EVERY - THINGS) | {"pier", "bridge"}
    return _boxed("sen2ships", 10.0, elsewhere, folder, known, validation)


def _aircraft(folder: Path, known: Judgements, validation: bool) -> list[Photograph]:
    return _boxed("naip_aircraft_chips", 0.45, EVERY - {
        "airplane", "helicopter", "ship", "wind turbine", "storage tank", "greenhouse",
    }, folder, known, validation)  # fmt: skip


def _turbines(folder: Path, known: Judgements, validation: bool) -> list[Photograph]:
    elsewhere = (NATURE - {"beach"}) | {"building"}
    return _boxed("naip_wind_turbines", 1.0, elsewhere, folder, known, validation)


def _neon(folder: Path, known: Judgements, validation: bool) -> list[Photograph]:
    return _boxed("neon_trees", 0.1, NATURE - {"beach"}, folder, known, validation)


def _boxed(
    source: str, metres: float, elsewhere: frozenset[str], folder: Path, known: Judgements,
    validation: bool,
) -> list[Photograph]:  # fmt: skip
    of_image = json.loads((folder / source / "boxes.json").read_text("utf-8"))
    read = []
    for path in files_of(folder, source, validation):
        image = read_image(path)
        boxes = _named(of_image.get(path.stem, of_image.get(path.name, ())))
        truth = np.full(image.shape[:2], known.number(elsewhere), np.uint8)
        each = Photograph(source, path.stem, image, truth, metres)
        draw_boxes(each, boxes, known)
        read.append(each)
    return read


def _named(boxes: Iterable[Sequence[Any]]) -> list[tuple[Box, str]]:
    """Boxes of a file, (left, top, right, bottom, name), with the concepts that they are of."""
    named = []
    for left, top, right, bottom, name in boxes:
        lower = name.lower()
        named.append(((left, top, right, bottom), RENAMED.get(lower, lower)))
    return named


# EuroSAT's kinds: what their pixels may be.
LAND_USE: Mapping[str, frozenset[str]] = {
    "AnnualCrop": frozenset({"farmland", "bare land", "grassland", "road", "tree"}),
    "Forest": WOODS,
    "HerbaceousVegetation": VEGETATION | GROUND | {"road"},
    "Highway": NATURE | {"building", "bridge", "parking lot"},
    "Industrial": NATURE | {"building", "parking lot"},
    "Pasture": VEGETATION | {"bare land", "road", "building"},
    "PermanentCrop": VEGETATION | {"bare land", "road", "building"},
    "Residential": NATURE | {"building", "parking lot"},
    "River": NATURE | {"building", "bridge"},
    "SeaLake": frozenset({"water"}),
}


def _eurosat(folder: Path, known: Judgements, validation: bool) -> list[Photograph]:
    """Patchworks of sixteen chips: a chip of 64 pixels alone would hardly fill a window."""
    if validation:
        return []
    source, side = "eurosat_rgb", 4
    files = sorted((folder / source / "images").glob("*.jpg"))
    order = np.random.default_rng(0).permutation(len(files))
    read = []
    for first in range(0, len(files) - side**2 + 1, side**2):
        image = np.zeros((64 * side, 64 * side, 3), np.uint8)
        truth = np.zeros((64 * side, 64 * side), np.uint8)
        for i, index in enumerate(order[first : first + side**2]):
            kind = files[index].stem.split("_")[0]
            down, across = 64 * (i // side), 64 * (i % side)
            place = slice(down, down + 64), slice(across, across + 64)
            image[place] = read_image(files[index])
            truth[place] = known.number(LAND_USE[kind])
        read.append(Photograph(source, f"patchwork-{first}", image, truth, 10.0))
    return read


# UC Merced's kinds of place: which of the rarer things they may hold, and what they surely show.
PLACES: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "agricultural": (VEGETATION | {"bare land", "road"}, frozenset({"farmland"})),
    "airplane": (EVERY - {"ship", "pier", "wind turbine", "tennis court"}, frozenset({"airplane"})),
    "baseballdiamond": (
        frozenset({"baseball field", "ground track field", "tennis court"}),
        frozenset({"baseball field"}),
    ),
    "beach": (NATURE | {"building"}, frozenset({"water"})),
    "buildings": (
        frozenset({"swimming pool", "tennis court", "storage tank"}),
        frozenset({"building"}),
    ),
    "chaparral": (
        frozenset({"shrub", "bare land", "grassland", "tree", "road"}),
        frozenset({"shrub"}),
    ),
    "denseresidential": (frozenset({"swimming pool", "tennis court"}), frozenset({"building"})),
    "forest": (WOODS | {"grassland", "shrub", "bare land", "road"}, frozenset({"tree"})),
    "freeway": (frozenset({"bridge"}), frozenset({"road", "car"})),
    "golfcourse": (frozenset({"swimming pool"}), frozenset({"grassland"})),
    "harbor": (frozenset({"ship", "pier"}), frozenset({"ship", "water"})),
    "intersection": (frozenset({"swimming pool"}), frozenset({"road"})),
    "mediumresidential": (frozenset({"swimming pool", "tennis court"}), frozenset({"building"})),
    "mobilehomepark": (frozenset({"swimming pool"}), frozenset({"building"})),
    "overpass": (frozenset({"bridge"}), frozenset({"road", "bridge"})),
    "parkinglot": (frozenset({"swimming pool"}), frozenset({"car"})),
    "river": (NATURE | {"bridge", "ship", "building"}, frozenset({"water"})),
    "runway": (frozenset({"runway", "airplane"}), frozenset({"runway"})),
    "sparseresidential": (frozenset({"swimming pool", "tennis court"}), frozenset({"building"})),
    "storagetanks": (frozenset({"storage tank"}), frozenset({"storage tank"})),
    "tenniscourt": (frozenset({"tennis court", "swimming pool"}), frozenset({"tennis court"})),
}  # fmt: skip
NARROW = frozenset({"agricultural", "beach", "chaparral", "forest", "river", "airplane"})
EVERYWHERE = NATURE | {"building", "parking lot", "roundabout"} | VEHICLES
OWN_BOXES = Path(__file__).parent / "truth" / "ucmerced_boxes.csv"
OWN_COMPLETE = Path(__file__).parent / "truth" / "ucmerced_complete.csv"


def _ucmerced(folder: Path, known: Judgements, validation: bool) -> list[Photograph]:
    source = "ucmerced"
    boxes, complete = _own_boxes()
    read = []
    for path in files_of(folder, source, validation):
        kind = re.sub(r"\d", "", path.stem)
        extra, shows = PLACES[kind]
        may_be = extra if kind in NARROW else EVERYWHERE | extra
        image = read_image(path)
        own = boxes.get(path.stem, [])
        may_be = (may_be | {name for _, name in own}) - complete.get(path.stem, frozenset())
        truth = np.full(image.shape[:2], known.number(may_be), np.uint8)
        shown = shows - complete.get(path.stem, frozenset())
        each = Photograph(source, path.stem, image, truth, 0.3, shown)
        draw_boxes(each, own, known)
        read.append(each)
    return read


def _own_boxes() -> tuple[dict[str, list[tuple[Box, str]]], dict[str, frozenset[str]]]:
    """The project's boxes on chips of UC Merced, and the concepts that are complete, by chip."""
    boxes: dict[str, list[tuple[Box, str]]] = {}
    with OWN_BOXES.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            left, top, right, bottom = (float(row[x]) for x in ("left", "top", "right", "bottom"))
            name = RENAMED.get(row["class"], row["class"])
            boxes.setdefault(row["image"], []).append(((left, top, right, bottom), name))
    with OWN_COMPLETE.open(encoding="utf-8", newline="") as file:
        complete = {
            row["image"]: frozenset(row["classes"].split("|")) & EVERY
            for row in csv.DictReader(file)
        }
    return boxes, complete


READERS: Mapping[str, Callable[[Path, Judgements, bool], list[Photograph]]] = {
    "amazon_forest_s2": _amazon,
    "estonia_ortho_objects": _estonia,
    "eurosat_rgb": _eurosat,
    "gsi_road_japan": _roads,
    "gsi_solar_japan": _solar,
    "naip_aircraft_chips": _aircraft,
    "naip_prairie": _prairie,
    "naip_urban_trees": _naip,
    "naip_wind_turbines": _turbines,
    "neon_trees": _neon,
    "oam_buildings": _zanzibar,
    "sen2ships": _ships,
    "ucmerced": _ucmerced,
}


def draw_boxes(photograph: Photograph, boxes: list[tuple[Box, str]], known: Judgements) -> None:
    """Boxes as judgements: surely the thing, the thing or what was said of the place, no more.

    A box says that its thing touches all four sides; which of its pixels are the thing depends on
    what it is. What `core` does not claim stays open.
    """
    for box, name in sorted(boxes, key=lambda each: -area(each[0])):
        height, width = photograph.truth.shape
        left, top = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
        right, bottom = min(width, math.ceil(box[2])), min(height, math.ceil(box[3]))
        if right - left < 2 or bottom - top < 2:
            continue
        place = slice(top, bottom), slice(left, right)
        around = known.sets[int(photograph.truth[place][0, 0])]
        open_to = known.number(around, name)
        photograph.truth[place] = open_to
        sure = core(photograph.image, (left, top, right, bottom), name)
        photograph.truth[place][sure] = known.number(name)


def read_dubai(folder: Path, tiles: tuple[int, ...], known: Judgements) -> list[Photograph]:
    """Dubai's tiles; their land is unpaved, and their ground resolution nobody says.

    Args:
        folder: with tile1_001.jpg …
        tiles: numbers of those to read.
        known: gets the judgements that they need.
    """
    of_class = {
        "building": known.number("building"),
        "land": known.number(GROUND),
        "road": known.number({"road", "roundabout", "bridge"} | VEHICLES),
        "vegetation": known.number(VEGETATION),
        "water": known.number("water", "swimming pool", "ship"),
    }
    table = np.array([of_class[name.lower()] for name in DUBAI_CLASSES], np.uint8)
    read = []
    for sample in samples.dubai(folder, list(tiles)):
        truth = np.where(sample.truth == IGNORE, 0, table[np.minimum(sample.truth, len(table) - 1)])
        read.append(
            Photograph(
                "dubai",
                str(sample.name),
                np.asarray(sample.image),
                truth.astype(np.uint8),
                DUBAI_METRES,
            )
        )
    return read
