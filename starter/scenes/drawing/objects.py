"""Objects: cars, ships, aircraft, tanks, courts, pools, trees and panels."""

import itertools
from collections.abc import Sequence

import numpy as np

from starter.scenes.drawing.canvas import Colour, Points
from starter.scenes.drawing.palettes import varied
from starter.scenes.drawing.site import Site, ellipse, rectangle, swept
from starter.scenes.drawing.textures import Stripes, Surface

CAR_PAINTS = {
    "white": 5, "grey": 2.5, "black": 2, "dark grey": 1.2, "red": 0.8, "blue": 0.8, "yellow": 0.3
}  # fmt: skip
SHIP_PAINTS = {"white": 5, "grey": 1.2, "red": 0.8, "blue": 1, "brown": 0.8, "black": 0.4}
TANK_PAINTS = {"white": 6, "grey": 2, "beige": 1.2, "brown": 0.6, "green": 0.3}
PLANE_PAINTS = {"white": 6, "grey": 1.5, "blue": 0.3}
COURT_PAINTS: tuple[tuple[str, Colour, Colour], ...] = (  # word, inside, outside the lines
    ("blue", (52, 88, 140), (64, 120, 84)),
    ("blue", (64, 104, 164), (58, 88, 130)),
    ("green", (70, 126, 84), (146, 78, 62)),
    ("green", (74, 116, 92), (92, 134, 106)),
    ("red", (172, 94, 66), (158, 86, 62)),
    ("red", (150, 72, 58), (80, 112, 84)),
    ("grey", (124, 126, 128), (140, 140, 138)),
)


def draw_car(site: Site, at: Points, angle: float) -> None:
    """A car, now and then a van or a truck, heading along `angle`."""
    if "car" not in site.labels:
        return
    large = site.chance(0.08)
    length = site.rng.uniform(6, 14) if large else site.rng.uniform(3.9, 5.1)
    width = 2.5 if large else site.rng.uniform(1.75, 2.05)
    body = site.place(_rounded(length, width), at, angle)
    if not site.is_visible(body):
        return
    site.cast([body], 2.8 if large else 1.4)
    word = site.pick(CAR_PAINTS)
    colour = site.paint_of(word)
    owner = site.canvas.add("car", colour=word, kind="truck" if large else "car")
    site.canvas.paint(site.fill([body]), colour, owner)
    if site.gsd < 0.6 and not large:
        glass = [rectangle(0.75, width * 0.8, length * 0.14), rectangle(0.5, width * 0.78, -1.5)]
        windows = site.fill([site.place(g, at, angle) for g in glass])
        site.canvas.paint(windows.times(0.8), (34, 38, 44))
    elif large:
        gap = site.place(rectangle(0.4, width, length / 2 - 2.2), at, angle)
        site.canvas.paint(site.fill([gap]).times(0.7), (48, 48, 50))


def _rounded(length: float, width: float) -> Points:
    a, b, c = length / 2, width / 2, width * 0.18
    return np.array([[a - c, -b], [a, -b + c], [a, b - c], [a - c, b],
                     [c - a, b], [-a, b - c], [-a, c - b], [c - a, -b]])  # fmt: skip


def draw_ship(
    site: Site, at: Points, angle: float, length: float, beam: float, wake: float
) -> None:
    """A boat or ship with its bow along `angle`; `wake` in ship lengths, 0 = at rest."""
    a, b = length / 2, beam / 2
    hull = np.array([[a, 0], [a * 0.72, b * 0.62], [a * 0.4, b], [-a * 0.92, b * 0.95],
                     [-a, b * 0.7], [-a, -b * 0.7], [-a * 0.92, -b * 0.95],
                     [a * 0.4, -b], [a * 0.72, -b * 0.62]])  # fmt: skip
    outline = site.place(hull, at, angle)
    if not site.is_visible(outline):
        return
    if wake:
        _draw_wake(site, at, angle, length, beam, wake)
    site.cast([outline], 0.12 * length)
    word = site.pick(SHIP_PAINTS)
    colour = site.paint_of(word)
    kind = "boat" if length < 25 else "ship"
    site.canvas.paint(site.fill([outline]), colour, site.canvas.add("ship", colour=word, kind=kind))
    deck = site.place(hull * np.array([0.86, 0.74]), at, angle)
    site.canvas.paint(site.fill([deck]).times(0.7), varied(site.rng, (206, 202, 192), 22))
    if length > 55 and site.chance(0.5):
        _draw_containers(site, at, angle, length, beam)
    _draw_cabin(site, at, angle, length, beam)


