"""What an image costs: operations, bytes and seconds of each stage, and the share of the peak.

    python -m benchmarks.operations

First comes what one thread of this machine can do at the most: operations, by a product of
matrices, and bytes read and written, by a copy. Then the stages of one image of 1024² with the
starter model, one thread, each the fastest of several times. Operations of PyTorch are counted as
it runs them (`torch.utils.flop_counter`), bytes as its operators read and write them. Of what
NumPy, OpenCV and C do nothing can be counted: bytes are those that a stage is given and gives back,
once each, so the least. The table is Markdown, as in docs/DESIGN.md.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from dgl_rsis.classes import pipeline, vocabulary
from dgl_rsis.classes.pipeline import OvssParameters
from dgl_rsis.clip import pixel_features
from dgl_rsis.clip.model import ClipModel, load_clip
from dgl_rsis.regions import proposals, tree
from dgl_rsis.types import RGB, Label
from starter.scenes.generate import generate

LABELS = ("building", "road", "vegetation", "water", "land")
SIDE = 1024  # pixels
SEED = 3_000_000  # training never draws it
ROUNDS = 4


@dataclass(frozen=True)
class Peak:
    """What the machine can do at the most: operations and bytes a second."""

    operations: float
    bytes: float


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--image", type=Path, help="resized to 1024²; else a generated scene")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    peak = _peak()
    _say(
        f"one thread: {peak.operations / 1e9:.0f} GFLOP/s, {peak.bytes / 1e9:.0f} GB/s\n\n"
        "| stage | GFLOP | GB | seconds | of the operations | of the bytes |\n"
        "|---|---|---|---|---|---|"
    )
    image = generate(SEED, SIDE).image
    if options.image:
        opened = Image.open(options.image).convert("RGB")
        image = np.asarray(opened.resize((SIDE, SIDE)))
    _stages(image, load_clip("starter"), partial(_row, peak, options.rounds))
    return 0


def _peak() -> Peak:
    square, long = torch.rand(2048, 2048), torch.rand(2**26)
    target = torch.empty_like(long)
    product = min(_seconds(partial(torch.matmul, square, square))[1] for _ in range(5))
    copy = min(_seconds(partial(target.copy_, long))[1] for _ in range(5))
    return Peak(2 * 2048**3 / product, 2 * long.nbytes / copy)


def _stages(image: RGB, clip: ClipModel, row: Callable[[str, Callable[[], Any]], Any]) -> None:
    parameters, seconds = OvssParameters(), dict[str, float]()
    grown = row("proposals: the tree", lambda: tree.build_tree(image, parameters.regions))
    proposed = row("proposals: the masks", lambda: proposals.cut(grown, parameters.regions))
    for factor in (1, 2, 4):
        smaller = np.ascontiguousarray(image[::factor, ::factor])
        row(
            f"pixel tower at {SIDE // factor}²",
            partial(pixel_features.pixel_features, clip, smaller),
        )
    encoded = pipeline.encode_proposed(image, proposed, clip, parameters, seconds)
    row(
        "means over the masks",
        lambda: pipeline.encode_masks(image, proposed, encoded.dense, clip, parameters),
    )
    words = vocabulary.prepare([Label(name) for name in LABELS], clip, enrich=True)
    row(
        f"map: {len(words.texts)} phrases",
        lambda: pipeline.pixel_classes(encoded, words, clip, parameters, seconds),
    )
    row("map, sizes and masks", lambda: pipeline.classify(encoded, words, clip, parameters))


def _row(peak: Peak, rounds: int, name: str, stage: Callable[[], Any]) -> Any:
    """Write the line of a stage; gives what the stage gives."""
    with FlopCounterMode(display=False) as operations:
        stage()
    with _Bytes() as moved:
        result = stage()
    spent = min(_seconds(stage)[1] for _ in range(rounds))
    count = float(operations.get_total_flops())
    through = moved.count + _held(result)
    _say(
        f"| {name} | {count / 1e9:.1f} | {through / 1e9:.2f} | {spent:.3f} | "
        f"{count / spent / peak.operations:.0%} | {through / spent / peak.bytes:.0%} |"
    )
    return result


class _Bytes(TorchDispatchMode):
    """Counts the bytes that operators read and write; views read and write nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.count += sum(
                leaf.nbytes
                for leaf in tree_leaves((args, kwargs, result))
                if isinstance(leaf, torch.Tensor)
            )
        return result


def _held(result: Any) -> int:
    """Bytes of the arrays of NumPy that a stage gives back."""
    arrays = vars(result).values() if hasattr(result, "__dict__") else ()
    return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))


def _seconds(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and the seconds of a processor that it took."""
    start = time.process_time()
    result = call()
    return result, time.process_time() - start


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
