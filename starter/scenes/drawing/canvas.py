"""Painting with exact masks: antialiased stencils over pixels, owners and shadows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Points = NDArray[np.float64]  # (N, 2), x and y in pixels
Field = NDArray[np.float32]
Window = tuple[slice, slice]
Colour = tuple[float, float, float]  # 0-255
SHADOW: Colour = (0.36, 0.39, 0.45)  # sky light is blue: shadows lose less of it


@dataclass(frozen=True)
class Stencil:
    """How much of each pixel a shape covers.

    Attributes:
        window: rows and columns of the image that the shape may touch; empty when it is outside.
        alpha: (h, w) float32 in [0, 1] over that window.
    """

    window: Window
    alpha: Field

    def times(self, weight: Field | float) -> "Stencil":
        """The same shape with its coverage multiplied by a number or an (h, w) array."""
        return Stencil(self.window, self.alpha * np.float32(weight))


def fill(polygons: Sequence[Points], size: int, holes: Sequence[Points] = ()) -> Stencil:
    """Cover the union of the polygons, less the holes."""
    window, scale = _window(polygons, size, 1.0)
    return _draw(window, scale, polygons, holes)


def stroke(lines: Sequence[Points], widths: Sequence[float], size: int) -> Stencil:
    """Cover polylines; widths in pixels, one for each line. A hairline covers less than 1."""
    window, scale = _window(lines, size, max(widths, default=0.0) / 2 + 1)
    height, width = _extent(window)
    layer = Image.new("L", (width * scale, height * scale))
    draw = ImageDraw.Draw(layer)
    origin = np.array([window[1].start, window[0].start])
    for line, line_width in zip(lines, widths, strict=True):
        thick = line_width * scale
        ink = round(255 * min(1.0, thick))
        joint = "curve" if thick > 3 else None
        flat = ((line - origin) * scale - 0.5).ravel().tolist()
        draw.line(flat, fill=ink, width=max(1, round(thick)), joint=joint)
    return Stencil(window, _reduced(layer, scale))


def _window(shapes: Sequence[Points], size: int, margin: float) -> tuple[Window, int]:
    if not shapes:
        return (slice(0, 0), slice(0, 0)), 1
    points = np.concatenate(shapes)
    low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
    x0, y0 = (int(v) for v in np.clip(np.floor(low), 0, size))
    x1, y1 = (int(v) for v in np.clip(np.ceil(high), 0, size))
    if x1 <= x0 or y1 <= y0:
        return (slice(0, 0), slice(0, 0)), 1
    longest = max(x1 - x0, y1 - y0)
    scale = 4 if longest < 100 else 3 if longest < 200 else 2
    return (slice(y0, y1), slice(x0, x1)), scale


def _extent(window: Window) -> tuple[int, int]:
    rows, columns = window
    return rows.stop - rows.start, columns.stop - columns.start


def _draw(
    window: Window, scale: int, polygons: Sequence[Points], holes: Sequence[Points]
) -> Stencil:
    height, width = _extent(window)
    layer = Image.new("L", (width * scale, height * scale))
    if height:
        draw = ImageDraw.Draw(layer)
        origin = np.array([window[1].start, window[0].start])
        for shapes, ink in ((polygons, 255), (holes, 0)):
            for shape in shapes:
                # Pillow also inks the outline: half a sub-pixel back keeps the area unbiased.
                draw.polygon(((shape - origin) * scale - 0.5).ravel().tolist(), fill=ink)
    return Stencil(window, _reduced(layer, scale))


def _reduced(layer: Image.Image, scale: int) -> Field:
    if 0 in layer.size:
        return np.zeros((0, 0), np.float32)
    return np.asarray(layer.reduce(scale), np.float32) * np.float32(1 / 255)


class Canvas:
    """The image under work.

    Attributes:
        pixels: (H, W, 3) float32, 0-255, may overshoot until the sensor clips.
        owners: (H, W) int32, number of the object seen at each pixel; 0 = unlabelled.
        labels: label of each object; labels[0] is the unlabelled ground's "".
        attributes: attributes of each object.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.pixels = np.zeros((size, size, 3), np.float32)
        self.owners = np.zeros((size, size), np.int32)
        self.labels: list[str] = [""]
        self.attributes: list[dict[str, str]] = [{}]
        self._shadow = np.zeros((size, size), np.float32)

    def add(self, label: str, **attributes: str) -> int:
        """Register an object and return its number, for `paint`."""
        self.labels.append(label)
        self.attributes.append(attributes)
        return len(self.labels) - 1

    def paint(self, stencil: Stencil, colour: Colour | Field, owner: int | None = None) -> None:
        """Lay a colour, or an (h, w, 3) texture, over the stencil.

        With an owner, pixels that are mostly covered become the owner's (0: nobody's) and stand in
        the sun; without one the paint is a mark on whatever is there.
        """
        window, alpha = stencil.window, stencil.alpha
        pixels = self.pixels[window]
        pixels += alpha[:, :, None] * (np.asarray(colour, np.float32) - pixels)
        if owner is not None:
            self.owners[window][alpha > 0.5] = owner
            self._shadow[window] *= 1 - alpha

    def brighten(self, stencil: Stencil, amount: float) -> None:
        """Add an amount (0-255, may be negative) to what is under the stencil."""
        self.pixels[stencil.window] += np.float32(amount) * stencil.alpha[:, :, None]

    def shade(self, stencil: Stencil, depth: float = 1.0) -> None:
        """Cast a shadow; shadows that overlap do not darken twice."""
        old = self._shadow[stencil.window]
        new = np.maximum(old, stencil.alpha * np.float32(depth))
        loss = 1 - np.asarray(SHADOW, np.float32)
        pixels = self.pixels[stencil.window]
        pixels *= (1 - new[:, :, None] * loss) / (1 - old[:, :, None] * loss)
        self._shadow[stencil.window] = new
