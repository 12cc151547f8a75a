"""Small examples with images on the disk, for the tests of what writers make of them."""

from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from backend.commands.export.dataset import DatasetVocabulary, Example, Split
from backend.regions.records import Annotation, Item, Place, Region
from dgl_rsis import runs
from dgl_rsis.types import Mask

VOCABULARY = DatasetVocabulary.of(("building", "road", "water"))


def region(mask: Mask, label: str = "building", name: str = "r1", **rest: object) -> Region:
    return Region(name, label, runs.to_runs(mask), "brush", **rest)  # type: ignore[arg-type]


def example(
    folder: Path,
    regions: list[Region],
    *,
    stem: str = "tile",
    size: tuple[int, int] = (12, 16),
    split: Split = "train",
    place: Place | None = None,
    expression: str = "",
    task: int = 1,
    suffix: str = ".png",
) -> Example:
    """One whose image lies in a folder; its pixels depend on the task's number."""
    source = folder / f"{stem}{suffix}"
    rows, columns = np.indices(size)
    picture = np.stack([rows * 5, columns * 5, np.full(size, task * 7 % 256)], axis=-1)
    Image.fromarray(picture.astype(np.uint8)).save(source)
    annotation = Annotation(1, "ann@example.org", "2026-01-01T00:00:00Z", tuple(regions))
    item = Item(task, source.name, *size, (annotation,), (), expression, place)
    return Example(
        item, tuple(regions), split, place.scene if place else stem, source.name, source, annotation
    )


def tile(crs: str, transform: tuple[float, ...] | None, size: tuple[int, int] = (12, 16)) -> Place:
    height, width = size
    return Place("scene.tif", crs, transform, (0, 0, width, height), (width, height))  # type: ignore[arg-type]


def planes(height: int = 12, width: int = 16) -> st.SearchStrategy[NDArray[np.bool_]]:
    return arrays.arrays(np.bool_, (height, width))
