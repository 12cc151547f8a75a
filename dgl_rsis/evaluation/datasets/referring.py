"""Readers of the published referring benchmarks, each in the layout of its own download."""

import io
import json
import pickle
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.evaluation.datasets.samples import (
    DatasetError,
    Referral,
    read_image,
    read_json,
    read_lines,
    read_mask,
)
from dgl_rsis.runs import Runs, from_runs
from dgl_rsis.types import RGB, Mask

# What a pickle may name beside the plain types, which need no name.
HARMLESS: dict[tuple[str, str], type] = {
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("__builtin__", "set"): set,
    ("__builtin__", "frozenset"): frozenset,
    ("collections", "OrderedDict"): OrderedDict,
}


@dataclass(frozen=True)
class NamedSentence:
    """A sentence whose class noun is known.

    Attributes:
        text: the sentence.
        category: the class that it names first.
    """

    text: str
    category: str


def rrsisd(folder: Path, split: str = "test") -> Iterator[Referral]:
    """RRSIS-D (arXiv 2312.12470; https://github.com/Lsan2401/RMSIN).

    Layout: `rrsisd/refs(unc).p`, `rrsisd/instances.json`, `images/rrsisd/JPEGImages/NAME.jpg`.
    The pickle is read without running anything in it. An annotation is a list of COCO run lengths;
    as in the authors' own code the mask is where their sum is 1. The boxes of the JSON are in
    another scale than the images and are not used.

    Args:
        folder: the parent of `rrsisd` and `images`.
        split: "train", "val" or "test".

    Raises:
        DatasetError: a file is missing or damaged, or a mask has another size than its image.
    """
    pictures = _Images()
    for file, annotation, category, texts in _refs_of(folder / "rrsisd", split):
        path = folder / "images" / "rrsisd" / "JPEGImages" / file
        image = pictures.read(path)
        mask = _annotated(folder / "rrsisd" / "instances.json", annotation, image)
        for text in texts:
            yield Referral(path.stem, image, text, mask, category)


def refsegrs(folder: Path, split: str = "test") -> Iterator[Referral]:
    """RefSegRS (arXiv 2306.08625; https://huggingface.co/datasets/JessicaYuan/RefSegRS).

    Layout: `output_phrase_test.txt` with lines "ID expression", `images/ID.tif`, `masks/ID.tif`
    with target = not 0.

    Args:
        folder: the parent of `images` and `masks`.
        split: "train", "val" or "test".

    Raises:
        DatasetError: a file is missing, of another size, or a line is none of those.
    """
    return _listed(folder, split, "images", "masks", ".tif")


def risbench(folder: Path, split: str = "test") -> Iterator[Referral]:
    """RISBench (arXiv 2410.06811; https://github.com/HIT-SIRS/CroBIM).

    Layout: `output_phrase_test.txt` with lines "FILE expression", `img_rgb/FILE`, `mask/FILE` with
    target = not 0; FILE with or without its suffix `.png`.

    Args:
        folder: `RISBench_dataset` of the download.
        split: "train", "val" or "test".

    Raises:
        DatasetError: a file is missing, of another size, or a line is none of those.
    """
    return _listed(folder, split, "img_rgb", "mask", ".png")


