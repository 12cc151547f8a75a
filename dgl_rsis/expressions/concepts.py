"""Expressions by a model that knows concepts: it finds the noun's instances, geometry orders them.

    expression ──decoupling──► noun, anchors ──► instances ──┐
                     └───────► modifiers ──► geometry ───────┴─selection─► masks

[ours] What a modifier means is measured on the instances, as `expressions.pipeline` does it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from dgl_rsis.classes.pipeline import timed
from dgl_rsis.concepts.shown import Concept
from dgl_rsis.expressions import exemplars, pipeline
from dgl_rsis.expressions.candidates import Candidates
from dgl_rsis.expressions.exemplars import Alike, ExemplarParameters, Look
from dgl_rsis.expressions.pipeline import ExpressionSegmentation, ResParameters
from dgl_rsis.regions import proposals
from dgl_rsis.types import RGB, Decoupled, Floats, Mask, Proposals

ALIKE_OVERLAP = 0.3  # share of a thing that lies on the exemplar, or on what is marked


def refer(
    image: RGB,
    expression: str,
    find: Callable[[Sequence[str]], Sequence[Concept]],
    parameters: ResParameters,
    valid: Mask | None = None,
) -> ExpressionSegmentation:
    """The masks that an expression means, best first.

    Args:
        image: (H, W, 3) uint8.
        expression: "the small white tank left of the road".
        find: nouns → what the image shows of each.
        parameters: of geometry and selection.
        valid: (H, W) bool, which pixels show something; None: all of them.

    Raises:
        InputError: an empty expression.
    """
    decoupled, seconds = pipeline.read(expression), dict[str, float]()
    parameters = replace(parameters, mode="geometry")
    if reason := pipeline.undecidable(decoupled):
        return ExpressionSegmentation(decoupled, (), reason, None, seconds)
    nouns = list(dict.fromkeys([decoupled.noun, *(a.noun for a in decoupled.anchors)]))
    with timed(seconds, "match"):
        shown = find(nouns)
    by_noun = dict(zip(nouns, shown, strict=True))
    if missing := _missing(decoupled, by_noun):
        reason = (
            f"nothing here is a {missing!r}: that there is one has the probability "
            f"{by_noun[missing].presence:.0%}"
        )
        return ExpressionSegmentation(decoupled, (), reason, None, seconds)
    with timed(seconds, "selection"):
        seen = _candidates(shown, *image.shape[:2])
        classes: Mapping[str, int] = {noun: i for i, noun in enumerate(nouns)}
        parts = {"class": seen.classes[:, 0]}
        answers, reason = pipeline.ordered(image, seen, decoupled, classes, parts, parameters)
    found = ExpressionSegmentation(decoupled, answers, reason, None, seconds)
    return pipeline.within(found, valid)


def alike(concept: Concept, exemplar: Mask, marked: Mask, least: float, most: int) -> Alike:
    """The other instances of the concept that an exemplar is of.

    Args:
        concept: what the image shows of it.
        exemplar: (H, W) bool.
        marked: (H, W) bool, where nothing is sought.
        least: score of what is returned, [0, 1].
        most: masks at most.
    """
    shape = concept.evidence.shape
    taken = _shrunk(exemplar | marked, shape)
    kept: list[tuple[float, Mask]] = []
    for thing in concept.instances:
        plane = thing.drawn(shape)
        if thing.score >= least and (plane & taken).sum() <= ALIKE_OVERLAP * thing.area:
            kept.append((thing.score, plane))
    kept = kept[:most]
    height, width = exemplar.shape
    scores = np.array([score for score, _ in kept], dtype=np.float32)
    return Alike(_proposals([plane for _, plane in kept], shape, height, width), scores)


def _missing(decoupled: Decoupled, shown: Mapping[str, Concept]) -> str:
    """The noun without which the expression means nothing here; "" where none is absent.

    What is measured by a thing that is not there cannot be measured, and would else be taken as
    true. That it is "without" an absent thing is true.
    """
    if not shown[decoupled.noun].instances:
        return decoupled.noun
    for modifier in decoupled.modifiers:
        absent = [a.noun for a in modifier.anchors if not shown[a.noun].instances]
        most = 0 if modifier.value == "between" else len(modifier.anchors) - 1
        if len(absent) > most and absent and not modifier.negated:
            return absent[0]
    return ""


def _candidates(shown: Sequence[Concept], height: int, width: int) -> Candidates:
    """The noun's instances, and those of the anchors."""
    shape = shown[0].evidence.shape
    own = shown[0].instances
    others = [(i, thing) for i, x in enumerate(shown[1:], start=1) for thing in x.instances]
    of_others = np.zeros((len(others), len(shown)), dtype=np.float32)
    for row, (index, thing) in enumerate(others):
        of_others[row, index] = thing.score
    classes = np.zeros((len(own), len(shown)), dtype=np.float32)
    classes[:, 0] = [thing.score for thing in own]
    whole: Floats = np.ones(len(own), dtype=np.float32)
    masks = _proposals([thing.drawn(shape) for thing in own], shape, height, width)
    anchors = _proposals([thing.drawn(shape) for _, thing in others], shape, height, width)
    return Candidates(masks, classes, whole, anchors, of_others)


def _proposals(
    planes: Sequence[Mask], shape: tuple[int, ...], height: int, width: int
) -> Proposals:
    if planes:
        return proposals.of_masks(planes, height, width)
    nothing = np.zeros((0, *shape), dtype=np.bool_)
    boxes, quality = np.zeros((0, 4), dtype=np.int32), np.zeros(0, dtype=np.float32)
    return Proposals(nothing, boxes, quality, height, width)


def _shrunk(mask: Mask, shape: tuple[int, ...]) -> Mask:
    """(H, W) → (h, w) bool, by the nearest pixel."""
    rows = (np.arange(shape[0]) * 2 + 1) * mask.shape[0] // (2 * shape[0])
    columns = (np.arange(shape[1]) * 2 + 1) * mask.shape[1] // (2 * shape[1])
    shrunk: Mask = mask[rows[:, None], columns]
    return shrunk


def looking_like(image: RGB, found: Alike, look: Look, parameters: ExemplarParameters) -> Alike:
    """Those of some masks that have the size, form and colour of an exemplar of another image.

    Args:
        image: (H, W, 3) uint8.
        found: masks of it.
        look: of `exemplars.outward_look`, at the image's resolution.
        parameters: see there.
    """
    if not len(found):
        return found
    likely = exemplars.outward_scores(image, found.found, look, parameters)
    scores = likely * found.scores
    order = np.argsort(-scores, kind="stable")
    order = order[likely[order] >= parameters.least_elsewhere]
    chosen = found.found
    kept = Proposals(
        chosen.masks[order],
        chosen.boxes[order],
        chosen.quality[order],
        chosen.height,
        chosen.width,
    )
    return Alike(kept, scores[order])
