"""The boxes that come with the project: that they keep to what their README promises."""

import csv
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.paths import ROOT, SHARED

TRUTH = ROOT / "starter" / "training" / "truth"
CHIPS = SHARED / "open" / "ucmerced" / "images"
SIDE = 256  # px
CLASSES = {
    "airplane", "baseball field", "bridge", "car", "ship", "storage tank", "swimming pool",
    "tennis court", "truck",
}  # fmt: skip
EDGES = ("left", "top", "right", "bottom")


def rows(name: str) -> list[dict[str, str]]:
    with (TRUTH / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


BOXES = rows("ucmerced_boxes.csv")
COMPLETE = {row["image"]: set(row["classes"].split("|")) for row in rows("ucmerced_complete.csv")}


def test_no_image_is_held_out():
    for image in COMPLETE:
        number = re.fullmatch(r"[a-z]+(\d\d)", image)
        assert number, image
        assert int(number[1]) % 5, image


def test_every_image_is_listed_once_and_with_known_classes():
    assert len(rows("ucmerced_complete.csv")) == len(COMPLETE)
    assert {box["image"] for box in BOXES} <= COMPLETE.keys()
    assert set().union(*COMPLETE.values()) <= CLASSES
    assert {box["class"] for box in BOXES} <= CLASSES


def test_boxes_have_an_area_within_the_chip():
    for box in BOXES:
        left, top, right, bottom = (int(box[edge]) for edge in EDGES)
        assert 0 <= left < right <= SIDE, box
        assert 0 <= top < bottom <= SIDE, box


def test_no_box_is_there_twice():
    assert len({tuple(box.values()) for box in BOXES}) == len(BOXES)


@pytest.mark.skipif(not CHIPS.is_dir(), reason=f"needs the chips in {CHIPS}")
def test_boxes_lie_in_the_images_that_they_are_of():
    sizes = {image: _size(CHIPS / f"{image}.jpg") for image in COMPLETE}  # one is 254 px wide
    for box in BOXES:
        width, height = sizes[box["image"]]
        assert int(box["right"]) <= width, box
        assert int(box["bottom"]) <= height, box


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size