def sentences(file: Path) -> Iterator[NamedSentence]:
    """Sentences with their class noun: one JSON object a line, with `sentence` and `category`.

    Raises:
        DatasetError: the file is missing, or a line is none of those.
    """
    for number, line in enumerate(read_lines(file), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            yield NamedSentence(str(entry["sentence"]), str(entry["category"]))
        except (ValueError, KeyError, TypeError):
            raise DatasetError(
                f'{file}, line {number}: expected {{"sentence": …, "category": …}}'
            ) from None


def real(folder: Path, split: str = "test") -> Iterator[Referral]:
    """Sentences on real images, with the kind of each as its stratum.

    Layout: `expressions.jsonl`, a JSON object a line with `image`, `mask`, `sentence` and `kind`;
    `images/IMAGE` and `masks/MASK`, with target = not 0.

    Args:
        folder: of those.
        split: "test", which they all are.

    Raises:
        DatasetError: another split, a file is missing, of another size, or a line is none of those.
    """
    source = folder / "expressions.jsonl"
    if split != "test":
        raise DatasetError(f"{source} has no split {split!r}: all of it is test")
    pictures = _Images()
    for number, line in enumerate(read_lines(source), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            file, target, text, kind = (
                str(entry[key]) for key in ("image", "mask", "sentence", "kind")
            )
        except (ValueError, KeyError, TypeError):
            raise DatasetError(
                f"{source}, line {number}: expected image, mask, sentence and kind as JSON"
            ) from None
        image = pictures.read(folder / "images" / file)
        mask = read_mask(folder / "masks" / target, image)
        yield Referral(Path(file).stem, image, text, mask, stratum=kind)


class _Images:
    """The image read last: the expressions of one image follow each other."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._image: RGB = np.zeros((0, 0, 3), dtype=np.uint8)

    def read(self, path: Path) -> RGB:
        if path != self._path:
            self._path, self._image = path, read_image(path)
        return self._image


def _listed(folder: Path, split: str, images: str, targets: str, suffix: str) -> Iterator[Referral]:
    source = folder / f"output_phrase_{split}.txt"
    pictures = _Images()
    for number, line in enumerate(read_lines(source), start=1):
        if not line.strip():
            continue
        file, _, expression = line.strip().partition(" ")
        if not expression.strip():
            raise DatasetError(f"{source}, line {number}: a file and an expression are expected")
        name = file if Path(file).suffix else f"{file}{suffix}"
        image = pictures.read(folder / images / name)
        mask = read_mask(folder / targets / name, image)
        yield Referral(Path(name).stem, image, expression.strip(), mask)


# ---- the files of RRSIS-D ------------------------------------------------------------------------


def _refs_of(folder: Path, split: str) -> list[tuple[str, dict[str, Any], str, list[str]]]:
    """File, annotation, category and sentences of each reference, ordered by file."""
    source = folder / "instances.json"
    instances = read_json(source)
    try:
        files = {entry["id"]: entry["file_name"] for entry in instances["images"]}
        categories = {entry["id"]: entry["name"] for entry in instances["categories"]}
        annotations = {entry["id"]: entry for entry in instances["annotations"]}
    except (KeyError, TypeError) as error:
        raise DatasetError(f"{source} lacks {error}: it is not the file of RRSIS-D") from None
    listed = folder / "refs(unc).p"
    try:
        refs = [ref for ref in _unpickled(listed) if ref["split"] == split]
        refs.sort(key=lambda ref: files[ref["image_id"]])
        asked = [
            (
                files[ref["image_id"]],
                annotations[ref["ann_id"]],
                categories[ref["category_id"]],
                [sentence.get("raw") or sentence["sent"] for sentence in ref["sentences"]],
            )
            for ref in refs
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{listed} does not fit {source.name}: no {error}") from None
    if not asked:
        raise DatasetError(f"{listed} has no expressions of the split {split!r}")
    return asked


class _PlainUnpickler(pickle.Unpickler):
    """Builds lists, dictionaries, texts and numbers, and refuses everything that could run code."""

    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in HARMLESS:
            raise pickle.UnpicklingError(f"it wants {module}.{name}")
        return HARMLESS[module, name]


def _unpickled(path: Path) -> Any:
    try:
        return _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="utf-8").load()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # a damaged pickle may raise anything
        raise DatasetError(
            f"{path} is no pickle of plain lists and dictionaries ({error}), and others are not "
            "opened, since they may run code: download it again from the authors"
        ) from None


def _annotated(source: Path, annotation: dict[str, Any], image: RGB) -> Mask:
    """Where the sum of the annotation's masks is 1 (not where it is positive)."""
    what = f"{source}, annotation {annotation.get('id')}"
    total: NDArray[np.uint8] = np.zeros(image.shape[:2], dtype=np.uint8)
    try:
        for runs in annotation["segmentation"]:
            height, width = runs["size"]
            if (height, width) != total.shape:
                raise DatasetError(f"{what} is {(height, width)}, its image {total.shape}")
            counts = runs["counts"]
            counts = decode_counts(counts) if isinstance(counts, str) else counts
            # COCO runs down the columns; ours along the rows.
            total += from_runs(Runs(width, height, tuple(counts))).T
    except DatasetError:
        raise
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DatasetError(f"{what} is no list of run lengths: {error}") from None
    mask: Mask = total == 1
    return mask


def decode_counts(text: str) -> Sequence[int]:
    """COCO's compressed run lengths → run lengths, down the columns, background first.

    Each number is written in groups of five bits, low groups first, as the character 48 + group;
    the sixth bit says that more follow, the fifth of the last group is the sign; from the third
    run on a number is the difference to the run before the last (COCO API, `maskApi.c`).

    Raises:
        ValueError: the text ends within a number.
    """
    counts: list[int] = []
    value, shift = 0, 0
    for letter in text:
        group = ord(letter) - 48
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise ValueError("the compressed run lengths end within a number")
    return counts
