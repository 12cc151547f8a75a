import json
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.warp import transform_geom
from shapely.geometry import box, mapping, shape

from dgl_rsis.scenes import vectors
from dgl_rsis.scenes.areas import ground_areas
from dgl_rsis.scenes.polygons import Component
from dgl_rsis.scenes.reading import Grid

RING = box(10, 20, 40, 50) - box(20, 30, 30, 40)
COMPONENTS = [Component(1, RING, 800, 0.75), Component(2, box(0, 0, 4, 1), 4, 0.5)]
NAMES = ["building", "größe, with comma"]
PROJECTED = Grid(64, 64, CRS.from_epsg(32640), Affine(0.5, 0, 326_000, 0, -0.5, 2_788_000))
FEET = Grid(64, 64, CRS.from_epsg(2263), Affine(2, 0, 990_000, 0, -2, 200_000))
DEGREES = Grid(64, 64, CRS.from_epsg(4326), Affine(1e-4, 0, 55.2, 0, -1e-4, 25.2))
ROTATED = Grid(64, 64, CRS.from_epsg(32640), Affine(0.3, 0.4, 326_000, 0.4, -0.3, 2_788_000))
NOWHERE = Grid(64, 64)


def read(path: Path) -> tuple[dict, np.ndarray, list[np.ndarray]]:
    meta, _, geometries, fields = pyogrio.raw.read(path)
    return meta, shapely.from_wkb(geometries), fields


def test_a_geopackage_lies_where_the_scene_does(tmp_path):
    path = tmp_path / "a.gpkg"
    assert vectors.write(path, "gpkg", COMPONENTS, PROJECTED, NAMES) == 2
    meta, geometries, (labels, scores, areas) = read(path)
    assert CRS.from_user_input(meta["crs"]) == PROJECTED.crs
    assert list(labels) == NAMES
    assert list(scores) == [0.75, 0.5]
    assert list(areas) == pytest.approx([200, 1], rel=1e-3)  # UTM shortens by up to 0.04 %
    expected = shapely.affinity.affine_transform(RING, [0.5, 0, 0, -0.5, 326_000, 2_788_000])
    assert geometries[0].equals(expected)
    assert len(geometries[0].geoms[0].interiors) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["a.gpkg"]


def test_geojson_is_as_its_standard_wants_it(tmp_path):
    path = tmp_path / "a.geojson"
    vectors.write(path, "geojson", COMPONENTS, PROJECTED, NAMES)
    text = json.loads(path.read_text("utf-8"))
    assert text["features"][1]["properties"] == {
        "label": NAMES[1], "score": 0.5, "area_m2": 1.0
    }  # fmt: skip
    _, geometries, _ = read(path)
    assert geometries[0].exterior.is_ccw
    assert not geometries[0].interiors[0].is_ccw
    expected = shapely.affinity.affine_transform(RING, [0.5, 0, 0, -0.5, 326_000, 2_788_000])
    moved = shape(transform_geom(PROJECTED.crs, "EPSG:4326", mapping(expected)))
    assert geometries[0].hausdorff_distance(moved) < 2e-8  # degrees: 2 mm


@pytest.mark.parametrize("grid", [PROJECTED, FEET, DEGREES, ROTATED])
def test_areas_are_those_of_the_polygons_on_the_ground(tmp_path, grid):
    vectors.write(tmp_path / "a.gpkg", "gpkg", COMPONENTS, grid, NAMES)
    _, geometries, (_, _, areas) = read(tmp_path / "a.gpkg")
    assert list(areas) == pytest.approx(ground_areas(geometries, grid.crs), abs=1e-3)


@pytest.mark.parametrize("form", ["gpkg", "geojson"])
def test_a_sites_own_grid_has_a_plane_and_no_place_on_earth(tmp_path, form):
    site = CRS.from_wkt('LOCAL_CS["Site grid",UNIT["metre",1],AXIS["E",EAST],AXIS["N",NORTH]]')
    grid = Grid(64, 64, site, Affine(0.5, 0, 1000, 0, -0.5, 1000))
    vectors.write(tmp_path / f"a.{form}", form, COMPONENTS, grid, NAMES)
    _, geometries, (_, _, areas) = read(tmp_path / f"a.{form}")
    assert list(areas) == [200, 1]
    assert geometries[0].bounds == (1005, 975, 1020, 990)


@pytest.mark.parametrize("form", ["gpkg", "geojson"])
def test_without_a_crs_areas_are_unknown_and_y_is_minus_the_row(tmp_path, form):
    path = tmp_path / f"a.{form}"
    vectors.write(path, form, COMPONENTS, NOWHERE, NAMES, least_area=10)
    _, geometries, (labels, _, areas) = read(path)
    assert list(labels) == ["building"]
    assert areas[0] is None or np.isnan(areas[0])
    assert geometries[0].bounds == (10, -50, 40, -20)


def test_ground_control_points_place_polygons(tmp_path):
    gcps = tuple(
        GroundControlPoint(row, column, 326_000 + column / 2, 2_788_000 - row / 2)
        for row in (0, 64)
        for column in (0, 64)
    )
    grid = Grid(64, 64, CRS.from_epsg(32640), None, gcps)
    vectors.write(tmp_path / "a.gpkg", "gpkg", COMPONENTS[:1], grid, NAMES)
    _, geometries, (_, _, areas) = read(tmp_path / "a.gpkg")
    assert geometries[0].bounds == pytest.approx((326_005, 2_787_975, 326_020, 2_787_990))
    assert areas[0] == pytest.approx(200, rel=2e-3)  # of the ground, not of the map


def test_small_ones_are_left_out_by_areas(tmp_path):
    path = tmp_path / "a.gpkg"
    assert vectors.write(path, "gpkg", COMPONENTS, PROJECTED, NAMES, least_area=1.5) == 1


@pytest.mark.parametrize("form", ["gpkg", "geojson"])
def test_no_polygons_make_an_empty_file(tmp_path, form):
    path = tmp_path / f"a.{form}"
    assert vectors.write(path, form, [], PROJECTED, NAMES) == 0
    assert len(read(path)[1]) == 0


@pytest.mark.parametrize("form", ["gpkg", "geojson"])
def test_batches_add_up_and_replace_an_old_file(tmp_path, monkeypatch, form):
    monkeypatch.setattr(vectors, "BATCH", 3)
    path = tmp_path / f"a.{form}"
    vectors.write(path, form, COMPONENTS, PROJECTED, NAMES)
    assert vectors.write(path, form, COMPONENTS * 5, PROJECTED, NAMES) == 10
    assert list(read(path)[2][0]) == NAMES * 5


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    def broken():
        yield COMPONENTS[0]
        raise OSError("gone")

    path = tmp_path / "a.geojson"
    path.write_text("old")
    with pytest.raises(OSError, match="gone"):
        vectors.write(path, "geojson", broken(), PROJECTED, NAMES)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.geojson"]
