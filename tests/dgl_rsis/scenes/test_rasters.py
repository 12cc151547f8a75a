import json

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp

from dgl_rsis.scenes import rasters
from dgl_rsis.scenes.rasters import Legend
from dgl_rsis.scenes.reading import Grid

LEGEND = Legend(("building", "größe"), {"building": "#ff0000", "größe": "blue"})
PLACE = Affine(0.3, 0.4, 326_000, 0.4, -0.3, 2_788_000)  # rotated
GRID = Grid(700, 600, CRS.from_epsg(32640), PLACE)
VALUES = np.random.default_rng(0).integers(0, 3, (600, 700)).astype(np.uint16)


def write(raster: rasters.SceneRaster, values: np.ndarray) -> None:
    with raster:
        for row in range(0, values.shape[0], 250):
            for column in range(0, values.shape[1], 300):
                block = values[row : row + 250, column : column + 300]
                raster.write(row, column, block)
                assert (raster.read(row, column, *block.shape) == block).all()
        raster.publish()


def test_classes_are_a_cog_on_the_grid_of_the_scene(tmp_path):
    path = tmp_path / "a.classes.tif"
    write(rasters.class_raster(path, GRID, LEGEND, "model-1"), VALUES)
    with rasterio.open(path) as raster:
        assert (raster.read(1) == VALUES).all()
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (raster.crs, raster.transform) == (GRID.crs, PLACE)
        assert raster.dtypes == ("uint8",)
        assert raster.nodata == 0
        assert raster.colorinterp == (ColorInterp.palette,)
        assert raster.colormap(1)[1] == (255, 0, 0, 255)
        assert raster.colormap(1)[2] == (0, 0, 255, 255)
        assert json.loads(raster.tags()["LABELS"]) == ["building", "größe"]
        assert raster.tags()["MODEL_VERSION"] == "model-1"
        assert raster.tags(1)["LABEL_2"] == "größe"
        assert raster.overviews(1) == [2]
        assert set(np.unique(raster.read(1, out_shape=(300, 350)))) <= {0, 1, 2}  # not averaged
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_ground_control_points_are_kept(tmp_path):
    gcps = tuple(
        GroundControlPoint(r, c, 10 + c / 100, 20 - r / 100) for r in (0, 600) for c in (0, 700)
    )
    grid = Grid(700, 600, CRS.from_epsg(4326), None, gcps)
    write(rasters.class_raster(tmp_path / "a.tif", grid, LEGEND), VALUES)
    with rasterio.open(tmp_path / "a.tif") as raster:
        points, crs = raster.gcps
        assert crs == grid.crs
        assert [(p.row, p.col, p.x, p.y) for p in points] == [
            (p.row, p.col, p.x, p.y) for p in gcps
        ]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_scene_without_a_place_gives_a_raster_without_one(tmp_path):
    write(rasters.class_raster(tmp_path / "a.tif", Grid(700, 600), LEGEND), VALUES)
    with rasterio.open(tmp_path / "a.tif") as raster:
        assert raster.crs is None
        assert raster.transform.is_identity
        assert (raster.read(1) == VALUES).all()


def test_more_labels_than_a_byte_holds(tmp_path):
    names = tuple(f"label {i}" for i in range(300))
    legend = Legend(names, dict.fromkeys(names, "red"))
    values = np.full((600, 700), 300, dtype=np.uint16)
    write(rasters.class_raster(tmp_path / "a.tif", GRID, legend), values)
    with rasterio.open(tmp_path / "a.tif") as raster:
        assert raster.dtypes == ("uint16",)
        assert (raster.read(1) == 300).all()


def test_probabilities_are_scaled_bytes(tmp_path):
    probability = np.linspace(0, 1, 600 * 700, dtype=np.float32).reshape(600, 700)
    valid = np.ones((600, 700), dtype=bool)
    valid[:10] = False
    path = tmp_path / "a.tif"
    write(rasters.probability_raster(path, GRID), rasters.scaled(probability, valid))
    with rasterio.open(path) as raster:
        read = raster.read(1, masked=True) * raster.scales[0]
        assert (read.mask == ~valid).all()
        assert abs(read - probability).max() <= 1 / 255


def test_a_failure_leaves_nothing_behind(tmp_path):
    def fail() -> None:
        with rasters.class_raster(tmp_path / "a.tif", GRID, LEGEND) as raster:
            raster.write(0, 0, VALUES[:10, :10])
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_raster_that_is_shrunk(tmp_path):
    with rasters.class_raster(tmp_path / "a.tif", GRID, LEGEND) as raster:
        raster.write(0, 0, VALUES)
        assert raster.shrunk(60, 70).shape == (60, 70)
    assert list(tmp_path.iterdir()) == []  # not published
