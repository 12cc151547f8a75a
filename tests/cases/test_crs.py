"""Where pixels lie is kept, whatever the CRS is; polygons have areas in units that are told."""

import json
import logging
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.crs import CRS

from backend.commands.labels import read_config
from backend.commands.segment import scenes
from backend.commands.segment.scene_work import LocalSceneSegmenter, SceneOptions
from backend.commands.segment.scenes import SceneRun
from dgl_rsis.scenes import mosaic, vectors
from dgl_rsis.scenes.polygons import Component
from dgl_rsis.scenes.rasters import Legend, class_raster
from dgl_rsis.scenes.reading import Grid, open_scene
from dgl_rsis.scenes.tiles import Window
from tests.cases.odd_photos import DATA
from tests.small_scene import picture, write_scene
from workers.engine.loading import load_segmenter
from workers.settings import WorkerSettings

LEGEND = Legend(["water"], {"water": "#0000ff"})
PLACE = Affine(0.5, 0, 300_000, 0, -0.5, 2_800_000)
SITE = CRS.from_wkt('LOCAL_CS["Site grid",UNIT["foot",0.3048],AXIS["E",EAST],AXIS["N",NORTH]]')
MOON = CRS.from_user_input("IAU_2015:30110")


def derived(tmp_path: Path) -> CRS:
    """A CRS that GeoTIFF has no keys for, as a scene with a file beside it says it."""
    path = write_scene(tmp_path / "derived.tif", picture(40, 50), crs=None, transform=PLACE)
    path.with_name("derived.tif.aux.xml").write_text((DATA / "derived-crs.aux.xml").read_text())
    with open_scene(path) as scene:
        assert scene.grid.crs is not None
        return scene.grid.crs


@pytest.fixture(scope="module")
def segmenter(model_folder: Path) -> LocalSceneSegmenter:
    return LocalSceneSegmenter(load_segmenter(WorkerSettings(model=str(model_folder))))


def segmented(segmenter: LocalSceneSegmenter, path: Path, out: Path, **options) -> int:
    config = read_config("ship,car,tree,field,water", None)
    return scenes.run(SceneRun([path], config, out, SceneOptions(**options)), segmenter)


def test_a_crs_that_geotiff_cannot_hold_lies_beside_the_results(
    segmenter: LocalSceneSegmenter, tmp_path: Path
) -> None:
    crs = derived(tmp_path)
    out = tmp_path / "out"
    assert segmented(segmenter, tmp_path / "derived.tif", out, polygons="gpkg") == 0
    assert sorted(file.name for file in out.iterdir()) == [
        "derived.classes.qml", "derived.classes.tif", "derived.classes.tif.aux.xml",
        "derived.gpkg", "derived.overlay.png", "derived.qml",
    ]  # fmt: skip
    with open_scene(out / "derived.classes.tif") as classes:
        assert classes.grid.crs == crs
        assert classes.grid.transform == PLACE
    assert CRS.from_user_input(pyogrio.read_info(out / "derived.gpkg")["crs"]) == crs


def test_a_crs_that_the_file_holds_needs_no_second_one(tmp_path: Path) -> None:
    grid = Grid(8, 8, CRS.from_epsg(32640), PLACE)
    stale = tmp_path / "a.tif.aux.xml"
    stale.write_text("<PAMDataset><SRS>EPSG:4326</SRS></PAMDataset>")
    with class_raster(tmp_path / "a.tif", grid, LEGEND) as raster:
        raster.write(0, 0, np.ones((8, 8), dtype=np.uint8))
        assert raster.publish() == []
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.crs == grid.crs


@pytest.mark.parametrize("crs", [SITE, MOON, None])
def test_tiles_put_together_keep_crs_and_names(tmp_path: Path, crs: CRS | None) -> None:
    own = derived(tmp_path) if crs is None else crs
    out = tmp_path / "out" / "labels.tif"
    tile = Window(0, 0, 8, 8)
    ones = np.ones((8, 8), dtype=np.uint16)
    mosaic.assemble([tile], lambda _: ones, Grid(8, 8, own, PLACE), LEGEND, out)
    with rasterio.open(out) as dataset:
        assert dataset.crs == own
    assert "<Category>water</Category>" in Path(f"{out}.aux.xml").read_text()
    assert sorted(file.name for file in out.parent.iterdir()) == [
        "labels.tif",
        "labels.tif.aux.xml",
    ]


