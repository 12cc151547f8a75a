import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backend.regions import geometry
from backend.regions.geometry import RegionError
from dgl_rsis.runs import from_runs

H, W = 40, 80
PERCENT = st.floats(0, 100)
SIDES = st.floats(0.1, 100) | st.floats(-100, -0.1)
ODD = [None, "12", "", True, float("nan"), float("inf"), 10**400, [1], {}]


def region(kind: str = "", **value: Any) -> dict[str, Any]:
    return {"type": kind, "original_height": H, "original_width": W, "value": value}


@given(PERCENT, PERCENT)
def test_percent_become_shares(x: float, y: float) -> None:
    assert geometry.point(region(x=x, y=y)) == pytest.approx((x / 100, y / 100))


def test_a_click_just_outside_is_moved_to_the_border() -> None:
    assert geometry.point(region(x=-0.9, y=100.9)) == (0.0, 1.0)


@pytest.mark.parametrize(("x", "y"), [(-2, 50), (50, 102), (1e8, 0)])
def test_a_click_outside_is_named(x: float, y: float) -> None:
    with pytest.raises(RegionError, match=r"its point at x .* lies outside the image"):
        geometry.point(region(x=x, y=y))


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", ["x", "y", "width", "height", "radiusX", "radiusY"])
def test_what_is_no_number_is_named(odd: Any, name: str) -> None:
    value = {"x": 1, "y": 1, "width": 9, "height": 9, "radiusX": 9, "radiusY": 9, name: odd}
    if not name.startswith("radius"):
        with pytest.raises(RegionError, match=f"its {name} is"):
            geometry.box(region("rectangle", **value))
    if name not in ("width", "height"):
        with pytest.raises(RegionError, match=f"its {name} is"):
            geometry.box(region("ellipse", **value))


@given(PERCENT, PERCENT, SIDES, SIDES, st.floats(-720, 720))
def test_a_turned_rectangle_has_the_box_of_its_corners(
    x: float, y: float, width: float, height: float, degrees: float
) -> None:
    angle = math.radians(degrees)
    across = (width * W / 100 * math.cos(angle), width * W / 100 * math.sin(angle))
    down = (-height * H / 100 * math.sin(angle), height * H / 100 * math.cos(angle))
    corners = [
        (x / 100 + (a * across[0] + d * down[0]) / W, y / 100 + (a * across[1] + d * down[1]) / H)
        for a in (0, 1)
        for d in (0, 1)
    ]
    expected = [
        min(max(each, 0), 1)
        for each in (
            min(c[0] for c in corners),
            min(c[1] for c in corners),
            max(c[0] for c in corners),
            max(c[1] for c in corners),
        )
    ]
    assume(expected[2] - expected[0] > 1e-6)
    assume(expected[3] - expected[1] > 1e-6)
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": degrees}
    box = geometry.box(region(**value))
    assert box == pytest.approx(expected, abs=1e-9)


def test_a_quarter_turn_swaps_the_sides_in_pixels() -> None:
    # 40 × 10 pixels about (40, 10): it then reaches from x 30 to 40 and from y 10 to 50, cut at 40.
    value = {"x": 50, "y": 25, "width": 50, "height": 25, "rotation": 90}
    assert geometry.box(region(**value)) == pytest.approx((0.375, 0.25, 0.5, 1))


def test_a_turned_ellipse_has_the_box_of_its_rim() -> None:
    value = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "rotation": 30}
    left, top, right, bottom = geometry.box(region("ellipse", **value))
    turn = np.linspace(0, 2 * np.pi, 100_000)
    a, b = 16 * np.cos(turn), 4 * np.sin(turn)
    x = a * np.cos(np.pi / 6) - b * np.sin(np.pi / 6)
    y = a * np.sin(np.pi / 6) + b * np.cos(np.pi / 6)
    assert (right - left) * W == pytest.approx(2 * x.max(), abs=1e-4)
    assert (bottom - top) * H == pytest.approx(2 * y.max(), abs=1e-4)
    assert (left + right, top + bottom) == pytest.approx((1, 1))


@pytest.mark.parametrize(
    "value",
    [
        {"x": 10, "y": 10, "width": 0, "height": 5},
        {"x": 10, "y": 10, "width": 5, "height": 0, "rotation": 0},
        {"x": 120, "y": 10, "width": 5, "height": 5},
    ],
)
def test_a_box_without_area_is_named(value: dict[str, Any]) -> None:
    with pytest.raises(RegionError, match="it has no area"):
        geometry.box(region(**value))


def test_a_turn_needs_the_size_of_the_image() -> None:
    value = {"x": 10, "y": 10, "width": 20, "height": 5, "rotation": 45}
    with pytest.raises(RegionError, match="how large its image is"):
        geometry.box({"value": value})
    with pytest.raises(RegionError, match="rotation is not a number"):
        geometry.box(region(**{**value, "rotation": "45"}))


