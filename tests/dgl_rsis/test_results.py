"""Files of answers: their values, their place, and what cannot be written."""

import json
import warnings
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from dgl_rsis import api
from dgl_rsis.results import Classes, Found
from dgl_rsis.types import InputError
from tests.paths import ROOT
from tests.small_scene import PLACE, write_scene

PIXELS = np.full((64, 96, 3), (60, 110, 50), dtype=np.uint8)
PIXELS[16:40, 24:72] = 200, 60, 50
LABELS = ("building", "water", "land")


@pytest.fixture(scope="module")
def coast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lagoon, with sand and a road."""
    with Image.open(ROOT / "samples" / "dubai-5-8.jpg") as image:
        pixels = np.asarray(image)[:224, 480:800]
    return write_scene(tmp_path_factory.mktemp("coast") / "coast.tif", pixels)


@pytest.fixture(scope="module")
def classes(coast: Path) -> Classes:
    return api.segment(coast, LABELS)


@pytest.fixture(scope="module")
def lake(coast: Path) -> Found:
    return api.refer(coast, "the dark lake")


@pytest.fixture(scope="module")
def pointed(tmp_path_factory: pytest.TempPathFactory) -> Found:
    path = write_scene(tmp_path_factory.mktemp("scene") / "scene.tif", PIXELS)
    return api.refine(path, [(48, 28)], name="roof")


def test_a_raster_lies_where_the_scene_lies(classes: Classes, tmp_path: Path):
    path, style = classes.write(tmp_path / "new" / "classes.tif")
    assert style == path.with_suffix(".qml")
    with rasterio.open(path) as dataset:
        assert (dataset.read(1) == classes.class_map).all()
        assert dataset.crs.to_epsg() == 32640
        assert dataset.transform == PLACE
        assert json.loads(dataset.tags()["LABELS"]) == list(LABELS)
        assert dataset.tags()["MODEL_VERSION"] == classes.model_version


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson"])
def test_polygons_cover_what_the_map_covers(classes: Classes, suffix: str, tmp_path: Path):
    path, _ = classes.write(tmp_path / f"classes{suffix}")
    table = pyogrio.read_dataframe(path)
    assert {*table["label"]} == {*classes.masks} >= {"water", "land"}
    for name, mask in classes.masks.items():
        square_metres = table.loc[table["label"] == name, "area_m2"].sum()
        assert square_metres == pytest.approx(mask.sum() * 0.25, rel=0.01)  # half a metre a pixel


def test_polygons_of_one_object(pointed: Found, tmp_path: Path):
    path, style = pointed.write(str(tmp_path / "roof.gpkg"))
    table = pyogrio.read_dataframe(path)
    assert table["label"].tolist() == ["roof"]
    assert table["score"][0] == pytest.approx(pointed.score, abs=1e-3)
    west, north = PLACE @ (24, 16)
    east, south = PLACE @ (72, 40)
    assert table.total_bounds.tolist() == [west, south, east, north]
    assert "roof" in style.read_text("utf-8")


def test_all_candidates_become_polygons_and_the_best_a_raster(lake: Found, tmp_path: Path):
    assert len(lake.masks) > 1
    path, _ = lake.write(tmp_path / "lake.gpkg")
    table = pyogrio.read_dataframe(path)
    assert {*table["label"]} == {"lake"}
    assert table.area.sum() == pytest.approx(lake.masks.sum() * 0.25, rel=0.01)
    assert {*table["score"]} == {round(each.score, 4) for each in lake.candidates}
    path, _ = lake.write(tmp_path / "lake.tif")
    with rasterio.open(path) as dataset:
        assert (dataset.read(1) == lake.mask).all()


def test_the_best_comes_first(lake: Found):
    assert (lake.mask == lake.masks[0]).all()
    assert lake.score == lake.candidates[0].score
    assert [*lake.scores] == sorted(lake.scores, reverse=True)


def test_pictures_show_the_image_and_a_legend(classes: Classes, pointed: Found, tmp_path: Path):
    for answer, width in ((classes, 320), (pointed, 96)):
        (path,) = answer.write(tmp_path / "picture.png")
        with Image.open(path) as picture:
            assert (np.asarray(picture) == answer.overlay()).all()
            assert picture.width > width


def test_colours_may_be_ones_own(classes: Classes, tmp_path: Path):
    classes.write(tmp_path / "classes.tif", {"water": "#010203"})
    with rasterio.open(tmp_path / "classes.tif") as dataset:
        assert dataset.colormap(1)[2] == (1, 2, 3, 255)  # the second label
    assert (classes.overlay({"water": "#010203"}) != classes.overlay()).any()
    with pytest.raises(InputError, match="a colour for 'sea', which is none of building, water"):
        classes.overlay({"sea": "#010203"})


def test_nothing_found_is_an_answer(tmp_path: Path):
    nothing = Found("tank", (), PIXELS, api.Grid(96, 64), reason="no tank")
    assert not nothing.mask.any()
    assert nothing.score == 0
    assert nothing.masks.shape == (0, 64, 96)
    path, _ = nothing.write(tmp_path / "nothing.gpkg")
    assert len(pyogrio.read_dataframe(path)) == 0
    nothing.write(tmp_path / "nothing.png")
    path, _ = nothing.write(tmp_path / "nothing.tif")
    with warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning):
        dataset = rasterio.open(path)
    with dataset:
        assert dataset.crs is None
        assert not dataset.read(1).any()


def test_another_suffix_is_refused(classes: Classes, pointed: Found, tmp_path: Path):
    for answer in (classes, pointed):
        with pytest.raises(InputError, match=r"shp does not end in one of \.tif, \.gpkg"):
            answer.write(tmp_path / "classes.shp")
    assert not [*tmp_path.iterdir()]
