"""Measuring: samples and functions of the pipeline in, scores out.

Nothing here knows the pipeline. A ladder is a mapping from the name of a rung to a function, lowest
rung first; all rungs see the same images, so that a ladder is always whole.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, count, groupby
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.evaluation import scores
from dgl_rsis.evaluation.calibration import Reliability
from dgl_rsis.evaluation.datasets.samples import DatasetError, Referral, Sample
from dgl_rsis.evaluation.scores import Confusion, Overlap
from dgl_rsis.types import RGB, Floats, Mask, Proposals

ClassMap = NDArray[np.uint16]  # (H, W), 0 = none, i = the i-th name
Progress = Callable[[str], None]  # called with the name of what is done
Encoded = TypeVar("Encoded")

MAJORITY, ORACLE = "majority class", "oracle"


class Predicted(NamedTuple):
    """What a segmenter says of an image: (H, W) classes, and how probable each is, [0, 1]."""

    class_map: ClassMap
    probability: Floats


Segmenter = Callable[[RGB], Predicted]


def silent(name: str) -> None:
    """Progress that nobody watches."""


# ---- the worst cases -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One image with truth and prediction, to be looked at.

    Attributes:
        name: of the image, and the question where there is one.
        score: IoU, [0, 1].
        image: (H, W, 3) uint8.
        names: what the numbers of the maps mean.
        truth: (H, W) uint16; 0 = none or ignored, i = the i-th name.
        predicted: (H, W) uint16, likewise.
    """

    name: str
    score: float
    image: RGB
    names: tuple[str, ...]
    truth: ClassMap
    predicted: ClassMap


class Worst:
    """Keeps the cases with the lowest scores, and lets go of the others.

    Args:
        most: how many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[tuple[float, int, Case]] = []
        self._turn = count()

    def wants(self, score: float) -> bool:
        """Whether a case of this score would be kept; NaN never is."""
        if len(self._kept) < self._most:
            return not math.isnan(score)
        return bool(self._kept) and score < self._kept[-1][0]

    def add(self, case: Case) -> None:
        """Keep a case, and let go of the best if there are too many."""
        self._kept.append((case.score, next(self._turn), case))
        self._kept.sort(key=lambda entry: entry[:2])
        del self._kept[self._most :]

    @property
    def cases(self) -> tuple[Case, ...]:
        """Worst first."""
        return tuple(case for _, _, case in self._kept)


class Stopwatch:
    """Mean wall-clock seconds of what is done again and again."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._times: Counter[str] = Counter()

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        """Count what happens inside once more under a name."""
        start = time.perf_counter()
        yield
        self._spent[name] = self._spent.get(name, 0.0) + time.perf_counter() - start
        self._times[name] += 1

    def times(self, name: str) -> int:
        """How often that happened."""
        return self._times[name]

    @property
    def means(self) -> dict[str, float]:
        """Seconds a time, in the order of first use."""
        return {name: spent / self._times[name] for name, spent in self._spent.items()}


# ---- semantic segmentation -----------------------------------------------------------------------


@dataclass(frozen=True)
class ClassScores:
    """Scores of semantic segmentation.

    Attributes:
        names: C classes.
        rungs: confusion of each rung, lowest first; `MAJORITY` is the first.
        seconds: a rung's mean seconds an image.
        images: how many.
        pixels: how sure the last rung is of its pixels, against how many are right.
        masks: how sure it is of the mask of a class in an image, against its IoU there.
        worst: of the last rung.
    """

    names: tuple[str, ...]
    rungs: Mapping[str, Confusion]
    seconds: Mapping[str, float]
    images: int
    pixels: Reliability
    masks: Reliability
    worst: tuple[Case, ...] = field(repr=False)

    @property
    def last(self) -> Confusion:
        """Of the whole system."""
        return list(self.rungs.values())[-1]


