"""What corrections teach: quality against the number of corrected images, starter weights.

    python -m benchmarks.prototypes --dubai ../shared/data/dubai

Development: `--tiles 1,2,3,4 --test 5`. Tile 6 is the test set.
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dgl_rsis.classes import pipeline, prototypes, vocabulary
from dgl_rsis.classes.pipeline import EncodedImage, OvssParameters
from dgl_rsis.classes.prototypes import Prototypes
from dgl_rsis.clip.model import ClipModel, load_clip
from dgl_rsis.evaluation.datasets import samples
from dgl_rsis.evaluation.datasets.samples import DUBAI_CLASSES, Sample
from dgl_rsis.evaluation.scores import Confusion
from dgl_rsis.regions import proposals
from dgl_rsis.types import Floats, Label

LOG = logging.getLogger(__name__)

LABELS = [Label(name) for name in DUBAI_CLASSES]


@dataclass(frozen=True)
class Draws:
    """What is drawn from the corrected images, and where it is tested.

    Attributes:
        examples: of each corrected image.
        tests: images with all that does not depend on what was learnt, and their truth.
        clip: the model.
        parameters: of the segmentation.
        seeds: number of draws for each k.
    """

    examples: Sequence[Prototypes]
    tests: Sequence[tuple[EncodedImage, Sample]]
    clip: ClipModel
    parameters: OvssParameters
    seeds: int

    def ious(self, count: int, without: str = "") -> Floats:
        """(seeds, C), IoU of each class after `count` corrected images."""
        return np.array([self._scored(learnt).iou for learnt in self._drawn(count, without)])

    def base(self) -> Floats:
        """(C,), IoU of each class without corrections."""
        return np.asarray(self._scored(None).iou)

    def _drawn(self, count: int, without: str) -> Iterator[Prototypes]:
        for seed in range(self.seeds):
            order = np.random.default_rng(seed).permutation(len(self.examples))[:count]
            joined = prototypes.joined([self.examples[i] for i in order])
            kept = joined.owners != DUBAI_CLASSES.index(without) if without else slice(None)
            yield replace(
                joined,
                keys=joined.keys[kept],
                owners=joined.owners[kept],
                sources=joined.sources[kept],
            )

    def _scored(self, learnt: Prototypes | None) -> Confusion:
        confusion = Confusion.empty(DUBAI_CLASSES)
        words = vocabulary.prepare(LABELS, self.clip)
        for encoded, sample in self.tests:
            segmentation = pipeline.classify(encoded, words, self.clip, self.parameters, learnt)
            confusion.add(sample.truth, segmentation.class_map)
        return confusion


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--dubai", type=Path, required=True)
    parser.add_argument("--tiles", default="1,2,3,4,5", help="of the corrected images")
    parser.add_argument("--test", default="6")
    parser.add_argument("--counts", default="1,3,5,10")
    parser.add_argument("--leave-out", type=int, default=5, help="k of the check of single classes")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    clip = load_clip(options.model, options.device)
    draws = _draws(options, clip)
    base = draws.base()
    _say("k = 0", base[None], base)
    for count in map(int, options.counts.split(",")):
        _say(f"k = {count}", draws.ious(count), base)
    for index, name in enumerate(DUBAI_CLASSES if options.leave_out else ()):
        lost = draws.ious(options.leave_out, without=name)[:, index].mean() - base[index]
        sys.stdout.write(f"without corrections of {name}, k = {options.leave_out}: {lost:+.4f}\n")


def _draws(options: argparse.Namespace, clip: ClipModel) -> Draws:
    parameters = OvssParameters()
    examples = []
    for sample in samples.dubai(options.dubai, map(int, options.tiles.split(","))):
        proposed = proposals.propose(sample.image, parameters.regions)
        truth = sample.truth.astype(np.int32)
        marked = np.where(truth < len(LABELS), truth, -1).astype(np.int32)
        examples.append(prototypes.from_masks(sample.image, proposed, marked, DUBAI_CLASSES))
        LOG.info("%s: %d examples", sample.name, len(examples[-1]))
    tests = []
    for sample in samples.dubai(options.dubai, map(int, options.test.split(","))):
        encoded = pipeline.encode_image(sample.image, clip, parameters)
        if pipeline.mask_share(clip, parameters) < 1:
            encoded = pipeline.with_crops(encoded, clip, parameters)
        tests.append((encoded, sample))
    return Draws(examples, tests, clip, parameters, options.seeds)


def _say(title: str, ious: Floats, base: Floats) -> None:
    means = ious.mean(axis=1)
    by_class = "  ".join(
        f"{name} {iou:.3f}" for name, iou in zip(DUBAI_CLASSES, ious.mean(axis=0), strict=True)
    )
    sys.stdout.write(
        f"{title}: mIoU {means.mean():.4f} ({means.min():.4f} to {means.max():.4f}, "
        f"{100 * (means.mean() - base.mean()):+.1f} points); {by_class}\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
