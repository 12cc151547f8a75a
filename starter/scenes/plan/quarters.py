"""Built quarters: villas, flats, towers, halls, informal houses and their car parks."""

import numpy as np

from starter.scenes.drawing.buildings import add_building
from starter.scenes.drawing.canvas import Points
from starter.scenes.drawing.ground import draw_soil
from starter.scenes.drawing.lots import add_trees, cells, draw_yard, inset, middle, seen, sides
from starter.scenes.drawing.objects import draw_car, draw_pool
from starter.scenes.drawing.palettes import varied
from starter.scenes.drawing.site import Rectangle, Site
from starter.scenes.drawing.textures import Surface

HALL_PAINTS = {
    "white": 5,
    "grey": 5,
    "beige": 1.5,
    "dark grey": 0.8,
    "blue": 0.8,
    "orange": 0.7,
    "brown": 0.6,
    "green": 0.4,
    "red": 0.4,
}


def fill_villas(site: Site, area: Rectangle) -> None:
    """Detached houses on lots, two rows back to back, with gardens, pools and cars."""
    frontage = site.rng.uniform(13, 26)
    depth = max(min(sides(area)) / 2, 16)
    deep_along_u = sides(area)[0] < sides(area)[1]
    lots = cells(area, depth, frontage) if deep_along_u else cells(area, frontage, depth)
    roof = site.pick({"flat": 2, "gabled": 1, "hipped": 2})
    paint = site.pick(site.biome.roofs) if site.chance(0.6) else None
    floor, pools = site.rng.uniform(0.5, 0.78, 2), site.rng.uniform(0, 0.6)
    shape = site.pick({"steps": 3, "L": 2, "rectangle": 2, "T": 1})
    lots = [lot for lot in lots if seen(site, lot, 12)]
    # From afar gardens are a few pixels wide: one yard and one group of trees serve the block.
    near = site.gsd < 0.7
    if not near:
        draw_yard(site, area)
        add_trees(site, area, int(site.rng.poisson(2.5 * len(lots) * site.biome.lushness)))
    for lot in lots:
        if near or site.chance(0.25):
            draw_yard(site, inset(lot, 0.5))
        if near:
            add_trees(site, lot, int(site.rng.poisson(3 * site.biome.lushness)))
        if site.chance(0.93):
            _fill_lot(site, lot, floor, (roof, paint, shape), pools)
    if site.chance(0.5):
        _draw_walls(site, lots)


def _draw_walls(site: Site, lots: list[Rectangle]) -> None:
    """Garden walls between the lots, with their thin shadows."""
    walls = [site.frame.outline(inset(lot, 0.4)) for lot in lots]
    site.canvas.shade(site.stroke([w + site.sun * 1.2 for w in walls], [0.6] * len(walls)), 0.6)
    paint = varied(site.rng, site.one((site.biome.pavement.colour, (214, 206, 194))), 12)
    site.canvas.paint(site.stroke(walls, [0.35] * len(walls)).times(0.9), paint)


def _fill_lot(
    site: Site,
    lot: Rectangle,
    floor: Points,
    style: tuple[str, str | None, str],
    pools: float,
) -> None:
    (u, v), (a, b) = middle(lot), sides(lot)
    shift = site.rng.uniform(-0.1, 0.1, 2) * (a, b)
    at, angle = site.frame.at(u + shift[0], v + shift[1])
    roof, paint, shape = style
    length, width = a * floor[0], b * floor[1]
    add_building(site, at, angle, length, width, site.rng.uniform(3.5, 9), roof,
                 shape if site.chance(0.7) else None, paint)  # fmt: skip
    if site.chance(pools):
        end = site.one((-1, 1))
        pool_at, _ = site.frame.at(u + end * a * 0.42, v)
        draw_pool(site, pool_at, angle + np.pi / 2, b * site.rng.uniform(0.25, 0.45),
                  min(a * 0.13, 5))  # fmt: skip
    if site.chance(0.4):
        car_at, _ = site.frame.at(u + a * 0.3, v + b * site.one((-0.42, 0.42)))
        draw_car(site, car_at, angle)


def fill_apartments(site: Site, area: Rectangle) -> None:
    """Blocks of flats of one estate, with parking and trees between."""
    draw_yard(site, area)
    paint = site.pick(site.biome.roofs) if site.chance(0.7) else None
    shape = site.pick({"rectangle": 2, "L": 2, "U": 2, "court": 1, "T": 1, "steps": 2})
    for lot in cells(area, site.rng.uniform(28, 60), site.rng.uniform(22, 45)):
        (u, v), (a, b) = middle(lot), sides(lot)
        at, angle = site.frame.at(u, v)
        height = site.rng.uniform(9, 26)
        add_building(site, at, angle, a * 0.8, b * site.rng.uniform(0.45, 0.7), height,
                     "flat" if site.chance(0.8) else "gabled", shape, paint)  # fmt: skip
        draw_parked(site, (lot[0], lot[3] - 6, lot[2], lot[3]), 0.5)
        add_trees(site, lot, int(site.rng.poisson(4 * site.biome.lushness)))


