"""Styles for QGIS: classes in their colours, under their names.

QGIS opens a file in the style that lies beside it under the same name, with `.qml` instead of its
last suffix. Structure: what QGIS 3.22 and later read (`QgsPalettedRasterRenderer`,
`QgsCategorizedSymbolRenderer`, `QgsSimpleFillSymbolLayer`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from PIL import ImageColor

VERSION = "3.22.0"
FILL = 128  # opacity of polygons, 0-255: what is below is seen
OUTLINE_MM = "0.4"


def style_of(file: Path) -> Path:
    """Where QGIS looks for the style of a file."""
    return file.with_suffix(".qml")


def write_raster(file: Path, names: Sequence[str], colours: Mapping[str, str]) -> Path:
    """Write the style of a raster of class numbers.

    Args:
        file: the raster.
        names: of the numbers, from 1.
        colours: of the names, "#rrggbb".

    Returns:
        The style's file.
    """
    root = _root()
    pipe = SubElement(root, "pipe")
    renderer = {"type": "paletted", "band": "1", "opacity": "1", "alphaBand": "-1"}
    palette = SubElement(SubElement(pipe, "rasterrenderer", renderer), "colorPalette")
    for number, name in enumerate(names, start=1):
        entry = {"value": str(number), "color": colours[name], "label": _plain(name)}
        SubElement(palette, "paletteEntry", {**entry, "alpha": "255"})
    return _write(root, style_of(file))


def write_polygons(file: Path, column: str, colours: Mapping[str, str]) -> Path:
    """Write the style of polygons that a column of theirs classifies.

    Args:
        file: of the polygons.
        column: holds the name of the class.
        colours: of the names, "#rrggbb".

    Returns:
        The style's file.
    """
    root = _root()
    renderer = SubElement(root, "renderer-v2", {"type": "categorizedSymbol", "attr": column})
    categories, symbols = SubElement(renderer, "categories"), SubElement(renderer, "symbols")
    for number, (name, colour) in enumerate(colours.items()):
        about = {"symbol": str(number), "value": _plain(name), "label": _plain(name)}
        SubElement(categories, "category", {**about, "type": "string", "render": "true"})
        symbols.append(_fill(str(number), colour))
    SubElement(root, "layerGeometryType").text = "2"  # polygons
    return _write(root, style_of(file))


def _fill(name: str, colour: str) -> Element:
    red, green, blue = ImageColor.getrgb(colour)[:3]
    symbol = Element("symbol", {"type": "fill", "name": name, "alpha": "1"})
    layer = SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "pass": "0"})
    options = SubElement(layer, "Option", {"type": "Map"})
    values = {
        "color": f"{red},{green},{blue},{FILL}",
        "style": "solid",
        "outline_color": f"{red},{green},{blue},255",
        "outline_style": "solid",
        "outline_width": OUTLINE_MM,
        "outline_width_unit": "MM",
    }
    for key, value in values.items():
        SubElement(options, "Option", {"name": key, "value": value, "type": "QString"})
    return symbol


def _root() -> Element:
    return Element("qgis", {"version": VERSION, "styleCategories": "Symbology"})


def _plain(name: str) -> str:
    """Without what XML cannot hold."""
    return "".join(character if character.isprintable() else " " for character in name)


def _write(root: Element, file: Path) -> Path:
    ElementTree.indent(root)
    doctype = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
    text = ElementTree.tostring(root, encoding="unicode")
    file.write_text(f"{doctype}{text}\n", "utf-8")
    return file
