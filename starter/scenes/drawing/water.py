"""Water: where it lies, how it looks, its beaches, bridges, piers and ships."""

from dataclasses import dataclass

import numpy as np

from starter.scenes.drawing.canvas import Field, Points, Stencil
from starter.scenes.drawing.objects import draw_ship
from starter.scenes.drawing.palettes import WATERS, varied
from starter.scenes.drawing.site import Site, rectangle
from starter.scenes.drawing.textures import Stripes, Surface, enlarged, fractal


@dataclass(frozen=True)
class Water:
    """Where water lies.

    Attributes:
        kind: "coast", "river", "canal" or "lake".
        depth: (H, W) float32, about the metres to the nearest shore; negative on land.
        along: radians, direction of the shore or the stream in the image.
        centre: (2,) pixels, a point in the water (or on the shore of a coast).
        width: metres across, of a river or canal.
    """

    kind: str
    depth: Field
    along: float
    centre: Points
    width: float


def plan_water(site: Site, kind: str) -> Water:
    """Choose where the water lies."""
    size, rng = site.size, site.rng
    along = rng.uniform(0, 2 * np.pi)
    centre = rng.uniform(0.25, 0.75, 2) * size
    extent = size * site.gsd
    width = float(rng.uniform(0.06, 0.22) * extent)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    across = (x - np.float32(centre[0])) * np.float32(-np.sin(along))
    across += (y - np.float32(centre[1])) * np.float32(np.cos(along))
    across *= np.float32(site.gsd)
    rough = {"coast": 0.035, "river": 0.03, "canal": 0.0, "lake": 0.05}[kind] * extent
    noise = fractal(rng, size, size / 2.5, 5, 0.42) * np.float32(rough * rng.uniform(0.2, 1.3))
    if kind == "coast":
        depth = across + noise
    elif kind in ("river", "canal"):
        swing = enlarged(rng, size, size / 1.3) * np.float32(0 if kind == "canal" else 0.1 * extent)
        depth = width / 2 - np.abs(across + swing) + noise * np.float32(0.4)
    else:
        depth = _lake(x, y, centre, extent, site) + noise
    return Water(kind, depth.astype(np.float32), along, centre, width)


def _lake(x: Field, y: Field, centre: Points, extent: float, site: Site) -> Field:
    """Distance field of a few overlapping discs: bays and lobes."""
    best = np.full(x.shape, -1e6, np.float32)
    for _ in range(int(site.rng.integers(1, 5))):
        radius = site.rng.uniform(0.07, 0.24) * extent
        at = centre + site.rng.normal(0, 0.7, 2) * radius / site.gsd
        distance = np.hypot(x - np.float32(at[0]), y - np.float32(at[1])) * np.float32(site.gsd)
        best = np.maximum(best, np.float32(radius) - distance)
    return best


def shore(site: Site, field: Field) -> Stencil:
    """Stencil of where a distance field, in metres, is positive."""
    whole = (slice(0, site.size), slice(0, site.size))
    return Stencil(whole, np.clip(field / np.float32(site.gsd) + np.float32(0.5), 0, 1))


def draw_water(site: Site, water: Water) -> None:
    """Lay the beach or bank, then the water over all that was drawn there."""
    owner = site.canvas.add("water", kind=water.kind)
    _draw_bank(site, water)
    name = site.one(site.biome.waters)
    deep, shallow = (varied(site.rng, c, 5) for c in WATERS[name])
    site.canvas.attributes[owner]["colour"] = name
    stencil = shore(site, water.depth)
    calm = site.rng.uniform(0, 1)
    bright = sum(deep) / 3
    surface = Surface(
        deep,
        varied(site.rng, deep, 5),
        0.6,
        mottle=float(1 + 0.05 * bright * calm),
        grain=float(0.6 + 0.05 * bright * calm),
        stripes=Stripes(
            site.rng.uniform(4, 14) / site.gsd**0.5,
            site.rng.uniform(0, np.pi),
            float(0.035 * bright * calm),
            wobble=3.0,
        ),
    )
    site.lay(stencil, surface, owner)
    shelf = np.exp(-np.maximum(water.depth, 0) / np.float32(site.rng.uniform(2, 40)))
    site.canvas.paint(stencil.times(shelf * np.float32(site.rng.uniform(0.3, 1))), shallow)
    if site.chance(0.25):
        _draw_glint(site, stencil)
    if water.kind == "coast" and name != "black" and site.chance(0.6):
        _draw_surf(site, water)