def fill_towers(site: Site, area: Rectangle) -> None:
    """High-rises on podiums."""
    draw_yard(site, area)
    for lot in cells(area, 55, 55):
        u, v = middle(lot)
        at, angle = site.frame.at(u, v)
        side = min(sides(lot)) * site.rng.uniform(0.35, 0.6)
        if site.chance(0.5):
            add_building(site, at, angle, side * 1.5, side * 1.5, 12, shape="rectangle")
        shape, width = site.one(("rectangle", "steps", "round")), side * site.rng.uniform(0.6, 1)
        add_building(site, at, angle, side, width, site.rng.uniform(35, 130), shape=shape)
        add_trees(site, lot, int(site.rng.poisson(4 * site.biome.lushness)))


def fill_warehouses(site: Site, area: Rectangle) -> None:
    """Halls with sheet roofs, close together, and lorries between."""
    draw_yard(site, area)
    usual = site.pick(HALL_PAINTS)
    for lot in cells(area, site.rng.uniform(25, 70), site.rng.uniform(20, 50)):
        u, v = middle(lot)
        a, b = (s * site.rng.uniform(0.7, 0.95) for s in sides(lot))
        at, angle = site.frame.at(u, v)
        paint = usual if site.chance(0.5) else site.pick(HALL_PAINTS)
        roof = site.pick({"sheet": 3, "gabled": 2, "flat": 1})
        add_building(site, at, angle, a, b, site.rng.uniform(6, 13), roof, "rectangle", paint)
        draw_parked(site, (lot[0], lot[3] - 4, lot[2], lot[3]), 0.25)


def fill_complex(site: Site, area: Rectangle) -> None:
    """One large irregular building: a school, mall or hotel; its car park beside it."""
    draw_yard(site, area)
    (u, v), (a, b) = middle(area), sides(area)
    at, angle = site.frame.at(u, v - b * 0.12)
    shape = site.pick({"steps": 3, "U": 2, "court": 2, "L": 1, "T": 1})
    add_building(site, at, angle, min(a * 0.8, 140), min(b * 0.62, 110), site.rng.uniform(7, 22),
                 shape=shape)  # fmt: skip
    if b > 45:
        fill_parking(site, (area[0] + 3, area[3] - b * 0.2, area[2] - 3, area[3] - 1))
    add_trees(site, area, int(site.rng.poisson(8 * site.biome.lushness)))


def fill_informal(site: Site, area: Rectangle) -> None:
    """Small houses without order, sheet roofs touching each other, earth between."""
    draw_soil(site, area)
    for lot in cells(area, site.rng.uniform(8, 13), site.rng.uniform(8, 13)):
        if site.chance(0.12) or not seen(site, lot, 6):
            continue
        u, v = middle(lot) + site.rng.normal(0, 1.2, 2)
        at, angle = site.frame.at(u, v)
        a, b = (s * site.rng.uniform(0.55, 1.05) for s in sides(lot))
        add_building(site, at, angle + site.rng.normal(0, 0.15), a, b, site.rng.uniform(2.5, 4.5),
                     site.pick({"sheet": 2, "gabled": 2, "flat": 1}),
                     site.pick({"rectangle": 5, "L": 1}))  # fmt: skip
    add_trees(site, area, int(site.rng.poisson(sides(area)[0] * sides(area)[1] / 700)))


def fill_parking(site: Site, area: Rectangle) -> None:
    """A car park: asphalt, stalls in double rows, cars."""
    outline = site.frame.outline(area)
    if "parking lot" not in site.labels or not site.is_visible(outline):
        return
    tone = varied(site.rng, site.one(site.biome.asphalt), 12)
    owner = site.canvas.add("parking lot")
    site.lay(site.fill([outline]), Surface(tone, site.biome.pavement.colour, 0.3, 3, 3), owner)
    share = site.rng.uniform(0.1, 0.9)
    lines: list[Points] = []
    for v in np.arange(area[1] + 4, area[3] - 2, 11.5 if sides(area)[1] > 16 else 6):
        row = (area[0] + 2, float(v) - 2.5, area[2] - 2, float(v) + 2.5)
        lines += [
            site.frame.to_pixels(np.array([[u, row[1]], [u, row[3]]]))
            for u in np.arange(row[0] + 1.6, row[2] - 1, 2.8)
        ]
        draw_parked(site, row, share)
    if site.gsd < 0.9 and lines:
        marks = site.stroke(lines, [0.14] * len(lines)).times(0.8)
        site.canvas.paint(marks, (222, 220, 212))


def draw_parked(site: Site, row: Rectangle, share: float) -> None:
    """Cars side by side along u."""
    for u in np.arange(row[0] + 3, row[2] - 3, 2.8):
        if site.chance(share):
            at, angle = site.frame.at(float(u), (row[1] + row[3]) / 2)
            draw_car(site, at, angle + np.pi / 2)