def test_without_a_turn_a_box_needs_no_size() -> None:
    value = {"x": 50, "y": 75, "width": -25, "height": -50, "rotation": 360}
    assert geometry.box({"value": value}) == (0.25, 0.25, 0.5, 0.75)
    oval = {"type": "ellipse", "value": {"x": 50, "y": 50, "radiusX": 10, "radiusY": -20}}
    assert geometry.box(oval) == pytest.approx((0.4, 0.3, 0.6, 0.7))


def test_a_box_beyond_the_image_is_cut() -> None:
    value = {"x": -10, "y": 50, "width": 30, "height": 80}
    assert geometry.box(region(**value)) == pytest.approx((0, 0.5, 0.2, 1))


def test_a_polygon_is_its_corners_also_those_outside() -> None:
    corners = geometry.polygon(region(points=[[0, 0], [50, 0], [50, 104]]), (H, W))
    np.testing.assert_allclose(corners, [(0, 0), (40, 0), (40, 41.6)])
    crossing = [[0, 0], [50, 50], [50, 0], [0, 50]]  # its two halves turn in different ways
    assert geometry.polygon(region(points=crossing), (H, W)).shape == (4, 2)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (None, "got 0"),
        ([[0, 0], [1, 1]], "got 2"),
        ([[0, 0]] * 10_001, "no area"),
        ([[0, 0], [1, 1], [2, 2]], "no area"),
        ([[0, 0], [1, 1], [2]], "not a pair"),
        ([[0, 0], [1, 1], 7], "not a pair"),
        ([[0, 0], [1, 1], ["2", 0]], "x is '2'"),
    ],
)
def test_what_is_no_outline_is_named(points: Any, words: str) -> None:
    with pytest.raises(RegionError, match=words):
        geometry.polygon(region(points=points), (H, W))


def test_touches_are_drawn_and_erased_in_their_order() -> None:
    line = {"type": "add", "relativePoints": [25, 50, 75, 50], "relativeStrokeWidth": 5}
    rubber = {"type": "eraser", "relativePoints": [50, 0, 50, 100], "relativeStrokeWidth": 5}
    painted = from_runs(geometry.painted([line, rubber], (H, W)))
    assert painted[20, 30]
    assert not painted[20, 40]
    assert not painted[5].any()
    assert from_runs(geometry.painted([rubber, line], (H, W)))[20, 40]


@pytest.mark.parametrize(
    ("touches", "words"),
    [
        ([7], "no line"),
        ([{"relativePoints": [1, "2"]}], "not a finite number"),
        ([{"relativePoints": [1] * 3}], "pairs of numbers"),
        ([{"relativePoints": [1] * 200_002, "relativeStrokeWidth": 1}], "more than"),
    ],
)
def test_what_is_no_line_is_named(touches: list[Any], words: str) -> None:
    with pytest.raises(RegionError, match=words):
        geometry.painted(touches, (H, W))


def test_nothing_is_drawn_on_an_image_that_is_too_large() -> None:
    with pytest.raises(RegionError, match="more than"):
        geometry.painted([], (10**6, 10**6))


def test_a_zigzag_that_would_take_too_long_is_refused() -> None:
    points = [[100 * (n % 2), 100 * n / 20_000] for n in range(20_000)]
    tall = [[y, x] for x, y in points]
    with pytest.raises(RegionError, match="crosses the rows of the image"):
        geometry.polygon(region("polygonlabels", points=tall), (1000, 1000))


@pytest.mark.parametrize(
    ("vertices", "words"),
    [
        (None, "got 0"),
        ([{"x": 1, "y": 1}], "got 1"),
        ([{"x": 1, "y": 1}, 7], "no object"),
        ([{"x": 1, "y": 1}, {"x": "2", "y": 0}], "x is '2'"),
    ],
)
def test_what_is_no_vector_is_named(vertices: Any, words: str) -> None:
    with pytest.raises(RegionError, match=words):
        geometry.vector(region("vectorlabels", vertices=vertices), (10, 10))


def test_a_vector_branches_where_its_vertices_say() -> None:
    vertices = [
        {"x": 0, "y": 0, "id": "a"},
        {"x": 50, "y": 0, "id": "b", "prevPointId": "a"},
        {"x": 0, "y": 50, "id": "c", "prevPointId": "a"},
    ]
    pieces, closed = geometry.vector(region("vectorlabels", vertices=vertices), (10, 20))
    assert not closed
    assert [piece.tolist() for piece in pieces] == [[[0, 0], [10, 0]], [[0, 0], [0, 5]]]
