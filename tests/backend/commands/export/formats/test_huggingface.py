import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from backend.commands.export.dataset import DatasetVocabulary, Example
from backend.commands.export.formats import huggingface, semantic
from tests.backend.commands.export.written import VOCABULARY, example, region, tile

BLOB = np.zeros((12, 16), dtype=np.bool_)
BLOB[2:6, 3:9] = True
UTM = (0.5, 0.0, 500_000.0, 0.0, -0.5, 5_000_000.0)


@pytest.fixture
def loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`load_dataset` without the net, with a cache of its own."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()

    def load(*given: str, **more: str) -> Any:
        return datasets.load_dataset(*given, cache_dir=str(tmp_path / "cache"), **more)

    return load


def made(folder: Path) -> list[Example]:
    return [
        example(folder, [region(BLOB), region(~BLOB, "water", "r2")], stem="a", task=1,
                place=tile("EPSG:32633", UTM), expression='the "big" one'),
        example(folder, [region(BLOB, "road")], stem="b", task=2),
        example(folder, [], stem="c", task=3, split="val", suffix=".jpg"),
        example(folder, [region(BLOB, "water")], stem="d", task=4, split="test"),
    ]  # fmt: skip


def check(loaded: Any, given: list[Example]) -> None:
    for split, name in huggingface.SPLIT_NAMES.items():
        mine = {x.item.task_id: x for x in given if x.split == split}
        assert {row["task_id"] for row in loaded[name]} == set(mine)
        for row in loaded[name]:
            truth = mine[row["task_id"]]
            mask = np.asarray(row["mask"])
            assert np.array_equal(mask, semantic.index_map(truth, VOCABULARY))
            with Image.open(truth.source) as source:
                assert np.array_equal(np.asarray(row["image"]), np.asarray(source))


def test_load_dataset_reads_it_by_its_card(tmp_path: Path, loader: Any) -> None:
    given = made(tmp_path)
    folder = huggingface.write(given, VOCABULARY, tmp_path / "out")
    loaded = loader(str(folder))
    check(loaded, given)
    first = next(row for row in loaded["train"] if row["task_id"] == 1)
    assert first["scene"] == "scene.tif"
    assert first["crs"] == "EPSG:32633"
    assert tuple(map(float, first["transform"].split())) == UTM
    assert first["expression"] == 'the "big" one'
    assert first["annotator"] == "ann@example.org"


def test_load_dataset_reads_it_as_a_folder_of_images(tmp_path: Path, loader: Any) -> None:
    given = made(tmp_path)
    folder = huggingface.write(given, VOCABULARY, tmp_path / "out")
    check(loader("imagefolder", data_dir=str(folder)), given)


def test_the_numbers_are_those_of_the_names(tmp_path: Path) -> None:
    vocabulary = DatasetVocabulary.of(("background", 'say "road": #1', "água"))
    given = example(tmp_path, [region(BLOB, "água")])
    folder = huggingface.write([given], vocabulary, tmp_path / "out")
    header = yaml.safe_load((folder / "README.md").read_text("utf-8").split("---\n")[1])
    names = {int(k): v for k, v in json.loads((folder / "id2label.json").read_text()).items()}
    assert header["id2label"] == names
    assert names == dict(enumerate(("unlabelled", *vocabulary.labels)))
    assert header["task_categories"] == ["image-segmentation"]
    assert [x["split"] for x in header["configs"][0]["data_files"]] == ["train"]
    with Image.open(folder / "train" / "masks" / "tile.png") as mask:
        assert mask.mode == "L"
        assert set(np.asarray(mask)[BLOB]) == {3}


def test_more_labels_than_a_byte_holds(tmp_path: Path) -> None:
    vocabulary = DatasetVocabulary.of([f"label {n}" for n in range(300)])
    given = example(tmp_path, [region(BLOB, "label 299")])
    folder = huggingface.write([given], vocabulary, tmp_path / "out")
    with Image.open(folder / "train" / "masks" / "tile.png") as mask:
        assert set(np.asarray(mask)[BLOB]) == {300}


def test_a_set_without_images_has_a_card(tmp_path: Path) -> None:
    folder = huggingface.write([], VOCABULARY, tmp_path / "out")
    header = yaml.safe_load((folder / "README.md").read_text("utf-8").split("---\n")[1])
    assert header["configs"][0]["data_files"] == []
