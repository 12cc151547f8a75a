"""A loaded model: answers about pictures, and remembers what each picture alone decides."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dgl_rsis.caching import kept
from dgl_rsis.classes import matching, pipeline, prototypes, scales, vocabulary
from dgl_rsis.classes.pipeline import ClassSegmentation, EncodedImage, OvssParameters, timed
from dgl_rsis.classes.prototypes import Prototypes
from dgl_rsis.classes.vocabulary import Vocabulary
from dgl_rsis.clip import features
from dgl_rsis.clip.features import DenseFeatures
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.clip.pixel_features import PixelFeatures
from dgl_rsis.expressions import exemplars
from dgl_rsis.expressions import pipeline as referring
from dgl_rsis.expressions.exemplars import Alike, ExemplarParameters, Look
from dgl_rsis.expressions.pipeline import ExpressionSegmentation, ResParameters
from dgl_rsis.resolution import Resolution
from dgl_rsis.types import RGB, InputError, Label, Mask, Prompt, Proposals, Refined
from workers.engine.providers import REGIONS, MaskProvider, Provider, Remembered
from workers.images.cache import Arrays
from workers.images.pictures import Picture

HALVES = ("coordinates", "outline", "presence")  # of `PixelFeatures`
# Of vocabularies whose text features are kept: the next task has the same labels.
VOCABULARY_BYTES = 64 * 2**20


class Segmenter:
    """CLIP and a provider of masks, with a cache.

    Args:
        clip: the model.
        provider: of masks.
        remembered: the cache; the provider's own.
        setting: resolution of all images whose task does not say it; None for none.

    Attributes:
        clip: the model.
        setting: see above; a part of the version, so that nothing of another setting answers.
        say: is told which stage begins, in words for people; by default nobody is.
    """

    def __init__(
        self,
        clip: ClipModel,
        provider: MaskProvider,
        remembered: Remembered,
        setting: Resolution | None = None,
    ) -> None:
        self.clip = clip
        self.setting = setting
        self.say: Callable[[str], None] = _unheard
        self._provider = provider
        self._remembered = remembered
        self._classes, self._referring = OvssParameters(), ResParameters()
        self._exemplars = ExemplarParameters()
        self._prepare = kept(VOCABULARY_BYTES)(self._prepared)

    @property
    def batch(self) -> int:
        """Crops at a time that fit the device, as far as known."""
        return self._classes.batch

    @property
    def parameters(self) -> OvssParameters:
        """Of classes; the batch of a single question may differ."""
        return self._classes

    @cached_property
    def model_version(self) -> str:
        """A name that changes when weights, parameters, provider, setting or package change."""
        others = [self._referring, self._exemplars, *self._provider.identity]
        if self.setting is not None:
            others.append(self.setting)
        version = pipeline.model_version(self.clip, self._classes, *others)
        provider = self._made_by
        if provider.name == REGIONS:
            return version
        stem = provider.name.rsplit("/", 1)[-1].rsplit(".", 1)[0].replace(":", "-")
        return f"{version}-{stem}-{provider.fingerprint[:8]}"

    @property
    def propose(self) -> Callable[[RGB], Proposals] | None:
        """(H, W, 3) uint8 → the provider's masks.

        None for the hierarchy of regions, which a scene cuts by costs of its own.
        """
        if self._made_by.name == REGIONS:
            return None
        return lambda image: self._provider.propose(Picture(image), self._classes.regions)

    @property
    def _made_by(self) -> Provider:
        return next(part for part in self._provider.identity if isinstance(part, Provider))

    def segment(
        self,
        picture: Picture,
        labels: Sequence[Label],
        batch: int,
        learnt: Prototypes | None = None,
    ) -> ClassSegmentation:
        """A class for every pixel.

        Args:
            picture: to segment.
            labels: the vocabulary.
            batch: crops at a time.
            learnt: from corrected masks; None for nothing.

        Raises:
            InputError: see `pipeline.segment_classes`.
        """
        parameters = replace(self._classes, batch=batch)
        seconds: dict[str, float] = {}
        with timed(seconds, "text"):
            words = self.vocabulary(labels)
        encoded = self.encode(picture, parameters)
        segmentation = pipeline.classify(encoded, words, self.clip, parameters, learnt)
        return replace(segmentation, seconds=seconds | segmentation.seconds)

    def marked_examples(
        self, picture: Picture, marked: NDArray[np.int32], labels: Sequence[str]
    ) -> Prototypes:
        """Examples of what somebody marked.

        Args:
            picture: of the masks.
            marked: (H, W), index into `labels`; negative for nothing, or two classes.
            labels: names.

        Raises:
            InputError: see `prototypes.from_masks`, or an image too small to have regions.
        """
        pipeline.check_size(picture.pixels)
        proposed = self._provider.propose(picture, self._classes.regions)
        return prototypes.from_masks(picture.pixels, proposed, marked, labels)

    def refer(
        self, picture: Picture, expression: str, labels: Sequence[Label], batch: int, most: int = 0
    ) -> tuple[ExpressionSegmentation, str]:
        """What an expression means, and the label that fits it.

        Args:
            picture: where to look.
            expression: one sentence.
            labels: of the config.
            batch: crops at a time.
            most: candidates; 0 for the usual number.

        Raises:
            InputError: see `referring.segment_expression` and `vocabulary.label_for`.
        """
        encoding = replace(self._referring.encoding, batch=batch)
        top = most or self._referring.top_k
        wanted = replace(self._referring, encoding=encoding, top_k=top)
        segmentation = self.find(picture, expression, wanted)
        return segmentation, vocabulary.label_for(segmentation.decoupled.noun, labels, self.clip)

    def find(
        self, picture: Picture, expression: str, parameters: ResParameters
    ) -> ExpressionSegmentation:
        """`referring.segment_expression` with this segmenter's masks and memory.

        Raises:
            InputError: see there.
        """
        encoded = self.encode(picture, parameters.encoding)
        if encoded.dense.states is None:  # each sentence about the picture would make them anew
            states = self._states(picture, parameters.encoding.batch)
            encoded = replace(encoded, dense=replace(encoded.dense, states=states))
        return referring.refer(encoded, expression, self.clip, parameters)

    def alike(self, picture: Picture, exemplar: Mask, marked: Mask, batch: int) -> Alike:
        """Everything else in a picture that is like one thing.

        Args:
            picture: where to look.
            exemplar: (H, W) bool, of that thing.
            marked: (H, W) bool, where nothing is sought.
            batch: crops at a time.

        Raises:
            InputError: see `exemplars.like`, or an image too small to have regions.
        """
        encoding = replace(exemplars.encoding(exemplar, self._exemplars), batch=batch)
        encoded = self.encode(picture, encoding)
        return exemplars.like(encoded, self.clip, exemplar, marked, self._exemplars)

    def look(self, picture: Picture, exemplar: Mask, batch: int) -> Look:
        """What a thing looks like, to be sought in other pictures.

        Args:
            picture: where it is.
            exemplar: (H, W) bool, of that thing.
            batch: crops at a time.

        Raises:
            InputError: see `exemplars.look_of`, or an image too small to have regions.
        """
        encoding = replace(exemplars.encoding(exemplar, self._exemplars), batch=batch)
        encoded = self.encode(picture, encoding)
        return exemplars.look_of(encoded, self.clip, exemplar, self._exemplars)

    def alike_elsewhere(self, picture: Picture, look: Look, label: str, batch: int) -> Alike:
        """Everything in a picture that is like a thing of another one.

        Args:
            picture: where to look.
            look: of that thing, made by the same model.
            label: of that thing; its look says more.
            batch: crops at a time.

        Raises:
            InputError: an image too small to have regions.
        """
        metres = None if picture.resolution is None else picture.resolution.metres
        height, width, _ = picture.pixels.shape
        encoding = exemplars.encoding_elsewhere(look, (height, width), metres, self._exemplars)
        encoded = self.encode(picture, replace(encoding, batch=batch))
        here = replace(look, directions=look.directions.to(self.clip.device))
        return exemplars.elsewhere(encoded, self.clip, here, self._exemplars)

    def point(self, picture: Picture, prompt: Prompt) -> Refined:
        """The mask that somebody points at.

        Raises:
            InputError: a prompt that cannot be answered, or an image too small to have regions.
        """
        pipeline.check_size(picture.pixels)
        return self._provider.refine(picture, prompt)

    def label_of(self, picture: Picture, mask: Mask, labels: Sequence[Label], batch: int) -> str:
        """The label that a mask is most like, by its mask-guided feature.

        Args:
            picture: of the mask.
            mask: (H, W) bool, not empty.
            labels: of the config.
            batch: crops at a time.

        Raises:
            InputError: no label that a mask could get.
        """
        named = [label for label in labels if not label.background]
        if not named:
            raise InputError("the label config has no label that the mask could get")
        if len(named) == 1:
            return named[0].name
        dense = self._dense(picture, replace(self._classes, batch=batch))
        share = self._classes.pixel_share
        feature = features.pyramid_features(self.clip, dense, mask[None], share)
        words = self.vocabulary(labels)
        temperature = self._classes.temperature or self.clip.temperature
        known = picture.resolution or dense.resolution
        # By size alone: a person points at it, so whatever it is, it is there.
        weighting = scales.by_size(words.phrases, known, dense.factors)
        cosines = scales.cosines(feature, words.texts, weighting)
        scores = matching.best_phrase(cosines, words.owners, temperature)[0]
        best = max(range(len(labels)), key=lambda i: (not labels[i].background, scores[i]))
        return labels[best].name

    def encode(self, picture: Picture, parameters: OvssParameters) -> EncodedImage:
        """`pipeline.encode_image`, every part of it made once for a picture.

        Raises:
            InputError: the image is too small to have regions.
        """
        pipeline.check_size(picture.pixels)
        seconds: dict[str, float] = {}
        self.say("finding regions")
        with timed(seconds, "proposals"):
            proposed = self._provider.propose(picture, parameters.regions)
        self.say("encoding the image")
        with timed(seconds, "dense"):
            dense = self._dense(picture, parameters)
            encoded = EncodedImage(
                picture.pixels,
                proposed,
                dense,
                torch.empty(0),
                seconds,
                resolution=picture.resolution,
                valid=picture.valid,
            )
            by_mask = self._features(picture, "mask", encoded, parameters)
        encoded = replace(encoded, by_mask=by_mask)
        if parameters.margin < 1 or pipeline.mask_share(self.clip, parameters) == 1:
            return encoded  # which crops are needed depends on the question
        with timed(seconds, "all crops"):
            return replace(encoded, by_crop=self._features(picture, "crop", encoded, parameters))

    def _dense(self, picture: Picture, parameters: OvssParameters) -> DenseFeatures:
        clip, factors = self.clip, parameters.factors
        patches = pipeline.reads_patches(clip, parameters)

        def make() -> Arrays:
            made = features.dense_features(
                clip, picture.pixels, parameters.batch, factors=factors, patches=patches
            )
            return {
                f"{name}{number}": value
                for number, level in enumerate(made.levels)
                for name, value in _arrays(level).items()
            }

        made_with = (clip.fingerprint, clip.dense_side, factors, patches)
        arrays = self._remembered.get(picture, "dense", made_with, make)
        count = sum(name.startswith("size") for name in arrays)
        levels = [_level(arrays, number, clip) for number in range(count)]
        return replace(levels[0], smaller=tuple(levels[1:]))

    def _states(self, picture: Picture, batch: int) -> Tensor | None:
        """What Grad-CAM begins from, on the CPU."""
        clip = self.clip

        def make() -> Arrays:
            states = features.kept_states(clip, picture.pixels, batch)
            return {} if states is None else {"states": states.cpu().numpy()}

        arrays = self._remembered.get(picture, "states", (clip.fingerprint, clip.dense_side), make)
        return torch.from_numpy(arrays["states"]) if arrays else None

    def _features(
        self, picture: Picture, kind: str, encoded: EncodedImage, parameters: OvssParameters
    ) -> Tensor:
        """Features of all masks, (K, N, D), or of the crops around them, (N, D)."""
        clip = self.clip

        def make() -> Tensor:
            if kind == "crop":
                return pipeline.encode_crops(clip, encoded, parameters)
            return pipeline.encode_masks(
                encoded.image, encoded.proposed, encoded.dense, clip, parameters
            )

        made_with = (
            clip.fingerprint,
            clip.crop_side,
            clip.dense_side,
            self._provider.identity,
            parameters.regions,
            parameters.factors,
            parameters.crops
            if kind == "crop"
            else (parameters.mask_feature, parameters.pixel_share),
        )
        arrays = self._remembered.get(
            picture, kind, made_with, lambda: {"features": make().cpu().numpy()}
        )
        return torch.from_numpy(arrays["features"]).to(clip.device)

    def vocabulary(self, labels: Sequence[Label]) -> Vocabulary:
        """`vocabulary.prepare`, once for the same labels."""
        return self._prepare(tuple(labels))

    def _prepared(self, labels: tuple[Label, ...]) -> Vocabulary:
        return vocabulary.prepare(labels, self.clip, enrich=self._classes.knowledge)


def _unheard(stage: str) -> None:
    """For whom no one listens."""


def _arrays(dense: DenseFeatures) -> Arrays:
    """What is kept of one size that an image was seen at."""
    patches = {"values": dense.values, "states": dense.states}
    tensors = {name: tensor for name, tensor in patches.items() if tensor is not None}
    if dense.pixels is not None:  # halves already: nothing is lost
        tensors |= {name: getattr(dense.pixels, name).half() for name in HALVES}
        tensors["scale"] = dense.pixels.scale
    arrays = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
    return arrays | {"size": np.array([dense.height, dense.width])}


def _level(arrays: Arrays, number: int, clip: ClipModel) -> DenseFeatures:
    """`_arrays` read back."""

    def there(name: str) -> Tensor:
        return torch.from_numpy(arrays[f"{name}{number}"]).to(clip.device)

    height, width = there("size").tolist()
    pixels = None
    if f"scale{number}" in arrays:
        halves = {name: there(name).float() for name in HALVES}
        pixels = PixelFeatures(**halves, scale=there("scale"))
    states = arrays.get(f"states{number}")
    return DenseFeatures(
        there("values") if f"values{number}" in arrays else None,
        height,
        width,
        clip.patch,
        None if states is None else torch.from_numpy(states),  # few questions need them
        pixels,
    )
