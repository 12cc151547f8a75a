"""Colours for the labels of a project: the same label gets the same colour wherever it can.

The first eight are what colour-blind people tell apart: Okabe and Ito's palette (Color Universal
Design, 2008) without black, which is what shadows look like, and with the grey that Wong (Nature
Methods 8:441, 2011) lets stand in for it left out, too, since roads and roofs are grey; Tol's wine
(Technical Note SRON/EPS/TN/09-002) stands in. More than eight cannot be told apart by all; the
others differ in hue and lightness for most. All are saturated, which the ground hardly ever is.
"""

import colorsys
import hashlib
import re
from collections.abc import Mapping, Sequence

from PIL import ImageColor

from dgl_rsis.names import normal_name

ORANGE, SKY, GREEN, YELLOW = "#e69f00", "#56b4e9", "#009e73", "#f0e442"
BLUE, VERMILION, PINK, WINE = "#0072b2", "#d55e00", "#cc79a7", "#882255"
SAFE = (VERMILION, SKY, YELLOW, GREEN, PINK, ORANGE, BLUE, WINE)
# The words that everybody has a colour for, and beside them what often comes with them.
WISHES: Mapping[str, Sequence[str]] = {
    BLUE: ("water", "water body", "sea", "lake", "river", "pond", "ocean", "reservoir", "canal"),
    GREEN: ("vegetation", "tree", "forest", "wood", "woods", "woodland", "plant", "green area"),
    YELLOW: (
        "low vegetation",
        "grass",
        "grassland",
        "agriculture",
        "farmland",
        "field",
        "cropland",
    ),
    ORANGE: ("bare land", "bareland", "barren", "land", "sand", "soil", "desert", "beach"),
    VERMILION: ("building", "house", "roof", "rooftop"),
    PINK: ("road", "street", "highway", "impervious surface", "pavement"),
    SKY: ("swimming pool", "pool", "ship", "boat", "vessel"),
    WINE: ("car", "vehicle", "small vehicle", "large vehicle", "truck", "background"),
}
SATURATION = 0.85
LIGHTNESSES = (0.62, 0.38, 0.78)
HUES = 12
ALPHA = re.compile(r"rgba\((.*),[^,]*\)")  # Pillow wants whole numbers


def colours(names: Sequence[str], given: Mapping[str, str] | None = None) -> dict[str, str]:
    """One colour a name: the given one, and for the others different ones.

    A known word gets its own colour, any other one that its spelling chooses; where two want the
    same, the earlier has it and the other takes the next that is free.

    Args:
        names: labels, each once.
        given: CSS colours of some of them, as label configs have them; what is no colour counts
            for nothing.

    Returns:
        Name → "#rrggbb", in the order of the names.
    """
    wished = {word: colour for colour, words in WISHES.items() for word in words}
    chosen = _readable(names, given or {})
    taken = set(chosen.values())
    rest = [name for name in names if name not in chosen]
    known = [name for name in rest if normal_name(name) in wished]
    for name in (*known, *(name for name in rest if name not in known)):
        first = wished.get(normal_name(name))
        chosen[name] = first if first and first not in taken else _free(name, taken)
        taken.add(chosen[name])
    return {name: chosen[name] for name in names}


def rgb(css: str) -> tuple[int, int, int]:
    """Red, green and blue, 0-255, of a CSS colour; its alpha is left out.

    Raises:
        ValueError: it is no colour.
    """
    red, green, blue = ImageColor.getrgb(ALPHA.sub(r"rgb(\1)", css))[:3]
    return min(red, 255), min(green, 255), min(blue, 255)


def _readable(names: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Name → "#rrggbb" where the given colour is one."""
    read: dict[str, str] = {}
    for name in names:
        try:
            red, green, blue = rgb(given.get(name, ""))
        except ValueError:
            continue
        read[name] = f"#{red:02x}{green:02x}{blue:02x}"
    return read


def _free(name: str, taken: set[str]) -> str:
    """The colour that the spelling chooses, or the next free one: of the safe ones first."""
    number = int.from_bytes(hashlib.sha256(normal_name(name).encode()).digest()[:4])
    for palette in (SAFE, MORE):
        for step in range(len(palette)):
            colour = palette[(number + step) % len(palette)]
            if colour not in taken:
                return colour
    return next(c for step in range(2**24) if (c := f"#{(number + step) % 2**24:06x}") not in taken)


def _more() -> tuple[str, ...]:
    """Around the circle of hues, in three lightnesses; hues turn a third of a step in each."""
    others = []
    for ring, lightness in enumerate(LIGHTNESSES):
        for step in range(HUES):
            hue = (step + ring / len(LIGHTNESSES)) / HUES
            rgb = colorsys.hls_to_rgb(hue, lightness, SATURATION)
            others.append("#" + "".join(f"{round(255 * part):02x}" for part in rgb))
    return tuple(others)


MORE = _more()
