"""An expression in the model's terms: noun and anchors against everything else. [ours]."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from dgl_rsis import decoupling, features, knowledge, pipelines
from dgl_rsis.knowledge import ClassPhrases
from dgl_rsis.models import ClipModel
from dgl_rsis.types import Decoupled, Label

# What else one sees from above: a noun that is none of these must win against them, too. The
# classes of iSAID (arXiv 1905.12886) and DIOR (1909.00133), and two that cover land.
RIVALS = (
    "parking lot", "beach", "large vehicle", "ship", "airplane", "helicopter", "airport",
    "storage tank", "tennis court", "basketball court", "soccer field", "baseball field",
    "ground track field", "golf course", "stadium", "swimming pool", "harbor", "pier", "runway",
    "bridge", "overpass", "roundabout", "railway", "train station", "expressway service area",
    "expressway toll station", "chimney", "dam", "windmill", "solar panel", "greenhouse",
)  # fmt: skip


# Of each model that lives, the text features of rivals: most of them come with every expression.
_known: WeakKeyDictionary[Any, dict[ClassPhrases, Tensor]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Question:
    """An expression in the model's terms.

    Attributes:
        decoupled: noun and modifiers.
        texts: (P, D) float32, phrases of the noun, of the anchors and of everything else.
        owners: P class indices: 0 is the noun, then the anchors.
        classes: anchor's noun → its class index.
        sentence: (1, D) float32.
    """

    decoupled: Decoupled
    texts: Tensor
    owners: Sequence[int]
    classes: Mapping[str, int]
    sentence: Tensor

    def named(self, index: int) -> Tensor:
        """(P,) bool: which phrases belong to a class."""
        return torch.tensor([o == index for o in self.owners], device=self.texts.device)


def ask(expression: str, clip: ClipModel, parser: str, others: Sequence[str]) -> Question:
    """Read an expression.

    Args:
        expression: one sentence.
        clip: the model.
        parser: source of `decoupling.decouple`.
        others: names of further classes that the noun has to win against.
    """
    decoupled = decoupling.decouple(expression, parser)
    nouns = list(dict.fromkeys([decoupled.noun, *(a.noun for a in decoupled.anchors)]))
    asked = knowledge.phrases([Label(noun) for noun in nouns])
    rivals = _rivals(asked[: len(nouns)], others)
    texts = torch.cat(
        [pipelines.encode_phrases(clip, asked, templated=True), *_texts(clip, rivals)]
    )
    owners = pipelines.owners(asked) + [len(nouns)] * sum(len(r.phrases) for r in rivals)
    classes = {noun: i for i, noun in enumerate(nouns)}
    sentence = features.text_features(clip, [(expression,)])
    return Question(decoupled, texts, owners, classes, sentence)


def _rivals(asked: Sequence[ClassPhrases], names: Sequence[str]) -> list[ClassPhrases]:
    """Phrases of the other classes, each class that shares a word with what is asked for left out.

    With the surroundings they are one class: everything else.
    """
    meant = {
        word for entry in asked for word in (*entry.phrases, *knowledge.words(entry.label.name))
    }
    others = [name for name in names if meant.isdisjoint(knowledge.words(name))]
    return list(knowledge.phrases([Label(name) for name in others]))[: len(others)]


def _texts(clip: ClipModel, rivals: Sequence[ClassPhrases]) -> list[Tensor]:
    """Text features of the phrases of each, in order: (p, D)."""
    known = _known.setdefault(clip.model, {})
    new = [entry for entry in rivals if entry not in known]
    if new:
        encoded = pipelines.encode_phrases(clip, new, templated=True)
        parts = encoded.split([len(entry.phrases) for entry in new])
        known.update(zip(new, parts, strict=True))
    return [known[entry] for entry in rivals]
