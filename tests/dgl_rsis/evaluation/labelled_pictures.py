"""Tiny data sets in the layouts that the readers know."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from dgl_rsis.evaluation.datasets.samples import Sample

SIZE = (4, 3)  # width and height of every picture here


def photograph(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "grey").save(path)


def picture(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def indices(*rows: int) -> np.ndarray:
    """A label of one channel, one value a row."""
    return np.repeat(np.array(rows, np.uint8)[:, None], SIZE[0], axis=1)


def colours(*rows: tuple[int, int, int]) -> np.ndarray:
    """A label of three channels, one colour a row."""
    return np.repeat(np.array(rows, np.uint8)[:, None, :], SIZE[0], axis=1)


def rows(sample: Sample) -> list[int]:
    """The class of each row."""
    assert sample.image.shape == (3, 4, 3)
    assert sample.truth.shape == (3, 4)
    assert sample.truth.dtype == np.uint16
    assert (sample.truth == sample.truth[:, :1]).all()
    return sample.truth[:, 0].tolist()


def write(folder: Path, label: np.ndarray) -> None:
    Image.new("RGB", SIZE, "grey").save(folder / "tile1_001.jpg")
    Image.fromarray(label).save(folder / "tile1_001.png")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A plain folder with two images."""
    (tmp_path / "classes.txt").write_text("field\nroad\n\nbackground\n", "utf-8")
    photograph(tmp_path / "images" / "b.jpg")
    photograph(tmp_path / "images" / "a.tif")
    (tmp_path / "images" / "notes.txt").write_text("no image")
    picture(tmp_path / "labels" / "a.png", indices(0, 1, 2))
    picture(tmp_path / "labels" / "b.png", indices(255, 1, 1))
    return tmp_path


MASKS = np.zeros((2, 3, 4), np.uint8)
MASKS[0, :2, :2] = 1
MASKS[1, 1, 1:] = 1  # overlaps the first in one pixel, where the sum is 2


def runs(mask: np.ndarray) -> dict:
    encoded = coco.encode(np.asfortranarray(mask))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


@pytest.fixture
def rrsisd(tmp_path: Path) -> Path:
    """Two images with one referred object each."""
    for name in ("00002.jpg", "00001.jpg"):
        photograph(tmp_path / "images" / "rrsisd" / "JPEGImages" / name)
    instances = {
        "images": [
            {"id": 7, "file_name": "00002.jpg", "height": 3, "width": 4},
            {"id": 8, "file_name": "00001.jpg", "height": 3, "width": 4},
        ],
        "annotations": [
            # The boxes are in the scale of other images.
            {"id": 1, "image_id": 7, "category_id": 3, "segmentation": [runs(MASKS[0])],
             "bbox": [0, 0, 900, 900]},
            {"id": 2, "image_id": 8, "category_id": 4, "segmentation": list(map(runs, MASKS)),
             "bbox": [0, 0, 900, 900]},
        ],
        "categories": [{"id": 3, "name": "dam"}, {"id": 4, "name": "golffield"}],
    }  # fmt: skip
    refs = [
        {"ref_id": 1, "ann_id": 1, "image_id": 7, "category_id": 3, "split": "test",
         "sentences": [{"raw": "The dam", "sent": "the dam", "sent_id": 1, "tokens": ["the"]},
                       {"raw": "", "sent": "a dam below", "sent_id": 2, "tokens": []}],
         "sent_ids": [1, 2]},
        {"ref_id": 2, "ann_id": 2, "image_id": 8, "category_id": 4, "split": "test",
         "sentences": [{"raw": "The golf field", "sent": "the golf field", "sent_id": 3}]},
        {"ref_id": 3, "ann_id": 1, "image_id": 7, "category_id": 3, "split": "val",
         "sentences": [{"raw": "not asked", "sent": "not asked", "sent_id": 4}]},
    ]  # fmt: skip
    (tmp_path / "rrsisd").mkdir()
    (tmp_path / "rrsisd" / "instances.json").write_text(json.dumps(instances), "utf-8")
    (tmp_path / "rrsisd" / "refs(unc).p").write_bytes(pickle.dumps(refs))
    return tmp_path


def change(folder: Path, **values: object) -> None:
    """Change the first annotation."""
    path = folder / "rrsisd" / "instances.json"
    instances = json.loads(path.read_text("utf-8"))
    instances["annotations"][0] |= values
    path.write_text(json.dumps(instances), "utf-8")
