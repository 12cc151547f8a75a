"""Boxes and tags."""

import json
from pathlib import Path

import pytest

from dgl_rsis.evaluation.datasets import things
from dgl_rsis.evaluation.datasets.samples import DatasetError
from dgl_rsis.evaluation.datasets.things import BOX_SETS, UC_MERCED_LABELS, UC_MERCED_TAGS
from tests.dgl_rsis.evaluation.labelled_pictures import photograph
from tests.paths import SHARED

OPEN = SHARED / "open"


def boxed(folder: Path, **boxes: list) -> Path:
    """Images of 40 × 30 pixels with these boxes."""
    for name in boxes:
        photograph(folder / "images" / f"{name}.jpg", (40, 30))
    (folder / "boxes.json").write_text(json.dumps(boxes), "utf-8")
    return folder


def test_boxes_are_called_as_they_are_asked_for(tmp_path: Path):
    folder = boxed(
        tmp_path,
        b=[],
        a=[
            [0, 0, 40, 30, "building"],
            [1.5, 2, 9, 9, "bus"],
            [1, 2, 3, 4, "watercraft"],
            [5, 5, 9, 7, "car"],
        ],
    )
    first, second = things.boxes(folder, BOX_SETS["estonia-ortho-objects"], "all")
    assert (first.name, first.image.shape) == ("a", (30, 40, 3))
    assert {name: each.tolist() for name, each in first.boxes.items()} == {
        "car": [[1.5, 2, 9, 9], [5, 5, 9, 7]],
        "ship": [[1, 2, 3, 4]],
        "airplane": [],
    }
    assert {name: each.shape for name, each in second.boxes.items()} == {
        "car": (0, 4), "ship": (0, 4), "airplane": (0, 4),
    }  # fmt: skip


def test_names_may_have_their_suffix(tmp_path: Path):
    photograph(tmp_path / "images" / "a.jpg", (40, 30))
    (tmp_path / "boxes.json").write_text('{"a.jpg": [[0, 0, 9, 9, "ship"]]}', "utf-8")
    (image,) = things.boxes(tmp_path, BOX_SETS["sen2ships"], "all")
    assert (image.name, len(image.boxes["ship"])) == ("a", 1)


@pytest.mark.parametrize(
    "box",
    [
        [0, 0, 41, 9, "ship"],
        [5, 5, 5, 9, "ship"],
        [-1, 0, 4, 9, "ship"],
        [0, 0, 4, 9],
        ["a", 0, 4, 9, "ship"],
    ],
)
def test_a_box_that_is_none_is_named_with_its_image(tmp_path: Path, box: list):
    folder = boxed(tmp_path, a=[box])
    with pytest.raises(DatasetError, match=r"boxes\.json, a has .* inside 40 × 30 is expected"):
        list(things.boxes(folder, BOX_SETS["sen2ships"], "all"))


@pytest.mark.parametrize("text", ["[]", "{}"])
def test_a_file_without_images_is_named(tmp_path: Path, text: str):
    (tmp_path / "boxes.json").write_text(text, "utf-8")
    with pytest.raises(DatasetError, match=r"boxes\.json names no images"):
        list(things.boxes(tmp_path, BOX_SETS["sen2ships"], "all"))


def tagged(folder: Path, **tags: str) -> Path:
    for name in tags:
        photograph(folder / "images" / f"{name}.jpg")
    lines = ["name,tags,scene", *(f"{name}.jpg,{each},x" for name, each in tags.items())]
    (folder / "tags.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def test_tags_say_what_is_there_and_a_missing_one_that_it_is_not(tmp_path: Path):
    folder = tagged(
        tmp_path, beach05="sand|sea", storagetanks10="tanks|cars", tenniscourt01="court"
    )
    first, second = things.ucmerced(folder, "validation")
    there = lambda image: {name for name, is_there in image.present.items() if is_there}  # noqa: E731
    assert (first.name, there(first)) == ("beach05", {"water", "bare land"})
    assert there(second) == {"storage tank", "car"}
    assert set(first.present) == set(UC_MERCED_LABELS)
    (rest,) = things.ucmerced(folder, "train")
    assert there(rest) == {"tennis court"}
    assert [each.name for each in things.ucmerced(folder, "beach")] == ["beach05"]


def test_tags_that_are_none_are_named(tmp_path: Path):
    with pytest.raises(DatasetError, match="line 2: 'aeroplane' is none of the 17 tags"):
        list(things.ucmerced(tagged(tmp_path, a00="aeroplane"), "all"))
    (tmp_path / "tags.csv").write_text("image\na.jpg\n", "utf-8")
    with pytest.raises(DatasetError, match="line 2: a name and its tags are expected"):
        list(things.ucmerced(tmp_path, "all"))
    (tmp_path / "tags.csv").write_text("name,tags\n", "utf-8")
    with pytest.raises(DatasetError, match=r"tags\.csv names no images"):
        list(things.ucmerced(tmp_path, "all"))


def test_the_seventeen_tags_are_known():
    assert len(things.UC_MERCED_ALL) == 17
    assert all(each.counts(each.name) for each in UC_MERCED_TAGS)
    for chosen in BOX_SETS.values():
        assert all(any(map(each.counts, chosen.labels)) for each in chosen.concepts)


@pytest.mark.skipif(not OPEN.is_dir(), reason=f"needs the open sets in {OPEN}")
@pytest.mark.parametrize(
    ("name", "images", "counts"),
    [
        ("estonia-ortho-objects", 47, {"car": 1318, "ship": 46, "airplane": 4}),
        ("sen2ships", 70, {"ship": 259}),
        ("naip-aircraft-chips", 6, {"airplane": 5, "helicopter": 1}),
        ("naip-wind-turbines", 120, {"wind turbine": 123}),
    ],
)
def test_the_real_boxes_are_read(name: str, images: int, counts: dict[str, int]):
    read = list(things.boxes(OPEN / name.replace("-", "_"), BOX_SETS[name], "all"))
    assert len(read) == images
    assert {key: sum(len(image.boxes[key]) for image in read) for key in counts} == counts


@pytest.mark.skipif(not OPEN.is_dir(), reason=f"needs the open sets in {OPEN}")
def test_the_real_tags_are_read():
    read = list(things.ucmerced(OPEN / "ucmerced", "validation"))
    assert len(read) == 136
    assert sum(each.present["airplane"] for each in read) > 3
