"""Virtual rasters (VRT): which files they lead to, before any of them is opened. [ours].

GDAL follows whatever a VRT names, addresses on the network and code included. Here it may name
rasters below its own folder, and nothing else.
"""

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from dgl_rsis.types import InputError

ROOT = b"<VRTDataset"
LONGEST_START = 1024  # bytes before the root: a declaration, a comment
MOST_BYTES = 64 * 2**20  # of XML: a mosaic of a hundred thousand tiles
CODE = frozenset({"PixelFunctionCode", "PixelFunctionLanguage"})


def is_virtual(path: Path) -> bool:
    """Whether a file is a VRT, whatever it is called."""
    with path.open("rb") as file:
        return ROOT in file.read(LONGEST_START)


def check_virtual(path: Path) -> None:
    """See that a VRT leads to rasters below its own folder alone, those that it nests included.

    Args:
        path: absolute, of a VRT.

    Raises:
        InputError: it leads elsewhere, to nothing, to code, or is no XML.
    """
    folder, seen, left = path.parent.resolve(), set(), [path]
    while left:
        file = left.pop()
        if file in seen:
            continue
        seen.add(file)
        for source in _sources(file, path):
            inside = source.resolve()
            if not inside.is_relative_to(folder):
                raise InputError(
                    f"{path} leads to {source}, which is outside of its folder: put it and its "
                    "sources into one folder, or make a GeoTIFF of it (gdal_translate)"
                )
            if not inside.is_file():
                raise InputError(f"{path} leads to {source}, which does not exist: put it there")
            if is_virtual(inside):
                left.append(inside)


def _sources(file: Path, asked: Path) -> Iterator[Path]:
    """The files that a VRT names itself."""
    for element in _tree(file, asked).iter():
        if element.tag in CODE:
            raise InputError(
                f"{asked} holds code ({element.tag}), which is never run: make a GeoTIFF of it "
                "(gdal_translate)"
            )
        text = (element.text or "").strip()
        if text and element.tag.lower().endswith(("filename", "dataset")):
            beside = element.get("relativeToVRT") == "1" or element.get("relativetoVRT") == "1"
            yield file.parent / text if beside else Path(text).absolute()


def _tree(file: Path, asked: Path) -> Element:
    if file.stat().st_size > MOST_BYTES:
        raise InputError(
            f"{file} is longer than the {MOST_BYTES >> 20} MiB that a virtual raster may have: "
            "make several of it"
        )
    try:
        tree: Element = fromstring(file.read_bytes())
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise InputError(
            f"{asked} is no virtual raster that can be read ({error}): make it anew"
        ) from None
    return tree
