"""Textures: fractal noise, surfaces made of it, and forest canopy."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from starter.scenes.drawing.canvas import Colour, Field, Points, Window

MARGIN = (
    96  # fields are larger than the image, so that each surface can read them at its own offset
)


@dataclass(frozen=True)
class Stripes:
    """Parallel lines: furrows, roof sheets, waves.

    Attributes:
        period: pixels from line to line.
        angle: radians, direction across the lines.
        strength: amplitude, 0-255.
        wobble: pixels by which the noise bends the lines.
    """

    period: float
    angle: float
    strength: float
    wobble: float = 0.0


@dataclass(frozen=True)
class Surface:
    """A material seen from above.

    Attributes:
        colour: mean colour.
        tint: second colour, laid in large soft patches.
        patches: share of the second colour where the patches are strongest, [0, 1].
        mottle, grain, relief: amplitudes (0-255) of noise some metres wide, of noise about a pixel
            wide, and of bumps lit by the sun.
        stripes: lines on it, if any.
    """

    colour: Colour
    tint: Colour | None = None
    patches: float = 0.5
    mottle: float = 4.0
    grain: float = 3.0
    relief: float = 0.0
    stripes: Stripes | None = None


@dataclass(frozen=True)
class Textures:
    """Noise fields of one scene, each (S + MARGIN)² float32 with mean 0 and deviation 1."""

    coarse: Field
    medium: Field
    fine: Field
    grain: Field
    relief: Field

    @classmethod
    def draw(cls, rng: np.random.Generator, size: int, gsd: float, sun: Points) -> "Textures":
        """Make the fields for `size` pixels at `gsd` metres; `sun` (2,) points to the light."""
        side = size + MARGIN
        coarse = fractal(rng, side, side / rng.uniform(1.5, 5), 6, 0.6)
        medium = fractal(rng, side, min(12 / gsd, side / 4), 5, 0.65)
        fine = fractal(rng, side, 3.0, 2, 0.8)
        grain = rng.standard_normal((side, side), dtype=np.float32)
        ridges = coarse * 4 + medium
        relief = lit(ridges, float(sun[0]), float(sun[1])) + 0.15 * fine
        return cls(coarse, medium, fine, grain, relief / relief.std())

    def render(self, surface: Surface, window: Window, offset: tuple[int, int]) -> Field:
        """The surface in a window of the image: (h, w, 3) float32."""
        view = tuple(
            slice(s.start + o % MARGIN, s.stop + o % MARGIN)
            for s, o in zip(window, offset, strict=True)
        )
        tone = self.medium[view] * np.float32(surface.mottle)
        tone += self.fine[view] * np.float32(surface.grain)
        tone += self.grain[view] * np.float32(surface.grain * 0.7)
        if surface.relief:
            tone += self.relief[view] * np.float32(surface.relief)
        if surface.stripes:
            tone += self._stripes(surface.stripes, window, self.medium[view])
        base = np.asarray(surface.colour, np.float32)
        texture: Field = base * (1 + tone[:, :, None] / np.float32(max(base.mean(), 40.0)))
        if surface.tint is not None:
            share = np.clip(self.coarse[view] * 0.6 + self.medium[view] * 0.25 + 0.5, 0, 1)
            share *= np.float32(surface.patches)
            texture += share[:, :, None] * (np.asarray(surface.tint, np.float32) - base)
        return texture

    @staticmethod
    def _stripes(stripes: Stripes, window: Window, noise: Field) -> Field:
        y = np.arange(window[0].start, window[0].stop, dtype=np.float32)[:, None]
        x = np.arange(window[1].start, window[1].stop, dtype=np.float32)[None, :]
        along = x * np.float32(np.cos(stripes.angle)) + y * np.float32(np.sin(stripes.angle))
        if stripes.wobble:
            along = along + noise * np.float32(stripes.wobble)
        wave = np.sin(along * np.float32(2 * np.pi / stripes.period))
        return wave * np.float32(stripes.strength)


def fractal(rng: np.random.Generator, side: int, cell: float, octaves: int, gain: float) -> Field:
    """Fractal noise: a sum of random grids, each twice as fine as the one before.

    Args:
        rng: source of chance.
        side: pixels.
        cell: pixels between the nodes of the first grid.
        octaves: grids at most; a grid finer than the pixels is left out.
        gain: strength of each grid relative to the one before.

    Returns:
        (side, side) float32, mean 0, standard deviation 1.
    """
    total = np.zeros((side, side), np.float32)
    strength = 1.0
    for _ in range(octaves):
        total += np.float32(strength) * enlarged(rng, side, cell)
        cell, strength = cell / 2, strength * gain
        if cell < 1.5:
            break
    total -= total.mean()
    total /= total.std()
    return total


def enlarged(rng: np.random.Generator, side: int, cell: float) -> Field:
    """Smooth noise: a random grid with `cell` pixels between nodes, resized to (side, side)."""
    cells = side / cell
    nodes = int(cells) + 4
    grid = rng.standard_normal((nodes, nodes), dtype=np.float32)
    x, y = rng.uniform(1.0, 2.0, 2)
    box = (x, y, x + cells, y + cells)
    return np.asarray(
        Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC, box), np.float32
    )


def lit(heights: Field, x: float, y: float) -> Field:
    """Slopes towards the light: derivative of the heights along the direction (x, y)."""
    slope = np.zeros_like(heights)
    slope[:, 1:-1] += np.float32(x) * (heights[:, 2:] - heights[:, :-2])
    slope[1:-1] += np.float32(y) * (heights[2:] - heights[:-2])
    return slope


def canopy(rng: np.random.Generator, size: int, crown: float) -> tuple[Field, Field]:
    """Crowns of a closed forest: domes on a jittered grid.

    Computed at half resolution (the sensor would blur more anyway).

    Args:
        rng: source of chance.
        size: pixels.
        crown: mean diameter of a crown in pixels.

    Returns:
        heights (size, size) float32, 1 at the tallest tops and below 0 in the gaps; tones
        (size, size) float32 in [0, 1], one value for each tree.
    """
    side, cell = size // 2, max(crown / 2, 1.6)
    nodes = int(side / cell) + 4
    jitter = rng.random((nodes, nodes, 2), dtype=np.float32)
    tops = rng.uniform(0.55, 1.0, (nodes, nodes)).astype(np.float32)
    tree_tones = rng.random((nodes, nodes), dtype=np.float32)
    position = np.arange(side, dtype=np.float32) / np.float32(cell) + 1
    index = position.astype(np.intp)
    heights = np.full((side, side), -1, np.float32)
    tones = np.zeros((side, side), np.float32)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            at = np.ix_(index + dy, index + dx)
            x = position[None, :] - (index + dx)[None, :] - jitter[(*at, 0)]
            y = position[:, None] - (index + dy)[:, None] - jitter[(*at, 1)]
            dome = tops[at] - (x * x + y * y).astype(np.float32)
            higher = dome > heights
            np.copyto(heights, dome, where=higher)
            np.copyto(tones, tree_tones[at], where=higher)
    return _doubled(heights, size), _doubled(tones, size)


def _doubled(half: Field, size: int) -> Field:
    image = Image.fromarray(half).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image, np.float32)
