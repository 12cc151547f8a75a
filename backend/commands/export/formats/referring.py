"""Sentences and what they mean, in the layouts that referring segmentation is trained on.

What CRIS, RMSIN, RSRefSeg or SBANet read is one of two downloads: RefSegRS (arXiv 2306.08625) or
RRSIS-D (arXiv 2312.12470). The sentence of a task means everything that is marked on its image, a
text of regions (`<TextArea perRegion="true">`) those regions. Both layouts take for granted that
the target is there, so a sentence without one is left out.
"""

import csv
import json
import logging
import pickle
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco

from backend.commands.export.dataset import SPLITS, DatasetVocabulary, Example
from backend.regions.findings import ExportError
from backend.regions.records import Region
from dgl_rsis.rasters import MOST_PIXELS, read_rgb
from dgl_rsis.runs import area, from_runs
from dgl_rsis.types import ImageError, Mask

LOG = logging.getLogger(__name__)

JPEG_QUALITY = 95
PROTOCOL = 2  # of the pickle; the published one can be read by Python 2, too
WAY_OUT = (
    "no task has both a sentence and a mask: import the tasks with the key `expression` in their "
    "data and show it with `dgl-rsis config --expression`, or describe regions in a "
    '<TextArea perRegion="true">'
)


@dataclass(frozen=True)
class Referred:
    """One sentence and its target.

    Attributes:
        example: the image.
        sentence: on one line.
        mask: (H, W) bool, at least one pixel.
        label: that most of the target has.
    """

    example: Example
    sentence: str
    mask: Mask
    label: str


