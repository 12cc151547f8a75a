"""The order of the stages. The only file that knows it.

Open-vocabulary semantic segmentation [paper, local branch]:

    labels ──knowledge──► phrases ──features──► text features ─────────────┐
    image ──proposals──► masks ──crops──► crop features ─┐                 │
      └─────features────► dense values ──► mask features ┴─► v_i ─matching─┴─► semantic map ─► masks
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dgl_rsis import crops, features, knowledge, masks, matching, proposals
from dgl_rsis.crops import CropParameters
from dgl_rsis.knowledge import ClassPhrases
from dgl_rsis.matching import MapParameters
from dgl_rsis.models import ClipModel
from dgl_rsis.proposals import RegionParameters
from dgl_rsis.types import RGB, Floats, InputError, Label, Proposals, Segment

MIN_SIDE = 8  # pixels; nothing can be told apart in a smaller image


@dataclass(frozen=True)
class OvssParameters:
    """Everything that decides what a segmentation looks like, beside the weights.

    Attributes:
        regions: mask proposals.
        crops: context of the crops.
        mask_share: β, weight of the mask feature against the crop feature, [0, 1]; measured on
            Dubai tile 5 (docs/LOG.md).
        temperature: τ of the softmax over cosines; None for the model's own.
        threshold: pixels whose class is less probable stay unlabelled; a label's own threshold
            goes before it.
        knowledge: use the project's phrases, templates and implicit background; without it the
            bare class names are asked for.
        min_object: pixels; smaller connected parts are no objects.
        max_objects: of each class, the largest.
        batch: crops encoded at a time; does not change the answer.
    """

    regions: RegionParameters = field(default_factory=RegionParameters)
    crops: CropParameters = field(default_factory=CropParameters)
    mask_share: float = 0.7
    temperature: float | None = None
    threshold: float = 0.0
    knowledge: bool = True
    min_object: int = 32
    max_objects: int = 300
    batch: int = 64


@dataclass(frozen=True)
class ClassSegmentation:
    """The answer of `segment_classes`.

    Attributes:
        classes: one segment for each label that was found, in the order of the labels.
        class_map: (H, W) uint16; 0 = none, i = the i-th label.
        probability: (H, W) float32 in [0, 1], of the best class of each pixel.
        seconds: wall-clock seconds of each stage.
        parameters: that it was made with.
    """

    classes: tuple[Segment, ...]
    class_map: NDArray[np.uint16]
    probability: Floats
    seconds: dict[str, float]
    parameters: OvssParameters

    @property
    def objects(self) -> Iterator[Segment]:
        """Connected parts of the classes, largest first within a label.

        One at a time: a thousand masks of an image do not fit in memory.
        """
        limit, largest = self.parameters.min_object, self.parameters.max_objects
        for segment in self.classes:
            for part in islice(masks.components(segment.mask, limit), largest):
                yield Segment(segment.label, float(self.probability[part].mean()), part)


def model_version(clip: ClipModel, parameters: OvssParameters) -> str:
    """A name that changes when the weights, the parameters or the package change."""
    relevant = {key: value for key, value in asdict(parameters).items() if key != "batch"}
    own = f"{clip.crop_side} {clip.dense_side} {clip.temperature}"
    content = f"{clip.fingerprint} {own} {knowledge.fingerprint()} {sorted(relevant.items())}"
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    stem = clip.name.replace(":", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return f"dgl-rsis-{version('dgl-rsis')}-{stem}-{digest}"


def segment_classes(
    image: RGB,
    labels: Sequence[Label],
    clip: ClipModel,
    parameters: OvssParameters | None = None,
) -> ClassSegmentation:
    """Open-vocabulary semantic segmentation: a class for every pixel.

    Args:
        image: (H, W, 3) uint8.
        labels: the vocabulary; names are distinct.
        clip: the model.
        parameters: default `OvssParameters()`.

    Raises:
        InputError: no labels, a name twice, or an image too small to have regions.
    """
    parameters = parameters or OvssParameters()
    _check(image, labels)
    seconds: dict[str, float] = {}
    with _timed(seconds, "proposals"):
        proposed = proposals.propose(image, parameters.regions)
    with _timed(seconds, "text"):
        asked = knowledge.phrases(labels, enrich=parameters.knowledge)
        texts = encode_phrases(clip, asked, parameters.knowledge)
    with _timed(seconds, "dense"):
        dense = features.dense_features(clip, image, parameters.batch)
        by_mask = features.mask_features(clip, dense, proposed.masks)
        patch_cosines = features.patch_features(clip, dense) @ texts.T
    with _timed(seconds, "crops"):
        by_crop = encode_crops(clip, image, proposed, parameters)
    with _timed(seconds, "map"):
        share = parameters.mask_share
        fused = F.normalize(share * by_mask + (1 - share) * by_crop, dim=-1)  # (N, D)
        best, probability = matching.semantic_map(
            proposed.masks,
            (fused @ texts.T).cpu().numpy(),
            patch_cosines,
            owners(asked),
            MapParameters(
                parameters.temperature or clip.temperature,
                proposed.height / clip.patch,
                proposed.width / clip.patch,
            ),
        )
        best, probability = (_enlarged(x, proposed) for x in (best, probability))
    with _timed(seconds, "masks"):
        class_map = _labelled(best, probability, asked, len(labels), parameters.threshold)
        classes = _classes(class_map, probability, labels)
    return ClassSegmentation(tuple(classes), class_map, probability, seconds, parameters)


def encode_phrases(clip: ClipModel, asked: Sequence[ClassPhrases], templated: bool) -> Tensor:
    """Text features of all phrases of all classes, in order: (P, D)."""
    words = [phrase for entry in asked for phrase in entry.phrases]
    asked_for = [knowledge.prompts(word) if templated else (word,) for word in words]
    return features.text_features(clip, asked_for)


def owners(asked: Sequence[ClassPhrases]) -> list[int]:
    """The class index of each of those phrases."""
    return [i for i, entry in enumerate(asked) for _ in entry.phrases]


def encode_crops(
    clip: ClipModel, image: RGB, proposed: Proposals, parameters: OvssParameters
) -> Tensor:
    """Features of the context-aware crops of all proposals: (N, D)."""
    boxes = crops.boxes(proposed, parameters.crops)
    cut = crops.crop(image, boxes, clip.crop_side, clip.device)
    return features.crop_features(clip, cut, parameters.batch)


def _check(image: RGB, labels: Sequence[Label]) -> None:
    if not labels:
        raise InputError("no labels to look for: give at least one")
    names = [label.name for label in labels]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"labels given twice: {', '.join(twice)}")
    if min(image.shape[:2]) < MIN_SIDE:
        raise InputError(
            f"the image has {image.shape[1]} × {image.shape[0]} pixels; "
            f"at least {MIN_SIDE} × {MIN_SIDE} are needed"
        )


def _enlarged(plane: NDArray[Any], proposed: Proposals) -> NDArray[Any]:
    """(h, w) at the proposals' size → (H, W), by the nearest pixel."""
    height, width = plane.shape
    if (height, width) == (proposed.height, proposed.width):
        return plane
    rows = np.arange(proposed.height) * height // proposed.height
    columns = np.arange(proposed.width) * width // proposed.width
    enlarged: NDArray[Any] = plane[rows[:, None], columns]
    return enlarged


def _labelled(
    best: NDArray[np.uint16],
    probability: Floats,
    asked: Sequence[ClassPhrases],
    count: int,
    threshold: float,
) -> NDArray[np.uint16]:
    """Class indices → label numbers; backgrounds and doubtful pixels → 0."""
    numbers = np.array(
        [0 if e.label.background or i >= count else i + 1 for i, e in enumerate(asked)],
        dtype=np.uint16,
    )
    limits = np.array(
        [threshold if e.label.threshold is None else e.label.threshold for e in asked],
        dtype=np.float32,
    )
    found: NDArray[np.uint16] = np.where(probability >= limits[best], numbers[best], 0)
    return found.astype(np.uint16)


def _classes(
    class_map: NDArray[np.uint16], probability: Floats, labels: Sequence[Label]
) -> list[Segment]:
    found = []
    for number, label in enumerate(labels, start=1):
        mask = class_map == number
        if mask.any():
            found.append(Segment(label.name, float(probability[mask].mean()), mask))
    return found


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - start, 3)
