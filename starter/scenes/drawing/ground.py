"""The ground: soil, lawns, fields, forest, roads and tracks."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from starter.scenes.drawing.canvas import Field, Points, Stencil
from starter.scenes.drawing.palettes import varied
from starter.scenes.drawing.site import Rectangle, Site, densified
from starter.scenes.drawing.textures import Stripes, Surface, canopy, lit


@dataclass(frozen=True)
class Road:
    """A straight piece of street in plan coordinates.

    Attributes:
        line: (2, 2) metres, its ends.
        width: metres of asphalt.
    """

    line: Points
    width: float


def draw_base(site: Site) -> None:
    """Cover the whole image with the biome's ground."""
    whole = Stencil(
        (slice(0, site.size), slice(0, site.size)), np.ones((site.size, site.size), np.float32)
    )
    label = site.biome.ground
    surface = site.biome.soil if label == "bare land" else site.biome.grass
    site.lay(whole, surface, site.canvas.add(label) if label in site.labels else 0)


def draw_soil(site: Site, area: Rectangle) -> None:
    """An empty lot: earth or sand, with wheel tracks, shrubs and rubble."""
    outline = site.frame.outline(area)
    if "bare land" not in site.labels or not site.is_visible(outline):
        return
    soil = site.biome.soil
    surface = replace(
        soil,
        colour=varied(site.rng, soil.colour, 9),
        patches=site.rng.uniform(0.2, 1),
        mottle=site.rng.uniform(2, 12),
        relief=site.rng.uniform(0, 12),
    )
    lot = site.fill([outline])
    site.lay(lot, surface, site.canvas.add("bare land"))
    if site.chance(0.5):
        _draw_graded(site, lot)
    scatter(site, lot, site.rng.uniform(0, 0.012))


def _draw_graded(site: Site, lot: Stencil) -> None:
    """Parts of a lot that were graded, dumped on or dug over: another tone, a sharp border."""
    rows, columns = lot.window
    offset = int(site.rng.integers(90))
    shape = site.textures.coarse[
        rows.start + offset : rows.stop + offset, columns.start + offset : columns.stop + offset
    ]
    level, side = site.rng.uniform(-0.2, 1.0), site.one((-1.0, 1.0))
    part = np.clip((shape * side - level) * site.rng.uniform(3, 25), 0, 1)
    soil = site.biome.soil
    tone = varied(site.rng, site.one((soil.colour, soil.tint or soil.colour)), 16)
    rough = site.rng.uniform(0, 14)
    site.lay(lot.times(part), Surface(tone, None, 0, rough / 2, 4, relief=rough))


def scatter(site: Site, lot: Stencil, density: float) -> None:
    """Shrubs, stones and rubble: dark and bright specks where the noise is high."""
    rows, columns = lot.window
    offset = int(site.rng.integers(90))
    clumps = site.textures.medium[
        rows.start + offset : rows.stop + offset, columns.start + offset : columns.stop + offset
    ]
    chance = site.rng.random(lot.alpha.shape, np.float32)
    specks = chance < density * np.clip(clumps + 0.6, 0, 2)
    dark = site.rng.random(lot.alpha.shape, np.float32) < 0.7
    share = np.float32(site.rng.uniform(0.3, 0.8))
    shrubs = _thickened(specks & dark, site.gsd)
    site.canvas.paint(lot.times(shrubs * share), site.biome.leaves[0])
    site.canvas.paint(lot.times((specks & ~dark) * share), (228, 224, 218))


def _thickened(specks: NDArray[np.bool_], gsd: float) -> Field:
    """Specks of about a metre: single pixels at 1 m, small blobs below."""
    blob = specks.astype(np.float32)
    for _ in range(int(np.clip(round(0.5 / gsd), 0, 3))):
        blob[1:] = np.maximum(blob[1:], blob[:-1] * np.float32(0.9))
        blob[:, 1:] = np.maximum(blob[:, 1:], blob[:, :-1] * np.float32(0.9))
    return blob


def draw_lawn(site: Site, area: Rectangle) -> None:
    """Grass, mown in stripes or wild."""
    outline = site.frame.outline(area)
    if "grassland" not in site.labels or not site.is_visible(outline):
        return
    grass = site.biome.grass
    stripes = None
    if site.chance(0.3):
        period = site.rng.uniform(2.5, 8) / site.gsd
        stripes = Stripes(period, site.rng.uniform(0, np.pi), site.rng.uniform(1, 5))
    surface = replace(grass, colour=varied(site.rng, grass.colour, 8), stripes=stripes)
    site.lay(site.fill([outline]), surface, site.canvas.add("grassland", colour="green"))


