"""Remote-sensing knowledge in the text: labels → phrases → prompts.

[paper] "knowledge-guided prompt engineering". [ours] the data (`knowledge.toml`), the merging of a
user's synonyms, the head nouns of labels with qualifiers, and the background: what else one sees
from above, less what the labels cover.
"""

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from dgl_rsis.caching import kept
from dgl_rsis.decoupling.heads import denied, heads
from dgl_rsis.names import names_background, normal_name
from dgl_rsis.types import Extent, Label, Tie

BACKGROUND = "background"


@dataclass(frozen=True)
class ClassPhrases:
    """How one class is asked for.

    Attributes:
        label: the label; for the implicit background a label of that name.
        phrases: at least one; the class's probability is that of its best phrase.
        extents: of each phrase, how wide the smallest and the largest things of that name are,
            metres; None where nobody knows.
        largest: of each phrase, how wide the things that it names can be, metres; None for what is
            no thing that a place may lack, as land is none.
    """

    label: Label
    phrases: tuple[str, ...]
    extents: tuple[Extent | None, ...]
    largest: tuple[float | None, ...]


def phrases(labels: Sequence[Label], *, enrich: bool = True) -> tuple[ClassPhrases, ...]:
    """The phrases of each label, then of the background when the labels leave room for one.

    Args:
        labels: the vocabulary.
        enrich: add the project's knowledge; without it each label is its name and the user's
            synonyms, and there is no implicit background.

    Returns:
        One entry a label, in order; where no label is a background and some of the surroundings
        that one sees from above are covered by no label, one entry more, with `background` set.
    """
    if not enrich:
        return tuple(_class(x, _unique([x.name, *x.synonyms])) for x in labels)
    covered = _covered(labels)
    remaining = [name for name in _knowledge()["background"] if name not in covered]
    if remaining:
        remaining += [name for name in _knowledge()["distractors"] if name not in covered]
    surroundings = _unique([p for name in remaining for p in _classes()[name]["phrases"]])
    asked = [_class(x, _background(x, surroundings) if x.background else _own(x)) for x in labels]
    if surroundings and not any(x.background for x in labels):
        asked.append(_class(Label(BACKGROUND, background=True), surroundings))
    return tuple(asked)


def _class(label: Label, words: tuple[str, ...]) -> ClassPhrases:
    """A phrase that no table has is as wide as its label says."""
    own = "" if label.background else label.name
    return ClassPhrases(
        label,
        words,
        tuple(extent(word) or extent(own) for word in words),
        tuple(largest(word) or largest(own) for word in words),
    )


def extent(name: str) -> Extent | None:
    """How wide the smallest and the largest usual things of a name are, metres; None if unknown."""
    widths = _table(name).get("metres")
    return (float(widths[0]), float(widths[1])) if widths else None


def largest(name: str) -> float | None:
    """How wide a thing of a name can be, metres; None for what is no such thing."""
    most = _table(name).get("largest")
    return None if most is None else float(most)


def _table(name: str) -> dict[str, Any]:
    """The table of a name or a phrase; empty where there is none."""
    entry = _named(name) or _by_phrase().get(name) or next(iter(_entries(name)), None)
    table: dict[str, Any] = _classes()[entry] if entry else {}
    return table


def ties(asked: ClassPhrases) -> tuple[dict[str, Tie], ...]:
    """What spectral indices say of each phrase: index → threshold and softness; mostly nothing.

    A phrase that no table has is tied as its label is.
    """
    own = {} if asked.label.background else _tied(asked.label.name)
    return tuple(_tied(phrase) or own for phrase in asked.phrases)


def _tied(name: str) -> dict[str, Tie]:
    ties = _table(name).get("evidence", {})
    return {index: (float(tie[0]), float(tie[1])) for index, tie in ties.items()}


def templates() -> tuple[str, ...]:
    """Sentences with a `{c}` where the phrase goes."""
    return tuple(_knowledge()["templates"])


def prompts(phrase: str) -> tuple[str, ...]:
    """The phrase in every template."""
    return tuple(template.format(c=phrase) for template in templates())


def words(name: str) -> tuple[str, ...]:
    """Everything that the class of this very name is called; the name alone when there is none."""
    entry = _named(name)
    if entry is None:
        return (_spaced(name),)
    return _unique([*_classes()[entry]["phrases"], *_classes()[entry]["names"]])


