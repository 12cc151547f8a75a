"""The plan of a scene: theme, classes, streets, blocks and what goes where."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from starter.scene_canvas import Canvas
from starter.scene_ground import Road, draw_base, draw_roads, draw_tracks
from starter.scene_objects import draw_car
from starter.scene_palettes import BIOMES, season, varied
from starter.scene_site import Frame, Rectangle, Site, ellipse, rectangle
from starter.scene_textures import Surface, Textures
from starter.scene_uses import USES, add_tree_group
from starter.scene_water import (
    Water,
    draw_bridge,
    draw_piers,
    draw_ships,
    draw_water,
    plan_water,
)

MOST_CLASSES = 7
EDGE_LABELS = ("building", "road")


@dataclass(frozen=True)
class Theme:
    """A kind of place.

    Attributes:
        core: classes that it always has.
        extras: further classes that fit.
        uses: land uses of its blocks, by weight.
        block: metres, smallest and largest side that is still split.
        biomes: where it occurs, by weight.
        waters: kinds of water, by weight; "" = none.
        resolution: metres per pixel, finest and coarsest.
        streets: share of the splits between blocks that are streets.
    """

    core: tuple[str, ...]
    extras: tuple[str, ...]
    uses: Mapping[str, float]
    block: tuple[float, float]
    biomes: Mapping[str, float]
    waters: Mapping[str, float]
    resolution: tuple[float, float] = (0.15, 1.5)
    streets: float = 1.0


_TOWN = {"desert": 4, "temperate": 2, "tropical": 1, "dry": 1.5}
_WET = {"": 2, "lake": 1, "canal": 0.5, "coast": 0.6, "river": 0.5}

THEMES: Mapping[str, Theme] = {
    "villas": Theme(
        ("building", "road"),
        ("swimming pool", "tree", "car", "grassland", "bare land", "tennis court", "water",
         "parking lot", "forest"),
        {"villas": 7, "soil": 1.5, "park": 0.7, "courts": 0.5, "complex": 0.4, "construction": 0.4},
        (38, 75), _TOWN, _WET,
    ),
    "city": Theme(
        ("building", "road"),
        ("car", "tree", "parking lot", "bare land", "grassland", "swimming pool", "water",
         "tennis court", "ground track field"),
        {"apartments": 4, "complex": 2, "towers": 1.5, "parking": 1, "soil": 1, "construction": 0.6,
         "park": 0.7},
        (55, 120), _TOWN, _WET, (0.3, 1.5),
    ),
    "informal": Theme(
        ("building", "road"),
        ("tree", "bare land", "car", "grassland", "water", "farmland"),
        {"informal": 6, "soil": 1, "park": 0.5, "villas": 0.7, "fields": 0.3},
        (40, 90), {"red earth": 4, "tropical": 1, "dry": 1}, {"": 4, "river": 1, "lake": 0.5},
        (0.15, 0.6),
    ),
    "industry": Theme(
        ("building", "road"),
        ("storage tank", "car", "parking lot", "bare land", "water", "grassland", "solar panel",
         "tree", "pier", "ship"),
        {"warehouses": 5, "tanks": 1.5, "soil": 1.5, "parking": 1, "construction": 0.7, "solar": 0.4},
        (60, 130), _TOWN, {"": 3, "coast": 1, "canal": 0.7}, (0.25, 1.5),
    ),
    "refinery": Theme(
        ("storage tank", "road"),
        ("building", "bare land", "water", "grassland", "ship", "pier", "car", "tree"),
        {"tanks": 4, "warehouses": 1, "soil": 1.5, "grass": 1},
        (50, 110), _TOWN, {"": 2, "coast": 1.5, "river": 0.4}, (0.25, 1.5),
    ),
    "countryside": Theme(
        ("farmland",),
        ("forest", "road", "building", "water", "grassland", "tree", "bare land", "greenhouse",
         "solar panel", "bridge"),
        {"fields": 6, "forest": 1.5, "grass": 1, "villas": 0.4, "greenhouses": 0.3, "solar": 0.3,
         "soil": 0.4},
        (90, 220), {"temperate": 4, "tropical": 2, "red earth": 1, "dry": 2, "desert": 0.7},
        {"": 3, "river": 1.2, "lake": 1, "canal": 0.4}, (0.3, 1.5), 0.45,
    ),
    "woods": Theme(
        ("forest",),
        ("road", "grassland", "water", "bare land", "building", "farmland", "bridge"),
        {"forest": 5, "grass": 1.2, "soil": 0.6, "fields": 0.6, "villas": 0.3},
        (90, 240), {"temperate": 3, "tropical": 2, "red earth": 0.7},
        {"": 2, "river": 1.2, "lake": 1.2}, (0.15, 1.5), 0.4,
    ),
    "desert": Theme(
        ("bare land", "road"),
        ("building", "water", "car", "tree", "solar panel", "grassland", "farmland", "forest"),
        {"soil": 6, "construction": 2, "villas": 0.8, "warehouses": 0.7, "solar": 0.3, "park": 0.3},
        (90, 260), {"desert": 5, "dry": 1.5, "red earth": 0.5},
        {"": 2, "lake": 1.2, "canal": 0.8, "coast": 0.7}, (0.2, 1.5), 0.4,
    ),
    "harbour": Theme(
        ("water", "ship"),
        ("pier", "building", "road", "car", "parking lot", "storage tank", "bare land", "beach",
         "tree", "bridge"),
        {"warehouses": 3, "parking": 1, "soil": 1.5, "complex": 1, "tanks": 0.7, "villas": 0.7},
        (55, 120), _TOWN, {"coast": 5, "river": 1, "lake": 0.4}, (0.2, 1.5),
    ),
    "resort": Theme(
        ("water", "building"),
        ("beach", "swimming pool", "tree", "tennis court", "road", "ship", "pier", "grassland",
         "parking lot", "bare land", "forest"),
        {"pools": 3, "villas": 2, "complex": 1, "park": 1, "courts": 1, "soil": 0.7, "forest": 0.5},
        (50, 100), {"desert": 3, "tropical": 3, "dry": 2}, {"coast": 5, "lake": 0.7}, (0.2, 1.2),
    ),
    "sports": Theme(
        ("tennis court", "building"),
        ("ground track field", "road", "grassland", "tree", "parking lot", "car", "swimming pool",
         "bare land", "forest"),
        {"courts": 3, "stadium": 1, "park": 1.2, "complex": 1.2, "parking": 0.8, "villas": 0.8},
        (55, 120), _TOWN, {"": 5, "lake": 0.5}, (0.15, 1.0),
    ),
    "airport": Theme(
        ("airplane", "building"),
        ("runway", "grassland", "road", "car", "parking lot", "bare land", "storage tank"),
        {"apron": 4, "warehouses": 1.2, "grass": 1.2, "parking": 0.6, "soil": 0.8, "tanks": 0.3},
        (80, 200), _TOWN, {"": 1}, (0.3, 1.5), 0.5,
    ),
}  # fmt: skip
ANYWHERE = Theme((), (), {name: 1.0 for name in USES}, (50, 110), {b: 1.0 for b in BIOMES}, _WET)


def lay_out(rng: np.random.Generator, size: int, allowed: frozenset[str]) -> Site:
    """Plan and draw everything: the finished site, before the camera."""
    theme = _choose_theme(rng, allowed)
    site = _open_site(rng, size, theme, _choose_classes(rng, theme, allowed))
    water = _choose_water(site, theme)
    roads, blocks = _split(site, theme)
    draw_base(site)
    if "bare land" in site.labels and site.biome.ground == "bare land":
        draw_tracks(site, labelled=False)
    _fill_blocks(site, theme, blocks)
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
        textures=Textures.draw(rng, size, gsd, (-direction[0], -direction[1], 0)),
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
    wide = site.one((8.0, 10.0, 14.0, 22.0, 34.0))
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
) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.float64]], list[Rectangle]]:
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
    dashes = [rectangle(30, 0.9, x) for x in np.arange(-length / 2, length / 2, 50)]
    bars = [rectangle(30, 1.8, 0, y) for y in np.arange(-0.42, 0.43, 0.085) * width]
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