def _draw_bank(site: Site, water: Water) -> None:
    width = site.rng.uniform(2, 8)
    if water.kind == "coast" and "beach" in site.labels:
        width = site.rng.uniform(12, 45)
        colour = varied(site.rng, (222, 206, 176), 10)
        sand = Surface(colour, (206, 190, 160), 0.7, 4, 3, relief=2)
        owner = site.canvas.add("beach", colour="beige")
        site.lay(shore(site, water.depth + np.float32(width)), sand, owner)
        wet = shore(site, water.depth + np.float32(width * 0.18)).times(0.45)
        site.canvas.paint(wet, (150, 132, 106))
        return
    bank = site.one((site.biome.pavement, site.biome.soil, site.biome.grass))
    site.lay(shore(site, water.depth + np.float32(width)), bank, 0)


def _draw_glint(site: Site, stencil: Stencil) -> None:
    """Sun glint: bright speckles that fade across the image."""
    ramp = enlarged(site.rng, site.size, site.size / 1.2)
    speckle = np.maximum(site.textures.fine[stencil.window] - np.float32(0.4), 0)
    share = np.clip(ramp, 0, 1) * speckle * np.float32(site.rng.uniform(0.05, 0.3))
    site.canvas.paint(stencil.times(share), (245, 246, 244))


def _draw_surf(site: Site, water: Water) -> None:
    """Foam along the shore, in one to three broken lines."""
    foam = np.zeros_like(water.depth)
    broken = site.textures.medium[: site.size, : site.size] + site.textures.fine[
        : site.size, : site.size
    ] * np.float32(0.5)
    for line in range(int(site.rng.integers(1, 4))):
        wavy = water.depth - np.float32(1.5 + line * site.rng.uniform(4, 10)) + broken
        foam += np.exp(-((wavy / np.float32(max(0.8, site.gsd))) ** 2)) * (broken > -0.2)
    whole = (slice(0, site.size), slice(0, site.size))
    light = np.clip(foam, 0, 1) * (water.depth > 0) * np.float32(0.75)
    site.canvas.paint(Stencil(whole, light.astype(np.float32)), (236, 240, 240))


def draw_bridge(site: Site, water: Water) -> None:
    """One or two bridges straight across a river or canal."""
    for _ in range(int(site.rng.integers(1, 3))):
        at = _on_stream(site, water)
        if at is None:
            return
        length, width = _span(site, water, at), site.rng.uniform(7, 22)
        turn = water.along + np.pi / 2 + site.rng.normal(0, 0.06)
        deck = site.place(rectangle(length, width), at, turn)
        site.canvas.shade(site.fill([deck + site.sun * 5]), 0.8)
        owner = site.canvas.add("bridge", colour="grey")
        site.lay(site.fill([deck]), Surface(varied(site.rng, (150, 148, 146), 14)), owner)
        lane = site.place(rectangle(length, width * 0.78), at, turn)
        site.lay(site.fill([lane]), Surface(site.biome.asphalt[0]))
        ends = site.place(np.array([[-length / 2, 0.0], [length / 2, 0.0]]), at, turn)
        site.canvas.paint(site.stroke([ends], [0.25]).times(0.8), (225, 220, 200))


def _on_stream(site: Site, water: Water) -> Points | None:
    """A pixel (2,) in the middle of the stream, away from the image's border."""
    edge = site.size // 6
    inner = water.depth[edge:-edge, edge:-edge]
    rows, columns = np.nonzero(inner > 0.8 * inner.max())
    if inner.max() <= 0 or len(rows) == 0:
        return None
    i = int(site.rng.integers(len(rows)))
    return np.array([columns[i] + edge, rows[i] + edge], np.float64)


def _span(site: Site, water: Water, at: Points) -> float:
    """Metres that a deck at this place needs to reach both shores, with abutments."""
    depth = float(water.depth[int(at[1]), int(at[0])])
    return max(depth * 2, water.width) + 24


