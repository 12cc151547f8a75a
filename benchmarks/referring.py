"""What an expression costs beside class masks, and how often the fast path says the same.

    python -m benchmarks.referring

Both on generated scenes with starter weights, warm, on the CPU. The cost is the ratio of the
medians of seconds on the same images; the fast path is the share of masks that get the same class
from one dense pass as with their crops, all of them or only the doubtful ones. Crops weigh what
they do without a pixel tower, since with one they usually count nothing.
"""

import argparse
import statistics
import sys
import time
from dataclasses import replace

import numpy as np
from torch import Tensor

from dgl_rsis.classes import matching, pipeline, scales, vocabulary
from dgl_rsis.classes.pipeline import OvssParameters
from dgl_rsis.classes.scales import Weighting
from dgl_rsis.clip.model import ClipModel, load_clip
from dgl_rsis.expressions import pipeline as referring
from dgl_rsis.types import RGB, Floats, Label
from starter.scenes.generate import generate
from starter.scenes.types import EVALUATION_CLASSES

FIRST_SEED = 2_500_000
LABELS = [Label(name) for name in EVALUATION_CLASSES]
MARGINS = (0.0, 0.1, 0.2, 0.4)


def main() -> int:
    """Command line; 1 when an expression costs more than 1.5 times the class masks."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--model", default="starter")
    options = parser.parse_args()
    clip = load_clip(options.model)
    images = [
        generate(seed, 512, EVALUATION_CLASSES).image
        for seed in range(FIRST_SEED, FIRST_SEED + options.scenes)
    ]
    ratio = cost(images, clip)
    for margin, (same, crops) in agreement(images, clip).items():
        sys.stdout.write(
            f"crops for masks with a margin below {margin:.1f}: {crops:.1%} of the crops, "
            f"{same:.1%} of the masks have the class that all crops give them\n"
        )
    return 1 if ratio > 1.5 else 0


def cost(images: list[RGB], clip: ClipModel) -> float:
    """Median seconds of an expression over those of class masks, by turns on each image."""
    seconds: dict[str, list[float]] = {"classes": [], "expression": []}
    for image in [images[0], *images]:  # the first warms up
        for name, work in (
            ("classes", lambda image: pipeline.segment_classes(image, LABELS, clip)),
            (
                "expression",
                lambda image: referring.segment_expression(
                    image, "the large building on the left of the road", clip
                ),
            ),
        ):
            started = time.perf_counter()
            work(image)
            seconds[name].append(time.perf_counter() - started)
    classes, expression = (statistics.median(spent[1:]) for spent in seconds.values())
    sys.stdout.write(
        f"512², {len(images)} images: class masks {classes:.2f} s, expression {expression:.2f} s, "
        f"ratio {expression / classes:.2f}\n"
    )
    return expression / classes


def agreement(images: list[RGB], clip: ClipModel) -> dict[float, tuple[float, float]]:
    """Margin → share of masks with the same class, and share of crops that were needed."""
    default, weighing = OvssParameters(), OvssParameters(pixel_share=0.0)
    words = vocabulary.prepare(LABELS, clip)
    phrases, owners = words.phrases, words.owners
    same: dict[float, list[bool]] = {margin: [] for margin in MARGINS}
    needed: dict[float, list[bool]] = {margin: [] for margin in MARGINS}
    for image in images:
        encoded = pipeline.encode_image(image, clip, default)
        encoded = pipeline.with_crops(encoded, clip, default)
        weighting = pipeline.weigh(encoded, clip, phrases, default)

        def matched(by_mask: Tensor, weighting: Weighting = weighting) -> Floats:
            cosines = scales.cosines(by_mask, phrases.texts, weighting)
            return matching.best_phrase(cosines, owners, clip.temperature)

        alone = np.sort(matched(encoded.by_mask), axis=1)
        classes = {}
        for margin in (*MARGINS, 1.0):
            parameters = replace(weighing, margin=margin)
            fused = pipeline.fuse(encoded, clip, phrases, weighting, parameters)
            classes[margin] = matched(fused).argmax(axis=1)
        for margin in MARGINS:
            same[margin] += (classes[margin] == classes[1.0]).tolist()
            needed[margin] += (alone[:, -1] - alone[:, -2] < margin).tolist()
    return {m: (float(np.mean(same[m])), float(np.mean(needed[m]))) for m in MARGINS}


if __name__ == "__main__":
    sys.exit(main())
