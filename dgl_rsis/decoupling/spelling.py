"""Typing errors in the words of `words.toml`; any other word may be a noun and is left alone.

[ours] all of it.
"""

from functools import cache

from dgl_rsis.caching import kept
from dgl_rsis.decoupling.lexicon import WORD, data, kind_of, listed, spellings, vocabulary

# Kinds of words whose errors are worth undoing: those that say what and where.
_CORRECTED = {
    *("colour", "shade", "shape", "size", "comparative"),
    *("place", "relation", "ordinal", "media"),
}


@kept(8 * 2**20)  # some 30,000 words
def correct(word: str) -> str:
    """The listed word that was meant; the word itself when it is listed or like none.

    One slip of the finger: two letters swapped, one doubled, undoubled or left out, one too many or
    a wrong one. Never the first letter ("tower" is not "lower"), and never another ending
    ("borders"). Four letters are too few for the last three.
    """
    if word in vocabulary() or word in listed("foreign"):
        return word
    frequent = data()["spelling"]["errors"].get(word)
    if frequent is not None:
        return str(frequent)
    if len(word) < 4 or not word.isalpha() or word in listed("lookalikes"):
        return word
    near = [known for known in _by_initial().get(word[0], ()) if _is_slip(word, known)]
    return near[0] if near else word


def as_adjective(word: str) -> tuple[str, str]:
    """Kind and value of a word that stands where only an adjective can.

    There shorter words may be meant too, since nothing else can: "grty" is grey.
    """
    for kind in ("colour", "shape", "size"):
        for known, value in spellings(kind).items():
            if word[0] == known[0] and _is_slip(word, known, shortest=3):
                return kind, value
    return "colour", word


def _is_slip(typed: str, meant: str, *, shortest: int = 5) -> bool:
    """Whether one slip lies between them; a word under `shortest` letters is swapped or doubled."""
    longer = len(typed) - len(meant)
    if abs(longer) > 1 or _is_ending(typed, meant):
        return False
    first = next(
        (at for at, (a, b) in enumerate(zip(typed, meant, strict=False)) if a != b),
        min(len(typed), len(meant)),
    )  # where they begin to differ
    if longer == 0:
        swapped = typed[first : first + 2] == meant[first : first + 2][::-1]
        if swapped and typed[first + 2 :] == meant[first + 2 :]:
            return True
        return len(meant) >= shortest and typed[first + 1 :] == meant[first + 1 :]
    if longer == 1:
        doubled = typed[first] == typed[first - 1]
        return typed[first + 1 :] == meant[first:] and (doubled or len(meant) >= shortest)
    undoubled = meant[first] == meant[first - 1]
    return typed[first:] == meant[first + 1 :] and (undoubled or len(meant) >= shortest)


def _is_ending(typed: str, meant: str) -> bool:
    """Whether they differ by a letter that inflects a word."""
    short, long = sorted((typed, meant), key=len)
    return long[:-1] == short and long[-1] in "sdryn"


@cache
def _by_initial() -> dict[str, tuple[str, ...]]:
    """First letter → the words whose errors are undone."""
    shapes = {word for phrase in spellings("shape") for word in phrase.split()}
    index: dict[str, list[str]] = {}
    for word in sorted(vocabulary()):
        kind = kind_of(word)
        if len(word) >= 4 and (kind in _CORRECTED or (kind == WORD and word in shapes)):
            index.setdefault(word[0], []).append(word)
    return {letter: tuple(words) for letter, words in index.items()}
