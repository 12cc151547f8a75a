import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from hypothesis import given
from rasterio import features
from rasterio.crs import CRS
from rasterio.transform import Affine

from backend.commands.export.dataset import DatasetVocabulary
from backend.commands.export.formats import geopackage
from backend.regions.findings import ExportError
from backend.regions.records import Place
from dgl_rsis.scenes import vectors
from dgl_rsis.scenes.polygons import Component
from dgl_rsis.scenes.reading import Grid
from dgl_rsis.types import Mask
from tests.backend.commands.export.written import VOCABULARY, example, planes, region, tile

UTM = (0.5, 0.0, 500_000.0, 0.0, -0.5, 5_000_000.0)
ROTATED = (0.4, 0.3, 500_000.0, 0.3, -0.4, 5_000_000.0)
HOLED = np.zeros((12, 16), dtype=np.bool_)
HOLED[2:9, 3:12] = True
HOLED[4:6, 5:8] = False
HOLED[6:7, 8:9] = False  # touches the other hole at a corner


def layer(path: Path, name: str) -> tuple[dict[str, list[Any]], list[shapely.Polygon], str | None]:
    """Columns, shapes and CRS."""
    meta, _, geometry, columns = pyogrio.raw.read(path, layer=name)
    table = {n: list(c) for n, c in zip(meta["fields"], columns, strict=True)}
    return table, [shapely.from_wkb(g) for g in geometry], meta["crs"]


def drawn(shapes: list[shapely.Polygon], transform: Affine, shape: tuple[int, int]) -> Mask:
    plane = np.zeros(shape, dtype=np.uint8)
    if shapes:
        features.rasterize(shapes, out=plane, transform=transform)
    return plane.astype(np.bool_)


def test_on_the_map_and_back(tmp_path: Path) -> None:
    road = ~HOLED
    made = example(
        tmp_path,
        [region(HOLED, "building", "a", score=0.75), region(road, "road", "b")],
        place=tile("EPSG:32633", UTM),
        task=7,
        split="test",
    )
    path = geopackage.write([made], VOCABULARY, tmp_path / "out")
    assert [name for name, _ in pyogrio.list_layers(path)] == ["epsg_32633"]
    columns, shapes, crs = layer(path, "epsg_32633")
    assert CRS.from_user_input(crs) == CRS.from_epsg(32633)
    assert all(shape.is_valid for shape in shapes)
    for label, mask in (("building", HOLED), ("road", road)):
        mine = [s for s, name in zip(shapes, columns["label"], strict=True) if name == label]
        assert np.array_equal(drawn(mine, Affine(*UTM), mask.shape), mask)
    assert set(columns["task_id"]) == {7}
    assert set(columns["annotator"]) == {"ann@example.org"}
    assert set(columns["scene"]) == {"scene.tif"}
    assert set(columns["image"]) == {"tile.png"}
    assert set(columns["split"]) == {"test"}
    assert set(columns["region"]) == {"a", "b"}
    scores = dict(zip(columns["label"], columns["score"], strict=True))
    assert scores["building"] == 0.75
    assert math.isnan(scores["road"])
    # UTM shrinks lengths by 0.04 % on the central meridian; the ellipsoid does not.
    assert sum(columns["area_m2"]) == pytest.approx(12 * 16 * 0.25 / 0.9996**2, rel=1e-4)


def test_holes_are_kept(tmp_path: Path) -> None:
    (shape,) = geopackage.polygons(region(HOLED), Affine.identity())
    assert shape.is_valid
    assert shape.area == HOLED.sum()
    assert len(shape.interiors) == 2


