from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings

from backend.commands.export.dataset import DatasetVocabulary
from backend.commands.export.formats import yolo
from dgl_rsis.types import Mask
from tests.backend.commands.export.examples import MASKS, example, region, smooth

VOCABULARY = DatasetVocabulary.of(["road", 'a "quoted": name'])


def drawn(text: str, size: tuple[int, int]) -> dict[int, Mask]:
    """By the rules of ultralytics: scale, cut fractions off, fill each line."""
    planes: dict[int, Mask] = {}
    for line in text.splitlines():
        number, *shares = line.split()
        points = np.array(shares, dtype=np.float32).reshape(-1, 2)
        assert len(points) >= 3
        assert (points >= 0).all()
        assert (points <= 1).all()
        plane = np.zeros(size, dtype=np.uint8)
        cv2.fillPoly(plane, [(points * (size[1], size[0])).astype(np.int32)], 1)
        held = planes.get(int(number), np.zeros(size, dtype=np.bool_))
        planes[int(number)] = held | plane.astype(np.bool_)
    return planes


@given(MASKS)
@settings(deadline=None)
def test_lines_give_the_mask_back(mask: Mask) -> None:
    lines = yolo.to_lines([region(mask)], VOCABULARY, smallest=1)
    assert (drawn("\n".join(lines), mask.shape)[0] == mask).all()


@pytest.mark.parametrize("size", [(120, 160), (1021, 3000)])
def test_smooth_masks_come_back(size: tuple[int, int]) -> None:
    mask = smooth(5, size)
    filled = drawn("\n".join(yolo.to_lines([region(mask)], VOCABULARY)), mask.shape)[0]
    assert np.count_nonzero(filled & mask) / np.count_nonzero(filled | mask) >= 0.99
    assert np.count_nonzero(filled != mask) < 4 * yolo.SMALLEST  # specks only


@pytest.mark.parametrize("scale", [0.5, 2])
def test_masks_keep_their_shape_at_other_sizes(scale: float) -> None:
    mask = smooth(5)
    size = (round(120 * scale), round(160 * scale))
    filled = drawn("\n".join(yolo.to_lines([region(mask)], VOCABULARY)), size)[0]
    resized = cv2.resize(mask.view(np.uint8), size[::-1], interpolation=cv2.INTER_AREA) > 0
    assert np.count_nonzero(filled & resized) / np.count_nonzero(filled | resized) > 0.9


def test_specks_are_no_objects() -> None:
    mask = np.zeros((9, 9), dtype=np.bool_)
    mask[0, 0] = mask[5:7, 5:7] = True
    assert len(yolo.to_lines([region(mask)], VOCABULARY)) == 1
    assert len(yolo.to_lines([region(mask)], VOCABULARY, smallest=1)) == 2


def test_the_layout_is_that_of_ultralytics(tmp_path: Path) -> None:
    mask = smooth(1)
    marked = [region(mask, VOCABULARY.labels[1])]
    given_ = [
        example(tmp_path, "a", marked),
        example(tmp_path, "b", []),
        example(tmp_path, "c", marked, split="test"),
    ]
    out = tmp_path / "out"
    yolo.write(iter(given_), VOCABULARY, out)
    description = yaml.safe_load((out / "data.yaml").read_text())
    assert description == {
        "train": "images/train", "val": "images/train", "test": "images/test",
        "names": {0: "road", 1: 'a "quoted": name'},
    }  # fmt: skip
    for each in given_:
        image = out / "images" / each.split / each.file
        assert image.is_file()
        # How ultralytics finds the label of an image.
        label = Path("labels".join(str(image).rsplit("images", 1))).with_suffix(".txt")
        planes = drawn(label.read_text(), mask.shape)
        assert set(planes) == ({1} if each.regions else set())
    yolo.write([example(tmp_path, "d", [], split="val")], VOCABULARY, tmp_path / "other")
    assert yaml.safe_load((tmp_path / "other/data.yaml").read_text())["val"] == "images/val"
