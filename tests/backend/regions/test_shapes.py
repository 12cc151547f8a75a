import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize

from backend.regions import shapes
from dgl_rsis import runs

SIZES = st.tuples(st.integers(1, 30), st.integers(1, 30))
COORDINATES = st.floats(-5, 40)
CORNERS = st.lists(st.tuples(COORDINATES, COORDINATES), min_size=3, max_size=9)


@settings(deadline=None, max_examples=200)
@given(CORNERS, SIZES)
def test_a_polygon_is_what_gdal_draws(corners, size):
    # Apart from all pixel centres, where either answer is right.
    points = np.array([(x + 0.0137, y + 0.0071) for x, y in corners])
    ring = [*points.tolist(), points[0].tolist()]
    shape = {"type": "Polygon", "coordinates": [ring]}
    mask = runs.from_runs(shapes.polygon(points, size))
    expected = rasterize([(shape, 1)], out_shape=size, dtype="uint8") > 0
    # GDAL draws sides that run along a row's middle; and what has no area is nothing to it.
    differing = (mask != expected).any(axis=1)
    middles = {round(y - 0.5, 6) for _, y in points.tolist()}
    assert all(float(row) in middles for row in np.flatnonzero(differing))


@settings(deadline=None)
@given(CORNERS, SIZES)
def test_the_number_of_rows_at_once_does_not_matter(corners, size):
    points = np.array(corners)
    expected = shapes.polygon(points, size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "MOST_CROSSINGS", 1)
        assert shapes.polygon(points, size) == expected


TURNED = given(  # place, extent, turn, and the size of the image
    st.tuples(COORDINATES, COORDINATES),
    st.tuples(st.floats(0.1, 30), st.floats(0.1, 30)),
    st.floats(-7, 7),
    SIZES,
)


@settings(deadline=None)
@TURNED
def test_an_ellipse_holds_the_centres_inside(centre, radii, turn, size):
    mask = runs.from_runs(shapes.ellipse(centre, radii, turn, size))
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    x, y = x - centre[0], y - centre[1]
    along, across = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    depth = (along / radii[0]) ** 2 + (across / radii[1]) ** 2
    clear = np.abs(depth - 1) > 1e-6
    assert (mask == (depth <= 1))[clear].all()


@settings(deadline=None)
@TURNED
def test_a_turned_rectangle_holds_the_centres_inside(origin, extent, turn, size):
    mask = runs.from_runs(shapes.polygon(shapes.rectangle(origin, extent, turn), size))
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    x, y = x - origin[0], y - origin[1]
    along, across = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    depth = np.minimum.reduce([along, across, extent[0] - along, extent[1] - across])
    clear = np.abs(depth) > 1e-6
    assert (mask == (depth > 0))[clear].all()


@pytest.mark.parametrize("size", [(4, 5), (1, 1)])
def test_all_and_nothing_are_runs_as_those_of_masks(size):
    height, width = size
    whole = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=float)
    assert shapes.polygon(whole, size) == runs.to_runs(np.ones(size, dtype=bool))
    assert shapes.polygon(whole + 50, size) == runs.to_runs(np.zeros(size, dtype=bool))
    assert shapes.ellipse((0, 0), (99, 99), 0, size) == runs.to_runs(np.ones(size, dtype=bool))


def test_a_crossing_outline_has_a_hole_where_it_overlaps_itself():
    corners = np.array(
        [(0, 0), (6, 0), (6, 6), (0, 6), (0, 0), (4, 0), (4, 4), (0, 4)], dtype=float
    )
    mask = runs.from_runs(shapes.polygon(corners, (6, 6)))
    expected = np.ones((6, 6), dtype=bool)
    expected[:4, :4] = False
    assert (mask == expected).all()
