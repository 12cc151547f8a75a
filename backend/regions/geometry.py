"""Geometry of Label Studio's regions: percent of the image → shares of its width and height.

A region comes from a browser or from whoever wrote the annotation, so no number in it is trusted:
whatever is no prompt raises a `TaskError` that names the value.

Rectangles and ellipses turn clockwise by `rotation` degrees in pixels, not in percent: a rectangle
about its upper left corner, an ellipse about its centre.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.project.tasks import TaskError
from backend.regions import bitmask, brush
from dgl_rsis import runs
from dgl_rsis.runs import Runs
from dgl_rsis.types import Mask
from workers.messages import Point

Region = Mapping[str, Any]
Box = tuple[float, float, float, float]

# A click on the border lands a little outside, by rounding and by the width of the marker.
TOLERANCE = 0.01  # share of the image
MOST_CORNERS = 10_000
MOST_PIXELS = 2**26  # of a mask that is drawn: 8192²
MOST_TOUCH_NUMBERS = 200_000
ERASER = "eraser"


def value_of(region: Region) -> Mapping[str, Any]:
    """The region's geometry; empty when it has none."""
    value = region.get("value")
    return value if isinstance(value, Mapping) else {}


def size_of(region: Region) -> tuple[int, int] | None:
    """Height and width of the region's image, pixels; None when it does not say so."""
    height = _length(region.get("original_height"))
    width = _length(region.get("original_width"))
    return None if height is None or width is None else (height, width)


def point(region: Region) -> Point:
    """Where a keypoint lies, clipped to the image.

    Raises:
        TaskError: no numbers, or outside the image.
    """
    value = value_of(region)
    return _inside(_share(value.get("x"), "x"), _share(value.get("y"), "y"), "The point")


def rectangle(region: Region) -> Box:
    """The upright box around a rectangle, turned or not, clipped to the image.

    Raises:
        TaskError: no numbers, no area, or nothing of it inside the image.
    """
    value = value_of(region)
    names = ("x", "y", "width", "height")
    left, top, width, height = (_share(value.get(name), name) for name in names)
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]])
    turned = np.array([left, top]) + _turned(corners, _degrees(value), region)
    return _clipped(turned.min(axis=0), turned.max(axis=0))


def ellipse(region: Region) -> Box:
    """The upright box around an ellipse, turned or not, clipped to the image.

    Raises:
        TaskError: no numbers, no area, or nothing of it inside the image.
    """
    value = value_of(region)
    names = ("x", "y", "radiusX", "radiusY")
    x, y, across, down = (_share(value.get(name), name) for name in names)
    # The half-axes are conjugate: the box reaches as far as the root of their squares' sum.
    axes = _turned(np.array([[across, 0], [0, down]]), _degrees(value), region)
    reach = np.sqrt((axes**2).sum(axis=0))
    centre = np.array([x, y])
    return _clipped(centre - reach, centre + reach)


def outline(region: Region) -> tuple[Point, ...]:
    """The corners of a polygon, clipped to the image.

    Raises:
        TaskError: fewer than three corners, too many, no area, or one outside the image.
    """
    corners = value_of(region).get("points")
    if not isinstance(corners, list) or not 3 <= len(corners) <= MOST_CORNERS:
        count = len(corners) if isinstance(corners, list) else 0
        raise TaskError(f"An outline has 3 to {MOST_CORNERS} corners, got {count}.")
    found = []
    for corner in corners:
        if not isinstance(corner, list) or len(corner) != 2:
            raise TaskError("A corner of the outline is not a pair of numbers.")
        x, y = _share(corner[0], "x"), _share(corner[1], "y")
        found.append(_inside(x, y, "A corner of the outline"))
    if cv2.contourArea(np.array(found, dtype=np.float32)) <= 0:
        raise TaskError("The outline has no area: draw it around the object.")
    return tuple(found)


def strokes(region: Region) -> Runs:
    """What was painted with the brush, or into a bitmask.

    Label Studio sends a brush's run lengths and a bitmask's PNG; while a brush region is being
    drawn, its parts are `touches`.

    Raises:
        TaskError: no size, nothing painted, or run lengths that cannot be read.
    """
    size, value = size_of(region), value_of(region)
    if size is None:
        raise TaskError("The brush stroke does not say how large its image is.")
    try:
        if value.get("rle"):
            painted = brush.decode(value["rle"], *size)
        elif value.get("imageDataURL"):
            _check_size(*size)
            painted = bitmask.decode(value["imageDataURL"], *size)
        else:
            painted = runs.to_runs(_drawn(value.get("touches"), size))
    except bitmask.UNREADABLE as error:
        raise TaskError(f"The brush stroke cannot be read: {error}.") from None
    if not runs.area(painted):
        raise TaskError("The brush stroke is empty: paint over the object.")
    return painted


