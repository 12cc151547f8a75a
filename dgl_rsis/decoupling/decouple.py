"""An expression → its local class noun and its global modifiers.

[paper] the decoupling of a text into local class nouns and global modifiers. [ours] how: no trained
English pipeline can be had from the package index, so a rule-based spaCy component does it alone on
a blank pipeline (the default, "rules"), and with the parse of a trained pipeline where one is
installed. Both type the modifiers by the same code and the same data (`words.toml`).
"""

import logging
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache

import spacy
from spacy.language import Language
from spacy.tokens import Doc, Token

from dgl_rsis.decoupling.grammar import Hints, read_sentence
from dgl_rsis.decoupling.terms import Word, looks_foreign, read_terms
from dgl_rsis.types import Decoupled, InputError, Json, Modifier

RULES = "rules"
LONGEST = 2_000  # characters; what is longer is no expression

_COMPONENT = "dgl_rsis_decoupling"
_NOMINAL = {"NOUN", "PROPN"}
_log = logging.getLogger(__name__)


def decouple(text: str, source: str = RULES) -> Decoupled:
    """Split an expression into the noun of its target and what is said about it.

    Args:
        text: one expression in English; any text is answered.
        source: "rules", or the name of an installed trained spaCy pipeline.

    Returns:
        The parts; where the text is not understood the whole of it is the noun, and `reason` says
        why.

    Raises:
        InputError: the trained pipeline is not installed.
    """
    pipeline = _pipeline(source)
    normal = normalised(text)
    if len(normal) > LONGEST:
        return _whole(text, normal, f"it is longer than {LONGEST} characters")
    decoupled: Decoupled = pipeline(normal)._.decoupled
    if decoupled.reason:
        return _whole(text, normal, decoupled.reason, decoupled.modifiers)
    return replace(decoupled, text=text)


def parse_lines(lines: Iterable[str], source: str = RULES) -> Iterator[Decoupled]:
    """One expression a line, in order, each answered before the next is read."""
    for line in lines:
        yield decouple(line.rstrip("\r\n"), source)


def to_json(decoupled: Decoupled) -> Json:
    """What the command line prints; `reason` only where there is one."""
    parts = {
        "text": decoupled.text,
        "noun": decoupled.noun,
        "plural": decoupled.plural,
        "modifiers": [_modifier_json(modifier) for modifier in decoupled.modifiers],
        "anchors": [{"text": x.text, "noun": x.noun} for x in decoupled.anchors],
    }
    return parts | ({"reason": decoupled.reason} if decoupled.reason else {})


def _modifier_json(modifier: Modifier) -> Json:
    return {
        "kind": modifier.kind,
        "text": modifier.text,
        "value": modifier.value,
        "anchors": [{"text": x.text, "noun": x.noun} for x in modifier.anchors],
    }


def normalised(text: str) -> str:
    """Lower case, single spaces, plain apostrophes, no underscores, NFKC."""
    valid = text.encode("utf-8", "replace").decode()  # a lone surrogate is no text
    plain = unicodedata.normalize("NFKC", valid).replace("_", " ").replace("’", "'")
    return " ".join(plain.lower().split())


def _whole(text: str, normal: str, reason: str, modifiers: tuple[Modifier, ...] = ()) -> Decoupled:
    _log.info("%r is taken as a noun as it is: %s", text[:80], reason)
    return Decoupled(text, normal, modifiers, reason=reason)


# ---- the spaCy component -------------------------------------------------------------------------


@cache
def _pipeline(source: str) -> Language:
    if source == RULES:
        pipeline: Language = spacy.blank("en")
    else:
        pipeline = _trained(source)
    pipeline.add_pipe(_COMPONENT, last=True)
    return pipeline


def _trained(name: str) -> Language:
    try:
        return spacy.load(name)
    except OSError as error:
        message = (
            f"the spaCy pipeline {name!r} is not installed: `python -m spacy download {name}` "
            f'installs it; the source "{RULES}" needs none'
        )
        raise InputError(message) from error


@Language.factory(_COMPONENT, assigns=["doc._.decoupled"])
def _component(nlp: Language, name: str) -> "_Component":
    if not Doc.has_extension("decoupled"):
        Doc.set_extension("decoupled", default=None)
    return _Component()


class _Component:
    """Sets `doc._.decoupled`; uses tags and dependencies where the document has them."""

    def __call__(self, doc: Doc) -> Doc:
        words = list(_words(doc))
        reason = _unreadable(words)
        if reason:
            doc._.decoupled = Decoupled(doc.text, doc.text, reason=reason)
        else:
            hints = _hints(doc) if doc.has_annotation("DEP") else Hints()
            doc._.decoupled = read_sentence(doc.text, read_terms(words), hints)
        return doc


def _unreadable(words: list[Word]) -> str:
    if not any(letter.isalpha() for word in words for letter in word.text):
        return "it has no words"
    return "it does not look like English" if looks_foreign(words) else ""


def _words(doc: Doc) -> Iterator[Word]:
    """Tokens, split at hyphens; a hyphen between spaces is a dash, which reads like a comma."""
    text = f"{doc.text} "
    for token in doc:
        tag = _tag(token)
        start, end = token.idx, token.idx + len(token)
        if token.text == "-" and text[end] == " ":
            yield Word(",", start, end)
            continue
        for piece in token.text.split("-"):
            after = start + len(piece)
            if piece:
                yield Word(piece, start, after, text[after] == "-" and text[after + 1] != " ", tag)
            start = after + 1


def _tag(token: Token) -> str:
    """What a trained pipeline says; a participle before a noun is a part of the noun."""
    if token.pos_ in _NOMINAL:
        return "noun"
    return "verb" if token.pos_ == "VERB" and token.dep_ not in {"amod", "compound"} else ""


def _hints(doc: Doc) -> Hints:
    """The head of the noun phrase that holds the root, and which prepositions speak of it."""
    root = next(token for token in doc if token.head.i == token.i)
    head = _head(root)
    if head is None:
        return Hints()
    owners = {root.i, head.i}
    high = (t.idx for t in doc if t.dep_ in {"prep", "agent"} and t.head.i in owners)
    return Hints(head.idx, frozenset(high))


def _head(root: Token) -> Token | None:
    """The subject of the root, or the root itself, or what a "there is" or a request names."""
    children = [child for child in root.children if child.pos_ in _NOMINAL]
    subjects = [child for child in children if child.dep_ in {"nsubj", "nsubjpass"}]
    named = [child for child in children if child.dep_ in {"attr", "dobj", "obj", "oprd"}]
    itself = [root] if root.pos_ in _NOMINAL else []
    return next(iter([*subjects, *itself, *named]), None)
