"""Sentences: the target's noun phrase, and what the rest of the text says of it.

[ours] all of it. What follows an anchor belongs to the anchor ("the car near the bridge on the
left": the bridge is on the left), up to a comma, an "and" or a finite verb.
"""

from collections.abc import Callable, Sequence

from dgl_rsis.decoupling.lexicon import ADJECTIVES, WORD
from dgl_rsis.decoupling.phrases import (
    Draft,
    Phrase,
    denies_adjective,
    place_value,
    read_phrase,
)
from dgl_rsis.decoupling.terms import END, Cursor, Term
from dgl_rsis.types import Anchor, Decoupled

# "at the top of the X": what a place within the frame means beside a thing.
_BESIDE = {"top": "above", "bottom": "below", "center": "on", "edge": "near", "corner": "near"}
_OPENING = {"relation", "preposition"}
_PHRASES = {
    *(ADJECTIVES.keys() | {WORD, "article", "place", "frame", "media", "partitive", "feature"}),
    *("one", "crossing", "request"),
}
NO_NOUN = "no noun was found: the whole text stands for it"


def read_sentence(text: str, terms: Sequence[Term]) -> Decoupled:
    """Decouple normalised text.

    Args:
        text: normalised.
        terms: of that text.
    """
    reader = _Sentence(text, terms)
    reader.read()
    drafts = sorted(reader.drafts, key=lambda draft: draft.start)
    modifiers = tuple(draft.finish(text) for draft in drafts)
    if reader.target is None:
        reason = reader.refusal or NO_NOUN
        return Decoupled(text, text, modifiers, reason=reason, refused=bool(reader.refusal))
    return Decoupled(
        text,
        reader.target.noun,
        modifiers,
        reader.target.plural,
        reader.refusal,
        refused=bool(reader.refusal),
    )


def _beside(place: str) -> str:
    """The relation of "at the … of the X"; of an unnamed side it is "near"."""
    return _BESIDE.get(place, f"{place.removesuffix('most')} of" if place else "near")


