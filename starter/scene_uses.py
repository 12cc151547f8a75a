"""Land uses: what a block between streets is filled with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from starter.scene_buildings import add_building
from starter.scene_canvas import Points
from starter.scene_ground import draw_field, draw_forest, draw_lawn, draw_soil
from starter.scene_objects import (
    COURT_PAINTS,
    TANK_PAINTS,
    draw_car,
    draw_court,
    draw_panel_row,
    draw_plane,
    draw_pool,
    draw_tank,
    draw_trees,
)
from starter.scene_palettes import varied
from starter.scene_site import Rectangle, Site, ellipse, rectangle
from starter.scene_textures import Stripes, Surface


def middle(area: Rectangle) -> tuple[float, float]:
    """Centre of a plan rectangle."""
    return (area[0] + area[2]) / 2, (area[1] + area[3]) / 2


def sides(area: Rectangle) -> tuple[float, float]:
    """Extent of a plan rectangle along u and v, metres."""
    return area[2] - area[0], area[3] - area[1]


def inset(area: Rectangle, metres: float) -> Rectangle:
    """The rectangle less a margin; never inside out."""
    u, v = middle(area)
    a, b = (max(s / 2 - metres, 0.5) for s in sides(area))
    return u - a, v - b, u + a, v + b


def cells(area: Rectangle, width: float, depth: float) -> list[Rectangle]:
    """The rectangle cut into equal lots of about the given size (at least one)."""
    across, down = (max(1, round(s / t)) for s, t in zip(sides(area), (width, depth), strict=True))
    u = np.linspace(area[0], area[2], across + 1)
    v = np.linspace(area[1], area[3], down + 1)
    return [
        (float(u[i]), float(v[j]), float(u[i + 1]), float(v[j + 1]))
        for i in range(across)
        for j in range(down)
    ]


def seen(site: Site, area: Rectangle, margin: float = 0.0) -> bool:
    """Whether a plan rectangle, grown by a margin in metres, touches the image."""
    return site.is_visible(site.frame.outline(inset(area, -margin)))


def draw_yard(site: Site, area: Rectangle) -> None:
    """The ground of a lot: paved, lawn or bare."""
    kind = site.pick({"paved": 1, "lawn": 0.3 + 1.6 * site.biome.lushness, "soil": 0.8})
    if kind == "lawn" and "grassland" in site.labels:
        draw_lawn(site, area)
    elif kind == "soil" and "bare land" in site.labels:
        draw_soil(site, area)
    else:
        tone = varied(site.rng, site.biome.pavement.colour, 12)
        paved = Surface(tone, site.biome.pavement.tint, 0.4, 3, 4)
        site.lay(site.fill([site.frame.outline(area)]), paved, 0)


def add_trees(site: Site, area: Rectangle, count: int) -> None:
    """Trees at random places of a plan rectangle, to stand once the ground is finished."""
    if count <= 0 or "tree" not in site.labels:
        return
    plan = site.rng.uniform(area[:2], area[2:], (count, 2))
    add_tree_group(site, site.frame.to_pixels(plan))


def add_tree_group(site: Site, centres: Points) -> None:
    """Trees at the given pixels (N, 2), all palms or all broad-leaved."""
    palm = site.chance(site.biome.palms)
    low, high = (3.5, 6.5) if palm else (3.0, 9.0)
    size = site.rng.uniform(low, high)
    free = [c for c in centres if site.is_free(c[None])]
    diameters = site.rng.uniform(0.6, 1.2, len(free)) * size
    site.stand(7.0, lambda: draw_trees(site, free, diameters.tolist(), palm))


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
    for lot in lots:
        if seen(site, lot, 12):
            draw_yard(site, inset(lot, 0.5))
            if site.chance(0.93):
                _fill_lot(site, lot, floor, (roof, paint, shape), pools)


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
    add_trees(site, lot, int(site.rng.poisson(3 * site.biome.lushness)))


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
        _park_row(site, (lot[0], lot[3] - 6, lot[2], lot[3]), 0.5)
        add_trees(site, lot, int(site.rng.poisson(4 * site.biome.lushness)))


def _park_row(site: Site, row: Rectangle, share: float) -> None:
    """Cars side by side along u."""
    for u in np.arange(row[0] + 3, row[2] - 3, 2.8):
        if site.chance(share):
            at, angle = site.frame.at(float(u), (row[1] + row[3]) / 2)
            draw_car(site, at, angle + np.pi / 2)


def fill_towers(site: Site, area: Rectangle) -> None:
    """High-rises on podiums."""
    draw_yard(site, area)
    for lot in cells(area, 55, 55):
        u, v = middle(lot)
        at, angle = site.frame.at(u, v)
        side = min(sides(lot)) * site.rng.uniform(0.35, 0.6)
        if site.chance(0.5):
            add_building(site, at, angle, side * 1.5, side * 1.5, 12, shape="rectangle")
        add_building(site, at, angle, side, side * site.rng.uniform(0.6, 1),
                     site.rng.uniform(35, 130), shape=site.one(("rectangle", "steps", "round")))  # fmt: skip
        add_trees(site, lot, int(site.rng.poisson(4 * site.biome.lushness)))


def fill_warehouses(site: Site, area: Rectangle) -> None:
    """Halls with sheet roofs, close together, and lorries between."""
    draw_yard(site, area)
    for lot in cells(area, site.rng.uniform(25, 70), site.rng.uniform(20, 50)):
        u, v = middle(lot)
        a, b = (s * site.rng.uniform(0.7, 0.95) for s in sides(lot))
        at, angle = site.frame.at(u, v)
        paint = site.pick({"white": 4, "grey": 4, "beige": 1.5, "blue": 1, "orange": 0.8, "green": 0.5,
                           "red": 0.5, "brown": 0.6})  # fmt: skip
        roof = site.pick({"sheet": 3, "gabled": 2, "flat": 1})
        add_building(site, at, angle, a, b, site.rng.uniform(6, 13), roof, "rectangle", paint)
        _park_row(site, (lot[0], lot[3] - 4, lot[2], lot[3]), 0.25)


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
    owner = site.canvas.add("parking lot", colour="grey")
    site.lay(site.fill([outline]), Surface(tone, site.biome.pavement.colour, 0.3, 3, 3), owner)
    (a, b), share = sides(area), site.rng.uniform(0.1, 0.9)
    lines: list[Points] = []
    for v in np.arange(area[1] + 4, area[3] - 2, 11.5 if b > 16 else 6):
        row = (area[0] + 2, float(v) - 2.5, area[2] - 2, float(v) + 2.5)
        lines += [
            site.frame.to_pixels(np.array([[u, row[1]], [u, row[3]]]))
            for u in np.arange(row[0] + 1.6, row[2] - 1, 2.8)
        ]
        _park_row(site, row, share)
    if site.gsd < 0.9 and lines:
        marks = site.stroke(lines, [0.14] * len(lines)).times(0.8)
        site.canvas.paint(marks, (222, 220, 212))


def fill_park(site: Site, area: Rectangle) -> None:
    """Lawns, paths and trees, a pool or a court at times."""
    draw_lawn(site, area)
    (u, v), (a, b) = middle(area), sides(area)
    turn = np.linspace(0, 2 * np.pi, 30)
    path = np.stack([u + a * 0.38 * np.cos(turn), v + b * 0.38 * np.sin(turn)], axis=1)
    site.lay(site.stroke([site.frame.to_pixels(path)], [2.2]), site.biome.pavement, 0)
    add_trees(site, area, int(np.clip(a * b / 160 * site.biome.lushness, 4, 90)))


def fill_forest(site: Site, area: Rectangle) -> None:
    """Closed forest."""
    draw_forest(site, area)


def fill_fields(site: Site, area: Rectangle) -> None:
    """Farmland, with a row of trees along one edge at times."""
    if "farmland" in site.labels:
        draw_field(site, area)
    if site.chance(0.35) and "tree" in site.labels:
        v = np.arange(area[1], area[3], site.rng.uniform(5, 9))
        row = np.stack([np.full_like(v, area[0]), v], axis=1)
        add_tree_group(site, site.frame.to_pixels(row))


def fill_grass(site: Site, area: Rectangle) -> None:
    """Open grass with few trees."""
    draw_lawn(site, area)
    add_trees(site, area, int(site.rng.poisson(6 * site.biome.lushness)))


def fill_soil(site: Site, area: Rectangle) -> None:
    """An empty lot."""
    draw_soil(site, area)


def fill_construction(site: Site, area: Rectangle) -> None:
    """A building site: dug earth, pits, stacks of material, site huts."""
    draw_soil(site, area)
    soil = site.biome.soil
    for _ in range(int(site.rng.integers(1, 4))):
        lot = site.rng.uniform(0.1, 0.9, 2) * sides(area) + area[:2]
        at, angle = site.frame.at(float(lot[0]), float(lot[1]))
        pit = site.place(rectangle(*site.rng.uniform(8, 30, 2)), at, angle)
        tone = varied(site.rng, soil.tint or soil.colour, 22)
        site.lay(site.fill([pit]), Surface(tone, mottle=9, grain=6, relief=5))
    stacks = site.rng.uniform(area[:2], area[2:], (int(site.rng.integers(4, 22)), 2))
    for u, v in stacks:
        at, angle = site.frame.at(float(u), float(v))
        box = site.place(rectangle(*site.rng.uniform(1.5, 6, 2)), at, angle)
        site.cast([box], 1.5)
        site.canvas.paint(site.fill([box]), varied(site.rng, (188, 178, 166), 30))
    u, v = middle(area)
    for i in range(int(site.rng.integers(0, 4))):
        at, angle = site.frame.at(u + 8 * i, v)
        add_building(
            site, at, angle, 12, 6, 3, "flat", "rectangle", site.one(("white", "grey", "blue"))
        )


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
    for v in np.arange(area[1] + 4, area[3] - 3, width * site.rng.uniform(1.6, 2.4)):
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
    right = cap + [length / 2 - width / 2, 0]
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


@dataclass(frozen=True)
class Use:
    """A land use.

    Attributes:
        fill: draws it into a plan rectangle.
        needs: label without which it makes no sense.
        room: smallest short and long side of a block that can hold it, metres.
    """

    fill: Callable[[Site, Rectangle], None]
    needs: str
    room: tuple[float, float] = (0.0, 0.0)


USES: Mapping[str, Use] = {
    "villas": Use(fill_villas, "building", (18, 24)),
    "apartments": Use(fill_apartments, "building", (22, 30)),
    "towers": Use(fill_towers, "building", (40, 40)),
    "warehouses": Use(fill_warehouses, "building", (20, 30)),
    "complex": Use(fill_complex, "building", (30, 40)),
    "informal": Use(fill_informal, "building", (10, 10)),
    "parking": Use(fill_parking, "parking lot", (14, 20)),
    "park": Use(fill_park, "grassland", (20, 20)),
    "forest": Use(fill_forest, "forest"),
    "fields": Use(fill_fields, "farmland"),
    "grass": Use(fill_grass, "grassland"),
    "soil": Use(fill_soil, "bare land"),
    "construction": Use(fill_construction, "bare land", (25, 25)),
    "tanks": Use(fill_tanks, "storage tank", (12, 12)),
    "courts": Use(fill_courts, "tennis court", (18, 36)),
    "pools": Use(fill_pools, "swimming pool", (20, 25)),
    "solar": Use(fill_solar, "solar panel", (15, 15)),
    "greenhouses": Use(fill_greenhouses, "greenhouse", (15, 20)),
    "stadium": Use(fill_stadium, "ground track field", (60, 100)),
    "apron": Use(fill_apron, "airplane", (16, 16)),
}
