"""Labels → what to look for in images: their phrases, and the text features of these."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dgl_rsis.classes import knowledge
from dgl_rsis.classes.knowledge import ClassPhrases
from dgl_rsis.classes.scales import Phrases
from dgl_rsis.clip import features
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.names import names_background
from dgl_rsis.types import Floats, InputError, Label


@dataclass(frozen=True)
class Vocabulary:
    """Labels, ready to be looked for in any number of images.

    Attributes:
        labels: as given.
        asked: C classes: the labels in order, then implicit backgrounds.
        texts: (P, D) float32, L2 norm 1, the phrases of all classes in order.
        unasked: indices of classes whose words say nothing to the model; they are never painted,
            but where examples taught them.
    """

    labels: tuple[Label, ...]
    asked: tuple[ClassPhrases, ...]
    texts: Tensor
    unasked: frozenset[int] = frozenset()

    @property
    def phrases(self) -> Phrases:
        """What regions are compared with."""
        extents = [extent for entry in self.asked for extent in entry.extents]
        largest = [most for entry in self.asked for most in entry.largest]
        return Phrases(self.texts, self.owners, extents, largest)

    @property
    def owners(self) -> list[int]:
        """The class index of each phrase, P of them."""
        return [i for i, entry in enumerate(self.asked) for _ in entry.phrases]

    def labelled(
        self, best: NDArray[np.uint16], probability: Floats, threshold: float
    ) -> NDArray[np.uint16]:
        """Class indices → label numbers from 1; backgrounds and doubtful pixels → 0.

        Args:
            best: (...), class index.
            probability: (...) in [0, 1], of that class.
            threshold: of classes that have none of their own.
        """
        count = len(self.labels)
        numbers = np.array(
            [0 if e.label.background or i >= count else i + 1 for i, e in enumerate(self.asked)],
            dtype=np.uint16,
        )
        limits = np.array(
            [threshold if e.label.threshold is None else e.label.threshold for e in self.asked],
            dtype=np.float32,
        )
        kept: NDArray[np.uint16] = np.where(probability >= limits[best], numbers[best], 0)
        return kept.astype(np.uint16)


def prepare(labels: Sequence[Label], clip: ClipModel, *, enrich: bool = True) -> Vocabulary:
    """What to look for.

    Args:
        labels: the vocabulary; names are distinct.
        clip: the model.
        enrich: with the project's phrases, templates and implicit background [ours]; else the bare
            names [paper].

    Raises:
        InputError: no labels, or a name twice.
    """
    _check(labels)
    asked = knowledge.phrases(labels, enrich=enrich)
    phrases = [phrase for entry in asked for phrase in entry.phrases]
    prompts = [knowledge.prompts(phrase) if enrich else (phrase,) for phrase in phrases]
    unasked = frozenset(
        i for i, x in enumerate(labels) if enrich and knowledge.unasked(x, closed=clip.closed)
    )
    texts = features.text_features(clip, prompts)
    return Vocabulary(tuple(labels), tuple(asked), texts, unasked)


def concepts(labels: Sequence[Label]) -> Vocabulary:
    """The same for a model that reads phrases itself, and judges each by itself [ours].

    It says what is absent, so nothing implicit has to stand for that; a background of the user's
    is what it is called, and nothing where it is called that alone.

    Raises:
        InputError: as `prepare`.
    """
    _check(labels)
    asked = []
    unasked = {i for i, x in enumerate(labels) if knowledge.unasked(x, closed=False)}
    for i, entry in enumerate(knowledge.phrases(labels)[: len(labels)]):
        label = entry.label
        if label.background:
            own = knowledge.phrases([replace(label, background=False)], enrich=False)[0]
            nameless = names_background(label.name) and not label.synonyms
            entry = replace(own, label=label)
            unasked |= {i} if nameless else set()
        asked.append(entry)
    count = sum(len(entry.phrases) for entry in asked)
    return Vocabulary(tuple(labels), tuple(asked), torch.zeros(count, 0), frozenset(unasked))


def _check(labels: Sequence[Label]) -> None:
    """Refuse no labels, or a name twice."""
    if not labels:
        raise InputError("no labels to look for: give at least one")
    names = [label.name for label in labels]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"labels given twice: {', '.join(twice)}")


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
    )  # (1 + labels, D)
    return named[int((texts[1:] @ texts[0]).argmax())].name


def rivals(nouns: Sequence[str], clip: ClipModel, owner: int) -> Phrases:
    """What else the things that nouns mean could be [ours, as CLIP-ES has a set of its own].

    Args:
        nouns: that are asked for.
        clip: the model.
        owner: the class index of all of these.
    """
    known, phrases = _every(clip), knowledge.rivals(nouns)
    return Phrases(
        torch.stack([known[phrase] for phrase in phrases]),
        [owner] * len(phrases),
        [knowledge.extent(phrase) for phrase in phrases],
        [knowledge.largest(phrase) for phrase in phrases],
    )


@lru_cache(maxsize=2)
def _every(clip: ClipModel) -> dict[str, Tensor]:
    """The first phrase of every known class, encoded once for a model."""
    phrases = knowledge.rivals(())
    encoded = features.text_features(clip, [knowledge.prompts(phrase) for phrase in phrases])
    return dict(zip(phrases, encoded, strict=True))
