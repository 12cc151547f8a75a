"""Typing errors and the tables of words."""

from collections import Counter

import pytest

from dgl_rsis.decoupling.decouple import decouple
from dgl_rsis.decoupling.lexicon import data, spellings
from dgl_rsis.decoupling.spelling import correct
from tests.dgl_rsis.decoupling.readings import POSITIONS, RELATIONS, said


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("rght", "right"),
        ("lfet", "left"),
        ("botom", "bottom"),
        ("frustrum", "frustum"),
        ("wihte", "white"),
        ("rectanglar", "rectangular"),
        ("teh", "the"),
        ("yelllow", "yellow"),
        ("uper", "upper"),
        ("onthe", "on the"),
    ],
)
def test_typing_errors_are_undone(typed, meant):
    assert correct(typed) == meant


@pytest.mark.parametrize(
    "word",
    ["tower", "road", "tree", "boat", "mall", "barge", "tent", "shore", "block", "path", "sand"],
)
def test_other_words_are_no_typing_errors(word):
    assert correct(word) == word
    assert decouple(f"the {word} on the left").noun == word


def test_a_misspelt_adjective_is_known_by_its_place():
    assert said("a grty and white ship") == [("attribute", "grey"), ("attribute", "white")]
    assert said("a rusty white ship") == [("attribute", "rusty"), ("attribute", "white")]


def test_no_spelling_is_in_two_tables():
    tables = {kind: set(spellings(kind)) for kind in data() if kind not in {"spelling", "shade"}}
    counts = Counter(spelling for table in tables.values() for spelling in table)
    assert [spelling for spelling, count in counts.items() if count > 1] == []
    assert set(spellings("relation").values()) - {""} <= RELATIONS
    assert set(spellings("place").values()) == POSITIONS