@given(planes())
def test_any_mask_comes_back(mask: Mask) -> None:
    shapes = list(geopackage.polygons(region(mask), Affine(*ROTATED)))
    assert all(shape.is_valid for shape in shapes)
    assert np.array_equal(drawn(shapes, Affine(*ROTATED), mask.shape), mask)
    assert sum(s.area for s in shapes) == pytest.approx(mask.sum() * 0.25)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:3857", (1.0, 0, 1_500_000.0, 0, -1.0, 6_900_000.0)),
        ("EPSG:4326", (1e-5, 0, 13.5, 0, -1e-5, 52.5)),
    ],
)
def test_areas_are_those_on_the_ground(
    crs: str, transform: tuple[float, ...], tmp_path: Path
) -> None:
    """A pixel of Web Mercator is less than its unit; a degree is no metre."""
    full = np.ones((12, 16), dtype=np.bool_)
    made = example(tmp_path, [region(full)], place=tile(crs, transform))
    path = geopackage.write([made], VOCABULARY, tmp_path / "out")
    columns, _, _ = layer(path, crs.lower().replace(":", "_"))
    latitude = math.radians(
        transform[5] if crs == "EPSG:4326" else math.degrees(math.atan(math.sinh(6.9e6 / 6378137)))
    )
    metre = 6378137 * math.pi / 180 * 1e-5 if crs == "EPSG:4326" else math.cos(latitude)
    side = metre * math.cos(latitude) if crs == "EPSG:4326" else metre
    assert columns["area_m2"][0] == pytest.approx(12 * 16 * metre * side, rel=5e-3)


def test_areas_are_those_that_segmented_scenes_have(tmp_path: Path) -> None:
    """Web Mercator at 60° N, where its plane shows four times the ground."""
    transform = (0.6, 0.0, 2_776_000.0, 0.0, -0.6, 8_437_000.0)
    full = np.ones((256, 256), dtype=np.bool_)
    made = example(tmp_path, [region(full)], place=tile("EPSG:3857", transform))
    exported = layer(geopackage.write([made], VOCABULARY, tmp_path / "out"), "epsg_3857")[0]
    grid = Grid(256, 256, CRS.from_epsg(3857), Affine(*transform))
    component = Component(1, shapely.box(0, 0, 256, 256), full.size, 1.0)
    vectors.write(tmp_path / "a.gpkg", "gpkg", [component], grid, ["building"])
    segmented = layer(tmp_path / "a.gpkg", "a")[0]
    assert exported["area_m2"] == pytest.approx([5_859], rel=0.01)
    assert segmented["area_m2"] == pytest.approx(exported["area_m2"], abs=1e-3)


def test_a_sites_own_grid_has_polygons_and_areas_in_its_plane(tmp_path: Path) -> None:
    site = 'LOCAL_CS["Site grid",UNIT["metre",1],AXIS["E",EAST],AXIS["N",NORTH]]'
    made = example(tmp_path, [region(HOLED)], place=tile(site, (0.1, 0, 1000, 0, -0.1, 1000)))
    path = geopackage.write([made], VOCABULARY, tmp_path / "out")
    columns, (shape,), _ = layer(path, "crs_1")
    assert shape.bounds == pytest.approx((1000.3, 999.1, 1001.2, 999.8))
    assert columns["area"] == pytest.approx([HOLED.sum() * 0.01])


def test_one_layer_for_each_crs(tmp_path: Path) -> None:
    utm = CRS.from_epsg(32633).to_wkt()
    own = "+proj=laea +lat_0=50 +lon_0=10 +datum=WGS84 +units=m"
    places = [
        tile("EPSG:32633", UTM),
        tile(utm, UTM),  # the same, in other words
        tile("EPSG:4326", (1e-5, 0, 13.5, 0, -1e-5, 52.5)),
        tile(CRS.from_string(own).to_wkt(), UTM),
        tile("", UTM),
        tile("", None),
        None,
    ]
    made = [
        example(tmp_path, [region(HOLED)], stem=f"t{n}", place=place, task=n)
        for n, place in enumerate(places)
    ]
    path = geopackage.write(made, VOCABULARY, tmp_path / "out")
    layers = {name: layer(path, name) for name, _ in pyogrio.list_layers(path)}
    tasks = {name: sorted(columns["task_id"]) for name, (columns, _, _) in layers.items()}
    assert tasks == {
        "epsg_32633": [0, 1],
        "epsg_4326": [2],
        "crs_1": [3],
        "unknown_crs": [4],
        "pixels": [5, 6],
    }
    for name in ("unknown_crs", "pixels"):
        columns, _, crs = layers[name]
        # GeoPackage calls a plane without a CRS "undefined Cartesian".
        assert crs is None or "Undefined" in crs
        assert all(math.isnan(area) for area in columns["area_m2"])


