"""A loaded SAM 3: answers about pictures by concepts, and remembers what each picture decides."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from importlib.metadata import version

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dgl_rsis import masks
from dgl_rsis.classes import concepts as classes
from dgl_rsis.classes import knowledge, pipeline, prototypes, vocabulary
from dgl_rsis.classes.concepts import ConceptClassParameters, Seen
from dgl_rsis.classes.pipeline import ClassSegmentation, timed
from dgl_rsis.classes.prototypes import Prototypes
from dgl_rsis.classes.vocabulary import Vocabulary
from dgl_rsis.concepts.model import Answer, Box, ConceptModel
from dgl_rsis.concepts.shown import Concept, shown
from dgl_rsis.concepts.views import View, Views, views
from dgl_rsis.expressions import concepts as expressions
from dgl_rsis.expressions import exemplars
from dgl_rsis.expressions.exemplars import Alike, ExemplarParameters, Look
from dgl_rsis.expressions.pipeline import ExpressionSegmentation, ResParameters
from dgl_rsis.resolution import Resolution
from dgl_rsis.types import InputError, Label, Mask, Prompt, Refined
from workers.engine.providers import REGIONS, MaskProvider, Provider, Remembered
from workers.images.cache import Arrays
from workers.images.pictures import Picture

PHRASES = {"cuda": 8, "cpu": 1}  # at a time; each has maps of its own
HELD = 0.5  # share of an example that a window must show


class ConceptSegmenter:
    """A model of concepts and a provider of masks, with a cache; see `Model`.

    Args:
        model: that is asked.
        provider: of masks, for clicks and for what is learnt.
        remembered: the cache; the provider's own.
        setting: resolution of all images whose task does not say it; None for none.
    """

    def __init__(
        self,
        model: ConceptModel,
        provider: MaskProvider,
        remembered: Remembered,
        setting: Resolution | None = None,
    ) -> None:
        self.setting = setting
        self.say: Callable[[str], None] = lambda _stage: None
        self._model = model
        self._provider = provider
        self._remembered = remembered
        self._classes, self._referring = ConceptClassParameters(), ResParameters()
        self._exemplars = ExemplarParameters()

    @property
    def batch(self) -> int:
        """Phrases at a time."""
        return PHRASES[torch.device(self._model.device).type]

    @cached_property
    def model_version(self) -> str:
        """See `Model`."""
        parameters = [self._classes, self._referring, self._exemplars, *self._provider.identity]
        said = [(type(each).__name__, asdict(each)) for each in parameters]
        content = f"{self._model.fingerprint} {knowledge.fingerprint()} {said} {self.setting}"
        digest = hashlib.sha256(content.encode()).hexdigest()[:8]
        stem = self._model.name.rstrip("/").rsplit("/", 1)[-1]
        name = f"dgl-rsis-{version('dgl-rsis')}-{stem}-{digest}"
        made_by = next(part for part in self._provider.identity if isinstance(part, Provider))
        if made_by.name == REGIONS:
            return name
        return f"{name}-{made_by.name.rsplit('/', 1)[-1].replace(':', '-')}"

    def segment(
        self,
        picture: Picture,
        labels: Sequence[Label],
        batch: int,
        learnt: Prototypes | None = None,
    ) -> ClassSegmentation:
        """See `Model`."""
        pipeline.check_size(picture.pixels)
        seconds: dict[str, float] = {}
        words = vocabulary.concepts(labels)
        found = self._shown(picture, words, batch, seconds)
        taught = None
        if learnt is not None:
            with timed(seconds, "prototypes"):
                regions = self._classes.classes.regions
                proposed = self._provider.propose(picture, regions)
                keys = prototypes.describe(picture.pixels, proposed)
                names = [label.name for label in labels]
                evidence = prototypes.judge(keys, learnt, names)
                taught = classes.taught_by(evidence, proposed, found, words)
        height, width = picture.pixels.shape[:2]
        seen = Seen(height, width, picture.resolution, picture.valid, seconds)
        return classes.classify(found, words, seen, self._classes, taught)

    def marked_examples(
        self, picture: Picture, marked: NDArray[np.int32], labels: Sequence[str]
    ) -> Prototypes:
        """See `Model`."""
        pipeline.check_size(picture.pixels)
        proposed = self._provider.propose(picture, self._classes.classes.regions)
        return prototypes.from_masks(picture.pixels, proposed, marked, labels)

    def refer(
        self, picture: Picture, expression: str, labels: Sequence[Label], batch: int, most: int = 0
    ) -> tuple[ExpressionSegmentation, str]:
        """See `Model`; a noun that no label names has the label of what it was found to be."""
        named = [label for label in labels if not label.background]
        if not named:
            raise InputError("the label config has no label that an expression's mask could get")
        wanted = replace(self._referring, top_k=most or self._referring.top_k)
        segmentation = self._find(picture, expression, wanted, batch)
        known = knowledge.named(segmentation.decoupled.noun, named)
        if known is None and segmentation.candidates:
            known = self.label_of(picture, segmentation.candidates[0].mask, named, batch)
        return segmentation, known or named[0].name

    def find(
        self, picture: Picture, expression: str, parameters: ResParameters
    ) -> ExpressionSegmentation:
        """See `Model`."""
        return self._find(picture, expression, parameters, self.batch)

    def alike(self, picture: Picture, exemplar: Mask, marked: Mask, batch: int) -> Alike:
        """See `Model`: the boxes around the exemplar's parts are the prompt."""
        pipeline.check_size(picture.pixels)
        boxes = [masks.box(part) for part in masks.components(exemplar, 1)]
        boxes = boxes[: self._exemplars.examples]
        if not boxes:
            raise InputError(exemplars.EMPTY)
        held = {
            view: inside
            for level in self._views(picture).levels
            for view in level
            if (inside := list(_inside(boxes, view)))
        }
        everything = self._views(picture)
        seen = replace(
            everything,
            levels=tuple(tuple(v for v in level if v in held) for level in everything.levels),
        )

        def ask(view: View, _numbers: Sequence[int]) -> list[Answer]:
            return [self._model.like(self._states(picture, view), held[view])]

        heard = [[True]] * len(seen.levels)
        concept = shown(seen, ask, heard, self._classes.shown)[0]
        least, most = self._classes.shown.least, self._exemplars.most
        return expressions.alike(concept, exemplar, marked, least, most)

    def look(self, picture: Picture, exemplar: Mask, batch: int) -> Look:
        """See `Model`: size, form and colour; the rest says the label's concept."""
        metres = None if picture.resolution is None else picture.resolution.metres
        return exemplars.outward_look(picture.pixels, exemplar, metres, self._exemplars)

    def alike_elsewhere(self, picture: Picture, look: Look, label: str, batch: int) -> Alike:
        """See `Model`: instances of the label's concept that look like it."""
        pipeline.check_size(picture.pixels)
        concept = self._find_nouns(picture, [label], batch)[0]
        nowhere = np.zeros(picture.pixels.shape[:2], dtype=np.bool_)
        least = self._classes.shown.least
        found = expressions.alike(concept, nowhere, nowhere, least, self._exemplars.most)
        metres = None if picture.resolution is None else picture.resolution.metres
        return expressions.looking_like(picture.pixels, found, look.at(metres), self._exemplars)

    def point(self, picture: Picture, prompt: Prompt) -> Refined:
        """See `Model`."""
        pipeline.check_size(picture.pixels)
        return self._provider.refine(picture, prompt)

    def label_of(self, picture: Picture, mask: Mask, labels: Sequence[Label], batch: int) -> str:
        """See `Model`: the one with the most evidence in the mask."""
        named = [label for label in labels if not label.background]
        if not named:
            raise InputError("the label config has no label that the mask could get")
        if len(named) == 1:
            return named[0].name
        words = vocabulary.concepts(named)
        found = self._shown(picture, words, batch, {})
        return classes.likeliest(found, words, mask)

    def _find(
        self, picture: Picture, expression: str, parameters: ResParameters, batch: int
    ) -> ExpressionSegmentation:
        pipeline.check_size(picture.pixels)
        return expressions.refer(
            picture.pixels,
            expression,
            lambda nouns: self._find_nouns(picture, nouns, batch),
            parameters,
            picture.valid,
        )

    def _find_nouns(self, picture: Picture, nouns: Sequence[str], batch: int) -> Sequence[Concept]:
        """What a picture shows of each noun, by any of its names."""
        words = vocabulary.concepts([Label(noun) for noun in nouns])
        return classes.by_class(self._shown(picture, words, batch, {}), words)

    def _shown(
        self, picture: Picture, words: Vocabulary, batch: int, seconds: dict[str, float]
    ) -> list[Concept]:
        """What a picture shows of each phrase."""
        seen = self._views(picture)
        phrases = [phrase for entry in words.asked for phrase in entry.phrases]

        def ask(view: View, numbers: Sequence[int]) -> list[Answer]:
            states = self._states(picture, view)
            self.say("asking for concepts")
            return self._model.ask(states, [phrases[number] for number in numbers], batch)

        heard = classes.heard(words, picture.resolution, seen.factors).tolist()
        with timed(seconds, "concepts"):
            return shown(seen, ask, heard, self._classes.shown)

    def _views(self, picture: Picture) -> Views:
        height, width = picture.pixels.shape[:2]
        return views(height, width, self._model.side)

    def _states(self, picture: Picture, view: View) -> Tensor:
        """The pass over one window, made once for a picture."""
        model = self._model

        def make() -> Arrays:
            self.say("encoding the image")
            return {"states": model.encode(view.cut(picture.pixels)).cpu().numpy()}

        arrays = self._remembered.get(picture, "concepts", (model.fingerprint, view), make)
        return torch.from_numpy(arrays["states"]).to(model.device)


def _inside(boxes: Sequence[tuple[int, int, int, int]], view: View) -> Iterator[Box]:
    """Boxes that a window shows at least a half of, in shares of its sides."""
    left, top, right, bottom = view.box
    width, height = right - left, bottom - top
    for x0, y0, x1, y1 in boxes:
        a, b, c, d = max(x0, left), max(y0, top), min(x1, right), min(y1, bottom)
        if a < c and b < d and (c - a) * (d - b) >= HELD * (x1 - x0) * (y1 - y0):
            yield (
                (a - left) / width,
                (b - top) / height,
                (c - left) / width,
                (d - top) / height,
            )