class _Sentence:
    """Reads terms from left to right: first up to the target, then about it."""

    def __init__(self, text: str, terms: Sequence[Term]) -> None:
        self.text = text
        self.cursor = Cursor(text, terms)
        self.drafts: list[Draft] = []
        self.target: Phrase | None = None
        self.ended = False
        self.within = False  # an anchor: what is read speaks of it
        self.copula = False  # "is" was read: a noun phrase describes the target
        self.clause = False  # a new clause began
        self.joint: int | None = None  # drafts before the last conjunction behind the target
        self.extreme = False  # "farthest" was read
        self.refusal = ""  # what is denied that cannot be

    def read(self) -> None:
        while self.cursor.kind != END and self.target is None:
            self._seek()
        while self.cursor.kind != END and not self.ended:
            self._step()

    def _step(self) -> None:
        before = self.cursor.at
        step = _STEPS.get(self.cursor.kind)
        if step is not None:
            step(self)
        if self.cursor.at == before:  # a term that says nothing here
            self.cursor.at += 1

    # ---- up to the target ------------------------------------------------------------------------

    def _seek(self) -> None:
        kind = self.cursor.kind
        before = self.cursor.at
        opens = kind == "request" and self.cursor.peek(1).kind not in {END, "relation", "be"}
        if kind == "negation" and not denies_adjective(self.cursor, self.cursor.peek()):
            self._refuse(self.cursor.peek(), "comes before what is looked for")
        elif kind in _OPENING:
            self._prepositional()
        elif (kind in _PHRASES and not opens) or kind in {"state", "verb", "extreme", "negation"}:
            self._candidate()
        if self.cursor.at == before:
            self.cursor.at += 1

    def _candidate(self) -> None:
        opening = self.cursor.peek()
        phrase = read_phrase(self.cursor)
        if phrase.is_frame and self.cursor.is_of():
            if self._opens_relation(opening, phrase):
                self._framed(phrase, opening)  # "left of the road": no part of it
                return
            self.cursor.at += 1
            self._part(phrase)
        elif phrase.is_media and self.cursor.kind in {"verb", "finite"}:  # "the image shows a …"
            self.cursor.at += 1
        elif phrase.nouns:
            self._settle(phrase)
        elif phrase.places:
            self._position(phrase, phrase.start, phrase.end)
        else:
            self.drafts.extend(phrase.drafts)

    def _opens_relation(self, opening: Term, phrase: Phrase) -> bool:
        part = phrase.framed or phrase.nouns or opening.value.endswith("most")
        return opening.kind == "place" and not part

    def _part(self, part: Phrase) -> None:
        """The whole of a part: "the left part of the X", "an image of an X"."""
        if part.places and not part.is_media:
            self._position(part, part.start, part.end)
        phrase = read_phrase(self.cursor)
        if phrase.nouns and not phrase.is_frame:
            if part.places and not part.framed:  # "the leftmost of the two"
                phrase.single = True
                phrase.drafts = [x for x in phrase.drafts if x.kind != "count"]
            self._settle(phrase)

    def _settle(self, phrase: Phrase) -> None:
        self.target, self.joint = phrase, None
        self.drafts.extend(phrase.drafts)

    # ---- about the target ------------------------------------------------------------------------

    def _prepositional(self) -> None:
        """A preposition and its phrase: a relation, or a position in the frame."""
        opening = self.cursor.peek()
        self.cursor.at += 1
        self.copula = False
        while self.cursor.kind in {"filler", "extreme"}:
            self.extreme |= self.cursor.kind == "extreme"
            self.cursor.at += 1
        if self.cursor.kind == "pronoun":  # "next to it"
            self.cursor.at += 1
            return
        phrase = read_phrase(self.cursor)
        phrase.extreme |= self.extreme or opening.value == "closest to"
        self.extreme = False
        if phrase.is_frame:
            self._framed(phrase, opening)
        elif phrase.nouns or phrase.one:
            self._related(opening.start, self._relation(opening, phrase), phrase)
        elif phrase.feature and self.cursor.is_of():
            self._shaped(opening)
        else:  # "in white", "of small size", but not "of the two"
            self.drafts.extend(draft for draft in phrase.drafts if draft.kind != "count")
        if self.text[opening.start : opening.end] == "whose":
            self._skip_predicate()

    def _shaped(self, opening: Term) -> None:
        """A thing for a shape: "in the shape of a cross"."""
        self.cursor.at += 1
        phrase = read_phrase(self.cursor)
        if phrase.nouns:
            value, end = f"{phrase.noun}-shaped", self.cursor.last_end
            self.drafts.append(Draft("attribute", value, opening.start, end))

    def _relation(self, opening: Term, phrase: Phrase) -> str:
        """What a preposition says; empty for one that says nothing of where."""
        if opening.kind == "relation":
            return opening.value
        if opening.value == "of":  # "the roof of the house", "a field of panels"
            return "on" if phrase.definite else "with"
        closest = self.target is not None and self.target.closest is not None
        return "closest to" if opening.value == "to" and closest and not self.within else ""

    def _framed(self, phrase: Phrase, opening: Term) -> None:
        """A place: "on the left" of the image, or of a thing that follows."""
        start = opening.start
        if self.cursor.is_of():
            self.cursor.at += 1
            whole = read_phrase(self.cursor)
            if (whole.nouns or whole.one) and not whole.is_frame:
                self._related(start, _beside(place_value(phrase.places)), whole)
                return
        if opening.value == "from":
            self._count_from(phrase)
        elif phrase.places:
            self._position(phrase, start, self.cursor.last_end)

    def _position(self, phrase: Phrase, start: int, end: int) -> None:
        value = place_value(phrase.places, extreme=phrase.extreme)
        self.drafts.append(Draft("position", value, start, end))

    def _count_from(self, phrase: Phrase) -> None:
        """From where an ordinal counts: "from the left", perhaps "to the right"."""
        side = place_value(phrase.places)
        if self.cursor.kind == "preposition" and self.cursor.peek().value == "to":
            self.cursor.at += 1
            read_phrase(self.cursor)
        ordinals = [x for x in self.drafts if x.kind == "ordinal" and " " not in x.value]
        if ordinals and side in {"left", "right", "top", "bottom"}:
            ordinals[-1].value += f" from {side}"
            ordinals[-1].end = self.cursor.last_end

    def _related(self, start: int, value: str, phrase: Phrase) -> None:
        anchors = self._anchors(value, phrase)
        if value and anchors and not self._is_its_group(start, anchors[0]):
            self.drafts.append(Draft("relation", value, start, self.cursor.last_end, anchors))

    def _is_its_group(self, start: int, anchor: Anchor) -> bool:
        """Whether it is what the target is one of: "the biggest plane of the planes"."""
        of = self.text.startswith("of ", start)
        return of and self.target is not None and anchor.noun == self.target.noun

    def _anchors(self, value: str, phrase: Phrase) -> tuple[Anchor, ...]:
        """The phrase and those that "and" adds, each with what follows it."""
        anchors = [self._anchor(phrase)]
        while self.cursor.kind == "conjunction" and (not self.within or value == "between"):
            before = self.cursor.at
            joint = self.cursor.peek().value
            self.cursor.at += 1
            further = read_phrase(self.cursor)
            if not self._continues(joint, further):
                self.cursor.at = before
                break
            anchors.append(self._anchor(further))
        return tuple(anchor for anchor in anchors if anchor.noun)

    def _continues(self, joint: str, further: Phrase) -> bool:
        """Whether this is one anchor more, and not a new clause or an apposition."""
        if not further.nouns or further.is_frame or self._is_predicate():
            return False
        listed = self.cursor.kind == "conjunction" and self.cursor.peek().value == "and"
        return joint == "and" or (joint == "comma" and listed)

    def _is_predicate(self) -> bool:
        """Whether a finite verb comes next: what was read is the subject of a clause."""
        term = self.cursor.peek()
        if term.kind == "verb":
            return term.end > term.start and self.text[term.end - 1] == "s"
        return term.kind in {"be", "finite", "existential"}

    def _anchor(self, phrase: Phrase) -> Anchor:
        if not self.within:
            self._absorb()
        noun = phrase.noun or (self.target.noun if self.target else "")
        return Anchor(self.text[phrase.start : self.cursor.last_end], noun)

    def _absorb(self) -> None:
        """Read past what speaks of an anchor."""
        kept, self.drafts, self.within = self.drafts, [], True
        while self._belongs():
            self._step()
        self.drafts, self.within = kept, False

    def _belongs(self) -> bool:
        """Whether a description follows; the cursor is then moved to its preposition."""
        ahead, clause = 0, False
        while self._leads_on(self.cursor.peek(ahead), clause=clause):
            clause |= self.cursor.peek(ahead).kind == "relative"
            ahead += 1
        describes = self.cursor.peek(ahead).kind in {*_OPENING, "place", "orientation"}
        if describes:
            self.cursor.at += ahead
        return describes

    def _leads_on(self, term: Term, *, clause: bool) -> bool:
        if term.kind == "verb":
            return clause or self.text[term.end - 1] != "s"
        denied = term.kind == "negation" and term.value == "not"
        if denied or term.kind == "be":
            return clause
        return term.kind in {"state", "filler", "relative"}

    def _phrase(self) -> None:
        """A noun phrase behind the target: a predicate, a place, or something else."""
        copula, clause = self.copula, self.clause
        self.copula = self.clause = False
        opening = self.cursor.peek()
        phrase = read_phrase(self.cursor)
        phrase.extreme |= self.extreme
        target = self.target
        named = (copula or clause) and target is not None and phrase.noun == target.noun
        same = phrase.one or named
        if phrase.is_frame:
            self.extreme = False
            self._framed(phrase, opening)
        elif not phrase.nouns or same or (copula and not self._is_predicate()):
            self.drafts.extend(phrase.drafts)
        elif clause or self._is_predicate():
            self.ended = True

    def _crossing(self) -> None:
        if self.cursor.peek(1).kind in {"article", "count"}:
            self._finite()
        else:
            self._phrase()

    def _finite(self) -> None:
        """A verb that states a relation: "has a crane", "crosses the river"."""
        verb = self.cursor.peek()
        self.cursor.at += 1
        phrase = read_phrase(self.cursor)
        if phrase.nouns and not phrase.is_frame:
            self._related(verb.start, verb.value, phrase)

    def _orientation(self) -> None:
        """What a thing looks to: "facing the sea"; "facing left" is not on the left."""
        verb = self.cursor.peek()
        self.cursor.at += 1
        while self.cursor.kind in {"filler", *_OPENING}:
            self.cursor.at += 1
        phrase = read_phrase(self.cursor)
        if phrase.nouns and not phrase.is_frame:
            self._related(verb.start, verb.value, phrase)

    def _than(self) -> None:
        """What a comparative compares with."""
        self.cursor.at += 1
        phrase = read_phrase(self.cursor)
        if not phrase.nouns and not phrase.one:
            return
        anchor = self._anchor(phrase)
        drafts = [draft for draft in self.drafts if draft.compares]
        if drafts and anchor.noun:
            drafts[-1].anchors = (anchor,)
            drafts[-1].end = self.cursor.last_end

    def _equal(self) -> None:
        term = self.cursor.peek()
        self.cursor.at += 1
        phrase = read_phrase(self.cursor)
        if phrase.nouns or phrase.one:
            anchor = self._anchor(phrase)
            draft = Draft("size", term.value, term.start, self.cursor.last_end, (anchor,))
            self.drafts.append(draft)

    def _skip_predicate(self) -> None:
        while self.cursor.kind in {"be", "filler", *ADJECTIVES}:
            self.cursor.at += 1

    def _be(self) -> None:
        self.copula = True

    def _conjunction(self) -> None:
        if self._excepts():
            self._denied(_Sentence._except)
            return
        self.joint = len(self.drafts)
        self.clause = self.cursor.peek().value == "stop"
        self.copula &= not self.clause

    # ---- what is denied --------------------------------------------------------------------------

    def _negation(self) -> None:
        """A modifier that is denied: it is measured, and counts the other way round."""
        self._denied(_DENIALS[self.cursor.peek().value])

    def _excepts(self) -> bool:
        """Whether "but" leaves out some of all: "all ships but the one on the left"."""
        before = self.cursor.at
        every = any(draft.kind == "count" and draft.value == "all" for draft in self.drafts)
        if not every or self._word(self.cursor.peek()) != "but":
            return False
        self.cursor.at += 1
        one = read_phrase(self.cursor).one
        self.cursor.at = before
        return one

    def _denied(self, read: "Callable[[_Sentence, Term], None]") -> None:
        term = self.cursor.peek()
        self.cursor.at += 1
        kept, self.drafts = self.drafts, []
        read(self, term)
        denied, self.drafts = self.drafts, kept
        if not denied:
            self._refuse(term, "denies what cannot be measured")
        elif len(denied) > 1 and not self._either(denied):
            self._refuse(term, "denies several things at once")
        for draft in denied:
            draft.start, draft.negated = min(draft.start, term.start), True
        self.drafts += denied

    def _refuse(self, term: Term, why: str) -> None:
        self.refusal = f"{self._word(term)!r} {why}: say what it is, not what it is not"

    def _either(self, drafts: Sequence[Draft]) -> bool:
        """Whether "or" joins them: each of them is denied then."""
        between = self.text[drafts[0].end : drafts[-1].end].split()
        return "or" in between or "nor" in between

    def _deny(self, _term: Term) -> None:
        """What it is not: "not in the harbor", "not red or blue"."""
        self._denied_step()
        while self.cursor.kind == "conjunction" and self._word(self.cursor.peek()) == "or":
            self.cursor.at += 1
            self._denied_step()

    def _denied_step(self) -> None:
        while self.cursor.kind in {"filler", "state", "verb"}:  # "not parked at the gate"
            self.cursor.at += 1
        if self.cursor.kind not in {END, "conjunction"}:
            self._step()

    def _lack(self, term: Term) -> None:
        """Things that it is not with: "without trees or huts". What follows is not said of them."""
        anchors: list[Anchor] = []
        while (phrase := read_phrase(self.cursor)).nouns and not phrase.is_frame:
            anchors.append(Anchor(self.text[phrase.start : phrase.end], phrase.noun))
            if self.cursor.kind != "conjunction" or self.cursor.peek().value != "and":
                break
            self.cursor.at += 1
        if anchors:
            end = self.cursor.last_end
            self.drafts.append(Draft("relation", "with", term.start, end, tuple(anchors)))

    def _except(self, _term: Term) -> None:
        """Some of them: "except the white one", "other than those on the left"."""
        phrase = read_phrase(self.cursor)
        same = phrase.one or (self.target is not None and phrase.noun == self.target.noun)
        if phrase.nouns and not same:
            return
        self.drafts.extend(draft for draft in phrase.drafts if draft.kind != "count")
        while self.cursor.kind not in {END, "conjunction"}:
            self._step()

    def _word(self, term: Term) -> str:
        return self.text[term.start : term.end]

    def _existential(self) -> None:
        """Something else: "… and on the right there is a harbor"."""
        if self.joint is not None:
            del self.drafts[self.joint :]
        self.ended = True

    def _farthest(self) -> None:
        self.extreme = True


_STEPS: dict[str, Callable[[_Sentence], None]] = {
    **dict.fromkeys(_OPENING, _Sentence._prepositional),
    **dict.fromkeys(_PHRASES, _Sentence._phrase),
    "crossing": _Sentence._crossing,
    "finite": _Sentence._finite,
    "orientation": _Sentence._orientation,
    "than": _Sentence._than,
    "equal": _Sentence._equal,
    "be": _Sentence._be,
    "conjunction": _Sentence._conjunction,
    "negation": _Sentence._negation,
    "existential": _Sentence._existential,
    "extreme": _Sentence._farthest,
}
_DENIALS: dict[str, Callable[[_Sentence, Term], None]] = {
    "not": _Sentence._deny,
    "non": _Sentence._deny,
    "without": _Sentence._lack,
    "except": _Sentence._except,
}
