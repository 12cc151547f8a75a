"""Class masks from what an image shows of concepts: each class is judged by itself. [ours].

    labels ──vocabulary──► phrases ──► evidence of each pixel, instances ──► class map ──► masks

A pixel has the class with the most evidence among those whose threshold it reaches, and none where
it reaches none: a model that says what is absent needs no rivals for that.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from dgl_rsis.classes import objects, prototypes, scales, sizes
from dgl_rsis.classes.matching import SemanticMap
from dgl_rsis.classes.pipeline import ClassSegmentation, OvssParameters, Thing, timed
from dgl_rsis.classes.prototypes import Evidence
from dgl_rsis.classes.sizes import Limits
from dgl_rsis.classes.vocabulary import Vocabulary
from dgl_rsis.concepts.shown import Concept, ConceptParameters, Instance
from dgl_rsis.resolution import Resolution
from dgl_rsis.runs import to_runs
from dgl_rsis.types import Floats, Mask, Proposals, Segment

HEARD = 0.2  # share of a scale for a phrase from which on it is asked there
LEAST_LOGIT = 1e-4  # probability; what is less likely has the logit of this
SAME = 0.5  # share of the smaller of two things that synonyms found: they are one
GROWN = np.ones((5, 5), dtype=np.uint8)  # around things: slivers there are no objects of their own


@dataclass(frozen=True)
class ConceptClassParameters:
    """Everything that decides what a segmentation looks like, beside the weights.

    Attributes:
        shown: which answers of the model count.
        threshold: evidence below which a pixel stays unlabelled; a label's own goes before it.
        classes: its knowledge, regions, sizes of objects; of learnt examples, too.
    """

    shown: ConceptParameters = field(default_factory=ConceptParameters)
    threshold: float = 0.5
    classes: OvssParameters = field(default_factory=OvssParameters)


@dataclass(frozen=True)
class Seen:
    """What is known of an image beside what it shows of concepts.

    Attributes:
        height, width: H and W, pixels.
        resolution: of its pixels; None where nobody knows.
        valid: (H, W) bool, which pixels show something; None: all of them.
        seconds: wall-clock seconds of each stage so far.
    """

    height: int
    width: int
    resolution: Resolution | None
    valid: Mask | None
    seconds: Mapping[str, float]


def heard(
    words: Vocabulary, resolution: Resolution | None, factors: Sequence[float]
) -> NDArray[np.bool_]:
    """(K, P) bool: at which sizes of the image each phrase is asked, by the size of its things."""
    shares = scales.shares(words.phrases.extents, resolution, factors)
    if resolution is None:  # large things may be larger than a tile: ask everywhere
        shares = np.ones_like(shares)
    asked: NDArray[np.bool_] = shares >= min(HEARD, 1 / len(factors))
    asked[:, [owner in words.unasked for owner in words.owners]] = False
    return asked


def classify(
    shown: Sequence[Concept],
    words: Vocabulary,
    seen: Seen,
    parameters: ConceptClassParameters,
    taught: Floats | None = None,
) -> ClassSegmentation:
    """A class for every pixel.

    Args:
        shown: of the P phrases of the vocabulary.
        words: C labels.
        seen: the image.
        parameters: see there.
        taught: (C, h, w) float32, what corrected masks add to the log-odds of each class.
    """
    seconds = dict(seen.seconds)
    with timed(seconds, "map"):
        likely = _likely(shown, words)
        if taught is not None:
            likely = _odds(_logit(likely) + taught)
        limits = np.array([_limit(words, i, parameters) for i in range(len(words.labels))])
        bounds = sizes.limits(words.phrases, seen.resolution, likely.shape[2] / seen.width)
        kept = _possible(np.where(likely >= limits[:, None, None], likely, 0), bounds)
    with timed(seconds, "masks"):
        size = Proposals(*_NOTHING, seen.height, seen.width)
        best: NDArray[np.uint16] = kept.argmax(axis=0).astype(np.uint16)
        probability = size.at_full_size(kept.max(axis=0))
        class_map = words.labelled(size.at_full_size(best), probability, parameters.threshold)
        class_map[probability <= 0] = 0
        if seen.valid is not None:
            class_map[~seen.valid] = 0
        found = _classes(class_map, probability, words)
        things = tuple(_things(shown, words, class_map, size, probability, parameters))
    by_label = sizes.limits(words.phrases, seen.resolution, 1.0)
    return ClassSegmentation(
        tuple(found),
        class_map,
        probability,
        seconds,
        parameters.classes,
        _margin(likely),
        {label.name: bound for label, bound in zip(words.labels, by_label, strict=True)},
        things=things,
    )


def taught_by(
    evidence: Evidence, proposed: Proposals, shown: Sequence[Concept], words: Vocabulary
) -> Floats | None:
    """What corrected masks add to the log-odds of each class and pixel: (C, h, w) float32.

    As `prototypes.apply` does it for a CLIP, with log-odds in the place of cosines.

    Args:
        evidence: of the regions and the C labels.
        proposed: N regions of the image.
        shown: of the P phrases.
        words: C labels.
    """
    logits = _logit(_likely(shown, words))  # (C, h, w)
    count, height, width = logits.shape
    total = np.zeros_like(logits)
    covered = np.zeros((height, width), dtype=np.float32)
    planes = [_sized(mask, height, width) for mask in proposed.masks]
    own = np.stack(
        [logits[:, plane].mean(axis=1) if plane.any() else logits[:, 0, 0] for plane in planes]
    )
    added = prototypes.apply(own, range(count), 1.0, evidence) - own  # (N, C)
    if not added.any():
        return None
    for plane, each in zip(planes, added, strict=True):
        total[:, plane] += each[:, None]
        covered += plane
    mean: Floats = total / np.maximum(covered, 1)
    return mean


def by_class(shown: Sequence[Concept], words: Vocabulary) -> list[Concept]:
    """What P phrases show, put together for each of the C classes that they are names of."""
    likely = _likely(shown, words)
    return [
        Concept(
            max(x.presence for x, owner in zip(shown, words.owners, strict=True) if owner == i),
            likely[i],
            tuple(_instances(shown, words, i)),
        )
        for i in range(len(words.labels))
    ]


def likeliest(shown: Sequence[Concept], words: Vocabulary, mask: Mask) -> str:
    """The name of the label with the most evidence in a mask, (H, W) bool, not empty."""
    likely = _likely(shown, words)
    inside = _sized(mask, *likely.shape[1:])
    if not inside.any():  # smaller than a pixel of the map
        row, column = np.argwhere(mask)[0] * likely.shape[1:] // mask.shape
        inside[row, column] = True
    return words.labels[int(likely[:, inside].mean(axis=1).argmax())].name


_NOTHING = (
    np.zeros((0, 1, 1), dtype=np.bool_),
    np.zeros((0, 4), dtype=np.int32),
    np.zeros(0, dtype=np.float32),
)


def _likely(shown: Sequence[Concept], words: Vocabulary) -> Floats:
    """(C, h, w) float32 in [0, 1]: of each class what its best phrase says."""
    owners = words.owners
    planes = [
        np.maximum.reduce(
            [x.evidence for x, owner in zip(shown, owners, strict=True) if owner == i]
        )
        for i in range(len(words.labels))
    ]
    return np.stack(planes)


def _limit(words: Vocabulary, index: int, parameters: ConceptClassParameters) -> float:
    own = words.labels[index].threshold
    return parameters.threshold if own is None else own


def _possible(likely: Floats, bounds: Sequence[Limits]) -> Floats:
    """Without parts that cannot be what they are called, by their size: (C, h, w)."""
    count, height, width = likely.shape
    rows = likely.reshape(count, -1).T  # (h · w, C)
    semantic = SemanticMap(np.arange(len(rows)).reshape(height, width), rows)
    checked = sizes.possible(semantic, bounds)
    changed = checked.cell >= len(rows)
    if changed.any():  # what is left there is as likely as it was, and not more
        left = checked.classes[checked.cell[changed]] > 0
        likely = likely.copy()
        likely[:, changed] = np.where(left, rows[changed.reshape(-1)], 0).T
    return likely


def _margin(likely: Floats) -> float:
    """p(best) − p(second), where nothing is as likely as the best class is not: [0, 1]."""
    nothing = 1 - likely.max(axis=0, keepdims=True)
    ordered = np.sort(np.concatenate([likely, nothing]), axis=0)
    return float((ordered[-1] - ordered[-2]).mean())


def _classes(
    class_map: NDArray[np.uint16], probability: Floats, words: Vocabulary
) -> Iterator[Segment]:
    for number, label in enumerate(words.labels, start=1):
        mask = class_map == number
        if mask.any():
            yield Segment(label.name, float(probability[mask].mean()), mask)


def _things(
    shown: Sequence[Concept],
    words: Vocabulary,
    class_map: NDArray[np.uint16],
    size: Proposals,
    probability: Floats,
    parameters: ConceptClassParameters,
) -> Iterator[Thing]:
    """The instances of each class, and what of it no instance holds."""
    least, most = parameters.classes.min_object, parameters.classes.max_objects
    for number, label in enumerate(words.labels, start=1):
        mask = class_map == number
        if not mask.any():
            continue
        rest, count = mask.copy(), 0
        for instance in _instances(shown, words, number - 1):
            thing = size.at_full_size(instance.drawn(shown[0].evidence.shape)) & mask
            if count < most and int(thing.sum()) >= least:
                yield Thing(label.name, instance.score, to_runs(thing))
                count += 1
                rest &= cv2.dilate(thing.astype(np.uint8), GROWN) == 0
        for part in objects.of_class(rest, None, Limits(), least):
            if count >= most:
                break
            yield Thing(label.name, float(probability[part].mean()), to_runs(part))
            count += 1


def _instances(shown: Sequence[Concept], words: Vocabulary, index: int) -> list[Instance]:
    """Those that any phrase of a class found, each once, the surest first."""
    own = [x for x, owner in zip(shown, words.owners, strict=True) if owner == index]
    kept: list[Instance] = []
    for thing in sorted((i for x in own for i in x.instances), key=lambda each: -each.score):
        if all(thing.shared(other) <= SAME * min(thing.area, other.area) for other in kept):
            kept.append(thing)
    return kept


def _sized(mask: Mask, height: int, width: int) -> Mask:
    sized = cv2.resize(mask.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(sized, dtype=np.bool_)


def _logit(likely: Floats) -> Floats:
    clipped = np.clip(likely, LEAST_LOGIT, 1 - LEAST_LOGIT)
    logit: Floats = np.log(clipped / (1 - clipped)).astype(np.float32)
    return logit


def _odds(logit: Floats) -> Floats:
    odds: Floats = (1 / (1 + np.exp(-logit))).astype(np.float32)
    return odds
