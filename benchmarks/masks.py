"""Features of 100 masks from one dense pass against 100 crops, at the size of ViT-B/32.

`python -m benchmarks.masks` encodes one tile's 100 masks by each kind of mask feature, and as
crops, with random weights on the CPU, prints the seconds and how many times faster than the crops,
and exits 1 when mask class tokens or pooling are less than 8 times as fast. `--side 512` takes a
larger image, which is several overlapping tiles, for all kinds.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import open_clip
import torch
from rich.console import Console
from rich.table import Table

from dgl_rsis.clip import crops, features, mask_features
from dgl_rsis.clip.crops import CropParameters
from dgl_rsis.clip.mask_features import MaskFeature
from dgl_rsis.clip.model import TEMPERATURE, ClipModel
from dgl_rsis.types import Mask, Proposals

ARCHITECTURE = "ViT-B-32"
COUNT = 100
BATCH = 64
WANTED: dict[MaskFeature, float] = {"pooling": 8.0, "class-tokens": 8.0, "late-masking": 0.0}


def untrained() -> ClipModel:
    """The architecture with random weights."""
    torch.manual_seed(0)
    model = open_clip.create_model(ARCHITECTURE, load_weights=False).eval().requires_grad_(False)
    side = int(model.visual.image_size[0])
    config = model.visual.preprocess_cfg
    return ClipModel(
        name=ARCHITECTURE,
        model=model,
        tokenizer=None,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        crop_side=side,
        dense_side=side,
        temperature=TEMPERATURE,
        fingerprint="",
        device="cpu",
    )


def ellipses(side: int) -> Proposals:
    """Masks from a fortieth to a third of the image's side."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    masks: Mask = np.zeros((COUNT, side, side), dtype=bool)
    boxes = np.zeros((COUNT, 4), dtype=np.int32)
    for mask, box in zip(masks, boxes, strict=True):
        y, x = rng.uniform(0.1, 0.9, 2) * side
        height, width = rng.uniform(1 / 80, 1 / 6, 2) * side
        mask[:] = ((rows - y) / height) ** 2 + ((columns - x) / width) ** 2 <= 1
        down, across = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
        box[:] = across[0], down[0], across[-1] + 1, down[-1] + 1
    return Proposals(masks, boxes, np.ones(COUNT, dtype=np.float32), side, side)


def median(call: Callable[[], Any], repeats: int) -> float:
    """Seconds of the median call, after one that is not counted."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main() -> int:
    """Run all, print the table, say whether the target is met."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--side", type=int, help="pixels of the image (default: one tile)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of torch (default: its own choice)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    clip = untrained()
    side = options.side or clip.crop_side
    image = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    proposed = ellipses(side)
    boxes = crops.boxes(proposed, CropParameters())

    def by_crops() -> torch.Tensor:
        return features.crop_features(clip, crops.crop(image, boxes, clip.crop_side), BATCH)

    seconds = {"crops": median(by_crops, options.repeats)}
    for kind in WANTED:
        seconds[kind] = median(
            partial(mask_features.mask_guided, clip, image, proposed.masks, kind, BATCH),
            options.repeats,
        )
    return _report(side, seconds)


def _report(side: int, seconds: dict[str, float]) -> int:
    table = Table("feature", "seconds", "times faster", "wanted")
    table.add_row("crops", f"{seconds['crops']:.3f}", "", "")
    met = True
    for kind, wanted in WANTED.items():
        ratio = seconds["crops"] / seconds[kind]
        met &= ratio >= wanted
        table.add_row(
            kind, f"{seconds[kind]:.3f}", f"{ratio:.1f}", f"{wanted:.0f}" if wanted else ""
        )
    console = Console()
    console.print(
        f"{COUNT} masks of an image of {side}², {ARCHITECTURE} with random weights, CPU, "
        f"{torch.get_num_threads()} threads"
    )
    console.print(table)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
