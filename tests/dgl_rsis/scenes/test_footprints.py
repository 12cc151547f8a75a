import math

import cv2
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio import features
from rasterio.crs import CRS
from shapely import affinity

from dgl_rsis.scenes import footprints
from dgl_rsis.types import InputError

SHAPES = {
    "house": [(-40, -25), (40, -25), (40, 25), (-40, 25)],
    "L": [(-40, -40), (40, -40), (40, 0), (0, 0), (0, 40), (-40, 40)],
}


def _drawn(corners: list[tuple[int, int]], degrees: float) -> shapely.Polygon:
    """The outline of a mask with a rough border, along its pixels."""
    turned = affinity.rotate(shapely.Polygon(corners), degrees, origin=(0, 0))
    plane = np.zeros((160, 160), dtype=np.uint8)
    points = np.round(np.array(turned.exterior.coords) + 80).astype(np.int32)
    cv2.fillPoly(plane, [points], 1)
    rng = np.random.default_rng(0)
    blurred = cv2.GaussianBlur(plane.astype(np.float32), (0, 0), 2)
    rough = (blurred + rng.normal(0, 0.05, plane.shape) > 0.5).astype(np.uint8)
    parts = [shapely.geometry.shape(part) for part, _ in features.shapes(rough, rough == 1)]
    return max(parts, key=lambda part: part.area)


def _crooked(polygon: shapely.Polygon) -> float:
    """The largest difference of a corner from a right angle, degrees."""
    edges = np.diff(np.array(polygon.exterior.coords), axis=0)
    edges /= np.linalg.norm(edges, axis=1)[:, None]
    cosines = np.abs((edges * np.roll(edges, 1, axis=0)).sum(axis=1))
    return float(np.degrees(np.arcsin(np.minimum(cosines, 1))).max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("degrees", [0, 17, 45, 70])
def test_all_angles_are_right(shape: str, degrees: float) -> None:
    before = _drawn(SHAPES[shape], degrees)
    (after,) = footprints.squared([before], Affine.identity())
    assert _crooked(before) == pytest.approx(0)  # along pixels: right angles, but hundreds
    assert _crooked(after) < 1
    assert len(after.exterior.coords) < len(before.exterior.coords) / 3
    assert before.intersection(after).area / before.union(after).area > 0.9


def test_what_right_angles_would_spoil_is_kept() -> None:
    dot, circle = shapely.box(0, 0, 1, 1), shapely.Point(50, 50).buffer(20)
    holed = shapely.box(0, 0, 40, 30) - shapely.box(10, 10, 20, 20)
    kinds = [dot, circle, holed, shapely.box(60, 0, 61, 30)]
    made = footprints.squared(kinds, Affine.identity())
    assert len(made) == 4
    for before, after in zip([dot, circle, holed], made, strict=False):
        assert before.intersection(after).area / before.union(after).area >= footprints.LEAST_IOU
    assert len(made[2].interiors) == 1
    assert made[0] is dot
    assert made[3] is kinds[3]
    assert footprints.squared([], Affine.identity()) == []


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("building", True),
        ("Residential_Buildings", True),
        ("building footprint", True),
        ("Rooftop", True),
        ("house", True),
        ("building site", False),
        ("greenhouse", False),
        ("road", False),
    ],
)
def test_labels_of_buildings(label: str, expected: bool) -> None:
    assert footprints.is_building(label) is expected


def test_without_a_label_of_buildings_the_words_are_named() -> None:
    assert footprints.buildings(["road", "Roofs"]) == {"Roofs"}
    with pytest.raises(InputError, match=r"none of road, water is of buildings.*building, foot"):
        footprints.buildings(["road", "water"])


@given(
    st.floats(0.1, 10), st.floats(0, 360), st.sampled_from([1, -1]),
    st.one_of(st.none(), st.floats(-80, 80)),
)  # fmt: skip
def test_the_plane_has_the_angles_of_the_ground(
    size: float, degrees: float, turn: int, latitude: float | None
) -> None:
    """A square on the ground is one on the plane, of as many units as it has pixels."""
    ground = Affine.rotation(degrees) @ Affine.scale(size, turn * size)
    crs = CRS.from_epsg(32633)
    if latitude is not None:
        crs = CRS.from_epsg(4326)
        stretch = 1 / math.cos(math.radians(latitude))
        middle = Affine.translation(13, latitude) @ Affine.scale(stretch, 1)
        ground = middle @ Affine.scale(1e-6) @ ground @ Affine.translation(-8, -6)
    plane = footprints.ground_plane(ground, crs, 12, 16)
    a, b, _, d, e, _ = plane[:6]
    assert math.hypot(a, d) == pytest.approx(math.hypot(b, e)) == pytest.approx(1)
    assert a * b + d * e == pytest.approx(0, abs=1e-9)
