"""Dubai, fAIr, plain folders, pieces and objects."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from dgl_rsis.evaluation.datasets import samples
from dgl_rsis.evaluation.datasets.samples import DUBAI_COLOURS, DatasetError, Sample
from dgl_rsis.evaluation.scores import IGNORE
from dgl_rsis.formats import IMAGE_SUFFIXES
from tests.dgl_rsis.evaluation.labelled_pictures import (
    SIZE,
    colours,
    indices,
    photograph,
    picture,
    rows,
    write,
)
from tests.paths import SHARED

# ---- Dubai ---------------------------------------------------------------------------------------


def test_colours_become_classes(tmp_path: Path):
    write(tmp_path, colours((0x3C, 0x10, 0x98), (0xE2, 0xA9, 0x29), (0, 0, 0)))
    (sample,) = samples.dubai(tmp_path, [1])
    assert sample.name == "tile1_001"
    assert rows(sample) == [0, 4, IGNORE]


def test_a_colour_not_in_the_table_is_named_with_its_file(tmp_path: Path):
    write(tmp_path, np.full((3, 4, 3), (1, 2, 3), dtype=np.uint8))
    with pytest.raises(DatasetError, match=r"tile1_001\.png has the colour #010203"):
        list(samples.dubai(tmp_path, [1]))


def test_a_label_of_another_size_is_named(tmp_path: Path):
    write(tmp_path, np.zeros((5, 4, 3), dtype=np.uint8))
    with pytest.raises(DatasetError, match=r"tile1_001\.png is \(5, 4\), its image \(3, 4\)"):
        list(samples.dubai(tmp_path, [1]))


def test_missing_files_are_named(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"no tile1_"):
        list(samples.dubai(tmp_path, [1]))
    Image.new("RGB", SIZE).save(tmp_path / "tile1_001.jpg")
    with pytest.raises(DatasetError, match=r"no label .*tile1_001\.png"):
        list(samples.dubai(tmp_path, [1]))


def test_a_file_that_is_no_image_is_named(tmp_path: Path):
    write(tmp_path, colours((0, 0, 0), (0, 0, 0), (0, 0, 0)))
    (tmp_path / "tile1_001.jpg").write_text("no image")
    with pytest.raises(DatasetError, match=r"tile1_001\.jpg: not an image"):
        list(samples.dubai(tmp_path, [1]))


@pytest.mark.skipif(not (SHARED / "dubai").is_dir(), reason=f"needs the tiles in {SHARED}/dubai")
def test_the_real_tiles_are_read():
    images = list(samples.dubai(SHARED / "dubai", [2]))
    assert len(images) == 9
    assert set(np.unique(images[0].truth)) <= {*DUBAI_COLOURS.values()}


# ---- fAIr and plain folders ----------------------------------------------------------------------


def test_buildings_are_what_is_not_zero(tmp_path: Path):
    photograph(tmp_path / "images" / "OAM-1.png")
    picture(tmp_path / "masks" / "OAM-1.png", indices(0, 1, 255))
    (sample,) = samples.fair(tmp_path)
    assert (sample.name, rows(sample)) == ("OAM-1", [1, 0, 0])
    picture(tmp_path / "masks" / "OAM-1.png", colours((0, 0, 0), (1, 1, 1), (2, 2, 2)))
    with pytest.raises(DatasetError, match=r"masks/OAM-1\.png has RGB pixels"):
        list(samples.fair(tmp_path))
    (tmp_path / "masks" / "OAM-1.png").unlink()
    with pytest.raises(DatasetError, match=r"no label .*masks/OAM-1\.png"):
        list(samples.fair(tmp_path))


@pytest.mark.skipif(
    not (SHARED / "fair-buildings").is_dir(), reason=f"needs {SHARED}/fair-buildings"
)
def test_the_real_buildings_are_read():
    images = list(samples.fair(SHARED / "fair-buildings"))
    assert len(images) == 90
    assert {s.image.shape for s in images} == {(256, 256, 3)}
    share = np.mean([(s.truth == 0).mean() for s in images])
    assert 0.05 < share < 0.6


def test_a_plain_folder_is_read(own: Path):
    assert samples.plain_classes(own) == ("field", "road", "background")
    assert [(s.name, rows(s)) for s in samples.plain(own)] == [
        ("a", [0, 1, 2]),
        ("b", [IGNORE, 1, 1]),
    ]


@pytest.mark.parametrize("suffix", [*IMAGE_SUFFIXES, ".JPG"])
def test_images_of_a_plain_folder_may_be_of_every_format(tmp_path: Path, suffix: str):
    (tmp_path / "classes.txt").write_text("field\nroad", "utf-8")
    photograph(tmp_path / "images" / f"a{suffix}")
    picture(tmp_path / "labels" / "a.png", indices(1, 0, 1))
    (sample,) = samples.plain(tmp_path)
    assert (sample.name, rows(sample)) == ("a", [1, 0, 1])


def test_labels_with_a_palette_and_with_sixteen_bits_count_by_their_index(own: Path):
    paletted = Image.fromarray(indices(2, 1, 255)).convert("P")
    paletted.putpalette([9, 9, 9] * 256)
    paletted.save(own / "labels" / "a.png")
    picture(own / "labels" / "b.png", indices(0, 1, 2).astype(np.uint16) + np.uint16(0))
    deep = indices(0, 1, 2).astype(np.uint16)
    deep[2] = 65535
    picture(own / "labels" / "b.png", deep)
    assert [rows(s) for s in samples.plain(own)] == [[2, 1, IGNORE], [0, 1, IGNORE]]


def test_with_256_classes_255_is_a_class(tmp_path: Path):
    names = [f"class {i}" for i in range(256)]
    (tmp_path / "classes.txt").write_text("\n".join(names), "utf-8")
    photograph(tmp_path / "images" / "a.png")
    picture(tmp_path / "labels" / "a.png", indices(255, 0, 1))
    (sample,) = samples.plain(tmp_path)
    assert rows(sample) == [255, 0, 1]


def test_what_is_wrong_in_a_plain_folder_is_named(own: Path):
    picture(own / "labels" / "b.png", indices(0, 7, 1))
    with pytest.raises(DatasetError, match=r"labels/b\.png has the value 7"):
        list(samples.plain(own))
    (own / "labels" / "b.png").write_text("no image")
    with pytest.raises(DatasetError, match=r"labels/b\.png cannot be read as an image"):
        list(samples.plain(own))
    (own / "classes.txt").write_text("road\nfield\nroad\n", "utf-8")
    with pytest.raises(DatasetError, match=r"classes\.txt names 'road' twice"):
        list(samples.plain(own))
    (own / "classes.txt").write_text("\n", "utf-8")
    with pytest.raises(DatasetError, match=r"classes\.txt names 0 classes"):
        list(samples.plain(own))
    (own / "classes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match=r"classes\.txt cannot be read"):
        list(samples.plain(own))
    (own / "classes.txt").unlink()
    with pytest.raises(DatasetError, match=r"classes\.txt cannot be read"):
        list(samples.plain(own))


def test_a_plain_folder_without_images_is_named(tmp_path: Path):
    (tmp_path / "classes.txt").write_text("road\n", "utf-8")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "notes.txt").write_text("no image")
    with pytest.raises(DatasetError, match="images holds no image"):
        list(samples.plain(tmp_path))


# ---- pieces and objects --------------------------------------------------------------------------


@given(
    hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)),
    st.integers(1, 50),
)
def test_pieces_hold_every_pixel_once(truth: np.ndarray, side: int):
    image = np.repeat((truth % 251).astype(np.uint8)[:, :, None], 3, axis=2)
    pieces = list(samples.cut([Sample("whole", image, truth)], side))
    assert len({piece.name for piece in pieces}) == len(pieces)
    assert all(max(piece.truth.shape) <= side for piece in pieces)
    assert all(piece.image.shape[:2] == piece.truth.shape for piece in pieces)
    kept = np.concatenate([piece.truth.ravel() for piece in pieces] or [np.zeros(0, np.uint16)])
    known = np.sort(truth[truth != IGNORE])
    assert np.array_equal(np.sort(kept[kept != IGNORE]), known)


def test_pieces_without_truth_are_left_out_and_small_images_keep_their_name():
    truth = np.full((4, 8), IGNORE, np.uint16)
    truth[:, 5:] = 1
    image = np.zeros((4, 8, 3), np.uint8)
    (piece,) = samples.cut([Sample("a", image, truth)], 4)
    assert (piece.name, piece.truth.shape) == ("a_0_1", (4, 4))
    (piece,) = samples.cut([Sample("a", image, truth)], 8)
    assert piece.name == "a"


def test_objects_are_connected_parts_of_a_class():
    truth = np.array([[0, 0, 2, 0], [2, 2, 0, 2], [0, 2, 2, 2]], np.uint16)
    image = np.zeros((3, 4, 3), np.uint8)
    (objects,) = samples.objects([Sample("a", image, truth)], 0)
    assert objects.numbers.tolist() == [[1, 1, 0, 1], [0, 0, 1, 0], [2, 0, 0, 0]]
