"""Words → terms: listed phrases with their canonical value, and words that may be part of a noun.

[ours] all of it.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from dgl_rsis.decoupling.lexicon import (
    ADJECTIVES,
    WORD,
    kind_of,
    listed,
    phrases,
    spellings,
    vocabulary,
)
from dgl_rsis.decoupling.spelling import as_adjective, correct

END = "end"  # kind of what stands behind the last term

# Words of the grammar that are nouns in a compound: "service area", "tree line", "level crossing".
NOUNLIKE = {WORD, "frame", "media", "partitive", "feature", "request", "crossing"}

_DESCRIBING = ADJECTIVES.keys() - {"count", "ordinal"}
_DESCRIBED = {WORD, "conjunction", "shade", "place", "partitive", "feature", *ADJECTIVES}
_OPENING = {END, "article", "relation", "preposition", "be"}
_QUALIFIED = {*_DESCRIBING, "verb", "state"}
_PLACING = {"relation", "preposition", "place"}
_ORDINAL = re.compile(r"(\d{1,3})(st|nd|rd|th)")
_SHAPES = {WORD, "shape", "partitive"}  # "l-shaped", "oval-shaped", "ring-shaped"
_OPEN_COMPOUNDS = {"count", "ordinal", "size", "place", "verb"}  # "six-lane", "wide-body"


class Word(NamedTuple):
    """A word of the normalised text.

    Attributes:
        text: lower case.
        start, end: characters of the normalised text.
        hyphen: one joins it to the next word.
    """

    text: str
    start: int
    end: int
    hyphen: bool = False


class Term(NamedTuple):
    """One or more words with one meaning.

    Attributes:
        kind: table of `words.toml`, or "word".
        value: canonical value; of a word itself.
        start, end: characters of the normalised text.
    """

    kind: str
    value: str
    start: int
    end: int


def read_terms(words: Sequence[Word]) -> list[Term]:
    """The longest listed phrases from left to right, and the words between them."""
    spelt = _spelt(words)
    texts = [word.text for word in spelt]
    terms: list[Term] = []
    at = 0
    while at < len(spelt):
        kind, value, length = _longest(texts, at)
        if length == 1:
            composed = _composed(texts, at) or _participial(spelt, at)
            kind, value, length = composed or (kind, value, length)
        if length == 1:
            kind, value = _in_context(kind, value, spelt, at)
        if kind != WORD or any(map(str.isalnum, value)):  # else punctuation that says nothing
            terms.append(Term(kind, value, spelt[at].start, spelt[at + length - 1].end))
        at += length
    return terms


def _spelt(words: Sequence[Word]) -> list[Word]:
    corrected: list[Word] = []
    for at, word in enumerate(words):
        spelling = correct(word.text)
        if spelling == word.text or not _fits(spelling, words, at):
            corrected.append(word)
        else:
            corrected.extend(word._replace(text=part) for part in spelling.split())
    return corrected


def _fits(spelling: str, words: Sequence[Word], at: int) -> bool:
    """A noun stands behind an adjective: what stands last is the noun, however it is spelt."""
    kind = kind_of(spelling)
    if kind not in ADJECTIVES and kind != "shade":
        return True
    before = kind_of(words[at - 1].text) if at else ""
    after = kind_of(correct(words[at + 1].text)) if at + 1 < len(words) else ""
    return before == "be" or after in _DESCRIBED


def looks_foreign(words: Sequence[Word]) -> bool:
    """Whether the words are rather of another language: by their script and function words."""
    letters = [letter for word in words for letter in word.text if letter.isalpha()]
    if sum(letter > "\u024f" for letter in letters) * 2 > len(letters):
        return True
    foreign = sum(word.text in listed("foreign") for word in words)
    return foreign > sum(word.text in vocabulary() for word in words)


def _composed(texts: Sequence[str], at: int) -> tuple[str, str, int] | None:
    """Colours with a shade, "…-shaped", "…-coloured": phrases that no list can hold."""
    word = texts[at]
    following = texts[at + 1] if at + 1 < len(texts) else ""
    colours, shade = spellings("colour"), spellings("shade").get(word)
    if shade is not None and following in colours:
        return "colour", f"{shade} {colours[following]}", 2
    if following == "shaped" and kind_of(word) in _SHAPES and texts[at + 2 : at + 3] != ["like"]:
        kind, value, length = _longest(texts, at)
        if length == 1:
            return "shape", value if kind == "shape" else f"{word}-shaped", 2
    if following in {"colored", "coloured", "painted"} and word in colours:
        return "colour", colours[word], 2
    return None


def _participial(words: Sequence[Word], at: int) -> tuple[str, str, int] | None:
    """Hyphenated participles before a noun: "red-roofed", "semi-detached"."""
    if not words[at].hyphen or at + 2 >= len(words):
        return None
    first, second, third = (word.text for word in words[at : at + 3])
    participle = second.endswith("ed") and len(second) > 4 and kind_of(second) in {WORD, "verb"}
    if kind_of(third) in {WORD, "count"} and (participle or kind_of(second) == "orientation"):
        return "shape", f"{first}-{second}", 2
    return None


def _longest(texts: Sequence[str], at: int) -> tuple[str, str, int]:
    """Kind, value and number of words of the longest listed phrase that begins here."""
    for phrase, kind, value in phrases().get(texts[at], ()):
        length = len(phrase)
        if length == 1 or tuple(texts[at : at + length]) == phrase:
            return kind, value, length
    word = texts[at]
    number = _ORDINAL.fullmatch(word)
    if number:
        return "ordinal", str(int(number[1])), 1
    if word.isdecimal() and len(word) < 4:
        return "count", str(int(word)), 1
    return ("shape" if word.endswith("angular") else WORD), word, 1


def _in_context(kind: str, value: str, words: Sequence[Word], at: int) -> tuple[str, str]:
    """What a single word is beside its neighbours."""
    word = words[at]
    following = words[at + 1].text if at + 1 < len(words) else ""
    if kind in _OPEN_COMPOUNDS and word.hyphen and kind_of(following) == WORD:
        return WORD, word.text
    return kind, value


class Cursor:
    """Terms and how far they are read."""

    def __init__(self, text: str, terms: Sequence[Term]) -> None:
        self.text = text
        self._terms = settled(text, terms)
        self._end = Term(END, "", len(text), len(text))
        self.at = 0

    def peek(self, ahead: int = 0) -> Term:
        """The next term, or one behind it; of kind END where there is none."""
        at = self.at + ahead
        return self._terms[at] if at < len(self._terms) else self._end

    @property
    def kind(self) -> str:
        """Of the next term."""
        return self.peek().kind

    @property
    def last_end(self) -> int:
        """Where the term that was read last ends, characters."""
        return self._terms[self.at - 1].end

    def spelling(self, term: Term) -> str:
        """As written."""
        return self.text[term.start : term.end].replace("-", " ")

    def is_of(self) -> bool:
        """Whether "of" is next."""
        return self.kind == "preposition" and self.peek().value == "of"

    def noun_follows(self) -> bool:
        """Whether behind the next term and further adjectives there is a noun."""
        ahead = 1
        while self.peek(ahead).kind in ADJECTIVES or (
            self.peek(ahead).kind == "conjunction" and self.peek(ahead + 1).kind in ADJECTIVES
        ):
            ahead += 1
        return self.peek(ahead).kind == WORD


def settled(text: str, terms: Sequence[Term]) -> list[Term]:
    """Terms whose kind depends on both neighbours."""
    resolved = list(terms)
    for at, term in enumerate(terms):
        before = resolved[at - 1].kind if at else END
        after = terms[at + 1].kind if at + 1 < len(terms) else END
        if term.kind == WORD and _is_verb(text, resolved, at):
            resolved[at] = term._replace(kind="verb")
        elif text[term.start : term.end] == "little" and after == "comparative":
            resolved[at] = term._replace(kind="filler")
        elif term.kind == WORD and term.value.endswith("ly") and after in _QUALIFIED:
            resolved[at] = term._replace(kind="filler")  # "densely built"
        elif term.kind == WORD and _is_adjective(resolved, at):
            kind, value = as_adjective(term.value)
            resolved[at] = term._replace(kind=kind, value=value)
        elif term.value == "right" and after == "relation" and before in {WORD, "be", "state"}:
            resolved[at] = term._replace(kind="filler")  # "right next to"
    return resolved


def _is_verb(text: str, terms: Sequence[Term], at: int) -> bool:
    """Unlisted verbs: "pulling a barge", "ploughed by …", "the hut that stands by …"."""
    if at == 0 or at + 1 == len(terms):
        return False
    word, before, after = terms[at].value, terms[at - 1], terms[at + 1]
    if before.kind == "relative" or (at > 1 and _is_relative_that(text, before, terms[at - 2])):
        return after.kind in {*_PLACING, "article", "filler"}
    if before.kind not in NOUNLIKE:
        return False
    if word.endswith("ing"):
        return after.kind == "article" and text[after.start : after.end] != "that"
    past = len(word) > 5 and word.endswith("ed") and not word.endswith(("eed", "shed", "bed"))
    return past and after.kind in _PLACING


def _is_relative_that(text: str, term: Term, before: Term) -> bool:
    return text[term.start : term.end] == "that" and before.kind in NOUNLIKE


def _is_adjective(terms: Sequence[Term], at: int) -> bool:
    """Unlisted or misspelt ones: "a rusty white ship", "rusty and white", "white and rusty"."""
    kinds = [END, END, *(term.kind for term in terms[max(at - 2, 0) : at + 3]), END, END]
    middle = 2 + min(at, 2)
    two_before, before, _, after, two_after = kinds[middle - 2 : middle + 3]
    joined = before == "conjunction" and two_before in _DESCRIBING
    if after == WORD:
        return joined
    described = joined or before in _DESCRIBING
    if after in _DESCRIBING:
        return (described or before in _OPENING) and _noun_behind(terms, at + 1)
    if after == "conjunction" and two_after in _DESCRIBING and terms[at].value[-1] != "s":
        return (described or before == "article") and _noun_behind(terms, at + 2)
    return False


def _noun_behind(terms: Sequence[Term], at: int) -> bool:
    kinds = (term.kind for term in terms[at:])
    return next((kind for kind in kinds if kind not in ADJECTIVES), END) == WORD
