"""The plan of a scene: theme, classes, streets, blocks and what goes where."""

from dataclasses import replace

import numpy as np

from starter.scenes.drawing.canvas import Canvas, Points
from starter.scenes.drawing.ground import Road, draw_base, draw_roads, draw_tracks
from starter.scenes.drawing.lots import add_tree_group
from starter.scenes.drawing.objects import draw_car
from starter.scenes.drawing.palettes import BIOMES, season, varied
from starter.scenes.drawing.site import Frame, Rectangle, Site, ellipse, rectangle
from starter.scenes.drawing.textures import Surface, Textures
from starter.scenes.drawing.water import (
    Water,
    draw_bridge,
    draw_piers,
    draw_ships,
    draw_water,
    plan_water,
)
from starter.scenes.plan.themes import ANYWHERE, THEMES, Theme
from starter.scenes.plan.uses import USES

MOST_CLASSES = 7
EDGE_LABELS = ("building", "road")


def lay_out(rng: np.random.Generator, size: int, allowed: frozenset[str]) -> Site:
    """Plan and draw everything: the finished site, before the camera."""
    theme = _choose_theme(rng, allowed)
    site = _open_site(rng, size, theme, _choose_classes(rng, theme, allowed))
    water = _choose_water(site, theme)
    roads, blocks = _split(site, theme)
    draw_base(site)
    _fill_blocks(site, theme, blocks)
    if "bare land" in site.labels and site.chance(0.7):
        draw_tracks(site, labelled=False)
    _draw_traffic(site, theme, roads)
    if water:
        _draw_waterfront(site, water)
    for _, draw in sorted(site.standing, key=lambda item: item[0]):
        draw()
    return site


def _choose_theme(rng: np.random.Generator, allowed: frozenset[str]) -> Theme:
    fitting = [t for t in THEMES.values() if allowed.issuperset(t.core)]
    if not fitting:
        return replace(ANYWHERE, extras=tuple(sorted(allowed)))
    return fitting[int(rng.integers(len(fitting)))]


def _choose_classes(
    rng: np.random.Generator, theme: Theme, allowed: frozenset[str]
) -> frozenset[str]:
    """The theme's core and some of its extras: at most seven, with the ground's own."""
    extras = [label for label in theme.extras if label in allowed]
    count = int(rng.integers(4, MOST_CLASSES)) - len(theme.core)
    weights = 1 / (1 + np.arange(len(extras)) * 0.18)
    order = np.argsort(-(rng.random(len(extras)) ** (1 / weights)))
    return frozenset(theme.core) | {extras[i] for i in order[:count]}


def _open_site(rng: np.random.Generator, size: int, theme: Theme, labels: frozenset[str]) -> Site:
    low, high = np.log(theme.resolution)
    gsd = float(np.exp(rng.uniform(low, high)))
    names = list(theme.biomes)
    weights = np.cumsum(list(theme.biomes.values()))
    name = names[int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))]
    biome = season(rng, BIOMES[name])
    ground = [g for g in (biome.ground, "bare land", "grassland") if g in labels]
    biome = replace(biome, ground=ground[0] if ground else "bare land")
    azimuth = rng.uniform(0, 2 * np.pi)
    direction = np.array([np.cos(azimuth), np.sin(azimuth)])
    tilt, lean_azimuth = abs(rng.normal(0, 0.09)), rng.uniform(0, 2 * np.pi)
    return Site(
        rng=rng,
        canvas=Canvas(size),
        frame=_bend(rng, size, gsd),
        textures=Textures.draw(rng, size, gsd, -direction),
        biome=biome,
        sun=direction / np.tan(np.radians(rng.uniform(32, 70))) / gsd,
        lean=tilt * np.array([np.cos(lean_azimuth), np.sin(lean_azimuth)]) / gsd,
        labels=labels,
        blocked=np.zeros((size, size), np.bool_),
    )


def _bend(rng: np.random.Generator, size: int, gsd: float) -> Frame:
    """Straight, waving or round streets."""
    frame = Frame(size, gsd, float(rng.uniform(0, 2 * np.pi)))
    kind, extent = rng.random(), size * gsd
    if kind < 0.25:
        length = float(rng.uniform(0.7, 2.0) * extent)
        phases = rng.uniform(0, 2 * np.pi, 2)
        swing = float(rng.uniform(0.02, 0.07) * length)
        return replace(frame, wave=(swing, length, float(phases[0]), float(phases[1])))
    if kind < 0.4:
        return replace(frame, radius=float(rng.uniform(0.75, 2.2) * extent))
    return frame


