"""Open-vocabulary semantic segmentation: the order of its stages [paper, local branch].

    labels ──vocabulary──► text features ──────────────────────────────────┐
    image ──proposals──► masks ──crops──► crop features ─┐                 │
      └─────features────► dense values ──► mask features ┴─► v_i ─matching─┴─► semantic map ─► masks

Stages do not know each other. Two more files know an order: `expressions.pipeline`, of sentences,
and `scenes.pipeline`, of images read window by window; both begin with what is made here.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dgl_rsis.classes import (
    indices,
    knowledge,
    matching,
    objects,
    prototypes,
    scales,
    sizes,
    vocabulary,
)
from dgl_rsis.classes.matching import MapParameters, SemanticMap
from dgl_rsis.classes.prototypes import Prototypes
from dgl_rsis.classes.scales import Phrases, Weighting
from dgl_rsis.classes.sizes import Limits
from dgl_rsis.classes.vocabulary import Vocabulary
from dgl_rsis.clip import crops, features, mask_features, pixel_features
from dgl_rsis.clip.crops import CropParameters
from dgl_rsis.clip.features import DenseFeatures
from dgl_rsis.clip.mask_features import MaskFeature
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.regions import proposals
from dgl_rsis.regions.proposals import RegionParameters
from dgl_rsis.resolution import Resolution
from dgl_rsis.runs import Runs, from_runs
from dgl_rsis.types import RGB, Floats, InputError, Label, Mask, Proposals, Segment

LEAST_PRESENCE = 1e-3  # what is less likely to be there than this is no less likely
MIN_SIDE = 8  # pixels; nothing can be told apart in a smaller image


@dataclass(frozen=True)
class OvssParameters:
    """Everything that decides what a segmentation looks like, beside the weights.

    Attributes:
        regions: mask proposals.
        factors: of the smaller sizes that the image is seen at beside its own, in (0, 1).
        crops: context of the crops.
        mask_feature: how v_mask is made, see `dgl_rsis.clip.mask_features`; by measurement.
        pixel_share: φ, weight of the pixel tower's features against everything else, [0, 1], where
            the model has such a tower and masks are pooled. At 1 no crop is encoded; measured on
            Dubai tile 5 and generated scenes (docs/LOG.md).
        mask_share: β, weight of the mask feature against the crop feature, [0, 1]; measured on
            Dubai tile 5 (docs/LOG.md).
        temperature: τ of the softmax over cosines; None for the model's own.
        pixel_area: pixels; where pixels have a say of their own, it is that of a mask so large. The
            larger the less: at infinity they decide where no mask lies.
        area_exponent: of the votes of overlapping masks; measured on Dubai tile 5 and generated
            scenes (docs/LOG.md).
        threshold: pixels whose class is less probable stay unlabelled; a label's own threshold
            goes before it.
        knowledge: use the project's phrases, templates and implicit background; without it the
            bare class names are asked for.
        min_object: pixels; smaller connected parts are no objects.
        max_objects: of each class, the largest.
        presence: exponent of the probability that the image shows a phrase at all, where the model
            has a head for that; 0: no say.
        margin: only masks whose two best classes are closer than this, [0, 1], are also encoded as
            crops; the others keep their mask feature. 1 encodes all of them, 0 none.
        index_weight: of what spectral indices say, where there are any; 1 takes their log-odds as
            they are, 0 leaves the picture alone.
        batch: crops encoded at a time; does not change the answer.
    """

    regions: RegionParameters = field(default_factory=RegionParameters)
    factors: tuple[float, ...] = features.FACTORS
    crops: CropParameters = field(default_factory=CropParameters)
    mask_feature: MaskFeature = "pooling"
    pixel_share: float = features.PIXEL_SHARE
    mask_share: float = 0.7
    temperature: float | None = None
    pixel_area: float = matching.PIXEL_AREA
    area_exponent: float = 1.0
    threshold: float = 0.0
    knowledge: bool = True
    min_object: int = 32
    max_objects: int = 300
    presence: float = 0.1
    margin: float = 1.0
    index_weight: float = 1.0
    batch: int = 64


@dataclass(frozen=True)
class EncodedImage:
    """What the image alone decides: every question about it starts here.

    Attributes:
        image: (H, W, 3) uint8.
        proposed: its mask proposals, N.
        dense: of one pass over the image.
        by_mask: (K, N, D) float32, mask-guided features at each size that the image was seen at,
            L2 norm 1.
        seconds: wall-clock seconds of each stage.
        by_crop: (N, D) float32, features of all context-aware crops, where `with_crops` made them
            in advance; None: made when needed, for the masks that need them.
        resolution: of the pixels of `image`, where it is known; else the picture's own look
            decides, `DenseFeatures.resolution`.
        indices: (H, W) float32 in [-1, 1] of each spectral index that is known, NaN where it is
            not; none for a photo.
        valid: (H, W) bool, which pixels show something; the others get no label. None: all of them.
    """

    image: RGB
    proposed: Proposals
    dense: DenseFeatures
    by_mask: Tensor
    seconds: Mapping[str, float]
    by_crop: Tensor | None = None
    resolution: Resolution | None = None
    indices: Mapping[str, Floats] = field(default_factory=dict)
    valid: Mask | None = None

    @property
    def likely_resolution(self) -> Resolution | None:
        """As it is known, or else as the picture looks; None where nobody can tell."""
        return self.resolution or self.dense.resolution

    def limits(self, phrases: Phrases) -> list[Limits]:
        """What sizes parts of each class can have, in pixels of the masks."""
        factor = self.proposed.masks.shape[2] / self.proposed.width
        return sizes.limits(phrases, self.likely_resolution, factor)


@dataclass(frozen=True)
class Thing:
    """An object as it is kept: a thousand masks of an image do not fit in memory.

    Attributes:
        label: of its class.
        score: [0, 1].
        runs: its mask at the size of the image.
    """

    label: str
    score: float
    runs: Runs


@dataclass(frozen=True)
class ClassSegmentation:
    """The answer of `segment_classes`.

    Attributes:
        classes: one segment for each label that was found, in the order of the labels.
        class_map: (H, W) uint16; 0 = none, i = the i-th label.
        probability: (H, W) float32 in [0, 1], of the best class of each pixel.
        seconds: wall-clock seconds of each stage.
        parameters: that it was made with.
        margin: how sure it is: p(best class) − p(second), the mean over the pixels, [0, 1].
        bounds: what sizes objects of each label can have, in pixels of the image.
        border: (H, W) float32 in [0, 1], how likely the border of an object runs through each
            pixel; None where the model cannot tell.
        image: (H, W, 3) uint8, in which objects stand out; None where it does not matter.
        things: the objects, where the model itself tells them apart; None: parts of the classes.
    """

    classes: tuple[Segment, ...]
    class_map: NDArray[np.uint16]
    probability: Floats
    seconds: dict[str, float]
    parameters: OvssParameters
    margin: float
    bounds: Mapping[str, Limits] = field(default_factory=dict)
    border: Floats | None = None
    image: RGB | None = None
    things: tuple[Thing, ...] | None = None

    @property
    def objects(self) -> Iterator[Segment]:
        """Parts of the classes, largest first within a label; see `classes.objects`.

        One at a time: a thousand masks of an image do not fit in memory.
        """
        if self.things is not None:
            yield from (Segment(x.label, x.score, from_runs(x.runs)) for x in self.things)
            return
        limit, largest = self.parameters.min_object, self.parameters.max_objects
        for segment in self.classes:
            bound = self.bounds.get(segment.label, Limits())
            parts = objects.of_class(segment.mask, self.border, bound, limit, self.image)
            for part in islice(parts, largest):
                yield Segment(segment.label, float(self.probability[part].mean()), part)


def model_version(clip: ClipModel, parameters: OvssParameters, *others: Any) -> str:
    """A name that changes when the weights, the parameters or the package change.

    Args:
        clip: the model.
        parameters: of the class masks.
        others: dataclasses of parameters of further pipelines of the same worker.
    """
    relevant = {key: value for key, value in asdict(parameters).items() if key != "batch"}
    relevant |= {type(other).__name__: asdict(other) for other in others}
    own = f"{clip.crop_side} {clip.dense_side} {clip.temperature}"
    if clip.precision != "float32":
        own += f" {clip.precision}"
    content = f"{clip.fingerprint} {own} {knowledge.fingerprint()} {sorted(relevant.items())}"
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    stem = clip.name.replace(":", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return f"dgl-rsis-{version('dgl-rsis')}-{stem}-{digest}"


def segment_classes(
    image: RGB,
    labels: Sequence[Label],
    clip: ClipModel,
    parameters: OvssParameters | None = None,
    *,
    resolution: Resolution | None = None,
    valid: Mask | None = None,
) -> ClassSegmentation:
    """Open-vocabulary semantic segmentation: a class for every pixel.

    Args:
        image: (H, W, 3) uint8.
        labels: the vocabulary; names are distinct.
        clip: the model.
        parameters: default `OvssParameters()`.
        resolution: of the image; None where nobody knows.
        valid: (H, W) bool, which pixels show something; None: all of them.

    Raises:
        InputError: no labels, a name twice, or an image too small to have regions.
    """
    parameters = parameters or OvssParameters()
    seconds: dict[str, float] = {}
    with timed(seconds, "text"):
        words = vocabulary.prepare(labels, clip, enrich=parameters.knowledge)
    encoded = encode_image(image, clip, parameters, resolution=resolution)
    segmentation = classify(replace(encoded, valid=valid), words, clip, parameters)
    return replace(segmentation, seconds=seconds | segmentation.seconds)


def classify(
    encoded: EncodedImage,
    words: Vocabulary,
    clip: ClipModel,
    parameters: OvssParameters,
    learnt: Prototypes | None = None,
) -> ClassSegmentation:
    """`segment_classes` of an image that is encoded already.

    Args:
        encoded: the image.
        words: what to look for.
        clip: the model.
        parameters: that it was encoded with.
        learnt: from corrected masks; None for nothing.
    """
    proposed, seconds = encoded.proposed, dict(encoded.seconds)
    semantic = pixel_classes(encoded, words, clip, parameters, seconds, learnt)
    with timed(seconds, "masks"):
        best = proposed.at_full_size(semantic.best)
        probability = proposed.at_full_size(semantic.probability)
        class_map = words.labelled(best, probability, parameters.threshold)
        if encoded.valid is not None:
            class_map[~encoded.valid] = 0
        classes = _classes(class_map, semantic.expected_ious, words.labels)
    bounds = sizes.limits(words.phrases, encoded.likely_resolution, 1.0)[: len(words.labels)]
    pixels = encoded.dense.pixels
    return ClassSegmentation(
        tuple(classes),
        class_map,
        probability,
        seconds,
        parameters,
        semantic.margin,
        {label.name: bound for label, bound in zip(words.labels, bounds, strict=True)},
        None if pixels is None else pixels.outline.cpu().numpy(),
        encoded.image,
    )


def pixel_classes(
    encoded: EncodedImage,
    words: Vocabulary,
    clip: ClipModel,
    parameters: OvssParameters,
    seconds: dict[str, float],
    learnt: Prototypes | None = None,
) -> SemanticMap:
    """The probabilities of all classes, at the size of the masks; its stages add their seconds."""
    semantic = _voted(encoded, words, clip, parameters, seconds, learnt)
    if not parameters.knowledge:
        return semantic
    taught = learnt.labels if learnt is not None else ()
    semantic = semantic.without({i for i in words.unasked if words.labels[i].name not in taught})
    with timed(seconds, "sizes"):
        return sizes.possible(semantic, encoded.limits(words.phrases)[: len(words.labels)])


def _voted(
    encoded: EncodedImage,
    words: Vocabulary,
    clip: ClipModel,
    parameters: OvssParameters,
    seconds: dict[str, float],
    learnt: Prototypes | None,
) -> SemanticMap:
    """What regions and pixels say."""
    proposed, phrases = encoded.proposed, words.phrases
    with timed(seconds, "crops"):
        weighting = weigh(encoded, clip, phrases, parameters)
        cosines = match_regions(encoded, clip, phrases, weighting, parameters)  # (N, P)
    taught = None
    if learnt is not None:
        with timed(seconds, "prototypes"):
            keys = prototypes.describe(encoded.image, proposed)
            evidence = prototypes.judge(keys, learnt, [label.name for label in words.labels])
            temperature = temperature_of(clip, parameters)
            taught = prototypes.apply(cosines, words.owners, temperature, evidence) - cosines
    if encoded.indices:
        with timed(seconds, "indices"):
            seen = weigh_indices(encoded, words, clip, parameters)
            taught = seen if taught is None else taught + seen
    mapping = map_parameters(proposed, clip, parameters)
    with timed(seconds, "map"):
        if clip.pixels is not None and not reads_patches(clip, parameters):
            levels = encoded.dense.pixel_levels
            directions = words.texts @ clip.pixels.basis.T  # (P, R)
            pixels = scales.pixel_cosines(levels, directions, phrases.owners, weighting)
            return matching.pixel_probabilities(
                proposed.masks,
                cosines,
                pixels,
                phrases.owners,
                mapping,
                taught,
                proposals.boxes_of_masks(proposed),
            )
        return matching.class_probabilities(
            proposed.masks,
            cosines if taught is None else cosines + taught,
            features.patch_features(clip, encoded.dense) @ words.texts.T,
            words.owners,
            mapping,
        )


def weigh_indices(
    encoded: EncodedImage,
    words: Vocabulary,
    clip: ClipModel,
    parameters: OvssParameters,
) -> Floats:
    """What the spectral indices add to the cosines of regions and phrases: (N, P)."""
    ties = [tie for asked in words.asked for tie in knowledge.ties(asked)]
    logits = indices.evidence(encoded.indices, encoded.proposed, ties)
    added: Floats = parameters.index_weight * logits / temperature_of(clip, parameters)
    return added


def encode_image(
    image: RGB,
    clip: ClipModel,
    parameters: OvssParameters,
    *,
    resolution: Resolution | None = None,
) -> EncodedImage:
    """Proposals, and everything about them that takes one pass over the image.

    Raises:
        InputError: the image is too small to have regions.
    """
    check_size(image)
    seconds: dict[str, float] = {}
    with timed(seconds, "proposals"):
        proposed = proposals.propose(image, parameters.regions)
    return encode_proposed(image, proposed, clip, parameters, seconds, resolution=resolution)


def encode_proposed(
    image: RGB,
    proposed: Proposals,
    clip: ClipModel,
    parameters: OvssParameters,
    seconds: Mapping[str, float],
    *,
    resolution: Resolution | None = None,
) -> EncodedImage:
    """`encode_image` of an image whose masks are there, after so many seconds of other stages."""
    spent = dict(seconds)
    with timed(spent, "dense"):
        dense = features.dense_features(
            clip,
            image,
            parameters.batch,
            factors=parameters.factors,
            patches=reads_patches(clip, parameters),
        )
        by_mask = encode_masks(image, proposed, dense, clip, parameters)
    return EncodedImage(image, proposed, dense, by_mask, spent, resolution=resolution)


def check_size(image: RGB) -> None:
    """Raise an `InputError` for an image that is too small to have regions."""
    if min(image.shape[:2]) < MIN_SIDE:
        raise InputError(
            f"the image has {image.shape[1]} × {image.shape[0]} pixels; "
            f"at least {MIN_SIDE} × {MIN_SIDE} are needed"
        )


def encode_masks(
    image: RGB,
    proposed: Proposals,
    dense: DenseFeatures,
    clip: ClipModel,
    parameters: OvssParameters,
) -> Tensor:
    """Mask-guided features of proposals: (K, N, D) float32, L2 norm 1."""
    if parameters.mask_feature == "pooling":  # from the dense values that are here already
        boxes = proposals.boxes_of_masks(proposed)
        return features.pyramid_features(clip, dense, proposed.masks, parameters.pixel_share, boxes)
    return mask_features.mask_guided(
        clip, image, proposed.masks, parameters.mask_feature, parameters.batch
    )[None]


def with_crops(encoded: EncodedImage, clip: ClipModel, parameters: OvssParameters) -> EncodedImage:
    """With the features of all crops, for an image that is asked for many things."""
    return replace(encoded, by_crop=encode_crops(clip, encoded, parameters))


def weigh(
    encoded: EncodedImage, clip: ClipModel, phrases: Phrases, parameters: OvssParameters
) -> Weighting:
    """What counts for each phrase: the sizes that suit it, and whether it is there at all."""
    factors = encoded.dense.factors[: len(encoded.by_mask)]
    weighting = scales.by_size(phrases, encoded.likely_resolution, factors)
    if not parameters.presence:
        return weighting
    likely = pixel_features.presence(
        clip, encoded.dense.pixel_levels, phrases.texts, weighting.shares
    )
    if likely is None:
        return weighting
    # Of land there is nearly always some; whether there are things is what the head is good at.
    things = np.array([most is not None for most in phrases.largest])
    doubt = np.where(things, np.log(np.maximum(likely, LEAST_PRESENCE)), 0.0).astype(np.float32)
    return replace(weighting, priors=parameters.presence * doubt / temperature_of(clip, parameters))


def match_regions(
    encoded: EncodedImage,
    clip: ClipModel,
    phrases: Phrases,
    weighting: Weighting,
    parameters: OvssParameters,
) -> Floats:
    """Cosines of all proposals and phrases, each as it counts in this image: (N, P)."""
    fused = fuse(encoded, clip, phrases, weighting, parameters)  # (K, N, D)
    return scales.cosines(fused, phrases.texts, weighting)


def fuse(
    encoded: EncodedImage,
    clip: ClipModel,
    phrases: Phrases,
    weighting: Weighting,
    parameters: OvssParameters,
) -> Tensor:
    """v_i = β · v_mask,i + (1 − β) · v_crop,i, normalised: (K, N, D) float32.

    Where pixel features are in v_mask, they are spared: crops weigh (1 − φ) · (1 − β).

    [ours] the fast path: a crop costs a forward pass, so with a `margin` below 1 only those masks
    get one that their mask feature leaves in doubt.

    Args:
        encoded: the image.
        clip: the model.
        phrases: P of them.
        weighting: of the phrases in this image.
        parameters: that it was encoded with.
    """
    share, by_mask = mask_share(clip, parameters), encoded.by_mask
    if share == 1:
        return by_mask
    chosen: NDArray[np.int64] = np.arange(by_mask.shape[1])
    if parameters.margin < 1:
        cosines = scales.cosines(by_mask, phrases.texts, weighting)
        temperature = temperature_of(clip, parameters)
        classes = np.sort(matching.best_phrase(cosines, phrases.owners, temperature), axis=1)
        second = classes[:, -2] if classes.shape[1] > 1 else 0.0
        chosen = np.flatnonzero(classes[:, -1] - second < parameters.margin)
    fused = by_mask.clone()
    if len(chosen):
        by_crop = encode_crops(clip, encoded, parameters, chosen)
        index = torch.from_numpy(chosen).to(by_mask.device)
        fused[:, index] = F.normalize(share * by_mask[:, index] + (1 - share) * by_crop, dim=-1)
    return fused


def mask_share(clip: ClipModel, parameters: OvssParameters) -> float:
    """What the mask features of this model weigh against the crop features, [0, 1]."""
    if clip.pixels is None or parameters.mask_feature != "pooling":
        return parameters.mask_share
    return 1 - (1 - parameters.mask_share) * (1 - parameters.pixel_share)


def reads_patches(clip: ClipModel, parameters: OvssParameters) -> bool:
    """Whether the image tower is asked, or pixels alone."""
    return clip.pixels is None or parameters.pixel_share < 1


def temperature_of(clip: ClipModel, parameters: OvssParameters) -> float:
    """τ of the softmax over cosines: the parameters' own, or else the model's."""
    return parameters.temperature or clip.temperature


def map_parameters(
    proposed: Proposals, clip: ClipModel, parameters: OvssParameters
) -> MapParameters:
    """Of the semantic map over these masks."""
    return MapParameters(
        temperature_of(clip, parameters),
        proposed.height / clip.patch,
        proposed.width / clip.patch,
        parameters.area_exponent,
        parameters.pixel_area,
    )


def encode_crops(
    clip: ClipModel,
    encoded: EncodedImage,
    parameters: OvssParameters,
    chosen: NDArray[np.int64] | None = None,
) -> Tensor:
    """Features of the context-aware crops of some proposals, by default of all: (n, D)."""
    if encoded.by_crop is not None:
        return encoded.by_crop if chosen is None else encoded.by_crop[torch.from_numpy(chosen)]
    boxes = crops.boxes(encoded.proposed, parameters.crops)
    if chosen is not None:
        boxes = boxes[chosen]
    cut = crops.crop(encoded.image, boxes, clip.crop_side, clip.device)  # (n, 3, S, S)
    return features.crop_features(clip, cut, parameters.batch)


def _classes(
    class_map: NDArray[np.uint16], scores: Floats, labels: Sequence[Label]
) -> list[Segment]:
    """Scores are of the classes of the map, of which the labels are the first."""
    segments = []
    for number, label in enumerate(labels, start=1):
        mask = class_map == number
        if mask.any():
            segments.append(Segment(label.name, float(scores[number - 1]), mask))
    return segments


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Note the wall-clock seconds of a stage."""
    start = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - start, 3)
