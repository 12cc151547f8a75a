"""Land uses: what a block between streets is filled with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from starter.scenes.drawing.buildings import add_building
from starter.scenes.drawing.ground import draw_field, draw_forest, draw_lawn, draw_soil
from starter.scenes.drawing.lots import add_tree_group, add_trees, middle, sides
from starter.scenes.drawing.palettes import varied
from starter.scenes.drawing.site import Rectangle, Site, rectangle
from starter.scenes.drawing.textures import Surface
from starter.scenes.plan.facilities import (
    fill_apron,
    fill_courts,
    fill_greenhouses,
    fill_pools,
    fill_solar,
    fill_stadium,
    fill_tanks,
)
from starter.scenes.plan.quarters import (
    fill_apartments,
    fill_complex,
    fill_informal,
    fill_parking,
    fill_towers,
    fill_villas,
    fill_warehouses,
)


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


def fill_park(site: Site, area: Rectangle) -> None:
    """Lawns, paths and trees, a pool or a court at times."""
    draw_lawn(site, area)
    (u, v), (a, b) = middle(area), sides(area)
    share = np.linspace(0, 1, 24)
    bend = np.sin(share * np.pi * site.rng.uniform(0.5, 2))
    across = np.stack([area[0] + share * a, v + 0.3 * b * bend * site.rng.normal()], axis=1)
    down = np.stack([u + 0.3 * a * bend * site.rng.normal(), area[1] + share * b], axis=1)
    paths = [site.frame.to_pixels(p) for p in (across, down)]
    site.lay(site.stroke(paths, [site.rng.uniform(1.5, 2.6)] * 2), site.biome.pavement, 0)
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


def fill_grove(site: Site, area: Rectangle) -> None:
    """A plantation or a thicket: trees close together, in rows or not."""
    pitch = site.rng.uniform(4, 9)
    u, v = np.meshgrid(np.arange(area[0], area[2], pitch), np.arange(area[1], area[3], pitch))
    plan = np.stack([u.ravel(), v.ravel()], axis=1)
    plan += site.rng.normal(0, site.one((0.3, 2.5)), plan.shape)
    add_tree_group(site, site.frame.to_pixels(plan[site.rng.random(len(plan)) < 0.9]))


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
    "grove": Use(fill_grove, "tree"),
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