def evaluate_classes(
    samples: Iterable[Sample],
    names: tuple[str, ...],
    rungs: Mapping[str, Segmenter],
    *,
    unlabelled: int | None = None,
    worst: int = 5,
    progress: Progress = silent,
) -> ClassScores:
    """Score a ladder of segmenters.

    Args:
        samples: labelled images.
        names: C classes of their truth.
        rungs: each returns classes of `names`.
        unlabelled: class of pixels without a label, as "background"; None where they are misses.
        worst: images kept of the last rung, lowest mIoU first.
        progress: called after each image.

    Raises:
        DatasetError: there are no samples.
    """
    confusions = {rung: Confusion.empty(names) for rung in rungs}
    watch, kept, images = Stopwatch(), Worst(worst), 0
    pixels, masks = Reliability(), Reliability()
    for sample in samples:
        for rung, segment in rungs.items():
            with watch.running(rung):
                predicted, probability = segment(sample.image)
            filled = _filled(predicted, unlabelled)
            alone = Confusion.empty(names)
            alone.add(sample.truth, filled)
            confusions[rung].counts += alone.counts
        _calibrate(sample.truth, Predicted(filled, probability), pixels, masks)
        if kept.wants(alone.miou):
            kept.add(_class_case(sample, names, filled, alone.miou))
        images += 1
        progress(sample.name)
    if not images:
        raise DatasetError("the data set has no images")
    majority = next(iter(confusions.values())).majority()
    ladder = {MAJORITY: majority, **confusions}
    return ClassScores(names, ladder, watch.means, images, pixels, masks, kept.cases)


def _calibrate(
    truth: ClassMap, predicted: Predicted, pixels: Reliability, masks: Reliability
) -> None:
    """Count the pixels and the class masks of one image; what has no label claims nothing."""
    class_map, probability = predicted
    known = truth != scores.IGNORE
    claimed = known & (class_map > 0)
    right = class_map[claimed] == truth[claimed].astype(np.int64) + 1
    pixels.add(probability[claimed], right)
    for number in np.unique(class_map[claimed]):
        masks.add_mask(class_map == number, probability, truth == number - 1, known)


def _filled(predicted: ClassMap, unlabelled: int | None) -> ClassMap:
    if unlabelled is None:
        return predicted
    return np.where(predicted == 0, unlabelled + 1, predicted).astype(np.uint16)


def _class_case(sample: Sample, names: tuple[str, ...], predicted: ClassMap, score: float) -> Case:
    truth = np.where(sample.truth == scores.IGNORE, 0, sample.truth + np.uint16(1))
    return Case(sample.name, score, sample.image, names, truth.astype(np.uint16), predicted)