def _draw_wake(
    site: Site, at: Points, angle: float, length: float, beam: float, wake: float
) -> None:
    """Foam behind the stern and the two arms of the bow wave, fading out."""
    edges = (np.linspace(-0.4, -wake, 9) * length).tolist()
    strength = site.rng.uniform(0.25, 0.6)
    for i, (near, far) in enumerate(itertools.pairwise(edges)):
        spread = beam * (0.4 + 0.05 * i)
        foam = np.array([[near, -spread], [near, spread], [far, spread], [far, -spread]])
        fade = strength * (1 - i / 8) ** 1.5
        site.canvas.paint(site.fill([site.place(foam, at, angle)]).times(fade), (222, 230, 232))
        if i < 5:
            arms = [
                site.place(np.array([[near, s * near * 0.22], [far, s * far * 0.22]]), at, angle)
                for s in (-1, 1)
            ]
            paint = site.stroke(arms, [beam * 0.2] * 2).times(fade * 0.6)
            site.canvas.paint(paint, (214, 224, 228))


def _draw_containers(site: Site, at: Points, angle: float, length: float, beam: float) -> None:
    for x in np.arange(-0.25 * length, 0.36 * length, 6.6).tolist():
        box = site.place(rectangle(6.1, beam * 0.78, x), at, angle)
        site.canvas.paint(site.fill([box]), site.paint_of(site.pick(SHIP_PAINTS), 12))


def _draw_cabin(site: Site, at: Points, angle: float, length: float, beam: float) -> None:
    place = site.rng.uniform(-0.32, 0.05) if length < 40 else -0.36
    part = 0.3 if length < 40 else 0.13
    cabin = site.place(rectangle(length * part, beam * 0.6, length * place), at, angle)
    site.cast([cabin], 0.06 * length + 1)
    site.canvas.paint(site.fill([cabin]), varied(site.rng, (236, 236, 234), 8))
    if length / site.gsd > 18:
        glass = rectangle(length * 0.04, beam * 0.5, length * (place + part * 0.4))
        site.canvas.paint(site.fill([site.place(glass, at, angle)]).times(0.8), (44, 50, 60))


def draw_plane(site: Site, at: Points, angle: float, span: float) -> None:
    """An aircraft with its nose along `angle`; wing span in metres."""
    half = np.array([[0.5, 0.0], [0.46, 0.035], [0.38, 0.05], [0.14, 0.052], [-0.06, 0.5],
                     [-0.13, 0.5], [-0.08, 0.052], [-0.33, 0.042], [-0.43, 0.19],
                     [-0.48, 0.19], [-0.45, 0.02]])  # fmt: skip
    outline = np.concatenate([half, half[::-1] * [1, -1]]) * span
    body = site.place(outline, at, angle)
    if "airplane" not in site.labels or not site.is_visible(body):
        return
    site.canvas.shade(site.fill([body + site.sun * 0.09 * span]))
    word = site.pick(PLANE_PAINTS)
    colour = site.paint_of(word)
    owner = site.canvas.add("airplane", colour=word)
    engines = [rectangle(span * 0.09, span * 0.04, span * 0.04, s * span * 0.18) for s in (-1, 1)]
    pods = site.fill([site.place(e, at, angle) for e in engines])
    site.canvas.paint(pods, tuple(c * 0.8 for c in colour), owner)  # type: ignore[arg-type]
    site.canvas.paint(site.fill([body]), colour, owner)
    fuselage = site.place(ellipse(span * 0.96, span * 0.05, 0.01 * span), at, angle)
    site.canvas.brighten(site.fill([fuselage]), 18)
    fin = site.place(rectangle(span * 0.14, span * 0.012, -span * 0.42), at, angle)
    site.canvas.paint(site.fill([fin]).times(0.8), site.paint_of(site.one(("blue", "red", "grey"))))


