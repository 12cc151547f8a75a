"""Referring expression segmentation: the order of its stages [paper, both branches].

    expression ──decoupling──► noun ─────► class probabilities of the masks ──┐
        │            └──────► modifiers ──► geometry, colours ───────────────┼─selection─► masks
        └──features──► sentence ──gradcam──► cross-scale activation ──────────┘

[ours] everything but the split and the activation: see each stage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dgl_rsis.classes import pipeline, scales, vocabulary
from dgl_rsis.classes.pipeline import EncodedImage, OvssParameters, timed
from dgl_rsis.classes.scales import Phrases
from dgl_rsis.clip import features, gradcam
from dgl_rsis.clip.gradcam import CamParameters, CrossScaleCam
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.decoupling import decouple
from dgl_rsis.expressions import candidates, colours, geometry, selection, shapes
from dgl_rsis.expressions.candidates import CandidateParameters, Candidates, Query
from dgl_rsis.expressions.geometry import GeometryParameters
from dgl_rsis.expressions.selection import Ranking, SelectionParameters
from dgl_rsis.expressions.shapes import Shapes
from dgl_rsis.regions import proposals
from dgl_rsis.regions.proposals import RegionParameters
from dgl_rsis.resolution import Resolution
from dgl_rsis.types import RGB, Decoupled, Floats, InputError, Label, Mask, Modifier, Proposals

Mode = Literal["clip", "global-local", "dgl", "geometry"]
MODES: Mapping[Mode, Mapping[str, float]] = {
    "clip": {"sentence": 1.0},
    "global-local": {"sentence": 1.0},
    "dgl": {"class": 1.0, "cam": 1.0},
    "geometry": {"class": 1.0, "geometry": 3.0, "cam": 0.25, "quality": 0.25, "whole": 1.0},
}


@dataclass(frozen=True)
class ResParameters:
    """Everything that decides which masks an expression gets, beside the weights.

    Attributes:
        mode: "clip": the crop that is most like the sentence. "global-local": the mask most like
            half the sentence and half the noun (Zero-shot-RIS). "dgl": the noun's class
            probability and Cross-Scale Grad-CAM, the paper as reconstructed. "geometry": with the
            modifiers measured on the masks.
        top_k: candidates returned at most.
        encoding: regions, crops and fusion; `margin` keeps crops to the doubtful masks.
        candidates: which masks may be meant.
        geometry, cam, selection: of those stages; the mode sets the selection's weights.
    """

    mode: Mode = "geometry"
    top_k: int = 3
    encoding: OvssParameters = field(
        # The finest cut is left out: its masks are many, and the strongest nodes know better.
        default_factory=lambda: OvssParameters(
            regions=RegionParameters(levels=(128, 32), objects=200), margin=0.0
        )
    )
    candidates: CandidateParameters = field(default_factory=CandidateParameters)
    geometry: GeometryParameters = field(default_factory=GeometryParameters)
    cam: CamParameters = field(default_factory=CamParameters)
    selection: SelectionParameters = field(default_factory=SelectionParameters)


@dataclass(frozen=True)
class Candidate:
    """One answer to an expression.

    Attributes:
        mask: (H, W) bool.
        score: confidence in [0, 1].
        parts: what each stage said of it, in [0, 1]: "class", "geometry", "cam", …
    """

    mask: Mask
    score: float
    parts: Mapping[str, float]


@dataclass(frozen=True)
class ExpressionSegmentation:
    """The answer of `segment_expression`.

    Attributes:
        decoupled: the expression as it was understood.
        candidates: best first; empty when nothing was found.
        reason: why there is none; empty otherwise.
        cam: the activation maps; None in modes without them.
        seconds: wall-clock seconds of each stage.
    """

    decoupled: Decoupled
    candidates: tuple[Candidate, ...]
    reason: str
    cam: CrossScaleCam | None
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class _Question:
    """An expression in the model's terms.

    Attributes:
        decoupled: noun and modifiers.
        phrases: of the noun, which is class 0, of the anchors and of everything else.
        classes: anchor's noun → its class index.
        sentence: (1, D) float32.
    """

    decoupled: Decoupled
    phrases: Phrases
    classes: Mapping[str, int]
    sentence: Tensor


def segment_expression(
    image: RGB,
    expression: str,
    clip: ClipModel,
    parameters: ResParameters | None = None,
    *,
    resolution: Resolution | None = None,
    valid: Mask | None = None,
) -> ExpressionSegmentation:
    """The masks that an expression means, best first.

    Args:
        image: (H, W, 3) uint8.
        expression: "the small white tank left of the road".
        clip: the model.
        parameters: default `ResParameters()`.
        resolution: of the image; None where nobody knows.
        valid: (H, W) bool, which pixels show something; None: all of them.

    Raises:
        InputError: an empty expression, or an image too small to have regions.
    """
    parameters = parameters or ResParameters()
    encoding = parameters.encoding
    encoded = pipeline.encode_image(image, clip, encoding, resolution=resolution)
    return refer(replace(encoded, valid=valid), expression, clip, parameters)


def refer(
    encoded: EncodedImage, expression: str, clip: ClipModel, parameters: ResParameters
) -> ExpressionSegmentation:
    """`segment_expression` of an image that is encoded already.

    Raises:
        InputError: an empty expression.
    """
    decoupled, seconds = read(expression), dict(encoded.seconds)
    if parameters.mode == "geometry" and (reason := undecidable(decoupled)):
        return ExpressionSegmentation(decoupled, (), reason, None, seconds)
    with timed(seconds, "text"):
        question = _ask(decoupled, clip)
    if parameters.mode in ("clip", "global-local"):
        with timed(seconds, "selection"):
            parts = {"sentence": _similarity(encoded, question, clip, parameters)}
            ranking = _rank(encoded.proposed, parts, parameters)
        answers = _candidates(encoded.proposed, parts, ranking, parameters.top_k)
        by_rank = ExpressionSegmentation(question.decoupled, answers, "", None, seconds)
        return within(by_rank, encoded.valid)
    return within(_by_stages(encoded, question, clip, parameters, seconds), encoded.valid)


def within(segmentation: ExpressionSegmentation, valid: Mask | None) -> ExpressionSegmentation:
    """Candidates without the pixels that show nothing, and without those that are nothing else."""
    if valid is None:
        return segmentation
    cut = (replace(each, mask=each.mask & valid) for each in segmentation.candidates)
    left = tuple(each for each in cut if each.mask.any())
    reason = segmentation.reason or ("" if left else "it is not where the picture shows something")
    return replace(segmentation, candidates=left, reason=reason)


def read(expression: str) -> Decoupled:
    """An expression in its parts.

    Raises:
        InputError: it is empty.
    """
    if not expression.strip():
        raise InputError("the expression is empty: say what to look for, as in 'the white tank'")
    return decouple.decouple(expression)


def undecidable(decoupled: Decoupled) -> str:
    """What an expression denies that cannot be measured on masks; "" for nothing."""
    if decoupled.refused:
        return decoupled.reason
    for modifier in decoupled.modifiers:
        coloured = modifier.kind == "attribute" and colours.knows(modifier.value)
        if modifier.negated and not (coloured or geometry.measures(modifier)):
            return f"{modifier.text!r} cannot be measured: say what it is, not what it is not"
    return ""


def _affirmed(decoupled: Decoupled) -> str:
    """The sentence without what it denies: CLIP reads over a "non", and would look for that."""
    said = decoupled.text
    for modifier in decoupled.modifiers:
        if modifier.negated:
            said = decouple.normalised(said).replace(modifier.text, "")
    return said


def _ask(decoupled: Decoupled, clip: ClipModel) -> _Question:
    nouns = list(dict.fromkeys([decoupled.noun, *(a.noun for a in decoupled.anchors)]))
    words = vocabulary.prepare([Label(noun) for noun in nouns], clip)
    classes = {noun: i for i, noun in enumerate(nouns)}
    sentence = features.text_features(clip, [(_affirmed(decoupled),)])
    # Rivals and the implicit background are one class: everything else.
    phrases = scales.joined(words.phrases, vocabulary.rivals(nouns, clip, len(nouns)))
    return _Question(decoupled, phrases, classes, sentence)


def _similarity(
    encoded: EncodedImage, question: _Question, clip: ClipModel, parameters: ResParameters
) -> Floats:
    """Cosines with the sentence, or with sentence and noun, stretched to [0, 1]: (N,)."""
    encoding = replace(parameters.encoding, margin=1.0)
    text = question.sentence[0]
    if parameters.mode == "clip":
        visual = pipeline.encode_crops(clip, encoded, encoding)
    else:
        weighting = pipeline.weigh(encoded, clip, question.phrases, encoding)
        visual = pipeline.fuse(encoded, clip, question.phrases, weighting, encoding)[0]
        noun = F.normalize(question.phrases.texts[_of(question, 0)].mean(dim=0), dim=-1)
        text = 0.5 * text + 0.5 * noun
    cosines = (visual @ text).cpu().numpy()  # (N,)
    stretched: Floats = (cosines - cosines.min()) / max(float(np.ptp(cosines)), 1e-6)
    return stretched


def _by_stages(
    encoded: EncodedImage,
    question: _Question,
    clip: ClipModel,
    parameters: ResParameters,
    seconds: dict[str, float],
) -> ExpressionSegmentation:
    decoupled = question.decoupled
    with timed(seconds, "match"):
        seen = candidates.find(
            encoded,
            clip,
            Query(question.phrases, len(question.classes) > 1),
            parameters.encoding,
            parameters.candidates,
        )
        proposed, of_noun = seen.masks, seen.classes[:, 0]
    if of_noun.max(initial=0.0) < parameters.selection.least:
        best = float(of_noun.max(initial=0.0))
        reason = f"nothing here looks like {decoupled.noun!r}: the best mask has {best:.0%} of it"
        return ExpressionSegmentation(decoupled, (), reason, None, seconds)
    with timed(seconds, "cam"):
        cam = gradcam.cross_scale(
            clip,
            encoded.image,
            F.normalize(question.phrases.texts[_of(question, 0)].mean(dim=0), dim=-1),
            question.sentence[0],
            question.phrases.texts[~_of(question, 0)],
            parameters.cam,
            encoded.dense,
        )
        activation = _shrunk(cam.fused, proposed)
    with timed(seconds, "selection"):
        boxes = proposals.boxes_of_masks(proposed)
        activity = selection.contrast(proposed.masks, boxes, activation)
        parts = {"class": of_noun, "cam": activity}
        answers, reason = ordered(
            encoded.image, seen, decoupled, question.classes, parts, parameters
        )
    return ExpressionSegmentation(decoupled, answers, reason, cam, seconds)


def ordered(
    image: RGB,
    seen: Candidates,
    decoupled: Decoupled,
    classes: Mapping[str, int],
    parts: Mapping[str, Floats],
    parameters: ResParameters,
) -> tuple[tuple[Candidate, ...], str]:
    """The candidates that fit an expression, best first, and why there is none.

    Args:
        image: (H, W, 3) uint8.
        seen: the candidates, N.
        decoupled: the expression.
        classes: noun of the target and of each anchor → its class index.
        parts: what was said of each candidate so far, (N,) in [0, 1]: "class", perhaps "cam".
        parameters: see there.
    """
    proposed, said = seen.masks, dict(parts)
    if parameters.mode == "geometry":
        if seen.whole is None:
            said["quality"] = proposed.quality
        else:
            said["whole"] = seen.whole
        said["geometry"] = _geometry(image, seen, decoupled, classes, parameters)
    ranking = _only_fitting(_rank(proposed, said, parameters), said, parameters)
    if not len(ranking.order):
        return (), f"what looks like {decoupled.noun!r} here is not as the sentence says"
    count = _target_count(decoupled, ranking, parameters)
    answers = _candidates(proposed, said, ranking, max(count, parameters.top_k))
    if count > 1:
        answers = (_union(answers[:count]), *answers)
    return answers[: parameters.top_k], ""


def _of(question: _Question, index: int) -> Tensor:
    """(P,) bool: which phrases belong to a class."""
    phrases = question.phrases
    return torch.tensor([o == index for o in phrases.owners], device=phrases.texts.device)


def _geometry(
    image: RGB,
    seen: Candidates,
    decoupled: Decoupled,
    classes: Mapping[str, int],
    parameters: ResParameters,
) -> Floats:
    """How well place, size and colour of each mask fit the modifiers: (N,) float32 in [0, 1]."""
    confidence = seen.confidence
    modifiers = decoupled.modifiers
    words = [m for m in modifiers if m.kind == "attribute" and colours.knows(m.value)]
    fits: Floats = np.ones(len(confidence), dtype=np.float32)
    if words:
        means = colours.balanced(colours.mean_lab(image, seen.masks), confidence)
        fits = np.minimum.reduce([_coloured(means, word) for word in words])
        fits = colours.relative(fits, confidence)
    measured = _measure(seen.masks)
    others = measured if seen.others is seen.masks else None
    anchors = {}
    for anchor in decoupled.anchors:
        index = classes[anchor.noun]
        if index == 0:  # another instance of the noun
            among, likely = measured, confidence
        else:
            others = _measure(seen.others) if others is None else others
            among, likely = others, seen.of_others[:, index]
        # "the vehicle on the left" has a place of its own; anchors of anchors are left out.
        own = decouple.decouple(anchor.text).modifiers
        placed = geometry.score(own, among, likely, {}, parameters.geometry)
        anchors[anchor.text] = (among, likely * placed.total)
    scores = geometry.score(modifiers, measured, confidence * fits, anchors, parameters.geometry)
    total: Floats = scores.total * fits
    return total


def _coloured(means: Floats, word: Modifier) -> Floats:
    """How well colours fit a word, or its contrary where it is denied: (N,) in [0, 1]."""
    fits: Floats = colours.colour(means, word.value)
    contrary: Floats = 1 - fits
    return contrary if word.negated else fits


def _measure(proposed: Proposals) -> Shapes:
    return shapes.measure(proposed.masks, proposed.height, proposed.width, proposed.boxes)


def _rank(proposed: Proposals, parts: Mapping[str, Floats], parameters: ResParameters) -> Ranking:
    weighted = replace(parameters.selection, weights=MODES[parameters.mode])
    most = max(parameters.top_k, parameters.selection.most)
    return selection.rank(proposed.masks, parts, most, weighted)


def _only_fitting(
    ranking: Ranking, parts: Mapping[str, Floats], parameters: ResParameters
) -> Ranking:
    """Without candidates that are hardly of the class, or hardly as the modifiers say."""
    limits = parameters.selection
    kept = parts["class"][ranking.order] >= limits.least
    if "geometry" in parts:
        kept &= ranking.scores >= limits.fitting
    return Ranking(ranking.order[kept], ranking.scores[kept])


def _candidates(
    proposed: Proposals, parts: Mapping[str, Floats], ranking: Ranking, most: int
) -> tuple[Candidate, ...]:
    """The first of the ranking, at the image's size."""
    return tuple(
        Candidate(
            proposed.at_full_size(proposed.masks[index]),
            float(score),
            {name: float(part[index]) for name, part in parts.items()},
        )
        for index, score in islice(
            zip(ranking.order.tolist(), ranking.scores.tolist(), strict=True), most
        )
    )


def _target_count(decoupled: Decoupled, ranking: Ranking, parameters: ResParameters) -> int:
    """How many of the first candidates "two ships" or "the cars" mean; 1 for a single target."""
    counts = [m.value for m in decoupled.modifiers if m.kind == "count"]
    number = next((int(value) for value in counts if value.isdigit()), None)
    if not (decoupled.plural or counts):
        return 1
    return selection.members(ranking, number, parameters.selection)


def _union(chosen: Sequence[Candidate]) -> Candidate:
    """All of them as one: their union, with the mean of their scores."""
    parts = {
        name: float(np.mean([candidate.parts[name] for candidate in chosen]))
        for name in chosen[0].parts
    }
    score = float(np.mean([candidate.score for candidate in chosen]))
    return Candidate(np.logical_or.reduce([candidate.mask for candidate in chosen]), score, parts)


def _shrunk(activation: Floats, proposed: Proposals) -> Floats:
    """(H, W) → (h, w) at the proposals' size, by the mean."""
    height, width = proposed.masks.shape[1:]
    if activation.shape == (height, width):
        return activation
    resized: Floats = F.interpolate(
        torch.from_numpy(activation)[None, None], size=(height, width), mode="area"
    )[0, 0].numpy()
    return resized
