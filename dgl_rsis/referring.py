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
from torch.nn import functional as F

from dgl_rsis import (
    candidates,
    colours,
    decoupling,
    features,
    geometry,
    gradcam,
    knowledge,
    pipelines,
    questions,
    region_tree,
    selection,
)
from dgl_rsis.features import DenseFeatures
from dgl_rsis.geometry import GeometryParameters
from dgl_rsis.gradcam import CamParameters, CrossScaleCam
from dgl_rsis.instances import NodeParameters
from dgl_rsis.models import ClipModel
from dgl_rsis.pipelines import EncodedImage, OvssParameters, timed
from dgl_rsis.proposals import RegionParameters
from dgl_rsis.questions import RIVALS, Question
from dgl_rsis.region_tree import RegionTree
from dgl_rsis.selection import Ranking, SelectionParameters
from dgl_rsis.types import RGB, Decoupled, Floats, InputError, Label, Mask, Proposals

Mode = Literal["clip", "global-local", "dgl", "geometry"]
MODES: Mapping[Mode, Mapping[str, float]] = {
    "clip": {"sentence": 1.0},
    "global-local": {"sentence": 1.0},
    "dgl": {"class": 1.0, "cam": 1.0},
    "geometry": {"class": 1.0, "geometry": 4.0, "cam": 0.5, "quality": 2.0},
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
        parser: source of `decoupling.decouple`.
        encoding: regions, crops and fusion; `margin` keeps crops to the doubtful masks.
        parts: connected parts of the noun's own map that are candidates beside the proposals, where
            there is no tree.
        nodes: which nodes of the tree are candidates, in the mode "geometry".
        rivals: further classes that the noun has to win against; [ours], measured on generated
            scenes. Those that share a word with the noun or an anchor are left out.
        geometry, cam, selection: of those stages; the mode sets the selection's weights.
    """

    mode: Mode = "geometry"
    top_k: int = 3
    parser: str = "rules"
    encoding: OvssParameters = field(
        # The finest cut is left out: its masks are many, and the strongest nodes know better.
        default_factory=lambda: OvssParameters(
            regions=RegionParameters(levels=(128, 32), objects=200), margin=0.0
        )
    )
    parts: int = 100
    nodes: NodeParameters = field(default_factory=NodeParameters)
    rivals: tuple[str, ...] = RIVALS
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


def segment_expression(
    image: RGB, expression: str, clip: ClipModel, parameters: ResParameters | None = None
) -> ExpressionSegmentation:
    """The masks that an expression means, best first.

    Args:
        image: (H, W, 3) uint8.
        expression: "the small white tank left of the road".
        clip: the model.
        parameters: default `ResParameters()`.

    Raises:
        InputError: an empty expression, or an image too small to have regions.
    """
    parameters = parameters or ResParameters()
    encoding = parameters.encoding
    if parameters.mode != "geometry":
        encoded = pipelines.encode_image(image, clip, encoding)
        return refer(encoded, expression, clip, parameters)
    pipelines.check_size(image)
    seconds: dict[str, float] = {}
    with timed(seconds, "proposals"):
        tree = region_tree.build(image, encoding.regions)
    with timed(seconds, "dense"):
        dense = features.dense_features(clip, image, encoding.batch)
    return refer(without_cuts(image, dense, tree, seconds), expression, clip, parameters)


def without_cuts(
    image: RGB, dense: DenseFeatures, tree: RegionTree, seconds: Mapping[str, float]
) -> EncodedImage:
    """An image for the mode "geometry", which chooses nodes itself and needs no proposals."""
    nothing = region_tree.as_proposals(tree, np.zeros(0, dtype=np.int64))
    return EncodedImage(image, nothing, dense, torch.empty(0), seconds, tree=tree)


def refer(
    encoded: EncodedImage, expression: str, clip: ClipModel, parameters: ResParameters
) -> ExpressionSegmentation:
    """`segment_expression` of an image that is encoded already.

    Args:
        encoded: the image; in the mode "geometry" the nodes of its tree are the candidates, where
            it has one, else its proposals.
        expression: see there.
        clip: the model.
        parameters: see there.

    Raises:
        InputError: an empty expression.
    """
    if not expression.strip():
        raise InputError("the expression is empty: say what to look for, as in 'the white tank'")
    seconds = dict(encoded.seconds)
    with timed(seconds, "text"):
        question = questions.ask(expression, clip, parameters.parser, parameters.rivals)
    if parameters.mode in ("clip", "global-local"):
        with timed(seconds, "selection"):
            parts = {"sentence": _likeness(encoded, question, clip, parameters)}
            ranking = _rank(encoded.proposed, parts, parameters)
        found = _candidates(encoded.proposed, parts, ranking, parameters.top_k)
        return ExpressionSegmentation(question.decoupled, found, "", None, seconds)
    with timed(seconds, "match"):
        proposed, classes = _matched(encoded, question, clip, parameters)
    return _by_stages(encoded.image, proposed, classes, question, clip, parameters, seconds)


def pool(
    encoded: EncodedImage, expression: str, clip: ClipModel, parameters: ResParameters
) -> Proposals:
    """What `refer` chooses among, for measuring: the best of it bounds every choice."""
    question = questions.ask(expression, clip, parameters.parser, parameters.rivals)
    return _matched(encoded, question, clip, parameters)[0]


def label_for(noun: str, labels: Sequence[Label], clip: ClipModel) -> str:
    """The label that a noun belongs to: by name, by synonym, else the most similar one in CLIP.

    Raises:
        InputError: no label that is not a background.
    """
    named = [label for label in labels if not label.background]
    if not named:
        raise InputError("the label config has no label that an expression's mask could get")
    known = knowledge.named(noun, named)
    if known is not None:
        return known
    texts = features.text_features(
        clip, [knowledge.prompts(word) for word in (noun, *(label.name for label in named))]
    )
    return named[int((texts[1:] @ texts[0]).argmax())].name


def _matched(
    encoded: EncodedImage, question: Question, clip: ClipModel, parameters: ResParameters
) -> tuple[Proposals, Floats]:
    """Candidates and their class probabilities, (n, C) float32."""
    encoding = parameters.encoding
    if encoded.tree is None or parameters.mode != "geometry":
        return candidates.of_proposals(encoded, question, clip, encoding, parameters.parts)
    return candidates.of_tree(
        encoded.dense, encoded.tree, question, clip, encoding, parameters.nodes
    )


def _likeness(
    encoded: EncodedImage, question: Question, clip: ClipModel, parameters: ResParameters
) -> Floats:
    """Cosines with the sentence, or with sentence and noun, stretched to [0, 1]: (N,)."""
    encoding = replace(parameters.encoding, margin=1.0)
    text = question.sentence[0]
    if parameters.mode == "clip":
        visual = pipelines.encode_crops(clip, encoded, encoding)
    else:
        visual = pipelines.fuse(encoded, clip, question.texts, question.owners, encoding)
        noun = F.normalize(question.texts[question.named(0)].mean(dim=0), dim=-1)
        text = 0.5 * text + 0.5 * noun
    cosines = (visual @ text).cpu().numpy()
    stretched: Floats = (cosines - cosines.min()) / max(float(np.ptp(cosines)), 1e-6)
    return stretched


def _by_stages(
    image: RGB,
    proposed: Proposals,
    classes: Floats,
    question: Question,
    clip: ClipModel,
    parameters: ResParameters,
    seconds: dict[str, float],
) -> ExpressionSegmentation:
    decoupled = question.decoupled
    if len(proposed) == 0 or classes[:, 0].max() < parameters.selection.least:
        best = float(classes[:, 0].max(initial=0.0))
        reason = f"nothing here looks like {decoupled.noun!r}: the best mask has {best:.0%} of it"
        return ExpressionSegmentation(decoupled, (), reason, None, seconds)
    with timed(seconds, "cam"):
        cam = gradcam.cross_scale(
            clip,
            image,
            F.normalize(question.texts[question.named(0)].mean(dim=0), dim=-1),
            question.sentence[0],
            question.texts[~question.named(0)],
            parameters.cam,
        )
        activation = _shrunk(cam.fused, proposed)
    with timed(seconds, "selection"):
        parts = {"class": classes[:, 0], "cam": selection.contrast(proposed.masks, activation)}
        if parameters.mode == "geometry":
            parts["quality"] = _outlines(proposed)
            parts["geometry"] = _geometry(image, proposed, question, classes, parameters)
        ranking = _rank(proposed, parts, parameters)
        together = _together(decoupled, ranking, parameters)
        found = _candidates(proposed, parts, ranking, max(together, parameters.top_k))
        if together > 1:
            found = (_united(found[:together]), *found)
    return ExpressionSegmentation(decoupled, found[: parameters.top_k], "", cam, seconds)


def _geometry(
    image: RGB,
    proposed: Proposals,
    question: Question,
    classes: Floats,
    parameters: ResParameters,
) -> Floats:
    """How well place, size and colour of each mask fit the modifiers: (N,) float32 in [0, 1]."""
    modifiers = question.decoupled.modifiers
    words = [m.value for m in modifiers if m.kind == "attribute" and colours.knows(m.value)]
    fits = np.ones(len(proposed), dtype=np.float32)
    if words:
        means = colours.mean_lab(image, proposed)
        fits = np.minimum.reduce([colours.colour(means, word) for word in words])
    shapes = geometry.shapes(proposed.masks, proposed.height, proposed.width, proposed.boxes)
    # Only what stands out is a thing that others are counted with or measured by.
    things = np.sqrt(classes) * _outlines(proposed)[:, None]  # (N, C)
    anchors = {}
    for anchor in question.decoupled.anchors:
        likely = things[:, question.classes[anchor.noun]]
        # "the vehicle on the left" has a place of its own; anchors of anchors are left out.
        own = decoupling.decouple(anchor.text, parameters.parser).modifiers
        placed = geometry.fields(own, shapes, likely, {}, parameters.geometry)
        anchors[anchor.text] = (shapes, likely * placed.total)
    weights = things[:, 0] * fits
    scores = geometry.fields(modifiers, shapes, weights, anchors, parameters.geometry)
    found: Floats = np.minimum(scores.total, fits)
    return found


def _outlines(proposed: Proposals) -> Floats:
    """(N,) float32 in [0, 1]: the fourth root of the quality.

    Costs of merging small and large regions differ by many powers of ten; the quality of other
    providers, all of it near 1, hardly changes.
    """
    roots: Floats = np.sqrt(np.sqrt(proposed.quality)).astype(np.float32)
    return roots


def _rank(proposed: Proposals, parts: Mapping[str, Floats], parameters: ResParameters) -> Ranking:
    weighted = replace(parameters.selection, weights=MODES[parameters.mode])
    most = max(parameters.top_k, parameters.selection.most)
    return selection.rank(proposed.masks, parts, most, weighted)


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


def _together(decoupled: Decoupled, ranking: Ranking, parameters: ResParameters) -> int:
    """How many of the first candidates "two ships" or "the cars" mean; 1 for a single thing."""
    counts = [m.value for m in decoupled.modifiers if m.kind == "count"]
    number = next((int(value) for value in counts if value.isdigit()), None)
    if not (decoupled.plural or counts):
        return 1
    return selection.members(ranking, number, parameters.selection)


def _united(chosen: Sequence[Candidate]) -> Candidate:
    """All of them as one."""
    parts = {
        name: float(np.mean([candidate.parts[name] for candidate in chosen]))
        for name in chosen[0].parts
    }
    score = float(np.mean([candidate.score for candidate in chosen]))
    return Candidate(np.logical_or.reduce([candidate.mask for candidate in chosen]), score, parts)


def _shrunk(plane: Floats, proposed: Proposals) -> Floats:
    """(H, W) → (h, w) at the proposals' size, by the mean."""
    height, width = proposed.masks.shape[1:]
    if plane.shape == (height, width):
        return plane
    resized: Floats = F.interpolate(
        torch.from_numpy(plane)[None, None], size=(height, width), mode="area"
    )[0, 0].numpy()
    return resized