def test_without_georeference_they_are_pixels_of_the_scene(tmp_path: Path) -> None:
    place = Place("scan.png", "", None, (100, 40, 16, 12), (200, 200))
    made = [
        example(tmp_path, [region(HOLED)], stem="a", place=place),
        example(tmp_path, [region(HOLED)], stem="b"),
    ]
    path = geopackage.write(made, VOCABULARY, tmp_path / "out")
    _, (of_scene, of_image), _ = layer(path, "pixels")
    assert of_scene.bounds == (103, 42, 112, 49)
    assert of_image.bounds == (3, 2, 12, 9)


def test_a_crs_that_is_none_is_said_and_the_rest_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = [
        example(tmp_path, [region(HOLED)], stem="a", place=tile("EPSG:nonsense", UTM)),
        example(tmp_path, [region(HOLED)], stem="b", place=tile("EPSG:32633", UTM)),
    ]
    with caplog.at_level(logging.WARNING):
        path = geopackage.write(made, VOCABULARY, tmp_path / "out")
    assert {name for name, _ in pyogrio.list_layers(path)} == {"unknown_crs", "epsg_32633"}
    assert "EPSG:nonsense: no such CRS" in caplog.text


def test_what_has_nothing_to_show(tmp_path: Path) -> None:
    empty = np.zeros((12, 16), dtype=np.bool_)
    made = [
        example(tmp_path, [], stem="none"),
        example(tmp_path, [region(empty)], stem="empty"),
        example(tmp_path, [region(HOLED, "unheard of")], stem="unknown"),
    ]
    for examples in ([], made):
        path = geopackage.write(examples, VOCABULARY, tmp_path / "out")
        columns, shapes, _ = layer(path, "pixels")
        assert shapes == []
        assert list(columns) == list(geopackage.COLUMNS)


def test_many_are_written_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geopackage, "FLUSH", 2)
    made = [example(tmp_path, [region(HOLED)], stem=f"t{n}", task=n) for n in range(7)]
    path = geopackage.write(made, VOCABULARY, tmp_path / "out")
    assert sorted(layer(path, "pixels")[0]["task_id"]) == list(range(7))


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32633", UTM),
        ("EPSG:32633", ROTATED),
        ("EPSG:4326", (1e-5, 0, 13.5, 0, -0.5e-5, 60.0)),  # square pixels at 60° N
        ("", None),
    ],
)
def test_buildings_with_right_angles(
    crs: str, transform: tuple[float, ...] | None, tmp_path: Path
) -> None:
    rows, columns = np.indices((60, 80))
    along, across = (columns - 40) + 0.5 * (rows - 30), (rows - 30) - 0.5 * (columns - 40)
    mask = (np.abs(along) < 25) & (np.abs(across) < 12)
    made = example(
        tmp_path,
        [region(mask, "building", "a"), region(~mask, "road", "b")],
        size=(60, 80),
        place=tile(crs, transform, (60, 80)),
    )
    path = geopackage.write([made], VOCABULARY, tmp_path / "out", regularize=True)
    columns_, shapes, _ = layer(path, pyogrio.list_layers(path)[0][0])
    by_label = dict(zip(columns_["label"], shapes, strict=True))
    building, place = by_label["building"], Affine(*(transform or Affine.identity()[:6]))
    assert len(building.exterior.coords) < 20  # of more than a hundred
    assert np.array_equal(drawn([by_label["road"]], place, mask.shape), ~mask)
    agreeing = drawn([building], place, mask.shape) == mask
    assert agreeing.mean() > 0.95
    stretch = np.array([0.5, 1]) if crs == "EPSG:4326" else np.array([1, 1])
    edges = np.diff(np.array(building.exterior.coords) * stretch, axis=0)
    edges /= np.linalg.norm(edges, axis=1)[:, None]
    assert np.abs((edges * np.roll(edges, 1, axis=0)).sum(axis=1)).max() < 0.01


def test_right_angles_need_buildings(tmp_path: Path) -> None:
    vocabulary = DatasetVocabulary.of(["road", "water"])
    with pytest.raises(ExportError, match="--regularize: none of road, water is of buildings"):
        geopackage.write([], vocabulary, tmp_path / "out", regularize=True)
