"""Areas on the ground, against closed forms."""

import math

import numpy as np
import pytest
import shapely
from rasterio.crs import CRS
from shapely.geometry import box

from dgl_rsis.scenes.areas import ground_areas, on_earth

SITE = CRS.from_wkt('LOCAL_CS["Site grid",UNIT["foot",0.3048],AXIS["E",EAST],AXIS["N",NORTH]]')


def on_the_ellipsoid(west: float, south: float, east: float, north: float) -> float:
    """m² between meridians and parallels on WGS 84, in closed form (Snyder 1987, eq. 3-12)."""
    west, south, east, north = map(math.radians, (west, south, east, north))
    e = math.sqrt(0.00669437999014)

    def q(latitude: float) -> float:
        s = math.sin(latitude)
        return (1 - e**2) * (s / (1 - (e * s) ** 2) + math.atanh(e * s) / e)

    return 6_378_137.0**2 / 2 * (east - west) * (q(north) - q(south))


@pytest.mark.parametrize(
    ("bounds", "tolerance"),
    [
        ((55.2, 25.2, 55.21, 25.21), 1e-8),
        ((10, 0, 20, 60), 1e-4),  # a continent
        ((0, 59, 10, 60), 1e-5),
        ((179.999, -60, 180.001, -59.999), 1e-8),  # across the date line
    ],
)
def test_degrees(bounds: tuple[float, ...], tolerance: float) -> None:
    whole = box(*bounds)
    (area,) = ground_areas([whole], CRS.from_epsg(4326))
    assert area == pytest.approx(on_the_ellipsoid(*bounds), rel=tolerance)


def test_polygons_may_be_far_from_each_other() -> None:
    places = [(0, 10, 0.01, 10.01), (170, -20, 170.01, -19.99), (90, 70, 90.01, 70.01)]
    areas = ground_areas([box(*place) for place in places], CRS.from_epsg(4326))
    assert list(areas) == pytest.approx([on_the_ellipsoid(*place) for place in places], rel=1e-6)


@pytest.mark.parametrize(
    ("epsg", "bounds", "expected"),
    [
        (32640, (326_000, 2_788_000, 326_100, 2_788_100), 1e4 / 0.99997**2),
        (32640, (500_000, 2_788_000, 500_100, 2_788_100), 1e4 / 0.9996**2),
        (2263, (990_000, 200_000, 990_100, 200_100), 1e4 * (1200 / 3937) ** 2),
        (3857, (2_776_000, 8_436_846.4, 2_776_153.6, 8_437_000), 5_859),  # at 60° N
        (3413, (-5_000, -5_000, 5_000, 5_000), 1e8 / 0.96987**2),  # around the North Pole
        (32601, (166_000, 6.6e6, 168_000, 6.602e6), 3.9923e6),  # at the date line
    ],
)
def test_projected_crs(epsg: int, bounds: tuple[float, ...], expected: float) -> None:
    (area,) = ground_areas([box(*bounds)], CRS.from_epsg(epsg))
    assert area == pytest.approx(expected, rel=5e-4)


def test_holes_do_not_count_and_nothing_has_no_area() -> None:
    crs = CRS.from_epsg(4326)
    outer, hole = (10, 50, 10.03, 50.03), (10.01, 50.01, 10.02, 50.02)
    areas = ground_areas([box(*outer) - box(*hole), shapely.Polygon()], crs)
    expected = on_the_ellipsoid(*outer) - on_the_ellipsoid(*hole)
    assert list(areas) == pytest.approx([expected, 0], rel=1e-6)
    assert ground_areas([shapely.Polygon()], crs).tolist() == [0]
    assert ground_areas([], crs).shape == (0,)


@pytest.mark.parametrize(
    ("crs", "area"), [(SITE, 100), (CRS.from_user_input("IAU_2015:30110"), 100)]
)
def test_what_is_not_on_earth_has_its_plane(crs: CRS, area: float) -> None:
    assert not on_earth(crs)
    assert ground_areas([box(0, 0, 10, 10)], crs) == pytest.approx(area)


def test_outside_the_domain_of_a_crs_areas_are_not_known() -> None:
    disc = CRS.from_string("+proj=geos +h=35785831 +lon_0=0 +datum=WGS84")
    assert on_earth(disc)
    assert np.isnan(ground_areas([box(-6e6, -6e6, 6e6, 6e6)], disc)).all()
