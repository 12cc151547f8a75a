"""What the words of labels are to a model, said before it is asked."""

import logging
from collections.abc import Sequence
from itertools import combinations

from rapidfuzz import fuzz, process

from dgl_rsis.classes import knowledge
from dgl_rsis.decoupling.heads import denied, heads
from dgl_rsis.types import Label
from dgl_rsis.weights.identity import is_closed

LOG = logging.getLogger(__name__)

MOST_PAIRS, MOST_WORDS = 10, 3  # that a message names
ALIKE = 75.0  # of 100: letters that a slip of the finger leaves in common


def left_out(labels: Sequence[Label], model: str) -> tuple[str, ...]:
    """A sentence for each label that no mask can be made for, with the way out.

    Args:
        labels: of a vocabulary.
        model: as the setting MODEL.
    """
    reasons = {x.name: knowledge.unasked(x, closed=is_closed(model)) for x in labels}
    return tuple(
        f"label {name!r} is not painted: {reason}{_hint(name)}"
        for name, reason in reasons.items()
        if reason
    )


def as_written(labels: Sequence[Label], model: str) -> tuple[str, ...]:
    """A sentence for each label that is asked for though our knowledge has no word of it."""
    return tuple(
        f"label {x.name!r} is in no table of the project's knowledge: it is asked for as it is "
        f"written{_hint(x.name)}"
        for x in labels
        if not x.background
        and not any(map(knowledge.is_known, (x.name, *x.synonyms)))
        and not knowledge.unasked(x, closed=is_closed(model))
    )


def competing(labels: Sequence[Label]) -> tuple[str, ...]:
    """A sentence for each two labels that are asked for by a word of both: chance decides there."""
    asked = [x for x in knowledge.phrases(labels)[: len(labels)] if not x.label.background]
    pairs = [
        (one.label.name, other.label.name, [p for p in one.phrases if p in other.phrases])
        for one, other in combinations(asked, 2)
    ]
    shared = [pair for pair in pairs if pair[2]]
    sentences = [
        f"labels {one!r} and {other!r} compete: both are asked for as {_listed(words)}. Make them "
        "one, with predicted_values for the other word, or leave one to people (model_skip)."
        for one, other, words in shared[:MOST_PAIRS]
    ]
    if len(shared) > MOST_PAIRS:
        sentences.append(f"{len(shared) - MOST_PAIRS} more pairs of labels compete.")
    return tuple(sentences)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:MOST_WORDS])


def warn(labels: Sequence[Label], model: str) -> bool:
    """Log what is left out, and what is asked for as written; whether something is left out."""
    lost = left_out(labels, model)
    for sentence in lost:
        LOG.warning("%s", sentence)
    for sentence in as_written(labels, model):
        LOG.info("%s", sentence)
    return bool(lost)


def _hint(name: str) -> str:
    word = nearest(name)
    return f" (did you mean {word!r}?)" if word else ""


def nearest(name: str) -> str:
    """The known name that a misspelt one is most like; "" for one that is known, or like none."""
    if knowledge.is_known(name) or denied(name):
        return ""
    phrases = [word for each in heads(name) for word in each]
    single = [word for phrase in phrases for word in phrase.split()]
    return _most_alike(phrases) or _most_alike(single)


def _most_alike(spelt: Sequence[str]) -> str:
    known = knowledge.known_names()
    found = [
        process.extractOne(word, known, scorer=fuzz.ratio, score_cutoff=ALIKE) for word in spelt
    ]
    best = max((match for match in found if match), key=lambda match: match[1], default=None)
    return str(best[0]) if best else ""
