"""The labels of a control as its tags say them, and what several controls say of one label."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dgl_rsis.types import Label


@dataclass(frozen=True)
class LabelTag:
    """One <Label> of a control.

    Attributes:
        label: as it is asked for.
        colour: of its `background` attribute, CSS; None for none.
        stored: what Label Studio stores for it.
    """

    label: Label
    colour: str | None
    stored: str


@dataclass(frozen=True)
class HeldLabels:
    """What a control, or a <Labels> for its shapes, has of labels.

    Attributes:
        tags: all that may be predicted, backgrounds too.
        names: of those that are no background.
        stored: see `Control`.
    """

    tags: list[LabelTag]
    names: frozenset[str]
    stored: Mapping[str, str]


def merge(tags: Sequence[LabelTag]) -> LabelTag:
    """One label that stands in several controls: all synonyms, the smallest given threshold."""
    first = tags[0]
    given = [tag.label.threshold for tag in tags if tag.label.threshold is not None]
    label = replace(
        first.label,
        synonyms=_unique(word for tag in tags for word in tag.label.synonyms),
        threshold=min(given, default=None),
    )
    colour = next((tag.colour for tag in tags if tag.colour), None)
    return LabelTag(label, colour, first.stored)


def synonyms(text: str) -> tuple[str, ...]:
    """The words of a `predicted_values`, each once."""
    return _unique(word.strip() for word in text.split(",") if word.strip())


def _unique(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))
