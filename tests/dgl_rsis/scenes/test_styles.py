"""Read as QGIS documents its styles; QGIS itself is no Python package."""

from pathlib import Path
from xml.etree.ElementTree import Element

from defusedxml import ElementTree

from dgl_rsis.scenes import styles

COLOURS = {"building": "#d55e00", "bare <land> & “rock”": "#e69f00"}


def _read(file: Path) -> Element:
    text = file.read_text("utf-8")
    assert text.startswith("<!DOCTYPE qgis ")
    root: Element = ElementTree.fromstring(text)
    assert root.tag == "qgis"
    return root


def test_a_raster_gets_names_and_colours(tmp_path: Path) -> None:
    file = styles.write_raster(tmp_path / "a.b.classes.tif", list(COLOURS), COLOURS)
    assert file == tmp_path / "a.b.classes.qml"
    renderer = _read(file).find("pipe/rasterrenderer")
    assert renderer is not None
    assert (renderer.get("type"), renderer.get("band")) == ("paletted", "1")
    entries = renderer.findall("colorPalette/paletteEntry")
    assert [(e.get("value"), e.get("label"), e.get("color"), e.get("alpha")) for e in entries] == [
        ("1", "building", "#d55e00", "255"),
        ("2", "bare <land> & “rock”", "#e69f00", "255"),
    ]


def test_polygons_get_names_and_colours(tmp_path: Path) -> None:
    root = _read(styles.write_polygons(tmp_path / "labels.gpkg", "label", COLOURS))
    renderer = root.find("renderer-v2")
    assert renderer is not None
    assert (renderer.get("type"), renderer.get("attr")) == ("categorizedSymbol", "label")
    fills = {
        symbol.get("name"): symbol.find("layer/Option/Option[@name='color']")
        for symbol in renderer.findall("symbols/symbol[@type='fill']")
    }
    shown = {}
    for category in renderer.findall("categories/category"):
        fill = fills[category.get("symbol")]
        assert fill is not None
        shown[category.get("value")] = fill.get("value")
    assert shown == {"building": "213,94,0,128", "bare <land> & “rock”": "230,159,0,128"}
