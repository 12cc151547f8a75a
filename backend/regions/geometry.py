"""The numbers of one region: percent of the image → pixels, or shares where it only points.

A region comes from a browser or from whoever wrote the annotation, so no number in it is trusted:
whatever is no region raises a `RegionError` that names the value.

Rectangles and ellipses turn clockwise by `rotation` degrees in pixels, not in percent: a rectangle
about its corner at x and y, an ellipse about its centre. Sides that are negative, as those of a
rectangle drawn upwards may be, reach to the left of x and above y. What lies outside the image is
cut off, also where it is the corner of a polygon. An outline that crosses itself holds what is
inside it by the even-odd rule: of an eight, both parts.
"""

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.project.controls import form_named
from backend.regions import shapes
from backend.regions.shapes import Points, Size
from dgl_rsis import runs
from dgl_rsis.runs import Runs
from dgl_rsis.types import Json
from workers.messages import Point

Box = tuple[float, float, float, float]  # left, top, right, bottom

# A click on the border lands a little outside, by rounding and by the width of the marker.
TOLERANCE = 0.01  # share of the image
MOST_CROSSINGS = 2**24  # of an outline and the rows of its image: outlines drawn by hand have few
CURVE_STEPS = 32  # straight pieces that stand for one curve of a vector
MOST_PIXELS = 2**26  # of a mask that is drawn: 8192²
MOST_TOUCH_NUMBERS = 200_000
ERASER = "eraser"
LABELS = "labels"  # the kind of a label beside its shape: two results of one id


class RegionError(ValueError):
    """A region that cannot be read; the message says of it what is wrong ("its x is …")."""


def kind_of(region: Json) -> str:
    """Label Studio's type of a region, such as "brushlabels"; empty when it has none."""
    kind = region.get("type")
    return kind if isinstance(kind, str) else ""


def form_of(region: Json) -> str:
    """How it is drawn, such as "brush": its type, with labels or without."""
    return form_named(kind_of(region))


def value_of(region: Json) -> Json:
    """The region's geometry; empty when it has none."""
    value = region.get("value")
    return value if isinstance(value, dict) else {}


def size_of(region: Json) -> Size | None:
    """Height and width of the region's image, pixels; None when it does not say so."""
    height = _length(region.get("original_height"))
    width = _length(region.get("original_width"))
    return None if height is None or width is None else (height, width)


def point(region: Json) -> Point:
    """Where a keypoint lies: x and y, shares of the image, clipped to it.

    Raises:
        RegionError: no numbers, or further outside the image than `TOLERANCE`.
    """
    value = value_of(region)
    x, y = _share(value.get("x"), "x"), _share(value.get("y"), "y")
    if not all(-TOLERANCE <= each <= 1 + TOLERANCE for each in (x, y)):
        raise RegionError(f"its point at x {x:.1%}, y {y:.1%} lies outside the image")
    return min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)


def box(region: Json) -> Box:
    """The upright box around a rectangle or an ellipse, turned or not.

    Returns:
        Left, top, right and bottom, shares of the image, clipped to it.

    Raises:
        RegionError: no numbers, nothing of it inside the image, or turned in an image of unknown
            size.
    """
    size = size_of(region)
    if size is None and _turn(region):
        raise RegionError("it is turned, and does not say how large its image is")
    height, width = size or (1, 1)  # without a turn, any unit will do
    if form_of(region) == "ellipse":
        start, end = _around(*ellipse(region, (height, width)))
    else:
        corners = rectangle(region, (height, width))
        start, end = corners.min(axis=0), corners.max(axis=0)
    left, top = np.clip(start / (width, height), 0, 1).tolist()
    right, bottom = np.clip(end / (width, height), 0, 1).tolist()
    if not (left < right and top < bottom):
        raise RegionError("it has no area inside the image")
    return left, top, right, bottom


def rectangle(region: Json, size: Size) -> Points:
    """The corners of a rectangle, (4, 2) float64 XY, pixels.

    Raises:
        RegionError: no numbers, or no area.
    """
    origin, extent = _place(region, ("width", "height"), size)
    return shapes.rectangle(origin, extent, _turn(region))


def ellipse(region: Json, size: Size) -> tuple[Point, Point, float]:
    """Centre and radii of an ellipse, pixels, and its turn clockwise, radians.

    Raises:
        RegionError: no numbers, or no area.
    """
    return *_place(region, ("radiusX", "radiusY"), size), _turn(region)


