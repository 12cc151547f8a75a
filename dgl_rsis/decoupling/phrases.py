"""Noun phrases: terms → the noun with its compounds, and what stands before it.

[ours] all of it. One pass from left to right; a phrase ends at the first term that cannot belong to
it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dgl_rsis.decoupling.lexicon import ADJECTIVES, WORD, may_be_head
from dgl_rsis.decoupling.terms import NOUNLIKE, Cursor, Term
from dgl_rsis.names import singular
from dgl_rsis.types import Anchor, Modifier, ModifierKind

_SIDES = (("top", "bottom"), ("left", "right"))


@dataclass
class Draft:
    """A modifier that later terms may still complete; start and end are characters."""

    kind: ModifierKind
    value: str
    start: int
    end: int
    anchors: tuple[Anchor, ...] = ()
    negated: bool = False

    @property
    def compares(self) -> bool:
        """Whether it is a comparative that has nothing to compare with yet."""
        return self.kind == "size" and self.value.endswith("er") and not self.anchors

    def finish(self, text: str) -> Modifier:
        """The modifier; a comparative that compares with nothing means the extreme one."""
        value = f"{self.value[:-1]}st" if self.compares else self.value
        return Modifier(self.kind, text[self.start : self.end], value, self.anchors, self.negated)


@dataclass
class Phrase:
    """A noun phrase, or what there is of one.

    Attributes:
        nouns: the head with its compounds.
        drafts: what its adjectives, numbers and places make.
        places: "upper", "left", … in it.
        start, end: characters, without the article.
        definite: an article or a number opens it.
        framed: it has a "side" or "part": its places lie there, it is no thing.
        feature: "colour", "size": what its adjectives speak of.
        one: "one", "ones": stands for the noun of the target.
        of_several: "two of the …", "the largest of the …".
        single: … and it is one of them.
        extreme: "the farthest …".
        closest: "the closest …", which a later "to the …" completes.
        denial: "non" in "non-white", until the adjective comes that it denies.
    """

    nouns: list[Term] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)
    places: list[Term] = field(default_factory=list)
    start: int = -1
    end: int = -1
    definite: bool = False
    framed: bool = False
    feature: bool = False
    one: bool = False
    of_several: bool = False
    single: bool = False
    extreme: bool = False
    closest: Term | None = None
    denial: Term | None = None

    @property
    def noun(self) -> str:
        """Lower case, singular; empty where there is none."""
        *compounds, head = [term.value for term in self.nouns] or [""]
        return " ".join([*compounds, singular(head)])

    @property
    def plural(self) -> bool:
        """Whether it speaks of more than one."""
        head = self.nouns[-1].value
        counted = any(x.kind == "count" and x.value != "1" for x in self.drafts)
        return not self.single and (counted or singular(head) != head)

    @property
    def is_media(self) -> bool:
        """Whether it is the image itself: "the satellite image"."""
        return bool(self.nouns) and self.nouns[-1].kind == "media"

    @property
    def is_frame(self) -> bool:
        """Whether it is a part of the image, not a thing."""
        if not self.nouns:
            return bool(self.places) or self.framed
        return self.is_media or (len(self.nouns) == 1 and self.nouns[0].kind == "frame")


def place_value(places: Sequence[Term], *, extreme: bool = False) -> str:
    """One canonical position of all place words of a phrase; empty where there is none.

    "upper" and "left" are "top left"; a side says more than "middle", "edge" and "corner".
    """
    named = " ".join(place.value for place in places).split()
    most = next((x for x in named if x.endswith("most")), "")
    if most:
        return most
    sides = [next((x for x in named if x in pair), "") for pair in _SIDES]
    value = " ".join(side for side in sides if side)
    if extreme and value and " " not in value:
        return f"{value}most"
    return value or next(iter(named), "")


def read_phrase(cursor: Cursor) -> Phrase:
    """The noun phrase at the cursor, which then stands behind it; nothing read where none is."""
    phrase = Phrase()
    while True:
        term = cursor.peek()
        take = _TAKE.get(term.kind)
        if take is None or not take(cursor, phrase, term):
            break
        cursor.at += 1
        if phrase.start < 0 and (term.kind != "article" or term.value == "other"):
            phrase.start = term.start
        phrase.end = cursor.last_end
    _close(cursor, phrase)
    return phrase


def _close(cursor: Cursor, phrase: Phrase) -> None:
    """What only the whole phrase tells."""
    if not phrase.nouns and not phrase.framed:
        last = phrase.drafts[-1] if phrase.drafts and phrase.definite else None
        if last and may_be_head(cursor.text[last.start : last.end]):  # "the square"
            phrase.drafts.pop()
            value = cursor.text[last.start : last.end]
            phrase.nouns.append(Term(WORD, value, last.start, last.end))
    if phrase.nouns and phrase.places:
        first, last_place = phrase.places[0], phrase.places[-1]
        value = place_value(phrase.places, extreme=phrase.extreme)
        phrase.drafts.append(Draft("position", value, first.start, last_place.end))


def _take_article(_cursor: Cursor, phrase: Phrase, _term: Term) -> bool:
    if phrase.nouns or phrase.places or any(x.kind != "count" for x in phrase.drafts):
        return phrase.of_several and not phrase.nouns
    phrase.definite = True
    return True


def _take_filler(_cursor: Cursor, phrase: Phrase, _term: Term) -> bool:
    return not phrase.nouns


def _take_adjective(cursor: Cursor, phrase: Phrase, term: Term) -> bool:
    if phrase.nouns:
        spelling = cursor.spelling(term)
        if spelling.isdecimal() or may_be_head(spelling):  # "terminal 2", "town square"
            phrase.nouns.append(Term(WORD, spelling, term.start, term.end))
            return True
        if not cursor.noun_follows():
            return False
    if term.kind == "count":
        return _take_count(cursor, phrase, term)
    _describe(phrase, Draft(ADJECTIVES[term.kind], term.value, term.start, term.end))
    return True


def _describe(phrase: Phrase, draft: Draft) -> None:
    """Take an adjective, and with it the "non" that stands before it."""
    if phrase.denial is not None:
        draft.start, draft.negated, phrase.denial = phrase.denial.start, True, None
    phrase.drafts.append(draft)


def _take_negation(cursor: Cursor, phrase: Phrase, term: Term) -> bool:
    """Before an adjective: "the non-white car"; an unlisted one has its noun behind it."""
    if phrase.nouns or not denies_adjective(cursor, term):
        return False
    phrase.denial = term
    return True


def denies_adjective(cursor: Cursor, term: Term) -> bool:
    """Whether the term, at the cursor, denies the adjective behind it."""
    if term.kind != "negation" or term.value not in {"non", "not"}:
        return False
    ahead = 1
    while cursor.peek(ahead).kind == "filler":  # "not so large"
        ahead += 1
    after = cursor.peek(ahead).kind
    listed = after in ADJECTIVES and after != "count"
    unlisted = term.value == "non" and after == WORD and cursor.peek(2).kind in NOUNLIKE
    return listed or unlisted


def _take_count(cursor: Cursor, phrase: Phrase, term: Term) -> bool:
    after = cursor.peek(1).kind
    if term.value == "1" and after not in {*NOUNLIKE, *ADJECTIVES, "place", "state", "verb"}:
        phrase.one = cursor.peek(1).value != "of"
        if phrase.one:
            return True
    phrase.definite = True
    if not phrase.of_several:  # of "two of the five" the first counts
        phrase.drafts.append(Draft("count", term.value, term.start, term.end))
    return True


def _take_place(cursor: Cursor, phrase: Phrase, term: Term) -> bool:
    spelling = cursor.spelling(term)
    if phrase.nouns:
        if may_be_head(spelling):  # "shopping center", "forest edge"
            phrase.nouns.append(Term(WORD, spelling, term.start, term.end))
            return True
        if cursor.peek(1).kind != WORD:
            return False
    elif term.value in {"edge", "corner"} and cursor.peek(1).kind == WORD:  # "corner house"
        phrase.nouns.append(Term(WORD, spelling, term.start, term.end))
        return True
    phrase.places.append(term)
    return True


def _take_word(cursor: Cursor, phrase: Phrase, term: Term) -> bool:
    if phrase.denial is not None:  # "non-residential building"
        _describe(phrase, Draft("attribute", cursor.spelling(term), term.start, term.end))
        return True
    phrase.nouns.append(term._replace(value=cursor.spelling(term)))
    return True


def _take_frame(cursor: Cursor, phrase: Phrase, term: Term) -> bool:
    after = cursor.peek(1)
    if not phrase.nouns and (phrase.places or after.value == "of"):
        phrase.framed = True  # "left side pier", "the side of"
        return True
    return _take_word(cursor, phrase, term)


def _take_partitive(cursor: Cursor, phrase: Phrase, term: Term) -> bool:
    if phrase.nouns or cursor.peek(1).value != "of":
        return _take_word(cursor, phrase, term)
    phrase.drafts.clear()  # they speak of the group
    cursor.at += 1
    return True


def _take_feature(cursor: Cursor, phrase: Phrase, term: Term) -> bool:
    compound = cursor.peek(1).kind in NOUNLIKE
    if phrase.nouns or (compound and not phrase.drafts):
        return _take_word(cursor, phrase, term)
    phrase.feature = not compound  # "a red colour car" is red
    return True


def _take_crossing(cursor: Cursor, phrase: Phrase, term: Term) -> bool:
    if phrase.nouns and cursor.peek(1).kind in {"article", "count"}:
        return False
    return _take_word(cursor, phrase, term)


def _take_verb(cursor: Cursor, phrase: Phrase, term: Term) -> bool:
    opened = phrase.start >= 0 or phrase.definite
    compound = cursor.peek(1).kind in NOUNLIKE  # "landing strip"
    head = opened and not phrase.nouns and not phrase.places  # "the parking"
    if cursor.spelling(term).endswith("ing") and (compound or head):
        return _take_word(cursor, phrase, term)
    return False


def _take_state(_cursor: Cursor, phrase: Phrase, _term: Term) -> bool:
    return not phrase.nouns


def _take_one(_cursor: Cursor, phrase: Phrase, _term: Term) -> bool:
    phrase.one = not phrase.nouns
    return phrase.one


def _take_conjunction(cursor: Cursor, phrase: Phrase, term: Term) -> bool:
    """Only between what stands before a noun: "red and white", "white, rectangular"."""
    after = cursor.peek(1).kind
    if phrase.nouns or term.value == "stop":
        return False
    if phrase.places:
        return term.value == "and" and after == "place"
    return bool(phrase.drafts) and after in ADJECTIVES


def _take_of(_cursor: Cursor, phrase: Phrase, term: Term) -> bool:
    """Before a group: "two of the", "the largest of the", "one of the"."""
    if term.value != "of" or phrase.nouns or phrase.places or not phrase.drafts:
        return False
    last = phrase.drafts[-1]
    if last.kind == "attribute" or (last.kind == "size" and not last.value.endswith(("er", "est"))):
        return False
    phrase.of_several = True
    phrase.single = last.kind != "count" or last.value == "1"
    return True


def _take_genitive(cursor: Cursor, phrase: Phrase, term: Term) -> bool:
    """An owner: "the ship's deck" is on the ship."""
    if not cursor.spelling(term).startswith("'") or not phrase.nouns:
        return False
    ahead = cursor.peek(2) if cursor.peek(1).kind in {"place", "verb"} else cursor.peek(1)
    if ahead.kind not in NOUNLIKE and not cursor.noun_follows():
        return False
    owner = Anchor(cursor.text[phrase.start : phrase.end], phrase.noun)
    phrase.drafts = [Draft("relation", "on", phrase.start, term.end, (owner,))]
    phrase.nouns, phrase.places = [], []
    return True


def _take_closest(cursor: Cursor, phrase: Phrase, term: Term) -> bool:
    after = cursor.peek(1).kind
    if term.value != "closest to" or phrase.nouns or after not in NOUNLIKE | ADJECTIVES.keys():
        return False
    phrase.closest = term
    return phrase.definite


def _take_extreme(cursor: Cursor, phrase: Phrase, _term: Term) -> bool:
    phrase.extreme = not phrase.nouns and cursor.peek(1).kind == "place"
    return phrase.extreme


_TAKE: dict[str, Callable[[Cursor, Phrase, Term], bool]] = {
    **dict.fromkeys(ADJECTIVES, _take_adjective),
    "article": _take_article,
    "filler": _take_filler,
    "place": _take_place,
    WORD: _take_word,
    "media": _take_word,
    "request": _take_word,
    "frame": _take_frame,
    "partitive": _take_partitive,
    "feature": _take_feature,
    "crossing": _take_crossing,
    "verb": _take_verb,
    "orientation": _take_verb,
    "state": _take_state,
    "one": _take_one,
    "conjunction": _take_conjunction,
    "preposition": _take_of,
    "be": _take_genitive,
    "relation": _take_closest,
    "negation": _take_negation,
    "extreme": _take_extreme,
}
