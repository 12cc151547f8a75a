"""The place under work: its frame, light, materials and what may be drawn."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from starter.scenes.drawing.canvas import Canvas, Colour, Field, Points, Stencil, fill, stroke
from starter.scenes.drawing.palettes import PAINTS, Biome, varied
from starter.scenes.drawing.textures import Surface, Textures

T = TypeVar("T")
Rectangle = tuple[float, float, float, float]  # u0, v0, u1, v1 in metres


@dataclass(frozen=True)
class Frame:
    """From plan coordinates (u, v), in metres, to pixels.

    Streets are planned on a straight grid; the frame turns it, and may bend it into waves or around
    a centre, so that curved quarters need no planning of their own.

    Attributes:
        size: pixels.
        gsd: metres per pixel.
        angle: radians.
        wave: metres by which lines swing; wavelength in metres; two phases.
        radius: metres to the centre around which lines run; None for none.
    """

    size: int
    gsd: float
    angle: float
    wave: tuple[float, float, float, float] = (0.0, 1.0, 0.0, 0.0)
    radius: float | None = None

    @property
    def reach(self) -> float:
        """Metres from the centre to a corner."""
        return self.size * self.gsd * 0.71

    def to_pixels(self, plan: NDArray[np.float64]) -> Points:
        """(N, 2) plan metres → (N, 2) pixels."""
        u, v = plan[:, 0], plan[:, 1]
        if self.radius is not None:
            turn = v / self.radius
            u, v = (self.radius + u) * np.cos(turn) - self.radius, (self.radius + u) * np.sin(turn)
        else:
            swing, length, first, second = self.wave
            u, v = (
                u + swing * np.sin(2 * np.pi * v / length + first),
                v + swing * np.sin(2 * np.pi * u / length + second),
            )
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        x = (u * cosine - v * sine) / self.gsd + self.size / 2
        y = (u * sine + v * cosine) / self.gsd + self.size / 2
        return np.stack([x, y], axis=1)

    def at(self, u: float, v: float) -> tuple[Points, float]:
        """Pixel (2,) of a plan position, and the angle of the u axis there."""
        here, ahead = self.to_pixels(np.array([[u, v], [u + 0.5, v]]))
        step = ahead - here
        return here, float(np.arctan2(step[1], step[0]))

    def outline(self, area: Rectangle) -> Points:
        """Pixels of the outline of a plan rectangle, bent as the frame is."""
        u0, v0, u1, v1 = area
        corners = np.array([[u0, v0], [u1, v0], [u1, v1], [u0, v1], [u0, v0]])
        return self.to_pixels(densified(corners, 8))


def densified(line: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """The polyline with `steps` points on each of its segments."""
    shares = np.linspace(0, 1, steps, endpoint=False)[:, None]
    parts = [a + shares * (b - a) for a, b in itertools.pairwise(line)]
    return np.concatenate([*parts, line[-1:]])


@dataclass
class Site:
    """Everything that a drawing function needs.

    Attributes:
        rng: the scene's only source of chance.
        canvas, frame, textures, biome: see there.
        sun: (2,) pixels by which the shadow of a thing one metre high is thrown.
        lean: (2,) pixels by which a point one metre high is displaced (the camera is not quite
            overhead).
        labels: what may be drawn.
        blocked: (H, W) bool, where nothing may be built: water, roundabouts.
        standing: things to draw once the ground is finished, with their heights in metres.
    """

    rng: np.random.Generator
    canvas: Canvas
    frame: Frame
    textures: Textures
    biome: Biome
    sun: Points
    lean: Points
    labels: frozenset[str]
    blocked: NDArray[np.bool_]
    standing: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    forest: tuple[Field, Field] | None = None
    paints: dict[str, Colour] = field(default_factory=dict)

    @property
    def gsd(self) -> float:
        """Metres per pixel."""
        return self.frame.gsd

    @property
    def size(self) -> int:
        """Pixels."""
        return self.frame.size

    def chance(self, probability: float) -> bool:
        """Toss a coin."""
        return bool(self.rng.random() < probability)

    def pick(self, weights: Mapping[T, float]) -> T:
        """Draw a key by its weight."""
        keys, shares = list(weights), np.cumsum(list(weights.values()))
        return keys[int(np.searchsorted(shares, self.rng.random() * shares[-1], side="right"))]

    def one(self, items: Sequence[T]) -> T:
        """Draw an item."""
        return items[int(self.rng.integers(len(items)))]

    def paint_of(self, word: str, amount: float = 7.0) -> Colour:
        """A shade of a paint."""
        return varied(self.rng, self.one(PAINTS[word]), amount)

    def place(self, local: NDArray[np.float64], at: Points, angle: float) -> Points:
        """(N, 2) metres in a thing's own axes → (N, 2) pixels."""
        cosine, sine = np.cos(angle), np.sin(angle)
        x = (local[:, 0] * cosine - local[:, 1] * sine) / self.gsd + at[0]
        y = (local[:, 0] * sine + local[:, 1] * cosine) / self.gsd + at[1]
        return np.stack([x, y], axis=1)

    def fill(self, polygons: Sequence[Points], holes: Sequence[Points] = ()) -> Stencil:
        """Stencil of polygons."""
        return fill(polygons, self.size, holes)

    def stroke(self, lines: Sequence[Points], metres: Sequence[float]) -> Stencil:
        """Stencil of lines as wide as given in metres."""
        return stroke(lines, [m / self.gsd for m in metres], self.size)

    def lay(self, stencil: Stencil, surface: Surface, owner: int | None = None) -> None:
        """Paint a surface."""
        offset = (int(self.rng.integers(96)), int(self.rng.integers(96)))
        self.canvas.paint(stencil, self.textures.render(surface, stencil.window, offset), owner)

    def is_free(self, polygon: Points) -> bool:
        """Whether no corner, edge middle or centre of it is blocked."""
        middles = (polygon + np.roll(polygon, 1, axis=0)) / 2
        points = np.concatenate([polygon, middles, polygon.mean(axis=0, keepdims=True)])
        x, y = points.astype(np.intp).T
        inside = (x >= 0) & (y >= 0) & (x < self.size) & (y < self.size)
        return not self.blocked[y[inside], x[inside]].any()

    def is_visible(self, polygon: Points) -> bool:
        """Whether its box touches the image."""
        low, high = polygon.min(axis=0), polygon.max(axis=0)
        return bool((high > 0).all() and (low < self.size).all())

    def stand(self, height: float, draw: Callable[[], None]) -> None:
        """Draw later: lower things first, so that higher ones hide and shade them."""
        self.standing.append((height, draw))

    def cast(self, polygons: Sequence[Points], height: float) -> None:
        """Cast the shadow of upright walls over the polygons, `height` metres high."""
        shift = self.sun * height
        if np.hypot(*shift) >= 0.7:
            self.canvas.shade(self.fill(swept(polygons, shift)))


def swept(polygons: Sequence[Points], shift: Points) -> list[Points]:
    """Polygons that together cover what the given convex ones pass over when they are shifted."""
    across = np.array([-shift[1], shift[0]])
    parts: list[Points] = []
    for polygon in polygons:
        # The silhouette along the shift is bounded by the two points that lie farthest across it.
        far = polygon @ across
        sides = polygon[[int(far.argmin()), int(far.argmax())]]
        parts += [polygon, polygon + shift, np.concatenate([sides, (sides + shift)[::-1]])]
    return parts


def rectangle(length: float, width: float, x: float = 0.0, y: float = 0.0) -> Points:
    """Corners (4, 2) of a rectangle around (x, y), length along x."""
    a, b = length / 2, width / 2
    return np.array([[x - a, y - b], [x + a, y - b], [x + a, y + b], [x - a, y + b]])


def ellipse(length: float, width: float, x: float = 0.0, y: float = 0.0, n: int = 28) -> Points:
    """Points (n, 2) of an ellipse around (x, y)."""
    turn = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([x + length / 2 * np.cos(turn), y + width / 2 * np.sin(turn)], axis=1)