def draw_tank(site: Site, at: Points, diameter: float, height: float, paint: str) -> None:
    """A cylindrical tank: fixed or floating roof, rim, stair and shadow."""
    disc = site.place(ellipse(diameter, diameter, n=40), at, 0.0)
    site.cast([disc], height)
    shift = site.lean * height
    colour = site.paint_of(paint, 5)
    owner = site.canvas.add("storage tank", colour=paint)
    wall = site.fill(swept([disc], shift))
    dark = (colour[0] * 0.7, colour[1] * 0.7, colour[2] * 0.72)
    site.canvas.paint(wall, dark, owner)
    top = disc + shift
    site.lay(site.fill([top]), Surface(colour, grain=2, mottle=3), owner)
    if site.chance(0.35):
        _draw_floating_roof(site, at + shift, diameter, colour)
    else:
        _draw_cone(site, at + shift, diameter)
    if diameter / site.gsd > 16:
        ring = np.concatenate([top, top[:1]])
        site.canvas.brighten(site.stroke([ring], [0.5]).times(0.7), 20)
        turn = site.rng.uniform(0, 2 * np.pi)
        stair = diameter / 2 * np.array([[np.cos(t), np.sin(t)] for t in turn + np.arange(6) / 5])
        line = site.place(stair, at + shift, 0.0)
        site.canvas.paint(site.stroke([line], [0.9]).times(0.6), (86, 84, 82))


def _draw_floating_roof(site: Site, at: Points, diameter: float, colour: Colour) -> None:
    """A roof sunk into the shell: the sunward wall throws a crescent onto it."""
    inner = site.place(ellipse(diameter * 0.94, diameter * 0.94, n=40), at, 0.0)
    site.canvas.shade(site.fill([inner]), 0.75)
    lower = inner + site.sun * min(4.0, diameter * 0.1)
    floor = site.fill([lower])
    tone = varied(site.rng, (colour[0] * 0.88, colour[1] * 0.88, colour[2] * 0.88), 6)
    disc = site.fill([inner])
    both = np.zeros((site.size, site.size), np.float32)
    both[floor.window] = floor.alpha
    lit = disc.times(both[disc.window])
    site.canvas.paint(lit, tone)


def _draw_cone(site: Site, at: Points, diameter: float) -> None:
    """A shallow cone: one half turned to the sun, sometimes with radial seams."""
    sun = float(np.arctan2(-site.sun[1], -site.sun[0]))
    turn = np.linspace(sun - np.pi / 2, sun + np.pi / 2, 16)
    half = np.stack([np.cos(turn), np.sin(turn)], axis=1) * diameter / 2
    amount = site.rng.uniform(4, 16)
    site.canvas.brighten(site.fill([site.place(half, at, 0.0)]), amount)
    site.canvas.brighten(site.fill([site.place(-half, at, 0.0)]), -amount)
    if diameter / site.gsd > 24 and site.chance(0.6):
        rays = np.arange(0, 2 * np.pi, np.pi / 8)
        ends = np.stack([np.cos(rays), np.sin(rays)], axis=1) * diameter / 2
        seams = [site.place(np.stack([end * 0.08, end]), at, 0.0) for end in ends]
        site.canvas.brighten(site.stroke(seams, [0.25] * len(seams)), -22)
    hub = site.place(ellipse(1.6, 1.6, n=10), at, 0.0)
    site.canvas.paint(site.fill([hub]).times(0.5), (92, 92, 94))


def draw_court(site: Site, at: Points, angle: float, paint: tuple[str, Colour, Colour]) -> None:
    """A tennis court with its lines and net, about 36 by 18 m with the run-off."""
    word, inside, outside = paint
    ground = site.place(rectangle(36.6, 18.3), at, angle)
    if "tennis court" not in site.labels or not site.is_visible(ground):
        return
    owner = site.canvas.add("tennis court", colour=word)
    site.lay(site.fill([ground]), Surface(outside, mottle=2, grain=2), owner)
    play = site.place(rectangle(23.77, 10.97), at, angle)
    site.lay(site.fill([play]), Surface(inside, mottle=2, grain=2))
    lines = [_closed(rectangle(23.77, 10.97)), _closed(rectangle(23.77, 8.23))]
    lines += [np.array([[x, -4.115], [x, 4.115]]) for x in (-6.4, 6.4)]
    lines.append(np.array([[-6.4, 0.0], [6.4, 0.0]]))
    marks = site.stroke([site.place(line, at, angle) for line in lines], [0.12] * len(lines))
    site.canvas.paint(marks.times(0.95), (238, 238, 234))
    net = site.place(np.array([[0.0, -6.2], [0.0, 6.2]]), at, angle)
    site.canvas.paint(site.stroke([net], [0.3]).times(0.6), (52, 54, 56))