def _choose_water(site: Site, theme: Theme) -> Water | None:
    if "water" not in site.labels:
        return None
    kinds = {k: w for k, w in theme.waters.items() if k}
    if "bridge" in site.labels:
        kinds = {"river": 3, "canal": 1}
    water = plan_water(site, site.pick(kinds or {"lake": 1}))
    site.blocked |= water.depth > -6
    return water


def _split(site: Site, theme: Theme) -> tuple[list[Road], list[Rectangle]]:
    """Cut the plan into blocks, the first cuts with the widest streets."""
    reach = site.frame.reach + 15
    low = -reach if site.frame.radius is None else max(-reach, 12 - site.frame.radius)
    roads: list[Road] = []
    blocks: list[Rectangle] = []
    target = site.rng.uniform(*theme.block)
    wide = site.one((7.0, 8.0, 10.0, 14.0, 22.0, 34.0)) * min(1.0, 0.5 + site.gsd)
    pending: list[tuple[Rectangle, int]] = [((low, -reach, reach, reach), 0)]
    while pending:
        area, depth = pending.pop()
        a, b = area[2] - area[0], area[3] - area[1]
        along_u = a > b * site.rng.uniform(0.8, 1.25)
        if max(a, b) < target * 1.5 or (not along_u and b < target) or (along_u and a < target):
            blocks.append(area)
            continue
        street = depth < 2 or site.chance(theme.streets)
        width = max(wide * 0.62**depth, site.rng.uniform(5.5, 8)) if street else 0.0
        line, halves = _cut(site, area, along_u, width)
        if street:
            roads.append(Road(line, width))
        pending += [(half, depth + 1) for half in halves]
    return roads, blocks


def _cut(
    site: Site, area: Rectangle, along_u: bool, width: float
) -> tuple[Points, list[Rectangle]]:
    """A street's centre line through a rectangle, and the two rectangles beside it."""
    u0, v0, u1, v1 = area
    share, gap = site.rng.uniform(0.36, 0.64), width / 2 + (2.5 if width else 0.0)
    if along_u:
        u = u0 + share * (u1 - u0)
        return np.array([[u, v0], [u, v1]]), [(u0, v0, u - gap, v1), (u + gap, v0, u1, v1)]
    v = v0 + share * (v1 - v0)
    return np.array([[u0, v], [u1, v]]), [(u0, v0, u1, v - gap), (u0, v + gap, u1, v1)]


def _fill_blocks(site: Site, theme: Theme, blocks: list[Rectangle]) -> None:
    """Give each visible block a use; every class of the scene gets its block first."""
    centre = np.array([[site.size / 2, site.size / 2]])
    seen = [(b, site.frame.outline(b)) for b in blocks]
    seen = [(b, o) for b, o in seen if site.is_visible(o)]
    seen.sort(key=lambda item: float(np.hypot(*(item[1].mean(axis=0) - centre[0]))))
    wanted = [n for n, use in USES.items() if use.needs in site.labels and n in theme.uses]
    due = [n for n in wanted if USES[n].needs not in EDGE_LABELS]
    site.rng.shuffle(due)
    due = (["villas"] if "villas" in wanted and site.chance(0.3) else []) + due
    for block, outline in seen:
        fitting = [n for n in wanted if _fits(n, block)]
        if not fitting or not (site.is_free(outline.mean(axis=0)[None]) or site.chance(0.5)):
            continue
        first = next((n for n in due if n in fitting), None)
        if first is not None and site.chance(0.75):
            due.remove(first)
        else:
            first = site.pick({n: theme.uses[n] for n in fitting})
        USES[first].fill(site, block)


def _fits(name: str, block: Rectangle) -> bool:
    short, long = sorted((block[2] - block[0], block[3] - block[1]))
    room = USES[name].room
    return short >= room[0] and long >= room[1]


def _draw_traffic(site: Site, theme: Theme, roads: list[Road]) -> None:
    """Streets or tracks, roundabouts, runways, cars, street trees."""
    dirt = theme.streets < 0.9 and site.chance(0.5)
    if "road" in site.labels and dirt:
        draw_tracks(site, labelled=True)
    if not dirt or site.chance(0.4):
        draw_roads(site, roads)
        _draw_cars(site, roads)
        _draw_street_trees(site, roads)
        if "roundabout" in site.labels:
            _draw_roundabout(site, roads)
    if "runway" in site.labels:
        _draw_runway(site)


