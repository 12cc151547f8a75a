"""Colours of places: biomes, materials and paints."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from starter.scenes.drawing.canvas import Colour
from starter.scenes.drawing.textures import Surface

# The word that people use for a paint, and its shades.
PAINTS: Mapping[str, tuple[Colour, ...]] = {
    "white": ((232, 230, 224), (216, 214, 210), (243, 242, 240)),
    "grey": ((150, 150, 152), (172, 171, 168), (126, 125, 127)),
    "dark grey": ((88, 86, 88), (74, 72, 74)),
    "beige": ((206, 188, 158), (190, 172, 146), (220, 206, 180)),
    "brown": ((122, 96, 78), (142, 112, 92), (104, 84, 72)),
    "red": ((170, 84, 64), (150, 66, 54), (186, 100, 76)),
    "orange": ((196, 126, 86), (206, 140, 100)),
    "blue": ((84, 98, 146), (106, 112, 156), (76, 112, 146)),
    "green": ((96, 124, 104), (116, 138, 116)),
    "black": ((38, 38, 42), (52, 50, 52)),
    "yellow": ((216, 186, 70), (226, 200, 96)),
}

WATERS: Mapping[str, tuple[Colour, Colour]] = {  # deep, shallow
    "black": ((12, 14, 14), (30, 34, 28)),
    "dark blue": ((22, 42, 66), (52, 84, 96)),
    "dark green": ((18, 44, 26), (44, 66, 40)),
    "blue": ((44, 84, 122), (90, 136, 150)),
    "turquoise": ((24, 110, 140), (110, 190, 186)),
    "brown": ((92, 82, 58), (120, 106, 78)),
    "green": ((56, 92, 70), (96, 116, 84)),
}


@dataclass(frozen=True)
class Biome:
    """What the materials of one kind of place look like.

    Attributes:
        ground: label of the ground between things, where it is drawn.
        soil, pavement, grass: surfaces.
        asphalt: fresh and worn colours of roads.
        leaves: dark and light colours of trees.
        crops: colours of fields.
        roofs: share of each paint among roofs.
        waters: names of the waters that occur.
        palms: share of palms among single trees, [0, 1].
        lushness: how many single trees and lawns there are, [0, 1].
    """

    ground: str
    soil: Surface
    pavement: Surface
    grass: Surface
    asphalt: tuple[Colour, Colour]
    leaves: tuple[Colour, Colour]
    crops: tuple[Colour, ...]
    roofs: Mapping[str, float]
    waters: tuple[str, ...]
    palms: float
    lushness: float


def _soil(colour: Colour, tint: Colour, patches: float = 0.8) -> Surface:
    return Surface(colour, tint, patches, mottle=8, grain=4, relief=6)


_DESERT = Biome(
    ground="bare land",
    soil=_soil((206, 196, 182), (182, 182, 188)),
    pavement=Surface((168, 164, 164), (184, 178, 172), 0.6, 4, 4),
    grass=Surface((78, 88, 62), (104, 104, 84), 0.6, 7, 6),
    asphalt=((68, 58, 60), (112, 104, 104)),
    leaves=((42, 48, 36), (74, 82, 56)),
    crops=((96, 116, 66), (120, 128, 84), (164, 148, 112)),
    roofs={
        "white": 4,
        "beige": 3,
        "grey": 2,
        "dark grey": 0.7,
        "brown": 1,
        "orange": 0.7,
        "blue": 0.7,
    },
    waters=("black", "black", "dark green", "dark blue", "turquoise"),
    palms=0.7,
    lushness=0.45,
)

BIOMES: Mapping[str, Biome] = {
    "desert": _DESERT,
    "red earth": replace(
        _DESERT,
        soil=_soil((178, 120, 84), (152, 106, 82)),
        pavement=Surface((176, 150, 126), (190, 166, 142), 0.6, 5, 4),
        grass=Surface((106, 132, 62), (140, 134, 80), 0.7, 8, 6),
        asphalt=((104, 94, 88), (148, 132, 120)),
        leaves=((44, 68, 30), (104, 130, 58)),
        crops=((104, 138, 64), (140, 140, 76), (166, 118, 82)),
        roofs={"grey": 3, "red": 2, "brown": 2.5, "white": 1.5, "blue": 0.6, "green": 0.4},
        waters=("brown", "brown", "green", "dark green"),
        palms=0.3,
        lushness=0.8,
    ),
    "temperate": Biome(
        ground="grassland",
        soil=_soil((150, 130, 106), (128, 112, 96)),
        pavement=Surface((158, 156, 152), (140, 138, 136), 0.6, 4, 4),
        grass=Surface((104, 128, 76), (130, 136, 92), 0.8, 6, 5),
        asphalt=((98, 98, 100), (138, 136, 134)),
        leaves=((34, 56, 32), (82, 108, 58)),
        crops=(
            (108, 136, 68),
            (142, 150, 84),
            (190, 172, 112),
            (146, 120, 92),
            (84, 116, 62),
        ),
        roofs={
            "red": 3,
            "grey": 3,
            "dark grey": 2,
            "brown": 2,
            "white": 1.5,
            "beige": 0.6,
            "green": 0.3,
        },
        waters=("dark blue", "dark green", "blue", "black", "brown", "green"),
        palms=0.0,
        lushness=0.9,
    ),
    "tropical": Biome(
        ground="grassland",
        soil=_soil((172, 140, 104), (150, 118, 90)),
        pavement=Surface((170, 166, 158), (150, 146, 138), 0.6, 5, 4),
        grass=Surface((92, 134, 62), (124, 146, 80), 0.7, 7, 6),
        asphalt=((86, 84, 84), (132, 128, 124)),
        leaves=((24, 58, 24), (80, 124, 48)),
        crops=((86, 138, 58), (120, 156, 76), (156, 134, 94), (68, 118, 54)),
        roofs={
            "red": 2,
            "grey": 2.5,
            "white": 2,
            "brown": 1.5,
            "blue": 1,
            "green": 0.7,
            "orange": 0.8,
        },
        waters=("turquoise", "green", "brown", "blue", "dark blue"),
        palms=0.6,
        lushness=1.0,
    ),
    "dry": Biome(
        ground="bare land",
        soil=_soil((176, 158, 130), (150, 142, 112)),
        pavement=Surface((166, 160, 152), (150, 146, 140), 0.6, 4, 4),
        grass=Surface((140, 136, 92), (118, 122, 78), 0.8, 7, 5),
        asphalt=((92, 90, 92), (140, 136, 132)),
        leaves=((46, 56, 34), (92, 100, 60)),
        crops=((132, 136, 80), (186, 164, 114), (154, 128, 96), (96, 118, 66)),
        roofs={"red": 2, "white": 3, "beige": 2.5, "grey": 2, "orange": 1.5, "brown": 1},
        waters=("dark blue", "green", "turquoise", "brown", "black"),
        palms=0.3,
        lushness=0.5,
    ),
}


def varied(rng: np.random.Generator, colour: Colour, amount: float = 8.0) -> Colour:
    """The colour, a little lighter or darker and a little off its hue."""
    light = rng.normal(0, amount)
    shift = rng.normal(0, amount / 4, 3)
    r, g, b = np.clip(np.asarray(colour) + light + shift, 4, 252)
    return float(r), float(g), float(b)


def season(rng: np.random.Generator, biome: Biome) -> Biome:
    """The same place on another day: dry or fresh grass, lighter or darker earth."""
    earth = rng.normal(0, 14)
    dryness = rng.uniform(-0.25, 0.6)
    soil, grass = biome.soil, biome.grass
    return replace(
        biome,
        soil=replace(
            soil,
            colour=varied(rng, _moved(soil.colour, earth), 6),
            tint=varied(rng, _moved(soil.tint or soil.colour, earth), 8),
            patches=rng.uniform(0.3, 1.0),
            mottle=rng.uniform(3, 13),
            relief=rng.uniform(1, 11),
        ),
        grass=replace(grass, colour=_between(grass.colour, soil.colour, dryness * 0.6)),
        leaves=(
            _between(biome.leaves[0], soil.colour, max(dryness, 0) * 0.15),
            _between(biome.leaves[1], soil.colour, dryness * 0.3),
        ),
        asphalt=(varied(rng, biome.asphalt[0], 9), varied(rng, biome.asphalt[1], 9)),
    )


def _moved(colour: Colour, amount: float) -> Colour:
    return colour[0] + amount, colour[1] + amount, colour[2] + amount


def _between(first: Colour, second: Colour, share: float) -> Colour:
    a, b, c = (x + share * (y - x) for x, y in zip(first, second, strict=True))
    return a, b, c
