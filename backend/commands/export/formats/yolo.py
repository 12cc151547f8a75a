"""YOLO segmentation in the layout of ultralytics.

Layout: `data.yaml`, `images/SPLIT/NAME.*`, `labels/SPLIT/NAME.txt`: one line an object with the
number of its class from 0 and the outline, x and y in shares of the image (rules:
docs.ultralytics.com/datasets/segment). The format has neither holes nor parts: each connected part
is a line, and a hole is joined to the outline by a bridge, a line there and back. An image on which
nothing is to be seen has an empty file. A class has the number that its label's `category` in the
label config says, as in Label Studio's own exports; numbers that are nobody's get a class without
objects, since ultralytics wants them without gaps.

[ours] Outlines go through the centres of border pixels. Ultralytics scales them, cuts the fractions
off and fills with `cv2.fillPoly`: at the size of the image that gives the mask back exactly.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from backend.commands.export.dataset import DatasetVocabulary, Example, copy_image
from backend.regions import outlines
from backend.regions.findings import ExportError
from backend.regions.records import Region
from dgl_rsis import runs

DIGITS = 6
FEWEST_POINTS = 3  # lines with fewer are taken for boxes
MOST_CLASSES = 10_000
SMALLEST = 4  # pixels


def write(
    examples: Iterable[Example],
    vocabulary: DatasetVocabulary,
    out: Path,
    *,
    smallest: int = SMALLEST,
) -> None:
    """Write the set.

    Args:
        examples: gone over once.
        vocabulary: the classes, in their order.
        out: folder for `data.yaml`, images and labels.
        smallest: parts of fewer pixels are no objects, unless their whole region is so small.

    Raises:
        ExportError: a category is too large a number.
    """
    if (largest := max(vocabulary.numbered(0).values(), default=0)) >= MOST_CLASSES:
        raise ExportError(
            f"the category {largest} of the label config would need as many classes; YOLO's are "
            f"numbered without gaps: give categories below {MOST_CLASSES}"
        )
    splits: set[str] = set()
    for example in examples:
        splits.add(example.split)
        copy_image(example, out / "images" / example.split)
        file = out / "labels" / example.split / f"{example.stem}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = to_lines(example.regions, vocabulary, smallest)
        file.write_text("".join(line + "\n" for line in lines), "utf-8")
    out.mkdir(parents=True, exist_ok=True)
    (out / "data.yaml").write_text(_description(vocabulary, splits), "utf-8")


def to_lines(
    regions: Iterable[Region], vocabulary: DatasetVocabulary, smallest: int = SMALLEST
) -> list[str]:
    """The lines of one image; each once, whatever was marked twice."""
    classes, lines = vocabulary.numbered(0), []
    for region in regions:
        parts = list(outlines.parts(region))
        # A speck beside a larger part is what a brush left; alone it is a small object.
        large = [part for part in parts if runs.area(part.runs) >= smallest]
        for part in large or parts:
            crop = runs.cropped(part.runs)
            assert crop is not None  # a part has pixels
            (ring,) = outlines.through_centres(crop.mask)
            ring = ring + np.array([0, crop.top])
            ring = ring[np.arange(max(len(ring), FEWEST_POINTS)) % len(ring)]
            shares = (ring + 0.5) / (part.runs.width, part.runs.height)  # (N, 2)
            numbers = " ".join(f"{share:.{DIGITS}f}" for share in shares.ravel())
            lines.append(f"{classes[region.label]} {numbers}")
    return list(dict.fromkeys(lines))


def _description(vocabulary: DatasetVocabulary, splits: set[str]) -> str:
    """`data.yaml`; without a path, ultralytics looks beside the file."""
    held = {"train": "train", "val": "val" if "val" in splits else "train"}
    if "test" in splits:
        held["test"] = "test"
    lines = [f"{key}: images/{folder}" for key, folder in held.items()]
    # JSON texts are YAML, too; characters as they are, since YAML knows no pairs of surrogates.
    held_by = {number: label for label, number in vocabulary.numbered(0).items()}
    every = (
        held_by.get(number, f"unused {number}") for number in range(max(held_by, default=-1) + 1)
    )
    quoted = (json.dumps(name, ensure_ascii=False) for name in every)
    names = [f"  {number}: {name}" for number, name in enumerate(quoted)]
    return "\n".join([*lines, "names:", *names]) + "\n"