def draw_field(site: Site, area: Rectangle) -> None:
    """A block of farmland, cut into parcels of different crops."""
    u0, v0, u1, v1 = area
    pieces = int(site.rng.integers(1, 5))
    cuts = np.sort(site.rng.uniform(0, 1, pieces - 1))
    edges = np.concatenate([[0], cuts, [1]])
    for low, high in itertools.pairwise(edges.tolist()):
        if u1 - u0 > v1 - v0:
            part = (u0 + low * (u1 - u0), v0, u0 + high * (u1 - u0) - 1.5, v1)
        else:
            part = (u0, v0 + low * (v1 - v0), u1, v0 + high * (v1 - v0) - 1.5)
        _draw_parcel(site, part)


def _draw_parcel(site: Site, part: Rectangle) -> None:
    outline = site.frame.outline(part)
    if not site.is_visible(outline) or min(part[2] - part[0], part[3] - part[1]) < 4:
        return
    _, turn = site.frame.at((part[0] + part[2]) / 2, (part[1] + part[3]) / 2)
    colour = varied(site.rng, site.one(site.biome.crops), 12)
    furrow = max(site.rng.uniform(0.8, 6.0) / site.gsd, 2.2)
    surface = Surface(
        colour,
        varied(site.rng, site.one(site.biome.crops), 10),
        site.rng.uniform(0, 0.35),
        mottle=site.rng.uniform(1, 7),
        grain=site.rng.uniform(1, 7),
        stripes=Stripes(
            furrow, turn + site.one((0.0, np.pi / 2)), site.rng.uniform(1, 14), wobble=0.15
        ),
    )
    owner = site.canvas.add("farmland", colour=_crop_word(colour))
    site.lay(site.fill([outline]), surface, owner)


def _crop_word(colour: tuple[float, float, float]) -> str:
    red, green, _ = colour
    if green > red + 4:
        return "green"
    return "brown" if red < 170 else "yellow"


def draw_forest(site: Site, area: Rectangle) -> None:
    """Closed forest with an uneven edge."""
    outline = site.frame.outline(area)
    if "forest" not in site.labels or not site.is_visible(outline):
        return
    offset = int(site.rng.integers(90))
    stencil = site.fill([outline])
    rows, columns = stencil.window
    noise = site.textures.medium[
        rows.start + offset : rows.stop + offset, columns.start + offset : columns.stop + offset
    ]
    ragged = stencil.times(np.clip(noise * 3 + site.rng.uniform(4, 9), 0, 1))
    paint_canopy(site, ragged)


def paint_canopy(site: Site, stencil: Stencil) -> None:
    """Fill a stencil with the crowns of a forest, its shadow on the sunless side."""
    if site.forest is None:
        crown = site.rng.uniform(4, 9) / site.gsd
        site.forest = canopy(site.rng, site.size, crown)
    heights, tones = (f[stencil.window] for f in site.forest)
    sunward = -site.sun / max(float(np.hypot(*site.sun)), 1e-6)
    slope = lit(site.forest[0], float(sunward[0]), float(sunward[1]))[stencil.window]
    bright = 0.45 + 0.35 * heights + 0.9 * slope * site.rng.uniform(0.5, 1.2)
    bright += 0.05 * site.textures.fine[stencil.window]
    dark, light = (np.asarray(c, np.float32) for c in site.biome.leaves)
    colour = dark * 0.65 + np.clip(bright, 0, 1.3)[:, :, None] * (light - dark * 0.65)
    colour *= (0.85 + 0.3 * tones)[:, :, None]
    closed = stencil.times(np.clip((heights + 0.35) * 4, 0, 1))
    shift = np.round(site.sun * 6).astype(int)
    site.canvas.shade(_moved(closed, shift, site.size), 0.9)
    owner = site.canvas.add("forest", colour="green")
    site.canvas.paint(stencil, dark * np.float32(0.55), owner)
    site.canvas.paint(closed, colour.astype(np.float32))


def _moved(stencil: Stencil, shift: Points, size: int) -> Stencil:
    """The stencil shifted by whole pixels, cut to the image."""
    dx, dy = (int(v) for v in shift)
    rows, columns = stencil.window
    top, left = max(rows.start + dy, 0), max(columns.start + dx, 0)
    bottom, right = min(rows.stop + dy, size), min(columns.stop + dx, size)
    if bottom <= top or right <= left:
        return Stencil((slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.float32))
    y, x = top - rows.start - dy, left - columns.start - dx
    alpha = stencil.alpha[y : y + bottom - top, x : x + right - left]
    return Stencil((slice(top, bottom), slice(left, right)), alpha)


