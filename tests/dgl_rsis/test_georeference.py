"""Metres a pixel of rasters in all kinds of places, against rules of thumb for each of them."""

import math

import numpy as np
import pytest
from affine import Affine
from hypothesis import assume, given
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS

from dgl_rsis.georeference import resolution_at_centre
from dgl_rsis.rasters import read_resolution
from dgl_rsis.scenes.reading import open_scene
from tests.small_raster import NOWHERE, encoded_raster, raster

PICTURE = np.zeros((3, 20, 30), dtype=np.uint8)
FOOT = 1200 / 3937  # of the US survey, metres
SPHERE = 6_371_000  # metres


def upright(size: float, x: float, y: float) -> Affine:
    return Affine(size, 0, x, 0, -size, y)


PLACES = {
    "UTM": ("EPSG:32633", upright(0.3, 500_000, 5_000_000), 0.3),
    "UTM, turned": (
        "EPSG:32633",
        upright(1, 500_000, 5_000_000) @ Affine.rotation(30) @ Affine.scale(0.3),
        0.3,
    ),
    "US feet": ("EPSG:2263", upright(0.5, 984_000, 200_000), 0.5 * FOOT),
    "Web Mercator at 60 degrees": ("EPSG:3857", upright(0.6, 1e6, 8_399_738), 0.3),
    "a building site in feet": (
        'LOCAL_CS["site",UNIT["foot",0.3048]]', upright(1, 0, 0), 0.3048,
    ),
    "oblong": ("EPSG:32633", Affine(0.2, 0, 500_000, 0, -0.8, 5_000_000), 0.4),
}  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_scene_and_photo_know_their_pixels(name: str, tmp_path) -> None:
    crs, transform, metres = PLACES[name]
    with open_scene(raster(tmp_path / "a.tif", PICTURE, crs=crs, transform=transform)) as scene:
        found = scene.grid.resolution
    assert found is not None
    assert found.metres == pytest.approx(metres, rel=0.005)
    assert (found.source, found.spread) == ("transform", 0.05)
    assert read_resolution((tmp_path / "a.tif").read_bytes()) == found


@given(st.floats(-85, 85), st.floats(-181, 181), st.floats(1e-7, 1e-4))
def test_degrees_shrink_with_the_latitude(latitude: float, longitude: float, size: float) -> None:
    place = upright(size, longitude, latitude)
    found = resolution_at_centre(10, 10, CRS.from_epsg(4326), place)
    metres = math.radians(size) * SPHERE * math.sqrt(math.cos(math.radians(latitude)))
    assume(0.011 < metres < 99)
    assert found is not None
    assert found.metres == pytest.approx(metres, rel=0.01)


@given(st.floats(0.02, 50), st.floats(0, 360))
def test_a_turn_changes_nothing(size: float, angle: float) -> None:
    place = upright(1, 600_000, 4_000_000) @ Affine.rotation(angle) @ Affine.scale(size)
    found = resolution_at_centre(100, 50, CRS.from_epsg(32633), place)
    assert found is not None
    assert found.metres == pytest.approx(size, rel=0.002)


def corners(*pixels: tuple[float, float]) -> list[GroundControlPoint]:
    return [
        GroundControlPoint(row, column, 733_601 + 0.5 * column, 3_725_139 - 0.5 * row)
        for column, row in pixels
    ]


def test_ground_control_points_are_a_place(tmp_path) -> None:
    points = corners((0, 0), (30, 0), (0, 20), (30, 20))
    path = raster(tmp_path / "a.tif", PICTURE, **NOWHERE | {"crs": "EPSG:32616", "gcps": points})
    with open_scene(path) as scene:
        assert scene.grid.transform is None
        found = scene.grid.resolution
    assert found is not None
    assert found.metres == pytest.approx(0.5, rel=0.005)


@pytest.mark.parametrize(
    "points", [corners((0, 0), (30, 0)), corners((0, 0), (10, 10), (20, 20))], ids=["two", "a line"]
)
def test_points_that_leave_the_scale_open_say_nothing(points: list) -> None:
    assert resolution_at_centre(30, 20, CRS.from_epsg(32616), None, points) is None


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        (None, upright(0.3, 0, 0)),
        ("EPSG:32633", None),
        ("EPSG:32633", upright(1000, 500_000, 5_000_000)),  # a weather satellite
        ("EPSG:32633", Affine(0, 0, 500_000, 0, 0, 5_000_000)),
        ("EPSG:4326", upright(1e-5, 10, 1000)),
        ("EPSG:3857", upright(0.3, 1e30, 0)),  # PROJ would not come back
        ("EPSG:3857", upright(0.3, math.nan, 0)),
        ("+proj=longlat +R=1737400", upright(1e-5, 10, 10)),  # the moon
    ],
)
def test_a_place_that_says_nothing(crs: str | None, transform: Affine | None) -> None:
    known = CRS.from_string(crs) if crs else None
    assert resolution_at_centre(30, 20, known, transform) is None


def test_a_photo_without_a_place() -> None:
    assert read_resolution(encoded_raster(PICTURE, **NOWHERE)) is None
