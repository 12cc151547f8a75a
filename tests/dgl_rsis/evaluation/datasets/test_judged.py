"""Partial truth: what a pixel without a label means in each set."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dgl_rsis.evaluation.datasets import judged
from dgl_rsis.evaluation.datasets.judged import NO, OPEN_SETS, UNKNOWN, YES, Judged, concept
from dgl_rsis.evaluation.datasets.samples import DatasetError, Sample
from dgl_rsis.evaluation.scores import IGNORE
from tests.dgl_rsis.evaluation.labelled_pictures import indices, photograph, picture
from tests.paths import SHARED

OPEN = SHARED / "open"


def labelled(folder: Path, name: str, *values: int) -> None:
    """An image whose mask has one value a row."""
    photograph(folder / "images" / f"{name}.jpg")
    picture(folder / "masks" / f"{name}.png", indices(*values))


def rows(image: Judged) -> dict[str, list[int]]:
    """The judgement of each row."""
    for plane in image.judgements.values():
        assert (plane.shape, plane.dtype) == ((3, 4), np.int8)
        assert (plane == plane[:, :1]).all()
    return {name: plane[:, 0].tolist() for name, plane in image.judgements.items()}


@pytest.mark.parametrize("name", ["oam-banepa-z19", "oam-buildings"])
def test_zero_is_no_building_and_tiles_without_a_mask_are_left_out(tmp_path: Path, name: str):
    labelled(tmp_path, "banepa_a", 0, 1, 0)
    photograph(tmp_path / "images" / "banepa_b.jpg")
    (image,) = judged.read(tmp_path, OPEN_SETS[name], "validation")
    assert (image.name, image.image.shape) == ("banepa_a", (3, 4, 3))
    assert rows(image) == {"building": [NO, YES, NO]}


def test_of_trees_the_vegetation_of_naip_says_nothing(tmp_path: Path):
    labelled(tmp_path, "palm_a", 0, 1, 2)
    labelled(tmp_path, "santa_b", 3, 4, 2)
    first, second = judged.read(tmp_path, OPEN_SETS["naip-urban-trees"], "validation")
    assert rows(first) == {
        "vegetation": [UNKNOWN, YES, NO],
        "tree": [UNKNOWN, UNKNOWN, NO],
        "swimming pool": [UNKNOWN, NO, NO],
    }
    assert rows(second) == {
        "vegetation": [YES, NO, NO],
        "tree": [YES, NO, NO],
        "swimming pool": [NO, YES, NO],
    }


def test_pools_of_2016_were_never_looked_for(tmp_path: Path):
    for year in (2016, 2018):
        labelled(tmp_path, f"palm_springs_{year}_0", 1, 2, 3)
    old, new = judged.read(tmp_path, OPEN_SETS["naip-urban-trees"], "validation")
    assert rows(old)["swimming pool"] == [UNKNOWN] * 3
    assert rows(new)["swimming pool"] == [NO] * 3
    assert rows(old)["vegetation"] == rows(new)["vegetation"]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("gsi-road-japan", (0, 1, 0), {"road": [NO, YES, NO]}),
        ("gsi-solar-japan", (0, 1, 0), {"solar panel": [NO, YES, NO]}),
        ("amazon-forest-s2", (0, 1, 2), {"forest": [UNKNOWN, YES, NO]}),
        ("naip-prairie", (0, 1, 2), {"water": [UNKNOWN, NO, YES], "land": [UNKNOWN, YES, NO]}),
        ("sen2ships", (0, 1, 0), {"ship": [NO, YES, NO]}),
    ],
)
def test_what_the_values_of_the_other_sets_mean(
    tmp_path: Path, name: str, values: tuple[int, ...], expected: dict[str, list[int]]
):
    labelled(tmp_path, "a", *values)
    (image,) = judged.read(tmp_path, OPEN_SETS[name], "all")
    assert rows(image) == expected


def test_every_set_asks_for_what_it_judges():
    for each in OPEN_SETS.values():
        assert all(any(c.counts(label) for label in each.labels) for c in each.concepts)


def test_labels_count_as_what_contains_them():
    vegetation, building = concept("vegetation"), concept("building")
    assert all(vegetation.counts(x) for x in ("vegetation", "Trees", "grass", "forest", "farmland"))
    assert not any(vegetation.counts(x) for x in ("road", "swimming pool", "bare land"))
    assert not concept("tree").counts("vegetation")
    assert building.counts("house")
    assert not building.counts("developed space")
    assert concept("solar panel").counts("solar_panel")
    assert concept("made up").counts("Made-up")
    assert not concept("made up").counts("other")


def test_splits_are_places_the_last_ones_and_beginnings_of_names(tmp_path: Path):
    names = [f"{place}_{i}" for place in ("banepa", "zanzibar") for i in range(5)]
    part = lambda split, rule: judged.part(names, split, rule, tmp_path)  # noqa: E731
    banepa = judged.starting("banepa_")
    assert part("validation", banepa) == names[:5]
    assert part("train", banepa) == part("zanzibar", None) == names[5:]
    assert part("all", None) == names
    assert part("validation", judged.last) == names[4:]
    with pytest.raises(DatasetError, match="nothing of the split 'validation': give validation"):
        part("validation", None)
    with pytest.raises(DatasetError, match=r"nothing of the split 'nepal'.* as in banepa"):
        part("nepal", banepa)


def test_what_is_wrong_is_named(tmp_path: Path):
    buildings = OPEN_SETS["oam-buildings"]
    with pytest.raises(DatasetError, match=r"masks holds no \*.png"):
        list(judged.read(tmp_path, buildings, "all"))
    labelled(tmp_path, "a", 0, 1, 2)
    with pytest.raises(DatasetError, match=r"masks/a\.png has the value 2"):
        list(judged.read(tmp_path, buildings, "all"))
    (tmp_path / "images" / "a.jpg").unlink()
    with pytest.raises(DatasetError, match=r"no image .*images/a\.jpg"):
        list(judged.read(tmp_path, buildings, "all"))


def test_an_empty_mask_of_an_image_with_boxes_is_damaged(tmp_path: Path):
    labelled(tmp_path, "a", 0, 0, 0)
    ships = OPEN_SETS["sen2ships"]
    (tmp_path / "boxes.json").write_text(json.dumps({"a": []}), "utf-8")
    assert rows(*judged.read(tmp_path, ships, "all")) == {"ship": [NO, NO, NO]}
    (tmp_path / "boxes.json").write_text(json.dumps({"a": [[0, 0, 2, 2, "ship"]]}), "utf-8")
    with pytest.raises(DatasetError, match=r"a\.png is empty, though boxes\.json has objects"):
        list(judged.read(tmp_path, ships, "all"))


@given(hnp.arrays(np.uint16, (3, 4), elements=st.sampled_from([0, 1, IGNORE])))
def test_complete_truth_judges_every_class_where_it_is_known(truth: np.ndarray):
    sample = Sample("a", np.zeros((3, 4, 3), np.uint8), truth)
    planes = judged.from_sample(sample, ["field", "road"]).judgements
    assert np.array_equal(planes["field"] == YES, truth == 0)
    assert np.array_equal(planes["field"] == NO, truth == 1)
    assert np.array_equal(planes["road"] == UNKNOWN, truth == IGNORE)


@pytest.mark.skipif(not OPEN.is_dir(), reason=f"needs the open sets in {OPEN}")
@pytest.mark.parametrize(
    ("name", "images", "yes"),
    [
        ("oam-banepa-z19", 48, "building"),
        ("gsi-road-japan", 6, "road"),
        ("gsi-solar-japan", 6, "solar panel"),
        ("amazon-forest-s2", 6, "forest"),
        ("naip-prairie", 12, "water"),
    ],
)
def test_the_real_sets_are_read(name: str, images: int, yes: str):
    chosen = OPEN_SETS[name]
    split = "all" if chosen.validation is None else "validation"
    read = list(judged.read(OPEN / name.replace("-", "_"), chosen, split))
    assert len(read) == images
    share = np.mean([(image.judgements[yes] == YES).mean() for image in read])
    assert 0.02 < share < 0.8