def draw_roads(site: Site, roads: Sequence[Road]) -> None:
    """Verges, asphalt, wear and lane marks of a street network."""
    if "road" not in site.labels or not roads:
        return
    lines = [site.frame.to_pixels(densified(r.line, 24)) for r in roads]
    widths = [r.width for r in roads]
    seen = [i for i, line in enumerate(lines) if site.is_visible(line)]
    lines, widths = [lines[i] for i in seen], [widths[i] for i in seen]
    if not lines:
        return
    verge = site.rng.uniform(1, 5)
    if site.chance(0.7):
        site.lay(site.stroke(lines, [w + 2 * verge for w in widths]), site.biome.pavement, 0)
    owner = site.canvas.add("road", kind="paved")
    fresh, worn = site.biome.asphalt
    for old in (1, 0):  # worn streets first: the fresh ones run over them
        chosen = [i for i in range(len(lines)) if (i % 3 == 0) == bool(old)]
        tone = varied(site.rng, worn if old and site.chance(0.5) else fresh, 7)
        asphalt = Surface(tone, worn, site.rng.uniform(0, 0.8), mottle=4, grain=3)
        asphalt_area = site.stroke([lines[i] for i in chosen], [widths[i] for i in chosen])
        site.lay(asphalt_area, asphalt, owner)
    _draw_lanes(site, lines, widths)
    _draw_medians(site, lines, widths)


def _draw_lanes(site: Site, lines: Sequence[Points], widths: Sequence[float]) -> None:
    """Wheel wear, edge lines, dashes between lanes."""
    wear = [
        offset_line(line, side * w / 4 / site.gsd)
        for line, w in zip(lines, widths, strict=True)
        for side in (-1, 1)
    ]
    lanes = [w / 4 for w in widths for _ in range(2)]
    site.canvas.brighten(site.stroke(wear, lanes), site.rng.uniform(-8, 10))
    if site.gsd > 1.1 or site.chance(0.3):
        return
    marks: list[Points] = []
    for line, width in zip(lines, widths, strict=True):
        if width < 7.5:
            continue
        count = max(2, 2 * round(width / 8))
        for i in range(1, count):
            parallel = offset_line(line, (i / count - 0.5) * width / site.gsd)
            marks += dashes(parallel, 3 / site.gsd, 11 / site.gsd)
        if width > 9:
            marks += [offset_line(line, s * (width / 2 - 0.5) / site.gsd) for s in (-1, 1)]
    paint = site.stroke(marks, [0.16] * len(marks)).times(site.rng.uniform(0.3, 0.9))
    site.canvas.paint(paint, (222, 220, 210))


def _draw_medians(site: Site, lines: Sequence[Points], widths: Sequence[float]) -> None:
    """Planted, sandy or paved strips between the two directions of wide roads."""
    wide = [i for i, width in enumerate(widths) if width >= 16]
    if not wide or site.chance(0.25):
        return
    surface = site.one((site.biome.grass, site.biome.soil, site.biome.pavement))
    strips = [widths[i] * site.rng.uniform(0.08, 0.22) for i in wide]
    site.lay(site.stroke([lines[i] for i in wide], strips), surface, 0)


def offset_line(line: Points, pixels: float) -> Points:
    """The polyline moved sideways."""
    step = np.gradient(line, axis=0)
    normal = np.stack([-step[:, 1], step[:, 0]], axis=1)
    moved: Points = line + pixels * normal / np.maximum(np.hypot(*normal.T), 1e-9)[:, None]
    return moved


def dashes(line: Points, length: float, period: float) -> list[Points]:
    """Pieces of a polyline, `length` pixels long, one in every `period` pixels."""
    run = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    starts = np.arange(0, run[-1] - length, period)
    at = np.stack([starts, starts + length], axis=1)
    x, y = np.interp(at, run, line[:, 0]), np.interp(at, run, line[:, 1])
    return list(np.stack([x, y], axis=2))


def draw_tracks(site: Site, labelled: bool) -> None:
    """Unpaved tracks that wander over the ground: a road, or only wheel marks on the soil."""
    colour = varied(site.rng, site.biome.soil.tint or site.biome.soil.colour, 10)
    for _ in range(int(site.rng.integers(1, 4 if labelled else 7))):
        line = _wandering(site)
        width = site.rng.uniform(3.5, 8) if labelled else site.rng.uniform(0.4, 1.2)
        if labelled:
            surface = Surface(colour, grain=4, mottle=6, relief=3)
            site.lay(site.stroke([line], [width]), surface, site.canvas.add("road", kind="dirt"))
        else:
            twin = [offset_line(line, s * 0.9 / site.gsd) for s in (-1, 1)]
            wheels = site.stroke(twin, [width] * 2)
            soil = [label == "bare land" for label in site.canvas.labels]
            on_soil = np.asarray(soil, np.float32)[site.canvas.owners[wheels.window]]
            site.canvas.brighten(wheels.times(on_soil), site.rng.uniform(-30, 24))


def _wandering(site: Site) -> Points:
    """A smooth line (N, 2) across the image."""
    turn = site.rng.uniform(0, 2 * np.pi)
    bends = np.cumsum(site.rng.normal(0, 0.1, 60))
    steps = np.stack([np.cos(turn + bends), np.sin(turn + bends)], axis=1) * site.size / 30
    start = site.rng.uniform(0.2, 0.8, 2) * site.size
    path = np.cumsum(steps, axis=0)
    line: Points = start + path - path[30]
    return line