def unasked(label: Label, *, closed: bool) -> str:
    """Why no mask can be made for a label; "" where one can.

    Args:
        label: of the vocabulary.
        closed: the model knows no words but those of images that it has seen
            (`dgl_rsis.weights.identity.is_closed`); others may know any word.
    """
    if label.background:
        return ""
    names = (label.name, *label.synonyms)
    if _denies(label.name) and not label.synonyms:
        return f"{denied(label.name)!r} says what a thing is not: name what is there instead"
    entries = [entry for name in names for entry in _entries(name)]
    if not closed or any(not _classes()[entry].get("unseen") for entry in entries):
        return ""
    if entries:
        return "no image that the starter weights learnt from shows any: load real weights"
    return "the starter weights have no word of it: give it synonyms, or load real weights"


def known_names() -> tuple[str, ...]:
    """All names of all tables, lower case, single spaces."""
    return tuple(name for data in _classes().values() for name in _names(data))


def is_known(name: str) -> bool:
    """Whether a name, or the head noun of it, has a table."""
    return bool(_entries(name))


def named(noun: str, labels: Sequence[Label]) -> str | None:
    """The label that a noun names: by the label's own words first, then by the project's."""
    for label in labels:
        if normal_name(noun) in {normal_name(word) for word in (label.name, *label.synonyms)}:
            return label.name
    for entry in _entries(noun):
        for label in labels:
            if any(entry in _entries(word) for word in (label.name, *label.synonyms)):
                return label.name
    return None


def means(name: str, other: str) -> bool:
    """Whether what one name says is the class of the other, or a part of it.

    "house" means building, "grass" means vegetation, but vegetation does not mean grass.
    """
    if normal_name(name) == normal_name(other):
        return True
    entries = _entries(name)
    return bool(entries) and _covered([Label(other)]).issuperset(entries)


def rivals(nouns: Sequence[str]) -> tuple[str, ...]:
    """One phrase for every known class that none of the nouns means, contains or is part of."""
    meant = _covered([Label(noun) for noun in nouns])
    return tuple(
        entry["phrases"][0]
        for name, entry in _classes().items()
        if name not in meant
        and not meant & set(entry.get("covers", ()))
        and not entry.get("unseen")
    )


def _own(label: Label) -> tuple[str, ...]:
    known = [phrase for entry in _entries(label.name) for phrase in _classes()[entry]["phrases"]]
    # CLIP reads over a denial: "non building" is most like a building.
    name = () if _denies(label.name) and label.synonyms else (_spaced(label.name),)
    return _unique([*name, *label.synonyms, *known])


def _background(label: Label, surroundings: Sequence[str]) -> tuple[str, ...]:
    """The user's words and the surroundings; "background" itself looks like nothing."""
    name = () if names_background(label.name) else (_spaced(label.name),)
    return _unique([*name, *label.synonyms, *surroundings]) or (BACKGROUND,)


def _covered(labels: Sequence[Label]) -> set[str]:
    """Tables that the labels mean or contain, by their names and their synonyms."""
    meant = {entry for x in labels for word in (x.name, *x.synonyms) for entry in _entries(word)}
    return meant | {c for entry in meant for c in _classes()[entry].get("covers", ())}


@kept(4 * 2**20)  # some 8,000 names
def _entries(name: str) -> tuple[str, ...]:
    """The tables of what a name means: the one of the name itself, else those of its heads.

    "residential building" is a building, "shrub & scrub" both; "water tower" is no water, and what
    a name denies it does not mean.
    """
    if entry := _named(name):
        return (entry,)
    if _denies(name):
        return ()
    tables = (next(filter(None, map(_named, each)), None) for each in heads(name))
    return tuple(dict.fromkeys(table for table in tables if table))


def _denies(name: str) -> bool:
    return not _named(name) and bool(denied(name))


def _named(name: str) -> str | None:
    """The table of this very name; DIOR writes its names without spaces."""
    return _by_name().get(normal_name(name).replace(" ", ""))


def _names(table: dict[str, Any]) -> list[str]:
    return [*table["names"], *table.get("also", ())]


def _spaced(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").split()).lower()


def _unique(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in words if word))


def fingerprint() -> str:
    """SHA-256 of the data, hexadecimal: other words are another model."""
    return hashlib.sha256(_text().encode()).hexdigest()


def _text() -> str:
    return files("dgl_rsis.classes").joinpath("knowledge.toml").read_text("utf-8")


@cache
def _knowledge() -> dict[str, Any]:
    return tomllib.loads(_text())


def _classes() -> dict[str, Any]:
    tables: dict[str, Any] = _knowledge()["classes"]
    return tables


@cache
def _by_name() -> dict[str, str]:
    return {
        normal_name(n).replace(" ", ""): entry
        for entry, data in _classes().items()
        for n in _names(data)
    }


@cache
def _by_phrase() -> dict[str, str]:
    """The first table of each phrase."""
    tables = reversed(_classes().items())
    return {phrase: entry for entry, data in tables for phrase in data["phrases"]}
