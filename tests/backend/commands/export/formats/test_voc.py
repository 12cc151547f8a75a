"""Read back by torchvision, whose readers know the layout of every year."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from PIL import Image
from torchvision.datasets import VOCDetection, VOCSegmentation

from backend.commands.export.dataset import DatasetVocabulary, Example
from backend.commands.export.formats import semantic, voc
from dgl_rsis.types import Mask
from tests.backend.commands.export.examples import MASKS, example, region, smooth

VOCABULARY = DatasetVocabulary.of(["road", "water & <ice>"], {"road": "#010203"})


def _written(tmp_path: Path, *examples: Example) -> Path:
    voc.write(iter(examples), VOCABULARY, tmp_path / "out")
    return tmp_path / "out"


def _segmented(out: Path, part: str) -> tuple[Image.Image, Image.Image]:
    """Image and class mask of a part with one image."""
    ((image, classes),) = VOCSegmentation(out, "2007", part)
    classes.load()  # which closes the file
    return image, classes


def test_torchvision_reads_it_back(tmp_path: Path) -> None:
    road, water = smooth(1), smooth(2)
    out = _written(
        tmp_path,
        example(tmp_path, "a", [region(road), region(water, "water & <ice>")]),
        example(tmp_path, "b", [], split="val"),
        example(tmp_path, "c.d", [region(road)], split="test"),
    )
    for part, stem in (("train", "a"), ("val", "b"), ("test", "c.d")):
        image, classes = _segmented(out, part)
        assert image.size == (160, 120)
        with Image.open(tmp_path / f"{stem}.png") as original:
            difference = np.abs(np.asarray(image, int) - np.asarray(original, int))
        assert difference.mean() < 8  # of noise, which JPEG likes least
        ((_, boxes),) = VOCDetection(out, "2007", part)
        assert boxes["annotation"]["filename"] == f"{stem}.jpg"
        assert boxes["annotation"]["size"] == {"width": "160", "height": "120", "depth": "3"}
        if stem == "b":
            assert not np.asarray(classes).any()
            assert boxes["annotation"]["object"] == []
    assert len(VOCSegmentation(out, "2007", "trainval")) == 2
    _, classes = _segmented(out, "train")
    made = example(tmp_path, "a", [region(road), region(water, "water & <ice>")])
    assert np.array_equal(np.asarray(classes), semantic.index_map(made, VOCABULARY))
    palette = classes.getpalette()
    assert palette is not None
    assert palette[:6] == [0, 0, 0, 1, 2, 3]
    names = (out / "VOCdevkit/VOC2007/classes.txt").read_text("utf-8").splitlines()
    assert names == ["background", "road", "water & <ice>"]


def test_boxes_and_objects_are_the_parts(tmp_path: Path) -> None:
    mask = np.zeros((8, 10), dtype=np.bool_)
    mask[0:2, 1:4] = mask[5:7, 6:9] = True
    lake = np.zeros_like(mask)
    lake[5, 7] = True
    out = _written(
        tmp_path,
        example(tmp_path, "a", [region(lake, "water & <ice>"), region(mask)], (8, 10)),
    )
    ((_, read),) = VOCDetection(out, "2007", "train")
    objects = read["annotation"]["object"]
    assert [(o["name"], o["truncated"], list(o["bndbox"].values())) for o in objects] == [
        ("road", "1", ["2", "1", "4", "2"]),
        ("road", "0", ["7", "6", "9", "7"]),
        ("water & <ice>", "0", ["8", "6", "8", "6"]),
    ]
    with Image.open(out / "VOCdevkit/VOC2007/SegmentationObject/a.png") as image:
        numbers = np.asarray(image)
    assert (numbers[0:2, 1:4] == 1).all()
    assert numbers[5:7, 6:9].tolist() == [[2, 3, 2], [2, 2, 2]]


@given(MASKS, MASKS)
def test_an_object_has_one_class(one: Mask, other: Mask) -> None:
    height, width = (min(pair) for pair in zip(one.shape, other.shape, strict=True))
    regions = [
        region(one[:height, :width], "road", "r"),
        region(other[:height, :width], "water & <ice>", "s"),
    ]
    made = example(FOLDER[0], "a", regions, (height, width))
    classes, objects, parts = voc.masks(made, VOCABULARY)
    numbers = [0, *(VOCABULARY.numbers[part.label] + 1 for part in parts)]
    assert np.array_equal(np.array(numbers)[objects], classes)


FOLDER: list[Path] = []


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path) -> None:
    FOLDER[:] = [tmp_path]  # hypothesis takes no function-scoped fixture


def test_more_objects_than_a_byte_holds(tmp_path: Path) -> None:
    dots = np.zeros((40, 40), dtype=np.bool_)
    dots[::2, ::2] = True
    out = _written(tmp_path, example(tmp_path, "a", [region(dots)], (40, 40)))
    with Image.open(out / "VOCdevkit/VOC2007/SegmentationObject/a.png") as image:
        assert len(np.unique(np.asarray(image))) == 401


def test_a_jpeg_is_copied_as_it_is(tmp_path: Path) -> None:
    made = example(tmp_path, "a", [], (8, 10))
    with Image.open(made.source) as image:
        image.save(tmp_path / "a.jpg", quality=30)
    photo = Example(made.item, (), "train", "a", "a.jpg", tmp_path / "a.jpg")
    out = _written(tmp_path, photo)
    copied = out / "VOCdevkit/VOC2007/JPEGImages/a.jpg"
    assert copied.read_bytes() == (tmp_path / "a.jpg").read_bytes()