def _closed(polygon: Points) -> Points:
    return np.concatenate([polygon, polygon[:1]])


def draw_pool(site: Site, at: Points, angle: float, length: float, width: float) -> None:
    """A swimming pool of some shape, with its paved rim."""
    shape = site.pick({"rectangle": 5, "kidney": 2, "round": 1, "L": 1})
    parts = {
        "rectangle": [rectangle(length, width)],
        "kidney": [ellipse(length * 0.62, width, -length * 0.18),
                   ellipse(length * 0.55, width * 0.7, length * 0.2, width * 0.12)],
        "round": [ellipse(width, width)],
        "L": [rectangle(length, width * 0.55, 0, -width * 0.22),
              rectangle(length * 0.4, width, -length * 0.3)],
    }[shape]  # fmt: skip
    shapes = [site.place(p, at, angle) for p in parts]
    if "swimming pool" not in site.labels or not site.is_free(shapes[0]):
        return
    rim = [site.place(p * (1 + 2.4 / np.array([length, width])), at, angle) for p in parts]
    site.lay(site.fill(rim), Surface(varied(site.rng, (206, 198, 184), 14), grain=3), 0)
    deep = varied(
        site.rng, site.one(((72, 168, 196), (56, 148, 190), (104, 190, 200), (60, 140, 160))), 9
    )
    owner = site.canvas.add("swimming pool", colour="blue")
    pool = site.fill(shapes)
    site.lay(pool, Surface(deep, mottle=4, grain=4), owner)
    shallow = site.place(rectangle(length * 0.3, width, -length * 0.35), at, angle)
    site.canvas.brighten(site.fill([shallow]).times(0.0 if shape == "round" else 1.0), 8)


def draw_trees(
    site: Site, centres: Sequence[Points], diameters: Sequence[float], palm: bool
) -> None:
    """Single trees, with shadows; they are one object, since nobody tells street trees apart."""
    if "tree" not in site.labels or not len(centres):
        return
    crowns = [_crown(site, at, d, palm) for at, d in zip(centres, diameters, strict=True)]
    seen = [i for i, crown in enumerate(crowns) if site.is_visible(crown)]
    if not seen:
        return
    crowns = [crowns[i] for i in seen]
    lift = site.sun * (8 if palm else 4.5)
    site.canvas.shade(site.fill([c + lift for c in crowns]), 0.85)
    owner = site.canvas.add("tree", colour="green", kind="palm" if palm else "tree")
    dark, light = site.biome.leaves
    site.lay(site.fill(crowns), Surface(dark, light, 0.35, mottle=8, grain=9), owner)
    sunward = -site.sun / max(float(np.hypot(*site.sun)), 1e-6)
    for scale, amount in ((0.72, 13), (0.4, 15)):
        middles = [c.mean(axis=0) for c in crowns]
        spots = [m + (c - m) * scale + sunward * diameters[i] / site.gsd * 0.12 * (1 - scale) * 2
                 for c, m, i in zip(crowns, middles, seen, strict=True)]  # fmt: skip
        site.canvas.brighten(site.fill(spots), amount)


def _crown(site: Site, at: Points, diameter: float, palm: bool) -> Points:
    n = 18 if diameter / site.gsd > 5 else 8
    turn = np.arange(n) * 2 * np.pi / n + site.rng.uniform(0, 1)
    lobes = np.where(np.arange(n) % 2, 0.45, 1.0) if palm else site.rng.uniform(0.75, 1.1, n)
    radius = diameter / 2 / site.gsd * lobes
    return at + np.stack([np.cos(turn), np.sin(turn)], axis=1) * radius[:, None]


def draw_panel_row(site: Site, at: Points, angle: float, length: float, width: float) -> None:
    """A row of solar panels, its shadow, and the grid of its modules."""
    panel = site.place(rectangle(length, width), at, angle)
    if "solar panel" not in site.labels or not site.is_visible(panel):
        return
    site.cast([panel], 1.6)
    owner = site.canvas.add("solar panel", colour="blue")
    colour = varied(site.rng, (38, 48, 84), 5)
    grid = Stripes(max(1.1 / site.gsd, 2.2), angle, 5)
    site.lay(site.fill([panel]), Surface(colour, mottle=2, grain=2, stripes=grid), owner)
    middle = site.place(np.array([[-length / 2, 0.0], [length / 2, 0.0]]), at, angle)
    site.canvas.brighten(site.stroke([middle], [0.2]), 24)
