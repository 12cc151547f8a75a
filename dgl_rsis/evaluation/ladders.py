"""The ladders: the pipeline's functions and parameters, rung by rung, over a data set."""

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path

import numpy as np

from dgl_rsis.classes import pipeline
from dgl_rsis.classes.pipeline import EncodedImage, OvssParameters
from dgl_rsis.clip.crops import CropParameters
from dgl_rsis.clip.mask_features import SELF_ATTENTION
from dgl_rsis.clip.model import ClipModel, load_clip
from dgl_rsis.clip.towers import TransformerTower
from dgl_rsis.decoupling import decouple
from dgl_rsis.evaluation import harness, parts, plots, published, tables
from dgl_rsis.evaluation.datasets import samples
from dgl_rsis.evaluation.datasets.catalogue import ClassData, ObjectData, ReferralData, SentenceData
from dgl_rsis.evaluation.datasets.samples import Referral, Sample
from dgl_rsis.evaluation.harness import Predicted, Progress, Segmenter, silent
from dgl_rsis.expressions import pipeline as referring
from dgl_rsis.expressions.pipeline import ResParameters
from dgl_rsis.names import names_background
from dgl_rsis.regions import proposals
from dgl_rsis.types import RGB, Decoupled, Json, Label, Mask

Referrer = Callable[[EncodedImage, str], Sequence[Mask]]

RANDOM = "random candidate"
# The box of the mask itself: no context, however small it is.
WHOLE_CROP = CropParameters(min_scale=1.0, max_scale=1.0, min_side=1)
IMAGE_KINDS = frozenset({"position", "ordinal"})
LOOK_KINDS = frozenset({"attribute", "size"})


@dataclass(frozen=True)
class Options:
    """What to evaluate with.

    Attributes:
        dataset: its name in the catalogue; decides which published numbers stand beside.
        model, device: as for `clip.model.load_clip`.
        limit: images that count, the first ones; of the parser sentences. None for all.
        per_image: expressions of an image that count, the first ones; None for all.
        piece: pixels; larger images are cut into pieces of at most this side. 0 leaves them whole,
            None does what is usual for the data set.
        top_k: answers that count for "best of the top k".
        min_area: pixels; smaller objects are left out.
        worst: cases kept.
        labels: asked for, where the data set leaves it open; None for what is usual there.
    """

    dataset: str
    model: str = "starter"
    device: str = "cpu"
    limit: int | None = None
    per_image: int | None = None
    piece: int | None = None
    top_k: int = 3
    min_area: int = 100
    worst: int = 5
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Report:
    """What an evaluation found.

    Attributes:
        text: tables, ours first, then what others published.
        json: every number.
        plot: writes pictures to a folder and returns their paths.
    """

    text: str
    json: Json
    plot: Callable[[Path], Sequence[Path]]


def class_rungs(*, pixels: bool = False, attends: bool = False) -> dict[str, OvssParameters]:
    """The OVSS ladder above the majority class; the last rung is the default.

    Args:
        pixels: the model has a pixel tower, which is a rung, too.
        attends: its patches can attend to what is like themselves: others' ways to the mask feature
            stand in brackets beside ours.
    """
    default = OvssParameters()
    once = replace(default, factors=(), pixel_area=math.inf, presence=0.0)
    pooled = replace(once, pixel_share=0.0) if pixels else once
    crop = replace(pooled, crops=WHOLE_CROP, mask_share=0.0, knowledge=False)
    context = replace(crop, crops=default.crops)
    ladder = {
        "whole-crop CLIP": crop,
        "+ context-aware crop": context,
        "+ RS knowledge": replace(context, knowledge=True),
        "+ mask-guided feature": pooled,
    }
    if attends:
        ladder |= {
            f"({kind} instead)": replace(pooled, mask_feature=kind) for kind in SELF_ATTENTION
        }
    if pixels:
        ladder["+ the pixel tower"] = once
        ladder["+ votes of pixels"] = replace(once, pixel_area=default.pixel_area)
        ladder["+ presence"] = replace(default, factors=())
    return ladder | {"+ smaller sizes": default}


def rungs_of(clip: ClipModel) -> dict[str, OvssParameters]:
    """The OVSS ladder that a model can climb."""
    attends = isinstance(clip.tower, TransformerTower)
    return class_rungs(pixels=clip.pixels is not None, attends=attends)


def evaluate_ovss(data: ClassData, options: Options, progress: Progress = silent) -> Report:
    """Open-vocabulary semantic segmentation.

    Raises:
        DatasetError, ModelError: what is missing or damaged.
    """
    clip = load_clip(options.model, options.device)
    labels = [Label(name, background=names_background(name)) for name in data.names]
    backgrounds = [i for i, label in enumerate(labels) if label.background]
    rungs = rungs_of(clip)
    scores = harness.evaluate_classes(
        islice(_pieces(data, options), options.limit),
        data.names,
        {rung: segmenter(labels, clip, p) for rung, p in rungs.items()},
        unlabelled=backgrounds[0] if backgrounds else None,
        worst=options.worst,
        progress=progress,
    )

    version = pipeline.model_version(clip, OvssParameters())
    return report(
        f"{data.title}: {scores.images} images, {version}",
        tables.class_text(scores),
        {"task": "ovss", "title": data.title, "model": version} | tables.class_json(scores),
        options,
        lambda folder: plots.plot_classes(scores, folder),
    )


