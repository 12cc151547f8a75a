from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.commands.export.dataset import DatasetVocabulary
from backend.commands.export.formats import semantic
from dgl_rsis.evaluation.datasets import samples
from tests.backend.commands.export.examples import example, region, smooth


def test_our_own_reader_reads_it_back(tmp_path: Path) -> None:
    road, water = smooth(1), smooth(2)
    vocabulary = DatasetVocabulary.of(["road", "water"], {"water": "#0000ff", "road": "rgb(1,2,3)"})
    given = [
        example(tmp_path, "a", [region(road & ~water), region(water, "water")]),
        example(tmp_path, "b", [], split="val"),
    ]
    semantic.write(iter(given), vocabulary, tmp_path / "out")
    assert samples.plain_classes(tmp_path / "out/train") == ("background", "road", "water")
    (sample,) = samples.plain(tmp_path / "out/train")
    assert (sample.truth == np.where(water, 2, np.where(road, 1, 0))).all()
    assert (sample.image == samples.read_image(given[0].source)).all()
    (other,) = samples.plain(tmp_path / "out/val")
    assert not other.truth.any()
    with Image.open(tmp_path / "out/train/labels/a.png") as image:
        assert image.mode == "P"
        palette = image.getpalette()
    assert palette is not None
    assert palette[:9] == [0, 0, 0, 1, 2, 3, 0, 0, 255]


def test_the_smaller_region_is_on_top(tmp_path: Path) -> None:
    large, small = np.zeros((8, 8), dtype=np.bool_), np.zeros((8, 8), dtype=np.bool_)
    large[1:7, 1:7] = small[2:4, 2:4] = True
    vocabulary = DatasetVocabulary.of(["car", "road"])
    for order in (1, -1):
        regions = [region(large, "road"), region(small, "car")][::order]
        numbers = semantic.index_map(example(tmp_path, "a", regions, (8, 8)), vocabulary)
        assert (numbers == np.where(small, 1, np.where(large, 2, 0))).all()
    both = [region(small, "road"), region(small, "car")]
    numbers = semantic.index_map(example(tmp_path, "a", both, (8, 8)), vocabulary)
    assert (numbers[small] == 2).all()


@pytest.mark.parametrize("count", [254, 300])
def test_many_labels(tmp_path: Path, count: int) -> None:
    mask = np.ones((8, 8), dtype=np.bool_)
    vocabulary = DatasetVocabulary.of([f"class {i}" for i in range(count)])
    given = example(tmp_path, "a", [region(mask, f"class {count - 1}")], (8, 8))
    semantic.write([given], vocabulary, tmp_path / "out")
    (sample,) = samples.plain(tmp_path / "out/train")
    assert (sample.truth == count).all()


def test_a_label_that_is_called_background(tmp_path: Path) -> None:
    vocabulary = DatasetVocabulary.of(["background", "road"])
    assert semantic.class_names(vocabulary) == ("unlabelled", "background", "road")
