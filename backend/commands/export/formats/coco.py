"""COCO instance segmentation: one JSON file a split.

Layout: `images/SPLIT/…` and `annotations/instances_SPLIT.json`, as of 2017. Images are numbered
from 1. A category has the number that its label's `category` in the label config says, as in Label
Studio's own exports, and the others have what is free from 1 on. A region is one annotation, as it
was marked, however many parts it has; with `objects`, each connected part is one.

Masks are COCO's compressed run lengths (format: cocodataset.org/#format-data and the C code of the
COCO API, `rleToString`), so they equal the source to the pixel. With `polygons` they are outlines
along the pixels' edges instead; those have no holes, so what has some is cut in two through each
hole, and readers, which join the polygons of an annotation, get the same mask.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from backend.commands.export.dataset import DatasetVocabulary, Example, Split, copy_image
from backend.regions import outlines
from backend.regions.records import Region
from dgl_rsis.runs import Runs, area, cropped
from dgl_rsis.types import Json, Mask


def write(
    examples: Iterable[Example],
    vocabulary: DatasetVocabulary,
    out: Path,
    *,
    polygons: bool = False,
    objects: bool = False,
) -> None:
    """Write the set.

    Args:
        examples: gone over once.
        vocabulary: the categories, in their order.
        out: folder for images and annotations.
        polygons: outlines instead of run lengths.
        objects: one annotation for each connected part (also by corners) of a region.
    """
    files: dict[Split, _File] = {}
    with ExitStack() as stack:
        for example in examples:
            if example.split not in files:
                files[example.split] = stack.enter_context(_File(out, example.split, vocabulary))
            copy_image(example, out / "images" / example.split)
            regions: Iterable[Region] = example.regions
            if objects:
                regions = (part for region in regions for part in outlines.parts(region))
            rows = ((each.label, to_annotation(each.runs, polygons=polygons)) for each in regions)
            files[example.split].add(example, rows)


class _File:
    """One JSON file; annotations go straight to the disk, since masks are what is large."""

    def __init__(self, out: Path, split: Split, vocabulary: DatasetVocabulary) -> None:
        self._path = out / "annotations" / f"instances_{split}.json"
        self._numbers = vocabulary.numbered(1)
        self._images: list[Json] = []
        self._count = 0

    def __enter__(self) -> "_File":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIO = self._path.open("w", encoding="utf-8")
        self._file.write('{"annotations": [')
        return self

    def __exit__(self, *_: object) -> None:
        names = sorted(self._numbers, key=self._numbers.__getitem__)
        rest = {
            "images": self._images,
            "categories": [{"id": self._numbers[name], "name": name} for name in names],
            "licenses": [],
            "info": {"description": "written by dgl-rsis export"},
        }
        self._file.write("\n], " + json.dumps(rest, ensure_ascii=False)[1:] + "\n")
        self._file.close()

    def add(self, example: Example, rows: Iterable[tuple[str, Json]]) -> None:
        """One image and its annotations without their numbers."""
        number = len(self._images) + 1
        size = {"width": example.item.width, "height": example.item.height}
        more = {"scene": example.scene, "task_id": example.item.task_id}
        self._images.append({"id": number, "file_name": example.file, **size, **more})
        for label, row in rows:
            ids = {
                "id": self._count + 1,
                "image_id": number,
                "category_id": self._numbers[label],
            }
            self._file.write(("," if self._count else "") + "\n" + json.dumps({**ids, **row}))
            self._count += 1


def to_annotation(runs: Runs, *, polygons: bool = False) -> Json:
    """What COCO says of a mask: `segmentation`, `area` (pixels), `bbox` (x, y, width, height)."""
    part, left, top = _boxed(runs)
    if polygons:
        rings = [ring + np.array([left, top]) for ring in outlines.along_edges(part)]
        segmentation: Any = [ring.ravel().tolist() for ring in rings]
    else:
        segmentation = compressed(runs)
    return {
        "segmentation": segmentation,
        "area": area(runs),
        "bbox": [left, top, part.shape[1], part.shape[0]],
        "iscrowd": 0,
    }


def compressed(runs: Runs) -> Json:
    """COCO's compressed run lengths: column-major, each less the one two before, in base 32."""
    part, left, top = _boxed(runs)  # its own columns: there may be thousands of small masks
    columns = np.zeros((runs.height, part.shape[1]), dtype=np.bool_)
    columns[top : top + len(part)] = part
    counts = outlines.placed(columns.T, left, runs.width).counts
    differences = (count - (counts[i - 2] if i > 2 else 0) for i, count in enumerate(counts))
    text = "".join(letter for each in differences for letter in _letters(each))
    return {"size": [runs.height, runs.width], "counts": text}


def _letters(number: int) -> Iterator[str]:
    """Five bits a letter, least first; the sixth says that more follow; the last has the sign."""
    while True:
        bits, number = number & 31, number >> 5
        ends = number == (-1 if bits & 16 else 0)
        yield chr(48 + bits + (0 if ends else 32))
        if ends:
            return


def _boxed(runs: Runs) -> tuple[Mask, int, int]:
    """The part of a mask within its box, (h, w) bool, and the box's left and top, pixels."""
    crop = cropped(runs)
    assert crop is not None  # readers leave masks without a pixel out
    columns = np.flatnonzero(crop.mask.any(axis=0))
    left, right = int(columns[0]), int(columns[-1]) + 1
    return np.ascontiguousarray(crop.mask[:, left:right]), left, crop.top
