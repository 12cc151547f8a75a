"""Generated scenes as data sets: what the catalogue of data sets opens for "scenes".

There is no folder; the split is the number of scenes. Their seeds are held out: training never
draws them.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dgl_rsis.evaluation.datasets.catalogue import ClassData, ObjectData, ReferralData, SentenceData
from dgl_rsis.evaluation.datasets.referring import NamedSentence
from dgl_rsis.evaluation.datasets.samples import DatasetError, Instances, Referral, Sample
from dgl_rsis.evaluation.scores import IGNORE
from dgl_rsis.types import Mask
from starter.scenes.generate import generate
from starter.scenes.types import CLASSES, EVALUATION_CLASSES, Scene

SIZE = 512  # pixels
FIRST_CLASS_SEED = 1_000_000
FIRST_EXPRESSION_SEED = 2_000_000
USUAL_COUNT = "40"
# An object of these is a patch of land or a network, which no proposal could hold whole.
LAND = frozenset(
    {"road", "water", "forest", "grassland", "farmland", "bare land", "beach", "parking lot"}
)


def open_classes(name: str, folder: Path | None, split: str | None) -> ClassData:
    """Scenes of the ten evaluation classes.

    Args:
        name: "scenes".
        folder: none.
        split: how many; None for 40.

    Raises:
        DatasetError: `split` is no number.
    """
    count = _count(split)
    return ClassData(f"{count} generated scenes", EVALUATION_CLASSES, samples(count))


def open_referrals(name: str, folder: Path | None, split: str | None) -> ReferralData:
    """Scenes of all classes, and their expressions. See `open_classes`."""
    count = _count(split)
    return ReferralData(f"{count} generated scenes", referrals(count))


def open_objects(name: str, folder: Path | None, split: str | None, thing: str) -> ObjectData:
    """Scenes of all classes and the objects of one of them. See `open_classes`.

    Args:
        name: "scenes".
        folder: none.
        split: how many; None for 40.
        thing: a class, or "all" for all but patches of land and roads.

    Raises:
        DatasetError: also, there is no such class.
    """
    if thing not in (*CLASSES, "all"):
        raise DatasetError(f"scenes have no {thing!r}: choose all or one of {', '.join(CLASSES)}")
    count = _count(split)
    labels = frozenset(CLASSES) - LAND if thing == "all" else frozenset({thing})
    label = "" if thing == "all" else thing
    return ObjectData(f"{count} generated scenes, {thing}", instances(count, labels), label)


def open_sentences(name: str, folder: Path | None, split: str | None) -> SentenceData:
    """The expressions of scenes and their nouns. See `open_classes`."""
    count = _count(split)
    sentences = (
        NamedSentence(expression.text, expression.noun)
        for seed in range(FIRST_EXPRESSION_SEED, FIRST_EXPRESSION_SEED + count)
        for expression in generate(seed, SIZE).expressions
    )
    return SentenceData(f"expressions of {count} generated scenes", sentences)


def samples(count: int) -> Iterator[Sample]:
    """Scenes of the ten evaluation classes; ground of other classes is ignored."""
    numbers = np.full(1 + len(CLASSES), IGNORE, dtype=np.uint16)
    for index, label in enumerate(EVALUATION_CLASSES):
        numbers[1 + CLASSES.index(label)] = index
    for seed in range(FIRST_CLASS_SEED, FIRST_CLASS_SEED + count):
        scene = generate(seed, SIZE, EVALUATION_CLASSES)
        yield Sample(f"scene_{seed}", scene.image, numbers[scene.class_map])


def referrals(count: int) -> Iterator[Referral]:
    """Expressions that have to tell their targets from other objects of the same class."""
    for seed in range(FIRST_EXPRESSION_SEED, FIRST_EXPRESSION_SEED + count):
        scene = generate(seed, SIZE)
        for expression in scene.expressions:
            if has_distractors(scene, expression.noun, expression.mask):
                yield Referral(
                    f"scene_{seed}",
                    scene.image,
                    expression.text,
                    expression.mask,
                    expression.noun,
                    expression.stratum,
                )


def has_distractors(scene: Scene, noun: str, mask: Mask) -> bool:
    """Whether the class has pixels in the scene beside the targets'."""
    of_class = scene.class_map == 1 + CLASSES.index(noun)
    return bool((of_class & ~mask).any())


def instances(count: int, labels: frozenset[str]) -> Iterator[Instances]:
    """Objects of some classes, as far as they can be seen."""
    for seed in range(FIRST_EXPRESSION_SEED, FIRST_EXPRESSION_SEED + count):
        scene = generate(seed, SIZE)
        numbers = np.zeros((SIZE, SIZE), dtype=np.int32)
        for number, thing in enumerate((o for o in scene.objects if o.label in labels), start=1):
            numbers[thing.mask] = number
        yield Instances(f"scene_{seed}", scene.image, numbers)


def _count(split: str | None) -> int:
    text = USUAL_COUNT if split is None else split
    if not text.isdecimal() or int(text) < 1:
        raise DatasetError(f"{text!r} is no number of scenes: give the split as in 40")
    return int(text)
