import base64
import io
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from label_studio_sdk.converter.brush import mask2rle
from PIL import Image

from backend.project.tasks import TaskError
from backend.regions import geometry
from dgl_rsis.runs import from_runs

H, W = 40, 80
PERCENT = st.floats(0, 100)
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
    with pytest.raises(TaskError, match=r"The point at x .* lies outside the image"):
        geometry.point(region(x=x, y=y))


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", ["x", "y", "width", "height", "radiusX", "radiusY"])
def test_what_is_no_number_is_named(odd: Any, name: str) -> None:
    value = {"x": 1, "y": 1, "width": 9, "height": 9, "radiusX": 9, "radiusY": 9, name: odd}
    if not name.startswith("radius"):
        with pytest.raises(TaskError, match=f"The prompt's {name} is"):
            geometry.rectangle(region(**value))
    if name not in ("width", "height"):
        with pytest.raises(TaskError, match=f"The prompt's {name} is"):
            geometry.ellipse(region(**value))


@given(PERCENT, PERCENT, st.floats(0.1, 100), st.floats(0.1, 100), st.floats(-720, 720))
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
    found = geometry.rectangle(region(**value))
    assert found == pytest.approx(expected, abs=1e-9)


def test_a_quarter_turn_swaps_the_sides_in_pixels() -> None:
    # 40 × 10 pixels about (40, 10): it then reaches from x 30 to 40 and from y 10 to 50, cut at 40.
    value = {"x": 50, "y": 25, "width": 50, "height": 25, "rotation": 90}
    assert geometry.rectangle(region(**value)) == pytest.approx((0.375, 0.25, 0.5, 1))


def test_a_turned_ellipse_has_the_box_of_its_rim() -> None:
    value = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "rotation": 30}
    left, top, right, bottom = geometry.ellipse(region(**value))
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
    with pytest.raises(TaskError, match="no area inside the image"):
        geometry.rectangle(region(**value))


def test_a_turn_needs_the_size_of_the_image() -> None:
    value = {"x": 10, "y": 10, "width": 20, "height": 5, "rotation": 45}
    with pytest.raises(TaskError, match="how large its image is"):
        geometry.rectangle({"value": value})
    with pytest.raises(TaskError, match="rotation is not a number"):
        geometry.rectangle(region(**{**value, "rotation": "45"}))


def test_an_outline_is_its_corners() -> None:
    found = geometry.outline(region(points=[[0, 0], [50, 0], [50, 100]]))
    assert found == ((0, 0), (0.5, 0), (0.5, 1))
    filled = geometry.filled(((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)), (H, W))
    assert filled[20, 40]
    assert filled.sum() == pytest.approx(H * W / 4, rel=0.1)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (None, "got 0"),
        ([[0, 0], [1, 1]], "got 2"),
        ([[0, 0]] * 10_001, "got 10001"),
        ([[0, 0], [1, 1], [2, 2]], "no area"),
        ([[0, 0], [1, 1], [2]], "not a pair"),
        ([[0, 0], [1, 1], 7], "not a pair"),
        ([[0, 0], [1, 1], [200, 0]], "outside the image"),
        ([[0, 0], [1, 1], ["2", 0]], "x is '2'"),
    ],
)
def test_what_is_no_outline_is_named(points: Any, words: str) -> None:
    with pytest.raises(TaskError, match=words):
        geometry.outline(region(points=points))


def test_a_stroke_is_what_the_sdk_encodes() -> None:
    mask = np.zeros((H, W), dtype=np.uint8)
    mask[10:14, 20:60] = 255
    runs = geometry.strokes(region(format="rle", rle=list(mask2rle(mask))))
    np.testing.assert_array_equal(from_runs(runs), mask > 0)


def test_a_bitmask_is_painted_where_it_is_opaque() -> None:
    pixels = np.zeros((H, W, 4), dtype=np.uint8)
    pixels[10:14, 20:60, 3] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    runs = geometry.strokes(region(imageDataURL=url))
    np.testing.assert_array_equal(from_runs(runs), pixels[..., 3] > 0)


def test_touches_are_drawn_and_erased_in_their_order() -> None:
    line = {"type": "add", "relativePoints": [25, 50, 75, 50], "relativeStrokeWidth": 5}
    rubber = {"type": "eraser", "relativePoints": [50, 0, 50, 100], "relativeStrokeWidth": 5}
    painted = from_runs(geometry.strokes(region(touches=[line, rubber])))
    assert painted[20, 30]
    assert not painted[20, 40]
    assert not painted[5].any()
    assert from_runs(geometry.strokes(region(touches=[rubber, line])))[20, 40]


@pytest.mark.parametrize(
    ("stroke", "words"),
    [
        (region(), "is empty"),
        (region(rle=[1, 2, 3]), "cannot be read"),
        (region(rle="abc"), "cannot be read"),
        (region(rle=[300]), "cannot be read"),
        (region(imageDataURL="data:image/png;base64,AAAA"), "cannot be read"),
        (region(imageDataURL=7), "cannot be read"),
        (region(touches=[7]), "no line"),
        (region(touches=[{"relativePoints": [1, "2"]}]), "not a finite number"),
        (region(touches=[{"relativePoints": [1] * 3}]), "pairs of numbers"),
        (
            region(touches=[{"relativePoints": [1] * 200_002, "relativeStrokeWidth": 1}]),
            "more than",
        ),
        ({"value": {"rle": [0]}}, "how large its image is"),
        (
            {**region(imageDataURL="data:"), "original_width": 10**6, "original_height": 10**6},
            "more than",
        ),
        ({**region(touches=[]), "original_width": 10**6, "original_height": 10**6}, "more than"),
    ],
)
def test_what_is_no_stroke_is_named(stroke: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskError, match=words):
        geometry.strokes(stroke)
