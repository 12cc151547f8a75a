"""An expression → its local class noun and its global modifiers.

[paper] the decoupling of a text into local class nouns and global modifiers. [ours] how: by rules
over closed-class words (`words.toml`) on spaCy's tokens; no trained pipeline is needed.
"""

import logging
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache

import spacy
from spacy.language import Language

from dgl_rsis.decoupling.grammar import read_sentence
from dgl_rsis.decoupling.terms import Word, looks_foreign, read_terms
from dgl_rsis.types import Decoupled, Json, Modifier

LONGEST = 2_000  # characters; what is longer is no expression

_log = logging.getLogger(__name__)


def decouple(text: str) -> Decoupled:
    """Split an expression into the noun of its target and what is said about it.

    Args:
        text: one expression in English; any text is answered.

    Returns:
        The parts; where the text is not understood the whole of it is the noun, and `reason` says
        why. What it denies is a modifier that is `negated`; where that cannot be measured it is
        `refused`, with the reason.
    """
    normal = normalised(text)
    if len(normal) > LONGEST:
        return _whole(text, normal, f"it is longer than {LONGEST} characters")
    words = list(_words(normal))
    if reason := _unreadable(words):
        return _whole(text, normal, reason)
    decoupled = read_sentence(normal, read_terms(words))
    if decoupled.reason and not decoupled.refused:
        return _whole(text, normal, decoupled.reason, decoupled.modifiers)
    return replace(decoupled, text=text)


def parse_lines(lines: Iterable[str]) -> Iterator[Decoupled]:
    """One expression a line, in order, each answered before the next is read."""
    for line in lines:
        yield decouple(line.rstrip("\r\n"))


def to_json(decoupled: Decoupled) -> Json:
    """What the command line prints; `reason`, `refused` and `negated` only where there is one."""
    parts: Json = {
        "text": decoupled.text,
        "noun": decoupled.noun,
        "plural": decoupled.plural,
        "modifiers": [_modifier_json(modifier) for modifier in decoupled.modifiers],
        "anchors": [{"text": x.text, "noun": x.noun} for x in decoupled.anchors],
    }
    if decoupled.reason:
        parts["reason"] = decoupled.reason
    return parts | ({"refused": True} if decoupled.refused else {})


def _modifier_json(modifier: Modifier) -> Json:
    said: Json = {
        "kind": modifier.kind,
        "text": modifier.text,
        "value": modifier.value,
        "anchors": [{"text": x.text, "noun": x.noun} for x in modifier.anchors],
    }
    return said | ({"negated": True} if modifier.negated else {})


def normalised(text: str) -> str:
    """Lower case, single spaces, plain apostrophes, no underscores, NFKC."""
    valid = text.encode("utf-8", "replace").decode()  # a lone surrogate is no text
    plain = unicodedata.normalize("NFKC", valid).replace("_", " ").replace("’", "'")
    return " ".join(plain.lower().split())


def _whole(text: str, normal: str, reason: str, modifiers: tuple[Modifier, ...] = ()) -> Decoupled:
    _log.info("%r is taken as a noun as it is: %s", text[:80], reason)
    return Decoupled(text, normal, modifiers, reason=reason)


@cache
def _english() -> Language:
    """Tokens and nothing else: a blank pipeline needs no trained model."""
    return spacy.blank("en")


def _unreadable(words: list[Word]) -> str:
    if not any(letter.isalpha() for word in words for letter in word.text):
        return "it has no words"
    return "it does not look like English" if looks_foreign(words) else ""


def _words(normal: str) -> Iterator[Word]:
    """Tokens, split at hyphens; a hyphen between spaces is a dash, which reads like a comma."""
    text = f"{normal} "
    for token in _english()(normal):
        start, end = token.idx, token.idx + len(token)
        if token.text == "-" and text[end] == " ":
            yield Word(",", start, end)
            continue
        for piece in token.text.split("-"):
            after = start + len(piece)
            if piece:
                yield Word(piece, start, after, text[after] == "-" and text[after + 1] != " ")
            start = after + 1
