"""What masks and boxes of the open sets become, with folders that are made up."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from starter.training import boxes, photographs
from starter.training.concepts import EVERY, GROUND, VEGETATION, WOODS, Judgements
from starter.training.photographs import Photograph

SIDE = 64


def write(
    folder: Path, source: str, name: str, mask: np.ndarray | None = None, side: int = SIDE
) -> None:
    """A grey image of a set, and its mask."""
    images, masks = folder / source / "images", folder / source / "masks"
    images.mkdir(parents=True, exist_ok=True)
    masks.mkdir(exist_ok=True)
    Image.new("RGB", (side, side), (90, 90, 90)).save(images / f"{name}.jpg")
    if mask is not None:
        Image.fromarray(mask).save(masks / f"{name}.png")


def halves(left: int, right: int) -> np.ndarray:
    mask = np.full((SIDE, SIDE), left, np.uint8)
    mask[:, SIDE // 2 :] = right
    return mask


def read(folder: Path, *, validation: bool = False) -> tuple[list[Photograph], Judgements]:
    known = Judgements()
    return photographs.read_open(folder, known, validation=validation), known


def said(folder: Path) -> tuple[frozenset[str], frozenset[str]]:
    """What the left and the right half of the only image may be."""
    (one,), known = read(folder)
    return known.sets[one.truth[5, 5]], known.sets[one.truth[5, SIDE - 5]]


def test_zero_says_no_building_on_drone_tiles(tmp_path: Path):
    write(tmp_path, "oam_buildings", "zanzibar_z20_1", halves(0, 1))
    elsewhere, building = said(tmp_path)
    assert building == {"building"}
    assert "building" not in elsewhere
    assert {"road", "tree", "car", "water"} <= elsewhere


def test_drone_tiles_show_what_their_address_says(tmp_path: Path):
    mask = np.zeros((256, 256), np.uint8)
    write(tmp_path, "oam_buildings", "zanzibar_z20_638584_541920", mask, side=256)
    (one,), _ = read(tmp_path)
    assert one.metres == pytest.approx(0.1484, rel=1e-2)  # a web tile of zoom 20 at 6° S


def test_zero_says_no_road_in_japan(tmp_path: Path):
    for index in range(7):  # the last six are for validation
        write(tmp_path, "gsi_road_japan", f"{index}", halves(0, 1))
    elsewhere, road = said(tmp_path)
    assert "road" not in elsewhere
    assert {"building", "farmland", "parking lot"} <= elsewhere
    assert {"road", "car"} <= road
    assert "building" not in road


def test_zero_says_nearly_nothing_of_naip_and_its_trees_are_woods(tmp_path: Path):
    write(tmp_path, "naip_urban_trees", "fresno_1", halves(0, 3))
    for name in ("object_boxes", "pool_boxes"):
        (tmp_path / "naip_urban_trees" / f"{name}.json").write_text("{}")
    elsewhere, tree = said(tmp_path)
    assert {"building", "tree", "road", "swimming pool", "bare land"} <= elsewhere
    assert tree == WOODS


def test_no_vegetation_says_so_and_pools_are_known_where_they_were_looked_for(tmp_path: Path):
    write(tmp_path, "naip_urban_trees", "fresno_1", halves(2, 4))
    folder = tmp_path / "naip_urban_trees"
    (folder / "object_boxes.json").write_text("{}")
    for pools, possible in (({}, True), ({"fresno_1": []}, False)):
        (folder / "pool_boxes.json").write_text(json.dumps(pools))
        dry, pool = said(tmp_path)
        assert not dry & VEGETATION
        assert ("swimming pool" in dry) is possible
        assert pool == {"swimming pool"}


def test_zero_says_nothing_of_the_amazon(tmp_path: Path):
    for index in range(7):
        write(tmp_path, "amazon_forest_s2", f"{index}", halves(0, 2))
    nothing, other = said(tmp_path)
    assert nothing == EVERY
    assert not other & WOODS


def test_a_value_that_no_table_has_says_nothing(tmp_path: Path):
    write(tmp_path, "naip_prairie", "m_1", halves(9, 2))
    assert said(tmp_path) == (EVERY, {"water"})


def test_outside_of_boxes_no_such_thing_is_where_all_are_boxed(tmp_path: Path):
    write(tmp_path, "estonia_ortho_objects", "a")
    (tmp_path / "estonia_ortho_objects" / "boxes.json").write_text(
        json.dumps({"a.jpg": [[2, 2, 30, 30, "building"], [50, 50, 60, 60, "bus"]]})
    )
    (one,), known = read(tmp_path)
    place = [known.sets[one.truth[row, column]] for row, column in ((16, 16), (45, 10), (55, 55))]
    assert place[0] == {"building"}
    assert not place[1] & {"building", "car", "large vehicle", "ship"}
    assert place[2] == {"large vehicle"}


def test_merced_knows_what_a_kind_of_place_surely_shows(tmp_path: Path):
    write(tmp_path, "ucmerced", "forest01")
    (one,), known = read(tmp_path)
    assert one.shows == {"tree"}
    assert known.sets[one.truth[0, 0]] >= WOODS
    assert "ship" not in known.sets[one.truth[0, 0]]


def test_validation_places_are_never_read_for_training(tmp_path: Path):
    names = {
        "oam_buildings": ("banepa_z19_1", "zanzibar_z19_1"),
        "naip_urban_trees": ("palm_1", "santa_1", "fresno_1"),
        "ucmerced": ("beach05", "beach10", "beach11"),
        "gsi_solar_japan": tuple(f"s{i}" for i in range(9)),
    }
    for source, each in names.items():
        for name in each:
            write(tmp_path, source, name, halves(0, 1))
    for name in ("object_boxes", "pool_boxes"):
        (tmp_path / "naip_urban_trees" / f"{name}.json").write_text("{}")
    training = {each.name for each in read(tmp_path)[0]}
    held_out = {each.name for each in read(tmp_path, validation=True)[0]}
    assert training == {"zanzibar_z19_1", "fresno_1", "beach11", "s0", "s1", "s2"}
    assert held_out == {name for each in names.values() for name in each} - training


@pytest.mark.parametrize("name", ["tree", "storage tank", "car", "building", "bridge", "ship"])
@given(
    st.integers(0, 30), st.integers(0, 30), st.integers(6, 30), st.integers(6, 30)
)  # fmt: skip
def test_a_box_is_sure_of_its_core_alone(name: str, left: int, top: int, width: int, height: int):
    known = Judgements()
    around = known.number(VEGETATION | GROUND)
    image = np.full((SIDE, SIDE, 3), 90, np.uint8)
    one = Photograph("", "", image, np.full((SIDE, SIDE), around, np.uint8), None)
    photographs.draw_boxes(one, [((left, top, left + width, top + height), name)], known)
    inside = np.zeros((SIDE, SIDE), bool)
    inside[top : top + height, left : left + width] = True
    assert (one.truth[~inside] == around).all()
    sure = one.truth == known.number(name)
    assert sure[top + height // 2, left + width // 2]
    assert not sure[~inside].any()
    open_to = known.number(VEGETATION | GROUND, name)
    assert (one.truth[inside & ~sure] == open_to).all()


def test_a_smaller_box_lies_on_a_larger_one():
    known = Judgements()
    image = np.full((SIDE, SIDE, 3), 90, np.uint8)
    one = Photograph("", "", image, np.zeros((SIDE, SIDE), np.uint8), None)
    boxes = [((20.0, 20.0, 32.0, 32.0), "car"), ((0.0, 0.0, 60.0, 60.0), "building")]
    photographs.draw_boxes(one, boxes, known)
    assert known.sets[one.truth[26, 26]] == {"car"}
    assert known.sets[one.truth[45, 30]] == {"building"}


def test_what_stands_out_is_cut_out_of_its_box():
    image = np.full((SIDE, SIDE, 3), (40, 60, 110), np.uint8)
    image[30:34, 12:52] = image[20:44, 28:32] = 230
    plane = (image[..., 0] == 230)[20:44, 12:52]
    core = boxes.core(image, (12, 20, 52, 44), "airplane")
    assert core.any()
    assert plane[core].mean() > 0.9
    nothing = boxes.core(np.full_like(image, 90), (12, 20, 52, 44), "airplane")
    assert not nothing.any()
