"""Facilities: tank farms, courts, pools, solar and greenhouse parks, stadiums, aprons."""

import numpy as np

from starter.scenes.drawing.buildings import add_building
from starter.scenes.drawing.canvas import Points
from starter.scenes.drawing.lots import add_trees, cells, draw_yard, inset, middle, sides
from starter.scenes.drawing.objects import (
    COURT_PAINTS,
    TANK_PAINTS,
    draw_court,
    draw_panel_row,
    draw_plane,
    draw_pool,
    draw_tank,
)
from starter.scenes.drawing.palettes import varied
from starter.scenes.drawing.site import Rectangle, Site, ellipse, rectangle
from starter.scenes.drawing.textures import Stripes, Surface


def fill_tanks(site: Site, area: Rectangle) -> None:
    """A tank farm: rows of storage tanks inside low walls."""
    ground = Surface(varied(site.rng, site.biome.pavement.colour, 14), mottle=4, grain=4)
    site.lay(site.fill([site.frame.outline(area)]), ground, 0)
    paint, pitch = site.pick(TANK_PAINTS), site.rng.uniform(14, 48)
    for lot in cells(inset(area, 2), pitch, pitch):
        at, _ = site.frame.at(*middle(lot))
        diameter = min(sides(lot)) * site.rng.uniform(0.5, 0.78)
        disc = site.place(ellipse(diameter, diameter), at, 0.0)
        if "storage tank" not in site.labels or not site.is_visible(disc) or not site.is_free(disc):
            continue
        wall = site.frame.outline(inset(lot, 0.6))
        site.canvas.brighten(site.stroke([wall], [0.7]).times(0.6), 26)
        word = paint if site.chance(0.8) else site.pick(TANK_PAINTS)
        height = site.rng.uniform(0.35, 0.7) * diameter**0.8
        site.stand(height, lambda a=at, d=diameter, h=height, w=word: draw_tank(site, a, d, h, w))  # type: ignore[misc]


def fill_courts(site: Site, area: Rectangle) -> None:
    """Tennis courts side by side on a lawn or pavement."""
    draw_yard(site, area)
    paint = site.one(COURT_PAINTS)
    long_u = sides(area)[0] >= sides(area)[1]
    lots = cells(area, 40, 21) if long_u else cells(area, 21, 40)
    for lot in lots[: int(site.rng.integers(1, 9))]:
        if min(sides(lot)) < 14 or max(sides(lot)) < 30:
            continue
        at, angle = site.frame.at(*middle(lot))
        if site.is_free(at[None]):
            draw_court(site, at, angle + (0 if long_u else np.pi / 2), paint)
    add_trees(site, area, int(site.rng.poisson(4 * site.biome.lushness)))


def fill_pools(site: Site, area: Rectangle) -> None:
    """A hotel garden: large pools, palms, a building."""
    draw_yard(site, area)
    (u, v), (a, b) = middle(area), sides(area)
    for _ in range(int(site.rng.integers(1, 4))):
        at, angle = site.frame.at(
            u + a * site.rng.uniform(-0.3, 0.3), v + b * site.rng.uniform(0, 0.35)
        )
        length = min(site.rng.uniform(10, 30), a * 0.4)
        draw_pool(site, at, angle, length, length * site.rng.uniform(0.35, 0.6))
    at, angle = site.frame.at(u, v - b * 0.25)
    add_building(site, at, angle, a * 0.7, b * 0.3, site.rng.uniform(8, 25))
    add_trees(site, area, int(site.rng.poisson(14 * site.biome.lushness)))


def fill_solar(site: Site, area: Rectangle) -> None:
    """Rows of solar panels on bare or grassy ground."""
    draw_yard(site, area)
    width = site.rng.uniform(2, 4.5)
    for v in np.arange(area[1] + 4, area[3] - 3, width * site.rng.uniform(1.6, 2.4)).tolist():
        for u0, _, u1, _ in cells((area[0] + 2, v, area[2] - 2, v + 1), 45, 1):
            at, angle = site.frame.at((u0 + u1) / 2, float(v))
            draw_panel_row(site, at, angle, u1 - u0 - 2, width)


