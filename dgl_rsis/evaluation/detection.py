"""Measuring things: boxes around them, whether a class is there at all, and what is made up."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dgl_rsis.evaluation.datasets.judged import Concept
from dgl_rsis.evaluation.datasets.lists import Overview, Question
from dgl_rsis.evaluation.datasets.samples import DatasetError
from dgl_rsis.evaluation.datasets.things import Boxed, Tagged
from dgl_rsis.evaluation.harness import Progress, silent
from dgl_rsis.evaluation.scores import Tally, box_ious, matched
from dgl_rsis.types import RGB, Segment

BOX_IOU = 0.3  # two pixels more on each side leave a car of 22 × 10 pixels 0.6
ENOUGH = 12  # pixels of a class that say that it is there
FEW, SOME = 5, 8  # classes of UC Merced whose mean F1 is told


@dataclass(frozen=True)
class Found:
    """One object that was found.

    Attributes:
        label: its class.
        score: how sure, [0, 1].
        box: XYXY pixels around its mask, right and bottom edge excluded.
    """

    label: str
    score: float
    box: tuple[int, int, int, int]


FindObjects = Callable[[RGB], Sequence[Found]]


@dataclass(frozen=True)
class Detections:
    """Scores of boxes or of presence.

    Attributes:
        tallies: name of the concept → its claims.
        images: how many.
    """

    tallies: Mapping[str, Tally]
    images: int


@dataclass(frozen=True)
class Answer:
    """What became of a question for something absent.

    Attributes:
        name: of the image.
        sentence: the question.
        score: of the mask that was given all the same, [0, 1]; None where there was none.
        reason: why there was none; else empty.
    """

    name: str
    sentence: str
    score: float | None
    reason: str

    @property
    def answered(self) -> bool:
        """Whether a mask was given."""
        return self.score is not None


@dataclass(frozen=True)
class Claims:
    """What a model says is in a large image.

    Attributes:
        name: of the image.
        image: (H, W, 3) uint8.
        objects: name of the concept → its objects, the surest first.
        counts: name of the concept → how many there are, by eye.
    """

    name: str
    image: RGB
    objects: Mapping[str, Sequence[Found]]
    counts: Mapping[str, int]


def evaluate_boxes(
    images: Iterable[Boxed],
    concepts: Sequence[Concept],
    find: FindObjects,
    progress: Progress = silent,
) -> Detections:
    """Boxes of the objects that are found against those of the truth, at IoU `BOX_IOU`.

    Args:
        images: with all boxes of the concepts.
        concepts: those that are measured.
        find: the objects of an image, with the names of labels.
        progress: called after each image.

    Raises:
        DatasetError: there are no images.
    """
    tallies, count = {each.name: Tally() for each in concepts}, 0
    for image in images:
        for name, objects in of_concepts(find(image.image), concepts).items():
            real = image.boxes[name]
            boxes = np.array([each.box for each in objects], dtype=np.float32).reshape(-1, 4)
            hits = matched(box_ious(boxes, real), BOX_IOU)
            tallies[name].add(hits, len(objects), len(real))
        count += 1
        progress(image.name)
    return Detections(tallies, _some(count))


def of_concepts(objects: Iterable[Found], concepts: Sequence[Concept]) -> dict[str, list[Found]]:
    """The objects whose label counts as each concept, the surest first."""
    ordered = sorted(objects, key=lambda each: -each.score)
    return {c.name: [each for each in ordered if c.counts(each.label)] for c in concepts}


def found(segment: Segment) -> Found:
    """An object by its box: thousands of masks would fill the memory.

    Args:
        segment: its mask is not empty.
    """
    rows = np.flatnonzero(segment.mask.any(axis=1))
    columns = np.flatnonzero(segment.mask.any(axis=0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return Found(segment.label, segment.score, box)


def evaluate_presence(
    images: Iterable[Tagged],
    concepts: Sequence[Concept],
    areas: Callable[[RGB], Mapping[str, int]],
    progress: Progress = silent,
) -> Detections:
    """Whether a class is in an image: `ENOUGH` pixels of it say that it is.

    Args:
        images: with what is in them.
        concepts: those that are measured.
        areas: image → label → its pixels.
        progress: called after each image.

    Raises:
        DatasetError: there are no images.
    """
    tallies, count = {each.name: Tally() for each in concepts}, 0
    for image in images:
        pixels = areas(image.image)
        for each in concepts:
            claimed = sum(n for label, n in pixels.items() if each.counts(label)) >= ENOUGH
            there = image.present[each.name]
            tallies[each.name].add(claimed and there, claimed, there)
        count += 1
        progress(image.name)
    return Detections(tallies, _some(count))


def _some(count: int) -> int:
    if not count:
        raise DatasetError("the data set has no images")
    return count


def evaluate_absent(
    questions: Iterable[Question],
    answer: Callable[[Question], Answer],
    progress: Progress = silent,
) -> tuple[Answer, ...]:
    """Ask for things that are not there.

    Raises:
        DatasetError: there are no questions.
    """
    answers = []
    for question in questions:
        answers.append(answer(question))
        progress(question.name)
    if not answers:
        raise DatasetError("the list has no questions")
    return tuple(answers)


def evaluate_claims(
    images: Iterable[Overview],
    concepts: Sequence[Concept],
    find: FindObjects,
    progress: Progress = silent,
) -> tuple[Claims, ...]:
    """What is found in large images, beside how many things there are.

    Raises:
        DatasetError: there are no images.
    """
    claims = []
    for each in images:
        objects = of_concepts(find(each.image), concepts)
        claims.append(Claims(each.name, each.image, objects, each.counts))
        progress(each.name)
    _some(len(claims))
    return tuple(claims)