def polygon(region: Json, size: Size) -> Points:
    """The corners of a polygon, (N, 2) float64 XY, pixels; they may lie outside the image.

    Raises:
        RegionError: fewer than three corners, what is no corner, no area, or a zigzag that would
            take too long to be drawn.
    """
    points = value_of(region).get("points")
    if not isinstance(points, list) or len(points) < 3:
        count = len(points) if isinstance(points, list) else 0
        raise RegionError(f"an outline has at least 3 corners, got {count}")
    if not all(isinstance(corner, list) and len(corner) == 2 for corner in points):
        raise RegionError("a corner of the outline is not a pair of numbers")
    return _outline(np.array([(_share(x, "x"), _share(y, "y")) for x, y in points]), size)


def vector(region: Json, size: Size) -> tuple[list[Points], bool]:
    """The paths of a vector: straight and curved pieces between its vertices.

    A vertex goes on from the one that it names, else from the one before it, so a vector may
    branch. Curves (Bézier, cubic) lead from one vertex to the next by the second control point of
    the one and the first of the other.

    Returns:
        Pieces, (N, 2) float64 XY, pixels, in order; whether they are the outline of an area.

    Raises:
        RegionError: fewer than two vertices, what is no vertex, or a closed one without area.
    """
    vertices = value_of(region).get("vertices")
    if not isinstance(vertices, list) or len(vertices) < 2:
        count = len(vertices) if isinstance(vertices, list) else 0
        raise RegionError(f"a vector has at least 2 vertices, got {count}")
    if not all(isinstance(vertex, dict) for vertex in vertices):
        raise RegionError("a vertex of it is no object")
    by_id = {vertex["id"]: vertex for vertex in vertices if isinstance(vertex.get("id"), str)}
    befores = [by_id.get(str(each.get("prevPointId"))) for each in vertices]
    pairs = [
        (before or vertices[number - 1], vertex)
        for number, (before, vertex) in enumerate(zip(befores, vertices, strict=True))
        if number or before
    ]
    closed = value_of(region).get("closed") is True and len(vertices) > 2
    if closed and not befores[0]:
        pairs.append((vertices[-1], vertices[0]))
    scale = np.array([size[1], size[0]])
    pieces: list[Points] = [_curve(*pair) * scale for pair in pairs]
    if closed:
        pieces = [_outline(np.concatenate([piece[:-1] for piece in pieces]) / scale, size)]
    return pieces, closed


def lines(pieces: list[Points], size: Size) -> Runs:
    """Lines of one pixel's width.

    Args:
        pieces: (N, 2) each, pixels.
        size: of the image, pixels.

    Raises:
        RegionError: too large an image.
    """
    check_drawable(size)
    plane = np.zeros(size, dtype=np.uint8)
    for piece in pieces:
        # What lies far outside would not fit OpenCV's coordinates, and cannot be seen.
        inside = np.clip(np.floor(piece), -(2**20), 2**20).astype(np.int32)
        cv2.polylines(plane, [inside], False, 1, 1)
    return runs.to_runs(plane.astype(np.bool_))


def painted(touches: list[Any], size: Size) -> Runs:
    """Lines of the brush and its eraser, drawn in their order.

    Args:
        touches: as a brush region holds them while it is being drawn.
        size: of the image, pixels.

    Raises:
        RegionError: too large an image, or no lines.
    """
    check_drawable(size)
    height, width = size
    plane = np.zeros(size, dtype=np.uint8)
    numbers = 0
    for touch in touches:
        if not isinstance(touch, dict):
            raise RegionError("a part of it is no line")
        line = _line(touch.get("relativePoints"))
        numbers += line.size
        if numbers > MOST_TOUCH_NUMBERS:
            raise RegionError(f"it has more than {MOST_TOUCH_NUMBERS // 2} points")
        thick = float(np.clip(_finite(touch.get("relativeStrokeWidth")), 0, 100))
        pixels = np.round(line * (width / 100, height / 100)).astype(np.int32)
        ink = 0 if touch.get("type") == ERASER else 1
        cv2.polylines(plane, [pixels], False, ink, max(1, round(thick * width / 100)))
    return runs.to_runs(plane.astype(np.bool_))


def check_drawable(size: Size) -> None:
    """See that an image is small enough to draw on.

    Raises:
        RegionError: it is not.
    """
    height, width = size
    if height * width > MOST_PIXELS:
        raise RegionError(
            f"{width} × {height} pixels are more than {MOST_PIXELS}: cut it into tiles"
        )