def _draw_cars(site: Site, roads: list[Road]) -> None:
    if not {"car", "road"} <= site.labels:
        return
    spacing = float(np.exp(site.rng.uniform(np.log(12), np.log(120))))
    for road in roads:
        length = float(np.hypot(*(road.line[1] - road.line[0])))
        for share in site.rng.random(int(site.rng.poisson(length / spacing))):
            u, v = road.line[0] + share * (road.line[1] - road.line[0])
            side = site.one((-1, 1))
            lane = side * site.rng.uniform(0.12, 0.4) * road.width
            vertical = abs(road.line[1, 0] - road.line[0, 0]) < 1e-6
            at, angle = site.frame.at(u + lane * vertical, v + lane * (not vertical))
            turn = angle + (np.pi / 2 if vertical else 0) + (np.pi if side > 0 else 0)
            draw_car(site, at, turn)


def _draw_street_trees(site: Site, roads: list[Road]) -> None:
    if "tree" not in site.labels:
        return
    for road in roads:
        if not site.chance(site.biome.lushness * 0.5):
            continue
        length = float(np.hypot(*(road.line[1] - road.line[0])))
        along = np.arange(0, length, site.rng.uniform(6, 14))[:, None] / max(length, 1)
        points = road.line[0] + along * (road.line[1] - road.line[0])
        vertical = abs(road.line[1, 0] - road.line[0, 0]) < 1e-6
        points[:, 0 if vertical else 1] += site.one((-1, 1)) * (road.width / 2 + 2)
        add_tree_group(site, site.frame.to_pixels(points))


def _draw_roundabout(site: Site, roads: list[Road]) -> None:
    """A ring of asphalt around a green or paved island, on the widest street seen."""
    for road in sorted(roads, key=lambda r: -r.width):
        u, v = road.line.mean(axis=0)
        at, _ = site.frame.at(float(u), float(v))
        if not ((at > 0.1 * site.size) & (at < 0.9 * site.size)).all():
            continue
        island = site.rng.uniform(10, 42)
        ring = site.place(ellipse(island + 20, island + 20, n=48), at, 0.0)
        owner = site.canvas.add("roundabout")
        site.lay(site.fill([ring]), Surface(site.biome.asphalt[0], mottle=3), owner)
        surface = site.one((site.biome.grass, site.biome.soil, site.biome.pavement))
        site.lay(site.fill([site.place(ellipse(island, island, n=40), at, 0.0)]), surface)
        rim = site.place(ellipse(island, island, n=40), at, 0.0)
        site.canvas.paint(site.stroke([np.concatenate([rim, rim[:1]])], [0.5]), (214, 210, 204))
        return


def _draw_runway(site: Site) -> None:
    """A runway across the image, with centre line, edges and threshold."""
    at = site.rng.uniform(0.2, 0.8, 2) * site.size
    _, angle = site.frame.at(0.0, 0.0)
    length, width = site.frame.reach * 4, site.rng.uniform(24, 50)
    strip = site.place(rectangle(length, width), at, angle)
    owner = site.canvas.add("runway")
    tone = varied(site.rng, site.biome.asphalt[0], 12)
    site.lay(site.fill([strip]), Surface(tone, site.biome.asphalt[1], 0.7, 3, 3), owner)
    dashes = [rectangle(30, 0.9, x) for x in np.arange(-length / 2, length / 2, 50).tolist()]
    bars = [rectangle(30, 1.8, 0, y) for y in (np.arange(-0.42, 0.43, 0.085) * width).tolist()]
    if site.chance(0.5):
        dashes = [d for d in dashes if abs(d.mean(axis=0)[0]) > 40] + bars
    edges = [rectangle(length, 0.9, 0, s * width * 0.46) for s in (-1, 1)]
    marks = site.fill([site.place(m, at, angle) for m in [*dashes, *edges]])
    site.canvas.paint(marks.times(0.9), (232, 230, 224))


def _draw_waterfront(site: Site, water: Water) -> None:
    draw_water(site, water)
    if "bridge" in site.labels:
        draw_bridge(site, water)
    if "pier" in site.labels:
        draw_piers(site, water)
    if "ship" in site.labels:
        draw_ships(site, water)
