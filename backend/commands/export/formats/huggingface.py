"""A folder that Hugging Face's `datasets` loads: `load_dataset("imagefolder", data_dir=FOLDER)`.

Layout: `SPLIT/images/NAME.*`, `SPLIT/masks/NAME.png` (0 = the background, i = the i-th label) and
`SPLIT/metadata.jsonl` with one object an image; `README.md`, the data set's card, whose YAML header
says where the splits are and what the numbers mean; `id2label.json`, as training scripts for
semantic segmentation expect it. `load_dataset(FOLDER)` finds it by the card.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from PIL import Image

from backend.commands.export.dataset import SPLITS, DatasetVocabulary, Example, Split, copy_image
from backend.commands.export.formats import semantic

# What `datasets` calls the parts.
SPLIT_NAMES: dict[Split, str] = {"train": "train", "val": "validation", "test": "test"}


def write(examples: Iterable[Example], vocabulary: DatasetVocabulary, out: Path) -> Path:
    """Write the set; a split without images is left out.

    Args:
        examples: gone over once.
        vocabulary: of at most 65,534 labels.
        out: folder.

    Returns:
        The folder.
    """
    out.mkdir(parents=True, exist_ok=True)
    counts: dict[Split, int] = {}
    files: dict[Split, TextIO] = {}
    try:
        for example in examples:
            split = example.split
            if split not in files:
                folder = out / SPLIT_NAMES[split]
                folder.mkdir(exist_ok=True)
                files[split] = (folder / "metadata.jsonl").open("w", encoding="utf-8")
            files[split].write(_line(example, vocabulary, out / SPLIT_NAMES[split]) + "\n")
            counts[split] = counts.get(split, 0) + 1
    finally:
        for file in files.values():
            file.close()
    names = dict(enumerate(semantic.class_names(vocabulary)))
    text = json.dumps(names, ensure_ascii=False, indent=1)
    (out / "id2label.json").write_text(text + "\n", "utf-8")
    (out / "README.md").write_text(_card(vocabulary, counts), "utf-8")
    return out


def _card(vocabulary: DatasetVocabulary, counts: Mapping[Split, int]) -> str:
    """The card: a YAML header that `datasets` and the Hub read, and a text for people."""
    used = [split for split in SPLITS if counts.get(split)]
    # JSON texts are YAML, too, and need no care with colons, quotes and the like.
    lines = [
        "---",
        "task_categories:",
        "- image-segmentation",
        "configs:",
        "- config_name: default",
        "  data_files:" if used else "  data_files: []",
    ]
    for split in used:
        name = SPLIT_NAMES[split]
        lines += [f"  - split: {name}", f'    path: "{name}/**"']
    lines += ["id2label:"]
    names = semantic.class_names(vocabulary)
    lines += [f"  {i}: {json.dumps(name, ensure_ascii=False)}" for i, name in enumerate(names)]
    return "\n".join([*lines, "---", "", _body(vocabulary, counts)])


def _body(vocabulary: DatasetVocabulary, counts: Mapping[Split, int]) -> str:
    names = semantic.class_names(vocabulary)
    lines = [
        "# Masks",
        "",
        "`image`: the picture. `mask`: one channel, the number of each pixel's class.",
        "",
        "| number | class |",
        "|---:|---|",
        *(f"| {i} | {name.replace('|', chr(92) + '|')} |" for i, name in enumerate(names)),
        "",
        "| split | images |",
        "|---|---:|",
        *(f"| {SPLIT_NAMES[split]} | {counts[split]} |" for split in SPLITS if counts.get(split)),
    ]
    return "\n".join(lines) + "\n"


def _line(example: Example, vocabulary: DatasetVocabulary, folder: Path) -> str:
    """Put image and mask into the folder of the split; the line that says what they are."""
    image = copy_image(example, folder / "images")
    mask = folder / "masks" / f"{example.stem}.png"
    mask.parent.mkdir(exist_ok=True)
    numbers = semantic.index_map(example, vocabulary)
    in_a_byte = len(vocabulary.labels) <= semantic.MOST_IN_A_BYTE
    # Without a palette: `datasets` gives what the file holds, and a palette would turn to colours.
    Image.fromarray(numbers.astype(np.uint8) if in_a_byte else numbers).save(mask, optimize=True)
    place, annotation = example.item.place, example.annotation
    entry: dict[str, Any] = {
        "file_name": image.relative_to(folder).as_posix(),
        "mask_file_name": mask.relative_to(folder).as_posix(),
        "task_id": example.item.task_id,
        "scene": example.scene,
        "annotator": annotation.annotator if annotation else "",
        "model_version": example.model_version,
        "expression": example.item.expression,
        "crs": place.crs if place else "",
        # As text: a column that is null or an empty list in one split has another type there.
        "transform": " ".join(map(repr, place.transform)) if place and place.transform else "",
    }
    return json.dumps(entry, ensure_ascii=False)