def evaluate_res(data: ReferralData, options: Options, progress: Progress = silent) -> Report:
    """Referring expression segmentation.

    Raises:
        DatasetError, ModelError: what is missing or damaged.
    """
    clip = load_clip(options.model, options.device)
    default = ResParameters(top_k=options.top_k)
    scores = harness.evaluate_expressions(
        map(with_stratum, first_referrals(data.referrals, options.limit, options.per_image)),
        lambda image: _encoded(image, clip, default.encoding),
        _referring_rungs(clip, default),
        lambda encoded: encoded.proposed,
        top_k=options.top_k,
        side=data.side,
        worst=options.worst,
        progress=progress,
    )

    version = pipeline.model_version(clip, default.encoding)
    return report(
        f"{data.title}: {len(scores.asked)} expressions of {scores.images} images, {version}",
        tables.expression_text(scores),
        {"task": "res", "title": data.title, "model": version} | tables.expression_json(scores),
        options,
        lambda folder: plots.plot_expressions(scores, folder),
    )


def evaluate_proposals(data: ObjectData, options: Options, progress: Progress = silent) -> Report:
    """Class-agnostic proposals, with the parameters that expressions get.

    Raises:
        DatasetError: what is missing or damaged.
    """
    parameters = ResParameters().encoding.regions
    scores = parts.evaluate_proposals(
        islice(data.images, options.limit),
        lambda image: proposals.propose(image, parameters),
        min_area=options.min_area,
        worst=options.worst,
        progress=progress,
    )

    numbers = {"task": "proposals", "title": data.title} | tables.proposal_json(scores)
    return report(
        data.title,
        tables.proposal_text(scores),
        numbers,
        options,
        lambda folder: plots.plot_proposals(scores, folder),
    )


def evaluate_parser(data: SentenceData, options: Options, progress: Progress = silent) -> Report:
    """Class nouns of the rule-based parser.

    Raises:
        DatasetError: what is missing or damaged.
    """
    scores = parts.evaluate_parser(
        islice(data.sentences, options.limit), decouple.decouple, progress=progress
    )
    numbers = {"task": "parser", "title": data.title} | tables.parser_json(scores)
    text = tables.parser_text(scores)
    return report(data.title, text, numbers, options, lambda folder: [])


def report(
    title: str,
    text: str,
    numbers: Json,
    options: Options,
    plot: Callable[[Path], Sequence[Path]],
) -> Report:
    """Ours, and below it, apart, what others published on the same data set."""
    theirs = published.table(options.dataset)
    entries = [
        {"method": p.method, "training": p.training, "source": p.source, "per_cent": dict(p.scores)}
        for p in published.published(options.dataset)
    ]
    whole = {"dataset": options.dataset, "limit": options.limit} | numbers | {"published": entries}
    return Report("\n\n".join(filter(None, [title, text, theirs])), whole, plot)


# ---- semantic segmentation -----------------------------------------------------------------------


def _pieces(data: ClassData, options: Options) -> Iterable[Sample]:
    piece = data.piece if options.piece is None else options.piece
    return samples.cut(data.samples, piece) if piece else data.samples


def segmenter(labels: Sequence[Label], clip: ClipModel, parameters: OvssParameters) -> Segmenter:
    """What segments an image into these labels."""

    def segment(image: RGB) -> Predicted:
        found = pipeline.segment_classes(image, labels, clip, parameters)
        return Predicted(found.class_map, found.probability)

    return segment


# ---- referring expressions -----------------------------------------------------------------------


def _encoded(image: RGB, clip: ClipModel, parameters: OvssParameters) -> EncodedImage:
    """With all crops: two rungs of the ladder ask for them at every expression."""
    encoded = pipeline.encode_image(image, clip, parameters)
    return pipeline.with_crops(encoded, clip, parameters)


def _referring_rungs(clip: ClipModel, default: ResParameters) -> Mapping[str, Referrer]:
    def rung(parameters: ResParameters) -> Referrer:
        return lambda encoded, expression: [
            candidate.mask
            for candidate in referring.refer(encoded, expression, clip, parameters).candidates
        ]

    rungs: dict[str, Referrer] = {
        RANDOM: lambda encoded, text: random_masks(encoded, text, default.top_k)
    }
    for mode in referring.MODES:
        rungs[mode] = rung(replace(default, mode=mode))
    # The last rung is the default; the one before it lacks the smaller sizes alone.
    best = rungs.pop(default.mode)
    rungs[f"{default.mode}, one size"] = lambda encoded, text: best(_at_own_size(encoded), text)
    return rungs | {default.mode: best}


def _at_own_size(encoded: EncodedImage) -> EncodedImage:
    """As if the image had not been seen smaller."""
    return replace(encoded, dense=replace(encoded.dense, smaller=()), by_mask=encoded.by_mask[:1])


def random_masks(encoded: EncodedImage, expression: str, count: int) -> list[Mask]:
    """Some proposals, drawn by lot; the same expression draws the same ones."""
    rng = np.random.default_rng(zlib.crc32(expression.encode()))
    proposed = encoded.proposed
    drawn = rng.permutation(len(proposed))[:count]
    return [proposed.at_full_size(proposed.masks[i]) for i in drawn]


def first_referrals(
    referrals: Iterable[Referral], images: int | None, per_image: int | None
) -> Iterator[Referral]:
    """The first expressions of the first images."""
    by_image = groupby(referrals, key=lambda referral: referral.name)
    for _, of_image in islice(by_image, images):
        yield from islice(of_image, per_image)


def with_stratum(referral: Referral) -> Referral:
    """The stratum of an expression that comes without: what the parser finds in it."""
    if referral.stratum:
        return referral
    return replace(referral, stratum=stratum(decouple.decouple(referral.expression)))


def stratum(decoupled: Decoupled) -> str:
    """What tells the target from the rest; "category" when nothing but its class is named."""
    kinds = {modifier.kind for modifier in decoupled.modifiers}
    if any(modifier.anchors for modifier in decoupled.modifiers):
        return "object-relative"
    if kinds & IMAGE_KINDS:
        return "image-relative"
    return "attribute" if kinds & LOOK_KINDS else "category"
