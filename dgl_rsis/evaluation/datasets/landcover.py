"""Readers of the published land-cover benchmarks, each in the layout of its own download."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dgl_rsis.evaluation.datasets.samples import (
    DatasetError,
    Sample,
    read_colours,
    read_image,
    read_indices,
    read_lines,
    sorted_files,
)
from dgl_rsis.evaluation.scores import IGNORE

LOVEDA_CLASSES = ("background", "building", "road", "water", "barren", "forest", "agriculture")

ISPRS_CLASSES = ("impervious surface", "building", "low vegetation", "tree", "car", "clutter")
ISPRS_COLOURS: Mapping[tuple[int, int, int], int] = {
    (255, 255, 255): 0,
    (0, 0, 255): 1,
    (0, 255, 255): 2,
    (0, 255, 0): 3,
    (255, 255, 0): 4,
    (255, 0, 0): 5,
    (0, 0, 0): IGNORE,  # borders, in the labels that leave them out
}
POTSDAM_TEST = (
    "2_13", "2_14", "3_13", "3_14", "4_13", "4_14", "4_15", "5_13", "5_14", "5_15", "6_13", "6_14",
    "6_15", "7_13",
)  # fmt: skip
POTSDAM_TRAIN = (
    "2_10", "2_11", "2_12", "3_10", "3_11", "3_12", "4_10", "4_11", "4_12", "5_10", "5_11", "5_12",
    "6_7", "6_8", "6_9", "6_10", "6_11", "6_12", "7_7", "7_8", "7_9", "7_10", "7_11", "7_12",
)  # fmt: skip
VAIHINGEN_TEST = (
    "2", "4", "6", "8", "10", "12", "14", "16", "20", "22", "24", "27", "29", "31", "33", "35",
    "38",
)  # fmt: skip
VAIHINGEN_TRAIN = (
    "1", "3", "5", "7", "11", "13", "15", "17", "21", "23", "26", "28", "30", "32", "34", "37",
)  # fmt: skip

ISAID_CLASSES = (
    "background", "ship", "storage tank", "baseball diamond", "tennis court", "basketball court",
    "ground track field", "bridge", "large vehicle", "small vehicle", "helicopter",
    "swimming pool", "roundabout", "soccer ball field", "plane", "harbor",
)  # fmt: skip
ISAID_COLOURS: Mapping[tuple[int, int, int], int] = {
    (0, 0, 0): 0,
    (0, 0, 63): 1,
    (0, 63, 63): 2,
    (0, 63, 0): 3,
    (0, 63, 127): 4,
    (0, 63, 191): 5,
    (0, 63, 255): 6,
    (0, 127, 63): 7,
    (0, 127, 127): 8,
    (0, 0, 127): 9,
    (0, 0, 191): 10,
    (0, 0, 255): 11,
    (0, 191, 127): 12,
    (0, 127, 191): 13,
    (0, 127, 255): 14,
    (0, 100, 155): 15,
}

OPEN_EARTH_MAP_CLASSES = (
    "bareland", "rangeland", "developed space", "road", "tree", "water", "agriculture land",
    "building",
)  # fmt: skip


def loveda(folder: Path, split: str = "val") -> Iterator[Sample]:
    """LoveDA (arXiv 2110.08733; https://zenodo.org/records/5706578).

    Layout: `Val/Urban/images_png/N.png`, `Val/Urban/masks_png/N.png`, the same under `Rural` and
    `Train`. Pixels: 0 = no data (ignored), 1 … 7 = `LOVEDA_CLASSES`. The test masks are not public.

    Raises:
        DatasetError: a file is missing, of another size, or has another value.
    """
    values = {0: IGNORE} | {i + 1: i for i in range(len(LOVEDA_CLASSES))}
    for area in ("Urban", "Rural"):
        place = folder / split.capitalize() / area
        for path in sorted_files(place / "images_png", "*.png"):
            image = read_image(path)
            label = place / "masks_png" / path.name
            yield Sample(f"{area}_{path.stem}", image, read_indices(label, image, values))


def potsdam(folder: Path, split: str = "test") -> Iterator[Sample]:
    """ISPRS Potsdam, 2D semantic labelling contest (https://www.isprs.org, on request).

    Layout, as `2_Ortho_RGB.zip` and the label archives unpack, each in a folder of its name:
    `2_Ortho_RGB/top_potsdam_2_13_RGB.tif`, and the first of these folders that is there:
    `5_Labels_all_noBoundary/top_potsdam_2_13_label_noBoundary.tif` (borders are black: ignored),
    `5_Labels_all/top_potsdam_2_13_label.tif`, `5_Labels_for_participants/…_label.tif`.

    Args:
        folder: the parent of those.
        split: "test" (the contest's 14), "train", or areas as in "2_13,2_14".

    Raises:
        DatasetError: a file is missing, of another size, or has another colour.
    """
    images = _inner(folder / "2_Ortho_RGB")
    labels, ending = _first_folder(
        folder,
        {
            "5_Labels_all_noBoundary": "label_noBoundary.tif",
            "5_Labels_all": "label.tif",
            "5_Labels_for_participants": "label.tif",
        },
    )
    for area in _areas(split, POTSDAM_TRAIN, POTSDAM_TEST):
        name = f"top_potsdam_{area}"
        image = read_image(images / f"{name}_RGB.tif")
        label = labels / f"{name}_{ending}"
        yield Sample(name, image, read_colours(label, image, ISPRS_COLOURS))


def vaihingen(folder: Path, split: str = "test") -> Iterator[Sample]:
    """ISPRS Vaihingen, 2D semantic labelling contest (https://www.isprs.org, on request).

    Layout, as the archives unpack, each in a folder of its name or all in one:
    `top/top_mosaic_09cm_area2.tif` (infrared, red, green: false colours, which everybody feeds as
    they are), and the first of these folders that is there:
    `ISPRS_semantic_labeling_Vaihingen_ground_truth_eroded_COMPLETE/…area2_noBoundary.tif` (borders
    are black: ignored), `ISPRS_semantic_labeling_Vaihingen_ground_truth_COMPLETE/…area2.tif`,
    `gts_for_participants/…area2.tif`.

    Args:
        folder: the parent of those.
        split: "test" (the contest's 17), "train", or areas as in "2,4".

    Raises:
        DatasetError: a file is missing, of another size, or has another colour.
    """
    archive = "ISPRS_semantic_labeling_Vaihingen"
    place = folder / archive if (folder / archive).is_dir() else folder
    truth = f"{archive}_ground_truth"
    labels, ending = _first_folder(
        folder,
        {
            f"{truth}_eroded_COMPLETE": "_noBoundary.tif",
            f"{truth}_COMPLETE": ".tif",
            "gts_for_participants": ".tif",
            f"{archive}/gts_for_participants": ".tif",
        },
    )
    for area in _areas(split, VAIHINGEN_TRAIN, VAIHINGEN_TEST):
        name = f"top_mosaic_09cm_area{area}"
        image = read_image(place / "top" / f"{name}.tif")
        label = labels / f"{name}{ending}"
        yield Sample(name, image, read_colours(label, image, ISPRS_COLOURS))


def isaid(folder: Path, split: str = "val") -> Iterator[Sample]:
    """The data set iSAID (arXiv 1905.12886; images of DOTA), as its development kit lays it out.

    Layout: `val/images/P0003.png` beside `val/images/P0003_instance_color_RGB.png`, one colour a
    class. The test masks are not public. About 97 % of val is background.

    Raises:
        DatasetError: a file is missing, of another size, or has another colour.
    """
    ending = "_instance_color_RGB.png"
    for label in sorted_files(folder / split / "images", f"*{ending}"):
        name = label.name.removesuffix(ending)
        image = read_image(label.with_name(f"{name}.png"))
        yield Sample(name, image, read_colours(label, image, ISAID_COLOURS))


def open_earth_map(folder: Path, split: str = "val") -> Iterator[Sample]:
    """OpenEarthMap (arXiv 2210.10732; https://zenodo.org/records/7223446).

    Layout: `val.txt` with one file name a line (`aachen_1.tif`), `aachen/images/aachen_1.tif`,
    `aachen/labels/aachen_1.tif`. Pixels: 0 = unlabelled (ignored), 1 … 8 =
    `OPEN_EARTH_MAP_CLASSES`. The lists also name the regions of xBD, whose images do not come with
    the download: a region without a folder is left out.

    Raises:
        DatasetError: a file is missing, of another size, or has another value; or no region is
            there.
    """
    values = {0: IGNORE} | {i + 1: i for i in range(len(OPEN_EARTH_MAP_CLASSES))}
    files = [Path(line.strip()) for line in read_lines(folder / f"{split}.txt") if line.strip()]
    here = [file for file in files if (folder / _region(file)).is_dir()]
    if not here:
        raise DatasetError(f"{folder} holds no region that {split}.txt names")
    for file in here:
        place = folder / _region(file)
        image = read_image(place / "images" / file.name)
        truth = read_indices(place / "labels" / file.name, image, values)
        yield Sample(file.stem, image, truth)


def _region(file: Path) -> str:
    return file.stem.rpartition("_")[0]


def _areas(split: str, train: Sequence[str], test: Sequence[str]) -> Sequence[str]:
    named = {"train": train, "test": test}.get(split)
    return [area.strip() for area in split.split(",")] if named is None else named


def _inner(folder: Path) -> Path:
    """Some unpackers make a folder of the archive's name around the one in it."""
    return folder / folder.name if (folder / folder.name).is_dir() else folder


def _first_folder(folder: Path, endings: Mapping[str, str]) -> tuple[Path, str]:
    for name, ending in endings.items():
        if (folder / name).is_dir():
            return _inner(folder / name), ending
    raise DatasetError(f"{folder} holds no labels: none of {', '.join(endings)}")
