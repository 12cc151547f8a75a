"""YOLO segmentation in the layout of ultralytics.

Layout: `data.yaml`, `images/SPLIT/NAME.*`, `labels/SPLIT/NAME.txt`: one line an object with the
number of its class from 0 and the outline, x and y in shares of the image (rules:
docs.ultralytics.com/datasets/segment). The format has neither holes nor parts: each connected part
is a line, and a hole is joined to the outline by a bridge, a line there and back. An image on which
nothing is to be seen has an empty file.

[ours] Outlines go through the centres of border pixels. Ultralytics scales them, cuts the fractions
off and fills with `cv2.fillPoly`: at the size of the image that gives the mask back exactly.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from backend.commands.export.dataset import DatasetVocabulary, Example, copy_image
from backend.regions import outlines
from backend.regions.records import Region
from dgl_rsis import runs

DIGITS = 6
FEWEST_POINTS = 3  # lines with fewer are taken for boxes
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
        smallest: parts of fewer pixels are no objects.
    """
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
    lines = []
    for region in regions:
        for part in outlines.parts(region):
            if runs.area(part.runs) < smallest:
                continue
            crop = runs.cropped(part.runs)
            assert crop is not None  # a part has pixels
            (ring,) = outlines.through_centres(crop.mask)
            ring = ring + np.array([0, crop.top])
            ring = ring[np.arange(max(len(ring), FEWEST_POINTS)) % len(ring)]
            shares = (ring + 0.5) / (part.runs.width, part.runs.height)  # (N, 2)
            numbers = " ".join(f"{share:.{DIGITS}f}" for share in shares.ravel())
            lines.append(f"{vocabulary.numbers[region.label]} {numbers}")
    return list(dict.fromkeys(lines))


def _description(vocabulary: DatasetVocabulary, splits: set[str]) -> str:
    """`data.yaml`; without a path, ultralytics looks beside the file."""
    held = {"train": "train", "val": "val" if "val" in splits else "train"}
    if "test" in splits:
        held["test"] = "test"
    lines = [f"{key}: images/{folder}" for key, folder in held.items()]
    # JSON texts are YAML, too; characters as they are, since YAML knows no pairs of surrogates.
    quoted = (json.dumps(name, ensure_ascii=False) for name in vocabulary.labels)
    names = [f"  {number}: {name}" for number, name in enumerate(quoted)]
    return "\n".join([*lines, "names:", *names]) + "\n"
