"""Pascal VOC: class and object masks as PNG, boxes as XML.

Layout, as of 2007 (host.robots.ox.ac.uk/pascal/VOC; the only year whose test part readers know):
`VOCdevkit/VOC2007/` with `JPEGImages/NAME.jpg`, `Annotations/NAME.xml`,
`SegmentationClass/NAME.png`, `SegmentationObject/NAME.png` and the parts in `ImageSets/Main/` and
`ImageSets/Segmentation/`. Beside them `classes.txt`: the names of the numbers from 0, which is the
background.

Each connected part of a region is an object. Its number in the XML, from 1, is its value in
`SegmentationObject`; boxes are in pixels counted from 1, both ends inside. VOC holds JPEG alone, so
other images are compressed, hardly visibly; `semantic` keeps them as they are.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backend.commands.export.dataset import SPLITS, DatasetVocabulary, Example, Split, copy_image
from backend.commands.export.formats import semantic
from backend.regions import outlines, planes
from backend.regions.findings import ExportError
from backend.regions.records import Region
from dgl_rsis import runs
from dgl_rsis.formats import IMAGE_FORMATS
from dgl_rsis.rasters import MOST_PIXELS, read_rgb

FOLDER = Path("VOCdevkit") / "VOC2007"
QUALITY = 95  # of JPEG; above it, files grow and nothing is seen
LONGEST_SIDE = 65_500  # of libjpeg
MOST_IN_A_BYTE = 254  # 255 means "ignored" to readers


def write(examples: Iterable[Example], vocabulary: DatasetVocabulary, out: Path) -> None:
    """Write the set.

    Args:
        examples: gone over once.
        vocabulary: the classes, in their order.
        out: folder for `VOCdevkit`.

    Raises:
        ExportError: an image is too long for JPEG.
    """
    root = out / FOLDER
    for name in ("Annotations", "SegmentationClass", "SegmentationObject"):
        (root / name).mkdir(parents=True, exist_ok=True)
    stems: dict[Split, list[str]] = {split: [] for split in SPLITS}
    for example in examples:
        stems[example.split].append(example.stem)
        _copy_jpeg(example, root / "JPEGImages")
        classes, objects, parts = masks(example, vocabulary)
        semantic.picture(classes, vocabulary).save(_png(root, "SegmentationClass", example))
        _numbered(objects, len(parts)).save(_png(root, "SegmentationObject", example))
        tree = ElementTree.ElementTree(_annotation(example, parts))
        ElementTree.indent(tree)
        tree.write(root / "Annotations" / f"{example.stem}.xml", "utf-8")
    names = "".join(" ".join(name.split()) + "\n" for name in semantic.class_names(vocabulary))
    (root / "classes.txt").write_text(names, "utf-8")
    _write_lists(stems, root / "ImageSets")


def masks(
    example: Example, vocabulary: DatasetVocabulary
) -> tuple[NDArray[np.uint16], NDArray[np.uint32], list[Region]]:
    """Class and object of each pixel, and the objects.

    Returns:
        (H, W) as `semantic.index_map`; (H, W) uint32, 0 = none, i = the i-th object; the objects,
        each of which may be hidden below others. A pixel's object is one of its class.
    """
    parts: list[Region] = []
    objects = np.zeros((example.item.height, example.item.width), dtype=np.uint32)
    for region in planes.stacked(example.regions, vocabulary.numbers):
        for part in outlines.parts(region):
            parts.append(part)
            crop = runs.cropped(part.runs)
            assert crop is not None  # a part has pixels
            objects[crop.top : crop.top + len(crop.mask)][crop.mask] = len(parts)
    return semantic.index_map(example, vocabulary), objects, parts


def _png(root: Path, folder: str, example: Example) -> Path:
    return root / folder / f"{example.stem}.png"


def _numbered(objects: NDArray[np.uint32], count: int) -> Image.Image:
    """Objects as an image: a byte a pixel where that holds them all, as VOC has it."""
    if count <= MOST_IN_A_BYTE:
        return Image.fromarray(objects.astype(np.uint8))
    if count < 2**16:
        return Image.fromarray(objects.astype(np.uint16))
    return Image.fromarray(objects.astype(np.int32))


def _copy_jpeg(example: Example, folder: Path) -> None:
    if Path(example.file).suffix in IMAGE_FORMATS["JPEG"]:
        copy_image(example, folder)
        return
    height, width = example.item.height, example.item.width
    if max(height, width) > LONGEST_SIDE:
        raise ExportError(
            f"{example.source} has {width} × {height} pixels, and JPEG holds {LONGEST_SIDE:,} a "
            "side: cut it with `dgl-rsis tile`, or take --format semantic"
        )
    folder.mkdir(parents=True, exist_ok=True)
    pixels = read_rgb(example.source.read_bytes(), MOST_PIXELS)
    image = Image.fromarray(pixels)
    image.save(folder / f"{example.stem}.jpg", quality=QUALITY, subsampling="4:4:4")


def _annotation(example: Example, parts: Iterable[Region]) -> ElementTree.Element:
    height, width = example.item.height, example.item.width
    root = ElementTree.Element("annotation")
    _add(root, {"folder": FOLDER.name, "filename": f"{example.stem}.jpg"})
    _add(ElementTree.SubElement(root, "size"), {"width": width, "height": height, "depth": 3})
    _add(root, {"segmented": 1})
    for part in parts:
        crop = runs.cropped(part.runs)
        assert crop is not None  # a part has pixels
        columns = np.flatnonzero(crop.mask.any(axis=0))
        left, top, right, bottom = (
            int(columns[0]) + 1, crop.top + 1, int(columns[-1]) + 1, crop.top + len(crop.mask),
        )  # fmt: skip
        cut = left == 1 or top == 1 or right == width or bottom == height
        element = ElementTree.SubElement(root, "object")
        name = "".join(c if c.isprintable() else " " for c in part.label)
        _add(element, {"name": name, "pose": "Unspecified", "truncated": int(cut), "difficult": 0})
        box = {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom}
        _add(ElementTree.SubElement(element, "bndbox"), box)
    return root


def _add(parent: ElementTree.Element, values: Mapping[str, str | int]) -> None:
    for name, value in values.items():
        ElementTree.SubElement(parent, name).text = str(value)


def _write_lists(stems: Mapping[Split, list[str]], folder: Path) -> None:
    both = sorted(stems["train"] + stems["val"])
    lists: list[tuple[str, list[str]]] = [*stems.items(), ("trainval", both)]
    for kind in ("Main", "Segmentation"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for split, names in lists:
            text = "".join(f"{name}\n" for name in names)
            (folder / kind / f"{split}.txt").write_text(text, "utf-8")
