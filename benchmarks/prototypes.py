"""What corrections teach: quality against the number of corrected images, starter weights.

    python -m benchmarks.prototypes --dubai ../shared/data/dubai
    python -m benchmarks.prototypes --judged oam-banepa-z19:../shared/data/open/oam_banepa_z19

Development: `--tiles 1,2,3,4 --test 5`. Tile 6 is the test set. Of a set with partial truth its
first concept is asked for, and "background": every other image of its validation place is
corrected, the others test it, as in a project of one place.
"""

import argparse
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dgl_rsis.classes import pipeline, prototypes, vocabulary
from dgl_rsis.classes.pipeline import EncodedImage, OvssParameters
from dgl_rsis.classes.prototypes import Prototypes
from dgl_rsis.clip.model import ClipModel, load_clip
from dgl_rsis.evaluation.datasets import catalogue, samples
from dgl_rsis.evaluation.datasets.judged import NO, YES, Judged
from dgl_rsis.evaluation.datasets.samples import DUBAI_CLASSES, Sample
from dgl_rsis.evaluation.scores import IGNORE, Confusion
from dgl_rsis.regions import proposals
from dgl_rsis.types import Floats, Label

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Draws:
    """What is drawn from the corrected images, and where it is tested.

    Attributes:
        labels: asked for.
        examples: of each corrected image.
        tests: images with all that does not depend on what was learnt, and their truth.
        clip: the model.
        parameters: of the segmentation.
        seeds: number of draws for each k.
    """

    labels: Sequence[Label]
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
            kept = joined.owners != self.names.index(without) if without else slice(None)
            yield replace(
                joined,
                keys=joined.keys[kept],
                owners=joined.owners[kept],
                sources=joined.sources[kept],
            )

    @property
    def names(self) -> list[str]:
        """Of the labels."""
        return [label.name for label in self.labels]

    def _scored(self, learnt: Prototypes | None) -> Confusion:
        confusion = Confusion.empty(self.names)
        words = vocabulary.prepare(self.labels, self.clip)
        unlabelled = [i for i, label in enumerate(self.labels, start=1) if label.background]
        for encoded, sample in self.tests:
            segmentation = pipeline.classify(encoded, words, self.clip, self.parameters, learnt)
            classes = segmentation.class_map
            if unlabelled:  # what has no label is background
                classes = np.where(classes == 0, np.uint16(unlabelled[0]), classes)
            confusion.add(sample.truth, classes)
        return confusion


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--dubai", type=Path, help="folder of the tiles")
    source.add_argument("--judged", help="NAME:FOLDER of a set with partial truth")
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
    _say("k = 0", draws.names, base[None], base)
    for count in map(int, options.counts.split(",")):
        _say(f"k = {count}", draws.names, draws.ious(count), base)
    for index, name in enumerate(draws.names if options.leave_out else ()):
        lost = draws.ious(options.leave_out, without=name)[:, index].mean() - base[index]
        sys.stdout.write(f"without corrections of {name}, k = {options.leave_out}: {lost:+.4f}\n")


def _draws(options: argparse.Namespace, clip: ClipModel) -> Draws:
    parameters = OvssParameters()
    labels, corrected, tested = _dubai(options) if options.dubai else _judged(options)
    names = [label.name for label in labels]
    examples = []
    for sample in corrected:
        proposed = proposals.propose(sample.image, parameters.regions)
        truth = sample.truth.astype(np.int32)
        marked = np.where(truth < len(labels), truth, -1).astype(np.int32)
        examples.append(prototypes.from_masks(sample.image, proposed, marked, names))
        LOG.info("%s: %d examples", sample.name, len(examples[-1]))
    tests = []
    for sample in tested:
        encoded = pipeline.encode_image(sample.image, clip, parameters)
        if pipeline.mask_share(clip, parameters) < 1:
            encoded = pipeline.with_crops(encoded, clip, parameters)
        tests.append((encoded, sample))
    return Draws(labels, examples, tests, clip, parameters, options.seeds)


def _dubai(
    options: argparse.Namespace,
) -> tuple[list[Label], Iterable[Sample], Iterable[Sample]]:
    """The labels, and the images that are corrected and tested."""
    tiles = (map(int, numbers.split(",")) for numbers in (options.tiles, options.test))
    corrected, tested = (samples.dubai(options.dubai, each) for each in tiles)
    return [Label(name) for name in DUBAI_CLASSES], corrected, tested


def _judged(
    options: argparse.Namespace,
) -> tuple[list[Label], Iterable[Sample], Iterable[Sample]]:
    """As `_dubai`: what is and what is not the first concept of the set."""
    name, _, folder = options.judged.partition(":")
    data = catalogue.open_judged(name, Path(folder), "validation")
    concept = data.concepts[0].name
    labels = [Label(concept), Label("background", background=True)]

    def read(images: Iterable[Judged]) -> Iterator[Sample]:
        for image in images:
            judgement = image.judgements[concept]
            truth = np.full(judgement.shape, IGNORE, dtype=np.uint16)
            truth[judgement == YES], truth[judgement == NO] = 0, 1
            yield Sample(image.name, image.image, truth)

    every = list(read(data.images))
    return labels, every[::2], every[1::2]


def _say(title: str, names: Sequence[str], ious: Floats, base: Floats) -> None:
    means = ious.mean(axis=1)
    by_class = "  ".join(
        f"{name} {iou:.3f}" for name, iou in zip(names, ious.mean(axis=0), strict=True)
    )
    sys.stdout.write(
        f"{title}: mIoU {means.mean():.4f} ({means.min():.4f} to {means.max():.4f}, "
        f"{100 * (means.mean() - base.mean()):+.1f} points); {by_class}\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
