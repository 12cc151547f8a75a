"""The committed lists."""

import csv
import tomllib
from collections import Counter
from importlib.resources import files
from itertools import groupby
from pathlib import Path

import pytest

from dgl_rsis.evaluation.datasets import lists
from dgl_rsis.evaluation.datasets.samples import DatasetError
from tests.paths import SHARED

PACKAGE = files("dgl_rsis.evaluation")
needs_data = pytest.mark.skipif(not (SHARED / "open").is_dir(), reason=f"needs {SHARED}/open")


def test_a_hundred_different_questions_on_images_of_many_places():
    rows = list(csv.DictReader(PACKAGE.joinpath("absent.csv").read_text("utf-8").splitlines()))
    assert len({(row["image"], row["sentence"]) for row in rows}) == len(rows) == 100
    images = [image for image, _ in groupby(row["image"] for row in rows)]
    assert len(set(images)) == len(images) >= 40  # those of an image follow each other
    assert len({image.rsplit("/", 1)[0] for image in images}) >= 10
    assert max(Counter(row["sentence"] for row in rows).values()) <= 8


def test_twenty_four_large_images_of_six_kinds():
    entries = tomllib.loads(PACKAGE.joinpath("false_objects.toml").read_text("utf-8"))["images"]
    assert len({entry["image"] for entry in entries}) == len(entries) == 24
    assert all(set(entry) == {"image", *lists.COUNTED.values()} for entry in entries)
    assert all(sum(entry[c] for entry in entries) > 0 for c in lists.COUNTED.values())


@needs_data
def test_the_images_of_the_lists_are_there():
    questions = list(lists.absent(SHARED))
    assert questions[0].image is questions[1].image  # read once
    images = list(lists.large(SHARED))
    assert all(max(each.image.shape[:2]) >= 500 for each in images)
    assert {name for each in images for name in each.counts} == {"car", "ship", "airplane"}


def test_an_image_that_is_missing_is_named(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"no image .*dubai"):
        next(lists.absent(tmp_path))
    with pytest.raises(DatasetError, match=r"no image .*dubai"):
        next(lists.large(tmp_path))