def draw_piers(site: Site, water: Water) -> None:
    """Piers from the shore into the water, with moored ships; at least one where water allows."""
    inward = water.along + np.pi / 2
    direction = np.array([np.cos(inward), np.sin(inward)])
    along = np.array([np.cos(water.along), np.sin(water.along)])
    count, spacing = int(site.rng.integers(1, 6)), site.rng.uniform(18, 60)
    length, width = site.rng.uniform(18, 90), site.rng.uniform(2, 9)
    if water.kind != "coast":
        length = min(length, 0.4 * water.width)
    paint = site.one(("grey", "beige", "brown", "white"))
    for i in range(count):
        step = (i - count / 2) * spacing / site.gsd
        foot = _shore_point(site, water, water.centre + along * step, direction)
        if foot is not None:
            _draw_pier(site, foot, inward, length, width, paint)


def _shore_point(site: Site, water: Water, start: Points, direction: Points) -> Points | None:
    """Where a ray from the land reaches the water: pixel (2,), or None outside the image."""
    steps = np.arange(-0.5 * site.size, 0.5 * site.size, 1.0)
    ray = start + steps[:, None] * direction
    x, y = ray.astype(np.intp).T
    inside = (x >= 0) & (y >= 0) & (x < site.size) & (y < site.size)
    wet = np.zeros(len(ray), bool)
    wet[inside] = water.depth[y[inside], x[inside]] > 1
    changes = np.flatnonzero(wet[1:] & ~wet[:-1] & inside[:-1])
    return ray[changes[0] + 1] if len(changes) else None


def _draw_pier(
    site: Site, foot: Points, turn: float, length: float, width: float, paint: str
) -> None:
    deck = site.place(rectangle(length + 8, width, length / 2 - 4), foot, turn)
    site.canvas.shade(site.fill([deck + site.sun * 2]), 0.7)
    owner = site.canvas.add("pier", colour=paint)
    site.lay(site.fill([deck]), Surface(site.paint_of(paint), grain=5), owner)
    if "ship" not in site.labels:
        return
    boat = site.rng.uniform(7, 16) if length < 50 else site.rng.uniform(12, 40)
    beam = boat * site.rng.uniform(0.26, 0.34)
    reach = width / 2 + beam / 2 + 0.6
    for side in (-1, 1):
        for x in np.arange(boat, length, boat * 1.25):
            if site.chance(0.7):
                at = site.place(np.array([[x, side * reach]]), foot, turn)[0]
                draw_ship(site, at, turn + (0 if site.chance(0.5) else np.pi), boat, beam, 0.0)


def draw_ships(site: Site, water: Water) -> None:
    """Ships under way, at anchor or moored side by side, clear of land and of each other."""
    room = float(water.depth.max())
    heading = water.along + site.rng.normal(0, 0.4)
    typical = site.rng.lognormal(2.9, 0.6)
    for _ in range(int(site.rng.integers(2, 14))):
        length = float(np.clip(typical * site.rng.lognormal(0, 0.4), 6, min(160, max(7, room))))
        raft = int(site.rng.integers(2, 7)) if site.chance(0.2) else 1
        beam = length * site.rng.uniform(0.17, 0.3)
        at = _mooring(site, water, max(length, beam * raft * 1.3))
        if at is None:
            continue
        turn = heading + site.one((0.0, np.pi)) + site.rng.normal(0, 0.2)
        wake = site.rng.uniform(2, 8) if raft == 1 and site.chance(0.45) else 0.0
        for i in range(raft):
            aside = np.array([[0.0, (i - (raft - 1) / 2) * beam * 1.25]])
            draw_ship(site, site.place(aside, at, turn)[0], turn, length, beam, wake)


def _mooring(site: Site, water: Water, length: float) -> Points | None:
    """A pixel (2,) with room for a length in metres all around; None after a few tries."""
    rows, columns = np.nonzero(water.depth > length * 0.6)
    for _ in range(4 if len(rows) else 0):
        i = int(site.rng.integers(len(rows)))
        at = np.array([columns[i], rows[i]], np.float64)
        if _is_open(site, at, length):
            return at
    return None


def _is_open(site: Site, at: Points, length: float) -> bool:
    """Whether a ship's length around a pixel there is nothing but water."""
    half = length / site.gsd * 0.55
    low = np.clip(at - half, 0, site.size).astype(int)
    high = np.clip(at + half + 1, 0, site.size).astype(int)
    around = site.canvas.owners[low[1] : high[1], low[0] : high[0]]
    water = site.canvas.labels.index("water")
    return bool((around == water).all())
