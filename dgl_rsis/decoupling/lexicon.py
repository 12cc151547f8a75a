"""The closed-class words of `words.toml`.

[ours] all of it.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal

WORD = "word"  # kind of a term that is not listed

# Kinds that describe a noun, and the kind of modifier that they make.
ADJECTIVES: Mapping[str, Literal["attribute", "size", "ordinal", "count"]] = {
    "colour": "attribute",
    "shape": "attribute",
    "material": "attribute",
    "quality": "attribute",
    "size": "size",
    "comparative": "size",
    "ordinal": "ordinal",
    "count": "count",
}


# Phrases that begin with a word: their words, kind and value.
Entries = tuple[tuple[tuple[str, ...], str, str], ...]


@cache
def phrases() -> dict[str, Entries]:
    """First word → phrases with their kind and value, the longest first."""
    known: dict[tuple[str, ...], tuple[str, str]] = {}
    for kind, entries in data().items():
        if kind not in {"spelling", "shade"}:
            for value, spellings in entries.items():
                known.update((tuple(x.split()), (kind, value)) for x in spellings)
    index: dict[str, list[tuple[tuple[str, ...], str, str]]] = {}
    for phrase in sorted(known, key=len, reverse=True):
        index.setdefault(phrase[0], []).append((phrase, *known[phrase]))
    return {word: tuple(entries) for word, entries in index.items()}


@cache
def vocabulary() -> frozenset[str]:
    """Every word of every phrase."""
    words = {word for entries in phrases().values() for phrase, *_ in entries for word in phrase}
    return frozenset(words | set(spellings("shade")))


def kind_of(word: str) -> str:
    """Of the word alone: its table, or WORD."""
    if word in spellings("shade"):
        return "shade"
    return next((kind for phrase, kind, _ in phrases().get(word, ()) if len(phrase) == 1), WORD)


@cache
def spellings(kind: str) -> dict[str, str]:
    """Spelling → canonical value of one table."""
    table: dict[str, list[str]] = data()[kind]
    return {x: value for value, known in table.items() for x in known}


@cache
def listed(table: str) -> frozenset[str]:
    """The words of a table under [spelling]."""
    return frozenset(data()["spelling"][table]["words"])


def may_be_head(word: str) -> bool:
    """Whether this listed adjective or place is a noun when it stands last."""
    return word in listed("heads")


@cache
def data() -> dict[str, Any]:
    """`words.toml`."""
    return tomllib.loads(files("dgl_rsis.decoupling").joinpath("words.toml").read_text("utf-8"))
