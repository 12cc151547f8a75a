import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from pycocotools import mask as oracle
from pycocotools.coco import COCO

from backend.commands.export.dataset import DatasetVocabulary
from backend.commands.export.formats import coco
from dgl_rsis import runs
from dgl_rsis.types import Mask
from tests.backend.commands.export.examples import MASKS, example, region, smooth

# pycocotools 2.0.11 under NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

VOCABULARY = DatasetVocabulary.of(["road", "water"])


@given(MASKS)
@settings(deadline=None)
def test_equals_what_pycocotools_says(mask: Mask) -> None:
    encoded = oracle.encode(np.asfortranarray(mask.view(np.uint8)))
    row = coco.to_annotation(runs.to_runs(mask))
    assert row["segmentation"]["counts"].encode() == encoded["counts"]
    assert row["segmentation"]["size"] == encoded["size"]
    assert row["area"] == oracle.area(encoded)
    assert row["bbox"] == oracle.toBbox(encoded).tolist()


def test_long_runs() -> None:
    mask = np.zeros((3000, 4000), dtype=np.bool_)
    mask[:, 100:3500] = True
    encoded = oracle.encode(np.asfortranarray(mask.view(np.uint8)))
    assert coco.compressed(runs.to_runs(mask))["counts"].encode() == encoded["counts"]


@given(MASKS)
@settings(deadline=None)
def test_polygons_are_the_mask(mask: Mask) -> None:
    polygons = coco.to_annotation(runs.to_runs(mask), polygons=True)["segmentation"]
    drawn = oracle.merge(oracle.frPyObjects(polygons, *mask.shape))
    assert (oracle.decode(drawn) == mask).all()


@pytest.mark.parametrize("polygons", [False, True])
def test_pycocotools_reads_it_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], polygons: bool
) -> None:
    road, water = smooth(1), smooth(2)
    given_ = [
        example(tmp_path, "a", [region(road), region(water, "water")]),
        example(tmp_path, "b", []),
        example(tmp_path, "c", [region(water)], split="val"),
    ]
    coco.write(iter(given_), VOCABULARY, tmp_path / "out", polygons=polygons)
    train = COCO(str(tmp_path / "out/annotations/instances_train.json"))
    capsys.readouterr()
    assert [c["name"] for c in train.loadCats(train.getCatIds())] == ["road", "water"]
    assert [i["file_name"] for i in train.loadImgs(train.getImgIds())] == ["a.png", "b.png"]
    for row, label, mask in zip(train.loadAnns(train.getAnnIds(imgIds=1)), (1, 2), (road, water),
                                strict=True):  # fmt: skip
        assert row["category_id"] == label
        assert (train.annToMask(row) == mask).all()
    assert train.getAnnIds(imgIds=2) == []
    for each in given_:
        copied = tmp_path / "out/images" / each.split / each.file
        assert copied.read_bytes() == each.source.read_bytes()
    val = json.loads((tmp_path / "out/annotations/instances_val.json").read_text())
    assert len(val["annotations"]) == len(val["images"]) == 1


def test_objects_are_the_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = smooth(3)
    coco.write([example(tmp_path, "a", [region(mask)])], VOCABULARY, tmp_path / "out", objects=True)
    read = COCO(str(tmp_path / "out/annotations/instances_train.json"))
    capsys.readouterr()
    parts = [read.annToMask(row) for row in read.loadAnns(read.getAnnIds())]
    assert len(parts) > 3
    assert (np.sum(parts, axis=0) == mask).all()
