from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dgl_rsis import datasets
from dgl_rsis.datasets import DUBAI_COLOURS, DatasetError
from dgl_rsis.metrics import IGNORE

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "dubai"


def write(folder: Path, label: np.ndarray) -> None:
    Image.new("RGB", (4, 3), "grey").save(folder / "tile1_001.jpg")
    Image.fromarray(label).save(folder / "tile1_001.png")


def test_colours_become_classes(tmp_path: Path):
    label = np.zeros((3, 4, 3), dtype=np.uint8)
    label[0], label[1] = (0x3C, 0x10, 0x98), (0xE2, 0xA9, 0x29)
    write(tmp_path, label)
    (sample,) = datasets.dubai(tmp_path, [1])
    assert sample.name == "tile1_001"
    assert sample.image.shape == (3, 4, 3)
    assert sample.truth.tolist() == [[0] * 4, [4] * 4, [IGNORE] * 4]


def test_a_colour_not_in_the_table_is_named_with_its_file(tmp_path: Path):
    write(tmp_path, np.full((3, 4, 3), (1, 2, 3), dtype=np.uint8))
    with pytest.raises(DatasetError, match=r"tile1_001\.png has the colour #010203"):
        list(datasets.dubai(tmp_path, [1]))


def test_a_label_of_another_size_is_named(tmp_path: Path):
    write(tmp_path, np.zeros((5, 4, 3), dtype=np.uint8))
    with pytest.raises(DatasetError, match=r"tile1_001\.png is \(5, 4\), its image \(3, 4\)"):
        list(datasets.dubai(tmp_path, [1]))


def test_missing_files_are_named(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"no tile1_"):
        list(datasets.dubai(tmp_path, [1]))
    Image.new("RGB", (4, 3)).save(tmp_path / "tile1_001.jpg")
    with pytest.raises(DatasetError, match=r"no label .*tile1_001\.png"):
        list(datasets.dubai(tmp_path, [1]))


@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the Dubai tiles in {REAL}")
def test_the_real_tiles_are_read():
    samples = list(datasets.dubai(REAL, [2]))
    assert len(samples) == 9
    assert set(np.unique(samples[0].truth)) <= {*DUBAI_COLOURS.values()}
