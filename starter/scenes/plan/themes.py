"""Kinds of places: what occurs together."""

from collections.abc import Mapping
from dataclasses import dataclass

from starter.scenes.drawing.palettes import BIOMES
from starter.scenes.plan.uses import USES


@dataclass(frozen=True)
class Theme:
    """A kind of place.

    Attributes:
        core: classes that it always has.
        extras: further classes that fit.
        uses: land uses of its blocks, by weight.
        block: metres, range from which the typical side of the scene's blocks is drawn.
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
         "parking lot", "roundabout", "forest"),
        {"villas": 7, "soil": 1.5, "grove": 0.5, "park": 0.7, "courts": 0.5, "complex": 0.4,
         "construction": 0.4},
        (38, 75), _TOWN, _WET,
    ),
    "city": Theme(
        ("building", "road"),
        ("car", "tree", "parking lot", "bare land", "grassland", "swimming pool", "water",
         "tennis court", "roundabout", "ground track field"),
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
        {"warehouses": 5, "tanks": 1.5, "soil": 1.5, "parking": 1, "construction": 0.7,
         "solar": 0.4},
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
         "soil": 0.4, "grove": 0.5},
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
        ("building", "water", "car", "tree", "roundabout", "solar panel", "grassland",
         "farmland", "forest"),
        {"soil": 6, "construction": 2, "grove": 0.8, "villas": 0.8, "warehouses": 0.7, "solar": 0.3,
         "park": 0.3},
        (90, 260), {"desert": 5, "dry": 1.5, "red earth": 0.5},
        {"": 2, "lake": 1.2, "canal": 0.8, "coast": 0.7}, (0.2, 1.5), 0.4,
    ),
    "harbour": Theme(
        ("water", "ship"),
        ("pier", "building", "road", "car", "parking lot", "storage tank", "bare land", "beach",
         "tree", "bridge"),
        {"warehouses": 3, "parking": 1, "soil": 1.5, "complex": 1, "tanks": 0.7, "villas": 0.7},
        (55, 120), _TOWN, {"coast": 5, "river": 1, "lake": 0.4}, (0.2, 0.9),
    ),
    "resort": Theme(
        ("water", "building"),
        ("beach", "swimming pool", "tree", "tennis court", "road", "ship", "pier", "grassland",
         "parking lot", "bare land", "forest"),
        {"pools": 3, "villas": 2, "grove": 0.6, "complex": 1, "park": 1, "courts": 1, "soil": 0.7,
         "forest": 0.5},
        (50, 100), {"desert": 3, "tropical": 3, "dry": 2}, {"coast": 5, "lake": 0.7}, (0.15, 0.8),
    ),
    "sports": Theme(
        ("tennis court", "building"),
        ("ground track field", "road", "grassland", "tree", "parking lot", "car", "swimming pool",
         "bare land", "forest"),
        {"courts": 3, "stadium": 1, "park": 1.2, "complex": 1.2, "parking": 0.8, "villas": 0.8},
        (55, 120), _TOWN, {"": 5, "lake": 0.5}, (0.15, 0.7),
    ),
    "airport": Theme(
        ("airplane", "building"),
        ("runway", "grassland", "road", "car", "parking lot", "bare land", "storage tank"),
        {"apron": 4, "warehouses": 1.2, "grass": 1.2, "parking": 0.6, "soil": 0.8, "tanks": 0.3},
        (80, 200), _TOWN, {"": 1}, (0.3, 1.5), 0.5,
    ),
}  # fmt: skip
ANYWHERE = Theme((), (), dict.fromkeys(USES, 1.0), (50, 110), dict.fromkeys(BIOMES, 1.0), _WET)