def write_refsegrs(examples: Iterable[Example], vocabulary: DatasetVocabulary, out: Path) -> Path:
    """RefSegRS: `output_phrase_SPLIT.txt` of lines "ID sentence", `images/ID.tif`, `masks/ID.tif`.

    IDs are whole numbers, as some loaders expect; `sources.csv` says what they come from. Masks
    are 0 and 255.

    Args:
        examples: in any order.
        vocabulary: labels that are not in it are no part of a target.
        out: folder.

    Returns:
        The folder.

    Raises:
        ExportError: no sentence has a target.
    """
    for name in ("images", "masks"):
        (out / name).mkdir(parents=True, exist_ok=True)
    lines: dict[str, list[str]] = {split: [] for split in SPLITS}
    sources: list[tuple[Any, ...]] = []
    for number, referred in enumerate(_referred(examples, vocabulary), start=1):
        _picture(referred).save(out / "images" / f"{number}.tif", compression="tiff_lzw")
        target = Image.fromarray(referred.mask.astype(np.uint8) * 255)
        target.save(out / "masks" / f"{number}.tif", compression="tiff_lzw")
        lines[referred.example.split].append(f"{number} {referred.sentence}\n")
        item = referred.example.item
        sources.append(
            (number, referred.example.file, item.task_id, referred.example.scene, referred.label)
        )
    if not sources:
        raise ExportError(WAY_OUT)
    for split, each in lines.items():
        (out / f"output_phrase_{split}.txt").write_text("".join(each), "utf-8")
    with (out / "sources.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "image", "task", "scene", "label"), *sources])
    return out


def write_rrsisd(examples: Iterable[Example], vocabulary: DatasetVocabulary, out: Path) -> Path:
    """RRSIS-D: `rrsisd/refs(unc).p`, `rrsisd/instances.json`, `images/rrsisd/JPEGImages/NAME.jpg`.

    Both files are as the REFER API reads them. Masks are lists of one compressed COCO run length
    each; boxes are in pixels of the image. Images that are no JPEG become one of quality 95.

    Args:
        examples: in any order.
        vocabulary: the categories, numbered from 1.
        out: folder.

    Returns:
        The folder.

    Raises:
        ExportError: no sentence has a target.
    """
    pictures = out / "images" / "rrsisd" / "JPEGImages"
    for folder in (pictures, out / "rrsisd"):
        folder.mkdir(parents=True, exist_ok=True)
    refs: list[dict[str, Any]] = []
    instances = _instances(vocabulary)
    images: list[dict[str, Any]] = instances["images"]
    for number, referred in enumerate(_referred(examples, vocabulary), start=1):
        name = f"{referred.example.stem}.jpg"
        if not images or images[-1]["file_name"] != name:  # else another sentence of the last one
            _save_jpeg(referred, pictures / name)
            images.append(_image(referred, len(images) + 1, name))
        instances["annotations"].append(_annotation(referred, number, images[-1]["id"], vocabulary))
        refs.append(_ref(referred, number, images[-1], vocabulary))
    if not refs:
        raise ExportError(WAY_OUT)
    text = json.dumps(instances, ensure_ascii=False)
    (out / "rrsisd" / "instances.json").write_text(text, "utf-8")
    (out / "rrsisd" / "refs(unc).p").write_bytes(pickle.dumps(refs, PROTOCOL))
    return out


def _referred(examples: Iterable[Example], vocabulary: DatasetVocabulary) -> Iterator[Referred]:
    """The sentences that have a target, those of an image one after the other.

    Says how many have none.
    """
    nothing = 0
    for example in examples:
        size = (example.item.height, example.item.width)
        for sentence, meant in _sentences(example):
            regions = [r for r in meant if r.label in vocabulary.numbers]
            mask = _union(regions, size)
            if mask.any():
                yield Referred(example, sentence, mask, _main_label(regions))
            else:
                nothing += 1
    if nothing:
        LOG.warning("%d sentences without a mask are left out: the layout cannot say none", nothing)


def _sentences(example: Example) -> Iterator[tuple[str, list[Region]]]:
    """Each sentence once, on one line, with all regions that it means."""
    meant: dict[str, list[Region]] = {}
    if asked := " ".join(example.item.expression.split()):
        meant[asked] = list(example.regions)
    for region in example.regions:
        for text in region.texts:
            if (sentence := " ".join(text.split())) and sentence != asked:
                meant.setdefault(sentence, []).append(region)
    yield from meant.items()


def _union(regions: list[Region], size: tuple[int, int]) -> Mask:
    mask: Mask = np.zeros(size, dtype=np.bool_)
    for region in regions:
        mask |= from_runs(region.runs)
    return mask


def _main_label(regions: list[Region]) -> str:
    areas: dict[str, int] = {}
    for region in regions:
        areas[region.label] = areas.get(region.label, 0) + area(region.runs)
    return max(areas, key=lambda label: areas[label])


def _picture(referred: Referred) -> Image.Image:
    """The image as a browser shows it, like the mask.

    Raises:
        ExportError: it cannot be read, or has another size than the mask.
    """
    where = f"task {referred.example.item.task_id}: {referred.example.source}"
    try:
        pixels = read_rgb(referred.example.source.read_bytes(), MOST_PIXELS)
    except ImageError as error:
        raise ExportError(f"{where}: {error}") from None
    picture = Image.fromarray(pixels)
    if (picture.height, picture.width) != referred.mask.shape:
        height, width = referred.mask.shape
        raise ExportError(
            f"{where} has {picture.width} × {picture.height} pixels, its masks {width} × "
            f"{height}: give the image that was annotated"
        )
    return picture


def _save_jpeg(referred: Referred, path: Path) -> None:
    """A JPEG goes as it is, unless it is turned by EXIF, which training code does not heed."""
    picture = _picture(referred)
    with Image.open(referred.example.source) as file:
        as_it_is = file.format == "JPEG" and file.mode == "RGB" and not file.getexif().get(0x0112)
    if as_it_is:
        path.write_bytes(referred.example.source.read_bytes())
    else:
        picture.save(path, "JPEG", quality=JPEG_QUALITY, subsampling=0)


# ---- the files of RRSIS-D ------------------------------------------------------------------------


def _instances(vocabulary: DatasetVocabulary) -> dict[str, Any]:
    categories = [
        {"supercategory": "object", "id": number + 1, "name": label}
        for label, number in vocabulary.numbers.items()
    ]
    return {"info": {}, "licenses": [], "images": [], "annotations": [], "categories": categories}


def _image(referred: Referred, number: int, name: str) -> dict[str, Any]:
    height, width = referred.mask.shape
    return {"id": number, "file_name": name, "height": height, "width": width}


def _annotation(
    referred: Referred, number: int, image: int, vocabulary: DatasetVocabulary
) -> dict[str, Any]:
    runs = coco.encode(np.asfortranarray(referred.mask.astype(np.uint8)))
    height, width = referred.mask.shape
    return {
        "id": number,
        "image_id": image,
        "category_id": vocabulary.numbers[referred.label] + 1,
        "iscrowd": 0,
        "area": int(referred.mask.sum()),
        "bbox": [float(x) for x in coco.toBbox(runs)],
        "segmentation": [{"size": [height, width], "counts": runs["counts"].decode("ascii")}],
    }


def _ref(
    referred: Referred, number: int, image: dict[str, Any], vocabulary: DatasetVocabulary
) -> dict[str, Any]:
    words = referred.sentence.lower().translate(str.maketrans("", "", string.punctuation)).split()
    sentence = {
        "tokens": words,
        "raw": referred.sentence,
        "sent_id": number,
        "sent": " ".join(words),
    }
    return {
        "ref_id": number,
        "ann_id": number,
        "image_id": image["id"],
        "category_id": vocabulary.numbers[referred.label] + 1,
        "file_name": image["file_name"],
        "split": referred.example.split,
        "sent_ids": [number],
        "sentences": [sentence],
    }
