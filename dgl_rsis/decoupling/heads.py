"""Labels: what a label names, and what its head nouns are once the qualifiers are off. [ours].

A label is a noun phrase in shorthand, "Building_Footprint" or "bare / sparse vegetation". Its head
is the last word in English, but for words that only say in which form a thing was mapped
("footprint", "cover"). Which heads are known is not said here: there is no list of things.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from dgl_rsis.decoupling.lexicon import kind_of, listed, phrases
from dgl_rsis.names import singular

_JOINTS = re.compile(r"[/|,;&+]|\b(?:and|or)\b")  # between two things that one label names
_ASIDE = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")  # "road (paved)"
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")  # "BuildingFootprint"
_WORD = re.compile(r"[^\W\d_](?:[\w'.]*\w)?")  # not the number of "building_2"
_WITH = re.compile(r"\bw/(?:o\b)?")
_BEHIND = {
    "preposition",
    "relation",
    "relative",
    "finite",
    "state",
}  # what qualifies a noun from behind
_NO_HEADS = {"partitive", "frame", "article", "count"}  # "row of trees", "area of crops"


def denied(label: str) -> str:
    """The word by which a label says what a thing is not, "non" in "non-building"; "" for none."""
    words = _words(_plain(label))
    for at, word in enumerate(words):
        for phrase, kind, _ in phrases().get(word, ()):
            if kind == "negation" and tuple(words[at : at + len(phrase)]) == phrase:
                return " ".join(phrase)
    return ""


def heads(label: str) -> tuple[tuple[str, ...], ...]:
    """What each thing that a label names may be called, the most particular name first.

    Args:
        label: as its users spell it, in English.

    Returns:
        One entry a thing: lower case, single spaces, the last word singular. "Paved_Roads" gives
        (("paved road", "road"),). None for a label without words.
    """
    plain = _plain(label)
    parts = [_words(part) for part in _JOINTS.split(_ASIDE.sub(" ", plain))]
    names = (tuple(dict.fromkeys(_names(words))) for words in parts if words)
    return tuple(each for each in names if each)


def _names(words: Sequence[str]) -> Iterator[str]:
    """From the whole phrase to its last word; without words of form before with them."""
    words = _before_qualifiers(words)
    if not words:
        return
    yield _name(words)
    ends = [len(words)]
    while ends[-1] > 1 and singular(words[ends[-1] - 1]) in listed("forms"):
        ends.append(ends[-1] - 1)
    for end in reversed(ends):
        for start in range(end):
            yield _name(words[start:end])


def _before_qualifiers(words: Sequence[str]) -> Sequence[str]:
    """Up to "with", "of", "in" …, or what is behind these where nothing before is a thing."""
    while words:
        at = next((i for i, word in enumerate(words) if kind_of(word) in _BEHIND), len(words))
        before = words[:at]
        if any(not _says_form(word) for word in before) or at == len(words):
            return before
        words = words[at + 1 :]
    return words


def _says_form(word: str) -> bool:
    return kind_of(word) in _NO_HEADS or singular(word) in listed("forms")


def _name(words: Sequence[str]) -> str:
    *qualifiers, head = words
    return " ".join([*qualifiers, singular(head)])


def _plain(label: str) -> str:
    """Lower case, NFKC, with spaces for "_" and "-", and humps of capitals apart."""
    spaced = _HUMP.sub(" ", unicodedata.normalize("NFKC", label)).lower()
    named = _WITH.sub(lambda found: " without " if found[0] == "w/o" else " with ", spaced)
    return named.replace("_", " ").replace("-", " ").replace("’", "'")


def _words(text: str) -> list[str]:
    return _WORD.findall(text)