# ---- referring expressions -----------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """One expression and how well each rung answered it.

    Attributes:
        name: of the image.
        expression: the question.
        category: class of the target, or empty.
        stratum: what tells the target from the rest, or empty.
        first: rung → overlap of its first answer; `ORACLE` is the last rung.
        best: rung → overlap of the best of its first k answers.
    """

    name: str
    expression: str
    category: str
    stratum: str
    first: Mapping[str, Overlap]
    best: Mapping[str, Overlap]


@dataclass(frozen=True)
class ExpressionScores:
    """Scores of referring expression segmentation.

    Attributes:
        asked: every expression.
        top_k: k of `Asked.best`.
        seconds: a rung's mean seconds an expression; "encode" an image.
        images: how many.
        worst: of the last rung before the oracle.
    """

    asked: tuple[Asked, ...]
    top_k: int
    seconds: Mapping[str, float]
    images: int
    worst: tuple[Case, ...] = field(repr=False)

    @property
    def rungs(self) -> tuple[str, ...]:
        """Lowest first; the oracle is the last."""
        return tuple(self.asked[0].first)

    @property
    def strata(self) -> tuple[str, ...]:
        """Those that occur, sorted."""
        return tuple(sorted({asked.stratum for asked in self.asked if asked.stratum}))

    def first(self, rung: str, stratum: str | None = None) -> list[Overlap]:
        """First answers of a rung, to all expressions or to those of a stratum."""
        return [a.first[rung] for a in self.asked if stratum in (None, a.stratum)]

    def best(self, rung: str) -> list[Overlap]:
        """The best of the first k answers of a rung, to all expressions."""
        return [a.best[rung] for a in self.asked]


def evaluate_expressions(
    referrals: Iterable[Referral],
    encode: Callable[[RGB], Encoded],
    rungs: Mapping[str, Callable[[Encoded, str], Sequence[Mask]]],
    pool: Callable[[Encoded], Proposals],
    *,
    top_k: int = 3,
    side: int | None = None,
    worst: int = 5,
    progress: Progress = silent,
) -> ExpressionScores:
    """Score a ladder of referring segmenters.

    Args:
        referrals: expressions; those of an image follow each other.
        encode: called once an image.
        rungs: each returns masks of (H, W), best first; none where it found nothing.
        pool: masks to answer with; the oracle's is the best of them and of what any rung returned.
        top_k: answers that count for "best of the top k".
        side: both masks are compared at side × side pixels, taken by the nearest (RMSIN's protocol
            on RRSIS-D: 480); None compares them as they are.
        worst: expressions kept of the last rung, lowest IoU first.
        progress: called after each expression.

    Raises:
        DatasetError: there are no expressions.
    """
    asked: list[Asked] = []
    watch, kept = Stopwatch(), Worst(worst)
    for referral, encoded in _encoded(referrals, encode, watch):
        answers = _answers(rungs, encoded, referral.expression, watch)
        answers = {rung: masks[:top_k] for rung, masks in answers.items()}
        asked.append(_scored(referral, answers, pool(encoded), side))
        last = list(answers)[-1]
        if kept.wants(score := asked[-1].first[last].iou):
            kept.add(_mask_case(referral, answers[last], score))
        progress(referral.name)
    if not asked:
        raise DatasetError("the data set has no expressions")
    images = watch.times("encode")
    return ExpressionScores(tuple(asked), top_k, watch.means, images, kept.cases)


def _encoded(
    referrals: Iterable[Referral], encode: Callable[[RGB], Encoded], watch: Stopwatch
) -> Iterator[tuple[Referral, Encoded]]:
    """Each expression with its image, which is encoded once."""
    for _, of_image in groupby(referrals, key=lambda referral: referral.name):
        first = next(of_image)
        with watch.running("encode"):
            encoded = encode(first.image)
        for referral in chain([first], of_image):
            yield referral, encoded


def _answers(
    rungs: Mapping[str, Callable[[Encoded, str], Sequence[Mask]]],
    encoded: Encoded,
    expression: str,
    watch: Stopwatch,
) -> dict[str, Sequence[Mask]]:
    answers = {}
    for rung, refer in rungs.items():
        with watch.running(rung):
            answers[rung] = refer(encoded, expression)
    return answers


def _scored(
    referral: Referral, answers: Mapping[str, Sequence[Mask]], pool: Proposals, side: int | None
) -> Asked:
    truth = _at(referral.mask, side)
    nothing = [Overlap(0, int(np.count_nonzero(truth)))]
    overlaps = {
        rung: [scores.overlap(_at(mask, side), truth) for mask in masks] or nothing
        for rung, masks in answers.items()
    }
    best = {rung: max(each, key=lambda o: o.iou) for rung, each in overlaps.items()}
    possible = max([_best_of(pool, referral.mask, side), *best.values()], key=lambda o: o.iou)
    return Asked(
        referral.name,
        referral.expression,
        referral.category,
        referral.stratum,
        {rung: each[0] for rung, each in overlaps.items()} | {ORACLE: possible},
        best | {ORACLE: possible},
    )


def _best_of(pool: Proposals, truth: Mask, side: int | None) -> Overlap:
    overlaps = scores.proposal_overlaps(pool, truth)
    if not overlaps:
        return Overlap(0, int(np.count_nonzero(_at(truth, side))))
    index = int(np.argmax([o.iou for o in overlaps]))
    full = pool.at_full_size(pool.masks[index])
    return scores.overlap(_at(full, side), _at(truth, side))


def _at(mask: Mask, side: int | None) -> Mask:
    """The mask at side × side pixels: of each the centre."""
    if side is None:
        return mask
    rows, columns = (
        np.minimum(((np.arange(side) + 0.5) * length / side).astype(np.intp), length - 1)
        for length in mask.shape
    )
    small: Mask = mask[rows[:, None], columns]
    return small


def _mask_case(referral: Referral, answers: Sequence[Mask], score: float) -> Case:
    predicted = answers[0] if answers else np.zeros_like(referral.mask)
    return Case(
        f"{referral.name}: {referral.expression}",
        score,
        referral.image,
        (referral.expression,),
        referral.mask.astype(np.uint16),
        predicted.astype(np.uint16),
    )
