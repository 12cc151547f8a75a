"""Lots: plan rectangles, their yards and their trees."""

import numpy as np

from starter.scenes.drawing.canvas import Points
from starter.scenes.drawing.ground import draw_lawn, draw_soil, scatter
from starter.scenes.drawing.objects import draw_trees
from starter.scenes.drawing.palettes import varied
from starter.scenes.drawing.site import Rectangle, Site
from starter.scenes.drawing.textures import Surface


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
    kind = site.pick({"paved": 0.8, "lawn": 0.3 + 1.6 * site.biome.lushness, "soil": 1.2})
    if kind == "lawn" and "grassland" in site.labels:
        draw_lawn(site, area)
    elif kind == "soil" and "bare land" in site.labels:
        draw_soil(site, area)
    else:
        tone = varied(site.rng, site.biome.pavement.colour, 12)
        paved = Surface(tone, site.biome.pavement.tint, 0.4, 3, 4)
        yard = site.fill([site.frame.outline(area)])
        site.lay(yard, paved, 0)
        scatter(site, yard, site.rng.uniform(0, 0.01))


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
