"""Real images with what is known of their pixels: readers of Dubai and of the open sets.

Each set says in its README what a 0 or a missing box means; here that becomes judgements (see
`starter.training.concepts`). Validation places are left out: they are named in `held_out`.
"""

import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dgl_rsis.evaluation.datasets import samples
from dgl_rsis.evaluation.datasets.samples import DUBAI_CLASSES
from dgl_rsis.evaluation.scores import IGNORE
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
Box = tuple[float, float, float, float]  # XYXY pixels

ZOOM_0 = 156543.034  # metres a pixel of 256-pixel Web Mercator tiles at the equator
# Nobody says it; by the widths of lanes and villas, and as DubaiSat-2 sees.
DUBAI_METRES = 1.0
LATITUDE = {"banepa": 27.63, "zanzibar": -6.16}
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


def held_out(photograph_name: str, source: str, index: int, count: int) -> bool:
    """Whether an image is for validation: the splits of the data, and some more to choose on."""
    if source == "naip_urban_trees":
        return photograph_name.startswith(("palm", "santa"))
    if source in {"oam_buildings", "oam_banepa_z19"}:
        return photograph_name.startswith("banepa")
    if source == "ucmerced":
        return int(re.sub(r"\D", "", photograph_name)) % 5 == 0
    if source in {"gsi_road_japan", "gsi_solar_japan", "amazon_forest_s2"}:
        return index >= count - 6
    if source in {"estonia_ortho_objects", "sen2ships"}:
        return index % 5 == 4
    return False


def read_image(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8, RGB."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(path)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def read_mask(path: Path) -> NDArray[np.uint8]:
    """(H, W) uint8."""
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if mask is None:
        raise FileNotFoundError(path)
    return np.asarray(mask if mask.ndim == 2 else mask[..., 0])


def files_of(folder: Path, source: str, validation: bool) -> Iterator[Path]:
    """The images of a set that are, or are not, for validation."""
    files = sorted((folder / source / "images").glob("*.*"))
    for index, path in enumerate(files):
        if held_out(path.stem, source, index, len(files)) == validation:
            yield path


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
    source: str, numbers: Mapping[int, int], metres: float, folder: Path, validation: bool
) -> list[Photograph]:
    """Images that have a mask.

    Args:
        source: the set.
        numbers: what each value of its masks stands for; other values say nothing.
        metres: a pixel.
        folder: with a folder for each set.
        validation: those for validation instead of those for training.
    """
    table = np.zeros(256, np.uint8)
    for value, number in numbers.items():
        table[value] = number
    read = []
    for path in files_of(folder, source, validation):
        mask = folder / source / "masks" / f"{path.stem}.png"
        if mask.is_file():
            truth = table[read_mask(mask)]
            read.append(Photograph(source, path.stem, read_image(path), truth, metres))
    return read


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
    read: list[Photograph] = []
    for source in ("oam_buildings", "oam_banepa_z19"):
        for each in _masked(source, numbers, 0.0, folder, validation):
            zoom = int(re.sub(r".*_z(\d+)_.*", r"\1", each.name))
            place = LATITUDE[each.name.split("_")[0]]
            each.metres = ZOOM_0 * math.cos(math.radians(place)) / 2**zoom
            read.append(each)
    return read


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
        table = np.array([numbers.get(i, 0) for i in range(256)], np.uint8)
        each = Photograph(source, path.stem, read_image(path), table[truth], 0.6)
        draw_boxes(each, boxes, known)
        read.append(each)
    return read


def _estonia(folder: Path, known: Judgements, validation: bool) -> list[Photograph]:
    source = "estonia_ortho_objects"
    of_image = json.loads((folder / source / "boxes.json").read_text("utf-8"))
    rename = {"watercraft": "ship", "bus": "large vehicle", "truck": "large vehicle"}
    absent = VEHICLES | {
        "ship", "airplane", "building", "helicopter", "wind turbine", "greenhouse", "runway",
    }  # fmt: skip
    elsewhere = known.number(EVERY - absent)
    read = []
    for path in files_of(folder, source, validation):
        image = read_image(path)
        boxes = [
            (tuple(box[:4]), rename.get(box[4], box[4])) for box in of_image.get(path.name, ())
        ]
        truth = np.full(image.shape[:2], elsewhere, np.uint8)
        runway = any(name == "airplane" for _, name in boxes)
        if runway:
            truth[:] = known.number(EVERY - absent | {"runway"})
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
        boxes = [
            (tuple(box[:4]), {"alive": "tree", "dead": "tree"}.get(box[4].lower(), box[4].lower()))
            for box in of_image.get(path.stem, of_image.get(path.name, ()))
        ]
        truth = np.full(image.shape[:2], known.number(elsewhere), np.uint8)
        each = Photograph(source, path.stem, image, truth, metres)
        draw_boxes(each, boxes, known)
        read.append(each)
    return read


