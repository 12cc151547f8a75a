"""Buildings: footprints of many shapes, flat, gabled, hipped and sheet roofs, towers, shadows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from starter.scenes.drawing.canvas import Colour, Field, Points, Stencil, Window
from starter.scenes.drawing.site import Site, ellipse, rectangle, swept
from starter.scenes.drawing.textures import Stripes, Surface


@dataclass(frozen=True)
class Building:
    """A building to be drawn.

    Attributes:
        parts: convex parts of the footprint, pixels.
        holes: courtyards, pixels.
        angle: radians, direction of the ridge.
        height: metres.
        roof: "flat", "gabled", "hipped" or "sheet".
        paint: word for its colour.
        colour: 0-255.
    """

    parts: tuple[Points, ...]
    holes: tuple[Points, ...]
    angle: float
    height: float
    roof: str
    paint: str
    colour: Colour


def add_building(
    site: Site,
    at: Points,
    angle: float,
    length: float,
    width: float,
    height: float,
    roof: str = "flat",
    shape: str | None = None,
    paint: str | None = None,
) -> bool:
    """Plan a building to stand at a pixel; sizes in metres. False where it would not fit."""
    outline = site.place(rectangle(length, width), at, angle)
    reach = np.concatenate([outline, outline + site.sun * height])
    if "building" not in site.labels or not site.is_visible(reach) or not site.is_free(outline):
        return False
    shape = shape or site.pick(
        {"rectangle": 5, "L": 3, "T": 1.2, "U": 1.2, "court": 0.6, "steps": 2, "round": 0.15}
    )
    parts, holes = footprint(site, shape, length, width)
    word = paint or site.pick(site.biome.roofs)
    # Neighbours of one estate are painted alike: the shade is drawn once per word and scene.
    base = site.paints.setdefault(word, site.paint_of(word))
    colour = base if site.chance(0.5) else site.paint_of(word, 10)
    building = Building(
        tuple(site.place(p, at, angle) for p in parts),
        tuple(site.place(p, at, angle) for p in holes),
        angle if length >= width else angle + np.pi / 2,
        height,
        roof,
        word,
        colour,
    )
    site.stand(height, lambda: draw_building(site, building))
    return True


def footprint(
    site: Site, shape: str, length: float, width: float
) -> tuple[list[Points], list[Points]]:
    """Convex parts and holes of a footprint inside length × width metres, around the origin."""
    a, b = length, width
    wing = site.rng.uniform(0.3, 0.5)
    if shape == "L":
        return [rectangle(a, b * wing, 0, b * (wing - 1) / 2), _end(a, b, wing, -1)], []
    if shape == "T":
        return [rectangle(a, b * wing, 0, b * (wing - 1) / 2), rectangle(a * wing, b)], []
    if shape == "U":
        bar = rectangle(a, b * wing, 0, b * (wing - 1) / 2)
        return [bar, _end(a, b, wing * 0.8, -1), _end(a, b, wing * 0.8, 1)], []
    if shape == "court":
        return [rectangle(a, b)], [rectangle(a * (1 - wing), b * (1 - wing))]
    if shape == "round":
        return [ellipse(min(a, b), min(a, b))], []
    if shape == "steps":
        parts = []
        for _ in range(int(site.rng.integers(2, 5))):
            w, h = site.rng.uniform(0.4, 0.8, 2) * (a, b)
            x, y = site.rng.uniform(-0.5, 0.5, 2) * (a - w, b - h)
            parts.append(rectangle(w, h, x, y))
        return [*parts, rectangle(a * 0.6, b * 0.6)], []
    return [rectangle(a, b)], []


def _end(a: float, b: float, wing: float, side: int) -> Points:
    return rectangle(a * wing, b, side * a * (1 - wing) / 2, 0)


def draw_building(site: Site, building: Building) -> None:
    """Shadow, walls of towers seen from the side, roof and what stands on it."""
    site.cast(building.parts, building.height)
    owner = site.canvas.add("building", colour=building.paint, kind=building.roof)
    shift = site.lean * building.height
    if np.hypot(*shift) >= 1.5:
        _draw_walls(site, building, shift, owner)
    parts = [p + shift for p in building.parts]
    roof = site.fill(parts, [h + shift for h in building.holes])
    if roof.alpha.size == 0:
        return
    sheet = building.roof == "sheet"
    stripes = Stripes(max(1.1 / site.gsd, 2.2), building.angle, 3.5) if sheet else None
    grain = site.rng.uniform(1, 4)
    site.lay(roof, Surface(building.colour, None, 0, 3.0, grain, stripes=stripes), owner)
    if building.roof in ("gabled", "hipped"):
        for part in parts[:3]:
            _draw_slopes(site, building, part)
    else:
        _draw_parapet(site, roof)
        _draw_fittings(site, building, parts, roof)


def _draw_walls(site: Site, building: Building, shift: Points, owner: int) -> None:
    """Façades of a tall building, with dark bands of windows floor by floor."""
    walls = site.fill(swept(building.parts, shift))
    wall = tuple(c * 0.55 for c in building.colour)
    across = float(np.arctan2(shift[1], shift[0]))
    storey = float(np.hypot(*shift)) / building.height * 3.4
    bands = Stripes(max(storey, 2.2), across, 12)
    site.lay(walls, Surface((wall[0], wall[1], wall[2]), grain=5, stripes=bands), owner)


def _draw_slopes(site: Site, building: Building, part: Points) -> None:
    """Light and dark sides of a pitched roof; a hipped one has four, a gabled one two."""
    if len(part) != 4:
        return
    sides = np.hypot(*(np.roll(part, -1, axis=0) - part).T)
    corners = part if sides[0] >= sides[1] else np.roll(part, -1, axis=0)
    plain = building.roof == "gabled" or sides.min() < 8  # pixels: hips would not be seen
    inset = 0.0 if plain else min(0.45, sides.min() / sides.max() / 2)
    start, end = (corners[0] + corners[3]) / 2, (corners[1] + corners[2]) / 2
    ridge = start + inset * (end - start), end - inset * (end - start)
    faces = [
        np.stack([corners[0], corners[1], ridge[1], ridge[0]]),
        np.stack([corners[2], corners[3], ridge[0], ridge[1]]),
    ]
    if inset:
        faces += [
            np.stack([corners[1], corners[2], ridge[1]]),
            np.stack([corners[3], corners[0], ridge[0]]),
        ]
    sunward = -site.sun / max(float(np.hypot(*site.sun)), 1e-6)
    middle = part.mean(axis=0)
    strength = 0.24 * sum(building.colour) / 3
    for face in faces:
        out = face[:2].mean(axis=0) - middle
        light = float(out @ sunward / max(np.hypot(*out), 1e-6))
        site.canvas.brighten(site.fill([face]), strength * light)
    if site.gsd < 0.7:
        site.canvas.brighten(site.stroke([np.stack(ridge)], [0.35]).times(0.6), 22)


def _draw_parapet(site: Site, roof: Stencil) -> None:
    """A bright rim, and the thin shadow that it throws onto the roof."""
    if min(roof.alpha.shape) * site.gsd < 6 or min(roof.alpha.shape) < 9:
        return
    reach = 2 * max(1, round(0.4 / site.gsd)) + 1
    core = ndimage.minimum_filter(roof.alpha, reach, mode="constant")
    amount = site.rng.uniform(-22, 26)
    site.canvas.brighten(Stencil(roof.window, roof.alpha - core), amount)
    shift = site.sun * 0.9
    moved = ndimage.shift(core, (shift[1], shift[0]), order=1)
    site.canvas.shade(Stencil(roof.window, core * (1 - moved)), 0.55)


def _draw_fittings(site: Site, building: Building, parts: Sequence[Points], roof: Stencil) -> None:
    """Stair houses, air conditioners, tanks and skylights on a flat roof."""
    if site.gsd > 0.9 or min(roof.alpha.shape) < 14:
        return
    boxes: list[Points] = []
    part = parts[-1]
    along, across = part[1] - part[0], part[-1] - part[0]
    if len(part) != 4:
        return
    grid = site.chance(0.4)
    for i in range(int(site.rng.integers(1, 9))):
        x, y = site.rng.uniform(0.15, 0.85, 2)
        at = part[0] + along * ((i + 1) / 10 if grid else x) + across * (0.3 if grid else y)
        side = site.rng.uniform(0.8, 2.6) if i else site.rng.uniform(1.5, 4.5)
        boxes.append(site.place(rectangle(side, side * site.rng.uniform(0.6, 1)), at,
                                building.angle))  # fmt: skip
    inner = roof.alpha
    shadow = site.fill(swept(boxes, site.sun * 1.4))
    site.canvas.shade(_within(shadow, roof.window, inner), 0.8)
    tone = site.one(((206, 206, 206), (168, 168, 170), (232, 230, 226), building.colour))
    site.canvas.paint(_within(site.fill(boxes), roof.window, inner), tone)


def _within(stencil: Stencil, window: Window, alpha: Field) -> Stencil:
    """The part of a stencil inside another one's coverage."""
    rows = slice(max(stencil.window[0].start, window[0].start),
                 min(stencil.window[0].stop, window[0].stop))  # fmt: skip
    columns = slice(max(stencil.window[1].start, window[1].start),
                    min(stencil.window[1].stop, window[1].stop))  # fmt: skip
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return Stencil((slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.float32))
    mine = stencil.alpha[_inside(rows, stencil.window[0]), _inside(columns, stencil.window[1])]
    theirs = alpha[_inside(rows, window[0]), _inside(columns, window[1])]
    return Stencil((rows, columns), mine * theirs)


def _inside(part: slice, whole: slice) -> slice:
    return slice(part.start - whole.start, part.stop - whole.start)
