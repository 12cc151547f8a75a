"""What near infrared adds: classes at points of a NAIP scene, with the bands and without.

    python -m benchmarks.bands --rasters ../shared/data/rasters --model starter

The points (`naip_points.csv`) were drawn at random from the whole scene and labelled by eye, from
true colours and colour infrared; "other" is what could not be told, or lay on an edge.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.clip.model import ClipModel, load_clip
from dgl_rsis.scenes.pipeline import segment_scene
from dgl_rsis.scenes.reading import open_scene
from dgl_rsis.types import Label

POINTS = Path(__file__).with_name("naip_points.csv")
CLASSES = ("vegetation", "water", "building", "road", "bare land")
NEAR_INFRARED = 4  # of NAIP's bands; its files do not say so


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rasters", type=Path, default=Path("../shared/data/rasters"))
    parser.add_argument("--model", default="starter")
    options = parser.parse_args()
    clip = load_clip(options.model)
    with POINTS.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["class"] in CLASSES]
    for bands, nir in (("red, green, blue", None), ("and near infrared", NEAR_INFRARED)):
        right: dict[str, list[bool]] = {name: [] for name in CLASSES}
        for name in sorted({row["raster"] for row in rows}):
            classes = _classes(options.rasters / name, clip, nir)
            for row in (row for row in rows if row["raster"] == name):
                number = classes[int(row["row"]), int(row["column"])]
                right[row["class"]].append(number == CLASSES.index(row["class"]) + 1)
        sys.stdout.write(f"{bands}: {_accuracies(right)}\n")
        sys.stdout.flush()


def _classes(path: Path, clip: ClipModel, nir: int | None) -> NDArray[np.uint16]:
    """(H, W), 0 for none, i for the i-th class."""
    with open_scene(path, nir=nir) as scene:
        classes = np.zeros((scene.grid.height, scene.grid.width), dtype=np.uint16)
        for block in segment_scene(scene, [Label(name) for name in CLASSES], clip):
            height, width = block.classes.shape
            place = slice(block.row, block.row + height), slice(block.column, block.column + width)
            classes[place] = block.classes
    return classes


def _accuracies(right: dict[str, list[bool]]) -> str:
    each = [f"{name} {_share(hits)}" for name, hits in right.items() if hits]
    return f"all {_share([hit for hits in right.values() for hit in hits])}; {', '.join(each)}"


def _share(hits: Sequence[bool]) -> str:
    return f"{np.mean(hits):.3f} ({sum(hits)} of {len(hits)})"


if __name__ == "__main__":
    main()