LAND_USE: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    # EuroSAT's kinds: what their pixels may be, and what is surely among them.
    "AnnualCrop": (
        frozenset({"farmland", "bare land", "grassland", "road", "tree"}),
        frozenset({"farmland"}),
    ),
    "Forest": (WOODS, frozenset({"forest"})),
    "HerbaceousVegetation": (VEGETATION | GROUND | {"road"}, frozenset({"grassland"})),
    "Highway": (NATURE | {"building", "bridge", "parking lot"}, frozenset({"road"})),
    "Industrial": (NATURE | {"building", "parking lot"}, frozenset({"building"})),
    "Pasture": (VEGETATION | {"bare land", "road", "building"}, frozenset({"grassland"})),
    "PermanentCrop": (VEGETATION | {"bare land", "road", "building"}, frozenset({"farmland"})),
    "Residential": (NATURE | {"building", "parking lot"}, frozenset({"building"})),
    "River": (NATURE | {"building", "bridge"}, frozenset({"water"})),
    "SeaLake": (frozenset({"water"}), frozenset({"water"})),
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
            truth[place] = known.number(LAND_USE[kind][0])
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
            name = {"truck": "large vehicle"}.get(row["class"], row["class"])
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
    for box, name in sorted(boxes, key=lambda each: -_area(each[0])):
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


def core(image: NDArray[np.uint8], box: tuple[int, int, int, int], name: str) -> NDArray[np.bool_]:
    """(h, w) bool: the pixels of a box that surely are its thing."""
    left, top, right, bottom = box
    height, width = bottom - top, right - left
    down, across = np.mgrid[0:height, 0:width] + 0.5
    y, x = np.abs(down / height * 2 - 1), np.abs(across / width * 2 - 1)
    if name in {"airplane", "helicopter", "ship", "wind turbine"}:
        outlined = _cut_out(image, box)
        return np.asarray(outlined | (x**2 + y**2 < 0.1)) if name == "ship" else outlined
    if name in {"storage tank", "roundabout"}:
        return np.asarray(x**2 + y**2 < 0.85)
    if name in {"tree", "forest", "swimming pool"}:
        return np.asarray(x**2 + y**2 < 0.5)
    if max(height, width) >= 1.7 * min(height, width):  # lies along an axis
        return np.asarray((x < 0.8) & (y < 0.8))
    if name in VEHICLES:
        return np.asarray(x**2 + y**2 < 0.1)
    return np.asarray(x + y < 0.75)  # any rectangle that touches all sides holds this much


def _cut_out(image: NDArray[np.uint8], box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """What stands out from around a box (GrabCut); nothing where that is unclear."""
    left, top, right, bottom = box
    height, width = bottom - top, right - left
    none = np.zeros((height, width), np.bool_)
    margin = max(6, max(height, width) // 3)
    window = (
        slice(max(0, top - margin), bottom + margin), slice(max(0, left - margin), right + margin)
    )  # fmt: skip
    zoom = max(1.0, 64 / max(height, width))
    patch = cv2.resize(
        np.ascontiguousarray(image[window]), None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC
    )
    y0, x0 = top - window[0].start, left - window[1].start
    inner = [int(v * zoom) for v in (x0, y0, width, height)]
    labels = np.full(patch.shape[:2], cv2.GC_BGD, np.uint8)
    labels[inner[1] : inner[1] + inner[3], inner[0] : inner[0] + inner[2]] = cv2.GC_PR_FGD
    inside_model, outside_model = np.zeros((1, 65)), np.zeros((1, 65))
    try:
        cv2.setRNGSeed(0)
        nowhere = (0, 0, 0, 0)  # the labels say where it may be
        cv2.grabCut(patch, labels, nowhere, outside_model, inside_model, 4, cv2.GC_INIT_WITH_MASK)
    except cv2.error:
        return none
    found = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.uint8)
    found = cv2.erode(found, np.ones((3, 3), np.uint8))
    small = cv2.resize(
        found, (image[window].shape[1], image[window].shape[0]), interpolation=cv2.INTER_AREA
    )
    inside = small[y0 : y0 + height, x0 : x0 + width] > 0
    share = inside.mean()
    return inside if 0.1 < share < 0.85 else none


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


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