@pytest.mark.parametrize("form", ["gpkg", "geojson"])
@pytest.mark.parametrize("crs", [SITE, MOON])
def test_off_the_earth_areas_are_in_units_of_the_grid(
    tmp_path: Path, form: vectors.Format, crs: CRS
) -> None:
    component = Component(1, shapely.box(0, 0, 10, 4), 40, 1.0)
    grid = Grid(64, 64, crs, Affine(0.5, 0, 1000, 0, -0.5, 1000))
    vectors.write(tmp_path / f"a.{form}", form, [component], grid, ["water"])
    meta, _, (geometry,), fields = pyogrio.raw.read(tmp_path / f"a.{form}")
    assert list(meta["fields"]) == ["label", "score", "area"]
    assert fields[2].tolist() == [10]
    assert shapely.from_wkb(geometry).bounds == (1000, 998, 1005, 1000)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:4326", Affine(0.01, 0, 179.9, 0, -0.01, -16)),
        ("EPSG:4326", Affine(0.01, 0, -180.1, 0, -0.01, -16)),
        ("EPSG:3832", Affine(1000, 0, 3_328_000, 0, -1000, -1_800_000)),  # around 150° E
    ],
)
def test_polygons_are_cut_at_the_date_line(tmp_path: Path, crs: str, transform: Affine) -> None:
    path, grid = tmp_path / "a.geojson", Grid(20, 20, CRS.from_string(crs), transform)
    components = [Component(1, shapely.box(1, 1, 19, 19), 324, 1.0)]
    components += [Component(1, shapely.box(1, 1, 2, 2), 1, 1.0)]
    vectors.write(path, "geojson", components, grid, ["water"])
    across, beside = (
        shapely.geometry.shape(each["geometry"])
        for each in json.loads(path.read_text())["features"]
    )
    assert across.geom_type == "MultiPolygon"
    assert beside.geom_type == "Polygon"
    west, east = sorted(across.geoms, key=lambda part: part.bounds[0])
    assert west.bounds[0] == -180
    assert west.bounds[2] < -179
    assert east.bounds[2] == 180
    assert east.bounds[0] > 179
    assert across.is_valid
    assert all(part.exterior.is_ccw for part in across.geoms)


def test_a_world_of_degrees_is_not_cut(tmp_path: Path) -> None:
    grid = Grid(36, 18, CRS.from_epsg(4326), Affine(10, 0, -180, 0, -10, 90))
    component = Component(1, shapely.box(0, 0, 36, 18), 648, 1.0)
    vectors.write(tmp_path / "a.geojson", "geojson", [component], grid, ["water"])
    (feature,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert shapely.geometry.shape(feature["geometry"]).equals(shapely.box(-180, -90, 180, 90))


def test_polygons_fail_alone(
    segmenter: LocalSceneSegmenter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: object) -> int:
        raise RuntimeError("PROJ: no way there")

    monkeypatch.setattr(vectors, "write", broken)
    path = write_scene(tmp_path / "a.tif", picture(40, 50))
    with caplog.at_level(logging.INFO):
        assert segmented(segmenter, path, tmp_path / "out", polygons="gpkg") == 1
    assert "no polygons: PROJ: no way there; the rasters are whole" in caplog.text
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "a.classes.qml", "a.classes.tif", "a.overlay.png",
    ]  # fmt: skip


def test_areas_in_web_mercator_are_those_on_the_ground(tmp_path: Path) -> None:
    place = Affine(0.6, 0, 2_776_000, 0, -0.6, 8_437_000)  # at 60° N
    grid = Grid(256, 256, CRS.from_epsg(3857), place)
    component = Component(1, shapely.box(0, 0, 256, 256), 65_536, 1.0)
    vectors.write(tmp_path / "a.gpkg", "gpkg", [component], grid, ["water"])
    assert pyogrio.raw.read(tmp_path / "a.gpkg")[3][2] == pytest.approx([5_859], rel=1e-3)