def _outline(shares: Points, size: Size) -> Points:
    """The corners of an area, from shares of the image to pixels.

    Raises:
        RegionError: no area, or a zigzag that would take too long to be drawn.
    """
    corners: Points = shares * (size[1], size[0])
    if np.linalg.matrix_rank(corners - corners[0]) < 2:
        raise RegionError("the outline has no area: all corners lie on one line")
    if (crossings := shapes.crossings(corners, size)) > MOST_CROSSINGS:
        raise RegionError(
            f"its outline crosses the rows of the image {crossings:,} times, more than "
            f"{MOST_CROSSINGS:,}: draw it with fewer turns, or with a brush"
        )
    return corners


def _curve(start: Json, end: Json) -> Points:
    """The piece from one vertex to the next, (N, 2), shares of the image.

    Raises:
        RegionError: no numbers.
    """
    ends = [_vertex(each) for each in (start, end)]
    if not (start.get("isBezier") or end.get("isBezier")):
        return np.array(ends)
    controls = [
        _vertex(held) if each.get("isBezier") and isinstance(held, dict) else own
        for each, own, held in (
            (start, ends[0], start.get("controlPoint2")),
            (end, ends[1], end.get("controlPoint1")),
        )
    ]
    t = np.linspace(0, 1, CURVE_STEPS + 1)[:, None]  # (N, 1)
    weights = (1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3
    points = (ends[0], *controls, ends[1])
    return np.asarray(
        sum(weight * np.array(point) for weight, point in zip(weights, points, strict=True)),
        dtype=np.float64,
    )


def _vertex(point: Json) -> tuple[float, float]:
    return _share(point.get("x"), "x"), _share(point.get("y"), "y")


def _around(centre: Point, radii: Point, turn: float) -> tuple[Points, Points]:
    """The upright box around an ellipse: its upper left and its lower right corner, (2,) each."""
    cosine, sine = math.cos(turn), math.sin(turn)
    axes = np.array([(cosine, sine), (-sine, cosine)]) * np.array(radii)[:, None]  # (2, 2)
    # The half-axes are conjugate: the box reaches as far as the root of their squares' sum.
    reach = np.sqrt((axes**2).sum(axis=0))
    return centre - reach, centre + reach


def _place(region: Json, names: tuple[str, str], size: Size) -> tuple[Point, Point]:
    """Position and extent, pixels.

    Args:
        region: a rectangle or an ellipse.
        names: what its extents along its own x and y are called.
        size: of the image, pixels.

    Raises:
        RegionError: no numbers, or no extent.
    """
    value, (height, width) = value_of(region), size
    x, y, across, down = (_share(value.get(name), name) for name in ("x", "y", *names))
    if not (across and down):
        raise RegionError(f"it has no area: its {names[0]} or {names[1]} is 0")
    return (x * width, y * height), (across * width, down * height)


def _turn(region: Json) -> float:
    """Clockwise, radians, [0, 2π).

    Raises:
        RegionError: no number.
    """
    turn = value_of(region).get("rotation")
    try:
        return 0.0 if turn is None else math.radians(_finite(turn) % 360)
    except RegionError:
        raise RegionError("its rotation is not a number of degrees") from None


def _line(numbers: Any) -> NDArray[np.float64]:
    """(N, 2) x and y, percent.

    Raises:
        RegionError: no list of pairs of numbers.
    """
    if not isinstance(numbers, list) or not numbers or len(numbers) % 2:
        raise RegionError("a line of it is no list of pairs of numbers")
    pairs = np.array([_finite(number) for number in numbers]).reshape(-1, 2)
    return np.clip(pairs, -100, 200)  # OpenCV's coordinates are small integers


def _share(percent: Any, name: str) -> float:
    """Percent of the image → share of it.

    Raises:
        RegionError: not a number, or one without end.
    """
    try:
        return _finite(percent) / 100
    except RegionError:
        shown = str(percent)[:20] if isinstance(percent, str | float) else type(percent).__name__
        raise RegionError(f"its {name} is '{shown}', not percent of the image") from None


def _finite(number: Any) -> float:
    """A number that one can compute with.

    Raises:
        RegionError: it is none.
    """
    # Beyond this, which an int of JSON may be, sums lose their fractions and products overflow.
    if isinstance(number, int | float) and not isinstance(number, bool) and abs(number) < 1e9:
        return float(number)
    raise RegionError("a number of it is not a finite number")


def _length(number: Any) -> int | None:
    """A number of pixels; None when it is none."""
    if isinstance(number, float) and number.is_integer():
        number = int(number)  # as programs that make annotations write it
    if isinstance(number, int) and not isinstance(number, bool) and 0 < number < 2**31:
        return number
    return None