def fill_greenhouses(site: Site, area: Rectangle) -> None:
    """Long translucent halls, one beside the other."""
    draw_yard(site, area)
    width = site.rng.uniform(8, 14)
    for lot in cells(area, sides(area)[0], width * 1.2):
        at, angle = site.frame.at(*middle(lot))
        shape = site.place(rectangle(sides(lot)[0] * 0.92, width), at, angle)
        if "greenhouse" not in site.labels or not site.is_visible(shape) or not site.is_free(shape):
            continue
        site.cast([shape], 3)
        tone = varied(site.rng, (206, 214, 212), 12)
        ribs = Stripes(max(2.5 / site.gsd, 2.2), angle, 6)
        owner = site.canvas.add("greenhouse", colour="white")
        site.lay(site.fill([shape]), Surface(tone, (150, 176, 150), 0.5, 3, 4, stripes=ribs), owner)
        ridge = site.place(rectangle(sides(lot)[0] * 0.92, width * 0.2), at, angle)
        site.canvas.brighten(site.fill([ridge]), 14)


def fill_stadium(site: Site, area: Rectangle) -> None:
    """A ground track field: red lanes around a green infield."""
    draw_yard(site, area)
    at, angle = site.frame.at(*middle(area))
    outer = site.place(_oval(176, 92), at, angle)
    if "ground track field" not in site.labels or not site.is_free(outer):
        return
    owner = site.canvas.add("ground track field", colour="red")
    track = varied(site.rng, site.one(((168, 82, 64), (150, 92, 76), (82, 104, 140))), 8)
    site.lay(site.fill([outer]), Surface(track, mottle=3, grain=3), owner)
    inner = site.place(_oval(158, 74), at, angle)
    mown = Stripes(max(10 / site.gsd, 2.2), angle, 5)
    grass = varied(site.rng, (88, 132, 70), 8)
    site.lay(site.fill([inner]), Surface(grass, mottle=4, grain=3, stripes=mown))
    lanes = [_oval(176 - d, 92 - d) for d in (2.4, 4.9, 7.3, 9.8, 12.2, 14.6)]
    pitch = rectangle(100, 64)
    rings = [site.place(np.concatenate([p, p[:1]]), at, angle) for p in [*lanes, pitch]]
    site.canvas.paint(site.stroke(rings, [0.2] * len(rings)).times(0.8), (232, 226, 222))


def _oval(length: float, width: float) -> Points:
    turn = np.linspace(-np.pi / 2, np.pi / 2, 16)
    cap = np.stack([np.cos(turn), np.sin(turn)], axis=1) * width / 2
    right = cap + np.array([length / 2 - width / 2, 0.0])
    return np.concatenate([right, -right])


def fill_apron(site: Site, area: Rectangle) -> None:
    """An apron: concrete slabs with aircraft in a row, and a hangar."""
    concrete = Surface(varied(site.rng, (172, 172, 168), 14), (150, 150, 150), 0.5, 3, 2)
    site.lay(site.fill([site.frame.outline(area)]), concrete, 0)
    if site.gsd < 0.8:
        slabs = [
            site.frame.to_pixels(np.array([[u, area[1]], [u, area[3]]]))
            for u in np.arange(area[0], area[2], 7.5)
        ]
        site.canvas.brighten(site.stroke(slabs, [0.2] * len(slabs)), -12)
    span = min(site.rng.uniform(14, 52), *(s * 0.8 for s in sides(area)))
    heading = site.one((0.0, np.pi / 2, np.pi, -np.pi / 2)) + site.rng.normal(0, 0.1)
    for lot in cells(inset(area, 2), span * 1.25, span * 1.3):
        if site.chance(0.75):
            at, angle = site.frame.at(*middle(lot))
            if site.is_free(site.place(ellipse(span, span, n=8), at, 0)):
                draw_plane(site, at, angle + heading, span)