def filled(corners: Sequence[Point], size: tuple[int, int]) -> Mask:
    """The inside of an outline: (H, W) bool.

    Args:
        corners: shares of the width and height.
        size: H and W, pixels; at most `MOST_PIXELS` in all.
    """
    drawn = np.zeros(size, dtype=np.uint8)
    # Pixel centres lie half a pixel inside their corners.
    pixels = np.array(corners) * (size[1], size[0]) - 0.5
    cv2.fillPoly(drawn, [np.round(pixels).astype(np.int32)], 1)
    return drawn.astype(np.bool_)


def _drawn(touches: Any, size: tuple[int, int]) -> Mask:
    """Lines of the brush and its eraser, in their order: (H, W) bool.

    Raises:
        ValueError: too large an image, or no lines.
    """
    height, width = size
    _check_size(height, width)
    plane = np.zeros(size, dtype=np.uint8)
    numbers = 0
    for touch in touches if isinstance(touches, list) else []:
        if not isinstance(touch, Mapping):
            raise ValueError("a part of it is no line")
        line = _line(touch.get("relativePoints"))
        numbers += line.size
        if numbers > MOST_TOUCH_NUMBERS:
            raise ValueError(f"it has more than {MOST_TOUCH_NUMBERS // 2} points")
        thick = float(np.clip(_finite(touch.get("relativeStrokeWidth")), 0, 100))
        pixels = np.round(line * (width / 100, height / 100)).astype(np.int32)
        ink = 0 if touch.get("type") == ERASER else 1
        cv2.polylines(plane, [pixels], False, ink, max(1, round(thick * width / 100)))
    return plane.astype(np.bool_)


def _check_size(height: int, width: int) -> None:
    if height * width > MOST_PIXELS:
        raise ValueError(f"{width} × {height} pixels are more than {MOST_PIXELS}")


def _line(numbers: Any) -> NDArray[np.float64]:
    """(N, 2) x and y, percent.

    Raises:
        ValueError: no list of pairs of numbers.
    """
    if not isinstance(numbers, list) or not numbers or len(numbers) % 2:
        raise ValueError("a line of it is no list of pairs of numbers")
    pairs = np.array([_finite(number) for number in numbers]).reshape(-1, 2)
    return np.clip(pairs, -100, 200)  # OpenCV's coordinates are small integers


def _turned(vectors: NDArray[np.float64], degrees: float, region: Region) -> NDArray[np.float64]:
    """(N, 2) vectors in shares of the image, turned clockwise in its pixels.

    Raises:
        TaskError: it is turned, and the size of the image is unknown.
    """
    if degrees % 360 == 0:
        return vectors
    size = size_of(region)
    if size is None:
        raise TaskError("The turned region does not say how large its image is.")
    pixels = vectors * (size[1], size[0])
    angle = math.radians(degrees % 360)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    turned: NDArray[np.float64] = pixels @ turn / (size[1], size[0])
    return turned


def _clipped(start: NDArray[np.float64], end: NDArray[np.float64]) -> Box:
    left, top = (float(each) for each in np.clip(start, 0, 1))
    right, bottom = (float(each) for each in np.clip(end, 0, 1))
    if not (left < right and top < bottom):
        raise TaskError(
            "The box has no area inside the image: draw it from corner to corner around the object."
        )
    return left, top, right, bottom


def _inside(x: float, y: float, whose: str) -> Point:
    """The point, moved to the border when it lies just outside.

    Raises:
        TaskError: it lies further out than `TOLERANCE`.
    """
    if not all(-TOLERANCE <= each <= 1 + TOLERANCE for each in (x, y)):
        raise TaskError(f"{whose} at x {x:.1%}, y {y:.1%} lies outside the image.")
    return min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)


def _share(percent: Any, name: str) -> float:
    """A share of the image.

    Raises:
        TaskError: not a number, or one without end.
    """
    try:
        return _finite(percent) / 100
    except ValueError:
        shown = str(percent)[:20] if isinstance(percent, str | float) else type(percent).__name__
        raise TaskError(f"The prompt's {name} is '{shown}', not percent of the image.") from None


def _degrees(value: Mapping[str, Any]) -> float:
    turn = value.get("rotation")
    try:
        return 0.0 if turn is None else _finite(turn)
    except ValueError:
        raise TaskError("The prompt's rotation is not a number of degrees.") from None


def _finite(number: Any) -> float:
    """A number that one can compute with.

    Raises:
        ValueError: it is none.
    """
    # Beyond this, which an int of JSON may be, sums lose their fractions and products overflow.
    if isinstance(number, int | float) and not isinstance(number, bool) and abs(number) < 1e9:
        return float(number)
    raise ValueError("not a finite number")


def _length(number: Any) -> int | None:
    """A number of pixels; None when it is none."""
    if isinstance(number, int) and not isinstance(number, bool) and 0 < number < 2**31:
        return number
    return None
