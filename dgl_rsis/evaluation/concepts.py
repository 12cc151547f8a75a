"""Measuring where the truth is known in part: IoU of each concept over the pixels that are judged.

Several labels of the user may count as one concept: where vegetation is judged, a tree that is
found is vegetation. What nobody judged counts neither for nor against.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.evaluation.calibration import Reliability
from dgl_rsis.evaluation.datasets.judged import (
    NO,
    UNKNOWN,
    YES,
    Concept,
    Judged,
    Judgement,
)
from dgl_rsis.evaluation.datasets.samples import DatasetError
from dgl_rsis.evaluation.harness import (
    Case,
    ClassMap,
    Predicted,
    Progress,
    Segmenter,
    Stopwatch,
    Worst,
    silent,
)
from dgl_rsis.evaluation.scores import Tally
from dgl_rsis.types import Mask


@dataclass(frozen=True)
class ConceptScores:
    """Scores of semantic segmentation on partial truth.

    Attributes:
        ladder: rung → name of the concept → its judged pixels over all images, so that their `iou`
            is ΣI / ΣU. The last rung is what everything else is of.
        known: name of the concept → how many pixels were judged.
        seconds: rung → mean seconds an image.
        images: how many.
        pixels: how sure each pixel is, against whether it is right, where that is known.
        masks: how sure the mask of a concept is, against its IoU over the pixels that are judged.
        worst: lowest mean IoU of the concepts.
    """

    ladder: Mapping[str, Mapping[str, Tally]]
    known: Mapping[str, int]
    seconds: Mapping[str, float]
    images: int
    pixels: Reliability
    masks: Reliability
    worst: tuple[Case, ...] = field(repr=False)

    @property
    def tallies(self) -> Mapping[str, Tally]:
        """Of the last rung."""
        return list(self.ladder.values())[-1]

    @property
    def miou(self) -> float:
        """Mean IoU of the concepts that occur; NaN where none does."""
        return mean(tally.iou for tally in self.tallies.values())


def mean(values: Iterable[float]) -> float:
    """The mean of those that are numbers; NaN of none."""
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else float("nan")


def asked(concepts: Iterable[Concept], labels: Sequence[str]) -> tuple[Concept, ...]:
    """The concepts that some label counts as.

    Raises:
        DatasetError: there is none.
    """
    every = tuple(concepts)
    chosen = tuple(each for each in every if any(map(each.counts, labels)))
    if not chosen:
        names = ", ".join(each.name for each in every)
        raise DatasetError(
            f"none of the labels {', '.join(labels)} counts as what this data set judges: add one "
            f"of {names} to --labels"
        )
    return chosen


def evaluate_concepts(
    images: Iterable[Judged],
    concepts: Sequence[Concept],
    labels: Sequence[str],
    rungs: Mapping[str, Segmenter],
    *,
    worst: int = 5,
    progress: Progress = silent,
) -> ConceptScores:
    """Score segmenters.

    Args:
        images: judged images.
        concepts: those that are measured; see `asked`.
        labels: what the class maps number.
        rungs: name → what returns classes of `labels`; at least one, the whole system last.
        worst: images kept.
        progress: called after each image.

    Raises:
        DatasetError: there are no images.
    """
    numbers = {each.name: _numbers(each, labels) for each in concepts}
    ladder = {rung: {each.name: Tally() for each in concepts} for rung in rungs}
    known = {each.name: 0 for each in concepts}
    pixels, masks = Reliability(), Reliability()
    watch, kept = Stopwatch(), Worst(worst)
    for image in images:
        for rung, segment in rungs.items():
            with watch.running(rung):
                predicted = segment(image.image)
            found = {name: np.isin(predicted.class_map, numbers[name]) for name in numbers}
            alone = {name: tally(found[name], image.judgements[name]) for name in found}
            for name, each in alone.items():
                ladder[rung][name].add(each.hits, each.claimed, each.real)
        for name in known:
            known[name] += int(np.count_nonzero(image.judgements[name] != UNKNOWN))
        verdict = verdicts(image, predicted.class_map, labels, concepts)
        _calibrate(image, predicted, found, verdict, pixels, masks)
        score = mean(each.iou for each in alone.values())
        if kept.wants(score):
            kept.add(_case(image, found, score))
        progress(image.name)
    count = watch.times(next(iter(rungs)))
    if not count:
        raise DatasetError("the data set has no images")
    return ConceptScores(ladder, known, watch.means, count, pixels, masks, kept.cases)


def tally(found: Mask, judgement: Judgement) -> Tally:
    """Pixels of one concept in one image, over those that are judged.

    Args:
        found: (H, W) bool.
        judgement: (H, W) int8.
    """
    yes = judgement == YES
    claimed = found & (judgement != UNKNOWN)
    return Tally(*(int(np.count_nonzero(each)) for each in (found & yes, claimed, yes)))


def verdicts(
    image: Judged, class_map: ClassMap, labels: Sequence[str], concepts: Sequence[Concept]
) -> NDArray[np.int8]:
    """Whether each pixel has a right label: (H, W) int8, `YES`, `NO` or `UNKNOWN`.

    Right is a label that counts as a concept which is there, and as none which is not: grass that
    is called tree is right where only vegetation is judged. A label that counts as no concept is
    never judged, not even where another thing is known to be: only its mistakes would be known
    there, and calibration would count these alone.
    """
    result: NDArray[np.int8] = np.full(class_map.shape, UNKNOWN, dtype=np.int8)
    for number, label in enumerate(labels, start=1):
        at = class_map == number
        for each in concepts:
            if each.counts(label):
                judgement = image.judgements[each.name][at]
                before = result[at]
                result[at] = np.where(
                    (before == NO) | (judgement == NO), NO, np.maximum(before, judgement)
                )
    return result


def _numbers(concept: Concept, labels: Sequence[str]) -> list[int]:
    return [i for i, label in enumerate(labels, start=1) if concept.counts(label)]


def _calibrate(
    image: Judged,
    predicted: Predicted,
    found: Mapping[str, Mask],
    verdict: NDArray[np.int8],
    pixels: Reliability,
    masks: Reliability,
) -> None:
    judged = verdict != UNKNOWN
    pixels.add(predicted.probability[judged], verdict[judged] == YES)
    for name, mask in found.items():
        judgement = image.judgements[name]
        masks.add_mask(mask, predicted.probability, judgement == YES, judgement != UNKNOWN)


def _case(image: Judged, found: Mapping[str, Mask], score: float) -> Case:
    """Where concepts overlap, as trees and vegetation do, the later one is shown."""
    truth = np.zeros(image.image.shape[:2], dtype=np.uint16)
    shown = truth.copy()
    for number, (name, mask) in enumerate(found.items(), start=1):
        truth[image.judgements[name] == YES] = number
        shown[mask] = number
    return Case(image.name, score, image.image, tuple(found), truth, shown)
