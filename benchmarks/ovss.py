"""Quality of open-vocabulary segmentation: Dubai and generated scenes, starter weights.

    python -m benchmarks.ovss --dubai ../shared/data/dubai --tiles 6
    python -m benchmarks.ovss --scenes 20

Development uses tile 5; tile 6 is the test set. Scenes have seeds that training never sees.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from dgl_rsis.classes import pipeline
from dgl_rsis.classes.pipeline import OvssParameters
from dgl_rsis.clip.model import load_clip
from dgl_rsis.evaluation.datasets import samples
from dgl_rsis.evaluation.datasets.samples import DUBAI_CLASSES
from dgl_rsis.evaluation.scores import Confusion
from dgl_rsis.types import Label
from starter.scenes import evaluation
from starter.scenes.types import EVALUATION_CLASSES


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--dubai", type=Path)
    parser.add_argument("--tiles", default="5")
    parser.add_argument("--scenes", type=int, default=0)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--mask-share", type=float, nargs="*")
    options = parser.parse_args()
    if options.dubai:
        images = list(samples.dubai(options.dubai, map(int, options.tiles.split(","))))
        names: tuple[str, ...] = DUBAI_CLASSES
        title = f"Dubai tile {options.tiles}"
    else:
        images, names = list(evaluation.samples(options.scenes)), EVALUATION_CLASSES
        title = f"{options.scenes} generated scenes"
    clip = load_clip(options.model, options.device)
    labels = [Label(name) for name in names]
    default = OvssParameters()
    for mask_share in options.mask_share or [default.mask_share]:
        parameters = replace(default, mask_share=mask_share)
        confusion = Confusion.empty(names)
        for sample in images:
            segmentation = pipeline.segment_classes(sample.image, labels, clip, parameters)
            confusion.add(sample.truth, segmentation.class_map)
        by_class = "  ".join(f"{n} {x:.3f}" for n, x in zip(names, confusion.iou, strict=True))
        sys.stdout.write(
            f"{title}, β {mask_share}: mIoU {confusion.miou:.4f}, "
            f"aAcc {confusion.pixel_accuracy:.4f}; {by_class}\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
