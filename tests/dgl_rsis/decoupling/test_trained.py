"""A trained pipeline instead of the rules."""

from collections.abc import Callable

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc

from dgl_rsis.decoupling.decouple import decouple
from dgl_rsis.types import Decoupled, InputError
from tests.dgl_rsis.decoupling.readings import said

# Text → (part of speech, dependency, index of the head) of every token, as a parser would say.
PARSES = {
    "the apartment building near the lake on the left": (
        "DET NOUN NOUN ADP DET NOUN ADP DET NOUN",
        "det compound ROOT prep det pobj prep det pobj",
        "2 2 2 2 5 3 2 8 6",
    ),
    "white boats crowd the small bay": (
        "ADJ NOUN VERB DET ADJ NOUN",
        "amod nsubj ROOT det amod dobj",
        "1 2 2 5 5 2",
    ),
    "near the mill stands a red tower": (
        "ADP DET NOUN VERB DET ADJ NOUN",
        "prep det pobj ROOT det amod nsubj",
        "3 2 0 3 6 6 3",
    ),
    "beside a mill a red tower": (
        "ADP DET NOUN DET ADJ NOUN",
        "prep det pobj det amod ROOT",
        "5 2 0 5 5 5",
    ),
    "a ship near the left": (
        "DET NOUN ADP DET NOUN",
        "det dep prep det ROOT",
        "1 4 4 4 4",
    ),
    "there is a swimming pool": (
        "PRON VERB DET VERB NOUN",
        "expl ROOT det amod attr",
        "1 1 4 4 1",
    ),
    "go": ("VERB", "ROOT", "0"),
}


@Language.component("hand_parsed")
def hand_parsed(doc: Doc) -> Doc:
    tags, dependencies, heads = (column.split() for column in PARSES[doc.text])
    for token, tag, dependency, head in zip(doc, tags, dependencies, heads, strict=True):
        token.pos_, token.dep_, token.head = tag, dependency, doc[int(head)]
    return doc


@pytest.fixture
def trained(tmp_path) -> Callable[[str], Decoupled]:
    """A pipeline on disk whose parses were made by hand."""
    pipeline = spacy.blank("en")
    pipeline.add_pipe("hand_parsed")
    pipeline.to_disk(tmp_path / "parsed")
    return lambda text: decouple(text, source=str(tmp_path / "parsed"))


def test_a_parse_says_what_a_preposition_speaks_of(trained):
    decoupled = trained("the apartment building near the lake on the left")
    assert decoupled.noun == "apartment building"
    assert [modifier.value for modifier in decoupled.modifiers] == ["near", "left"]
    assert decoupled.anchors[0].text == "lake"
    assert said(decoupled.text) == [("relation", "near")]  # the rules give the place to the lake


def test_a_parse_knows_verbs(trained):
    decoupled = trained("white boats crowd the small bay")
    assert decoupled.noun == "boat"
    assert decoupled.plural
    assert [modifier.value for modifier in decoupled.modifiers] == ["white"]
    assert decouple(decoupled.text).noun != "boat"


def test_a_parse_finds_a_subject_behind_its_verb(trained):
    decoupled = trained("near the mill stands a red tower")
    assert decoupled.noun == "tower"
    assert [(m.kind, m.value) for m in decoupled.modifiers] == [
        ("relation", "near"),
        ("attribute", "red"),
    ]


def test_a_parse_and_the_rules_agree_where_the_rules_suffice(trained):
    for text in ("beside a mill a red tower", "there is a swimming pool"):
        assert trained(text) == decouple(text)


def test_a_verb_alone_is_no_noun(trained):
    assert trained("go").reason
    assert not decouple("go").reason


def test_a_parse_that_misleads_is_left(trained):
    text = "a ship near the left"
    assert trained(text) == decouple(text)
    assert trained(text).noun == "ship"


def test_a_missing_pipeline_is_named_with_the_way_out():
    with pytest.raises(InputError, match=r"en_core_web_sm.*spacy download.*rules"):
        decouple("a ship", source="en_core_web_sm")
