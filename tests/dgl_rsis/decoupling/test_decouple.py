"""What the words of an expression mean, by rules."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgl_rsis.decoupling.decouple import LONGEST, decouple, normalised, parse_lines, to_json
from dgl_rsis.decoupling.lexicon import spellings, vocabulary
from tests.dgl_rsis.decoupling.readings import POSITIONS, RELATIONS, anchors, said

OUR_WORDS = [
    *sorted(vocabulary()),
    "ship",
    "solar farms",
    "harbor",
    "tugging",
    "-",
    "'s",
    "3rd",
    "2",
]


@pytest.mark.parametrize(
    ("text", "noun"),
    [
        ("The big solar farm", "solar farm"),
        ("A container ship at the bottom", "container ship"),
        ("the white cooling towers of the plant", "cooling tower"),
        ("a parking lot with many cars", "parking lot"),
        ("ROUNDABOUT", "roundabout"),
        ("swimming-pool", "swimming pool"),
        ("ground_track_field", "ground track field"),
        ("an apartment building near the shop", "apartment building"),
        ("a field ploughed by the tractor", "field"),
        ("a tug pulling a barge", "tug"),
        ("a frustum of a cone large kiln", "kiln"),
        ("a residential area in the left area", "residential area"),
        ("the town square", "town square"),
        ("a shopping center at the center", "shopping center"),
        ("six-lane highway", "six lane highway"),
        ("the roof of the white house", "roof"),
        ("a photo of a lighthouse", "lighthouse"),
        ("two rows of beach huts", "beach hut"),
    ],
)
def test_the_noun_is_the_head_with_its_compounds(text, noun):
    assert decouple(text).noun == noun
    assert not decouple(text).reason


def test_plural_says_that_several_are_meant():
    assert decouple("ships on the left").plural
    assert decouple("two aircraft").plural
    assert decouple("every boat").plural
    assert not decouple("one of the boats").plural
    assert not decouple("the largest of the boats").plural
    assert not decouple("the bus").plural


def test_a_place_is_of_the_image_or_of_a_thing():
    assert said("the car on the left side of the image") == [("position", "left")]
    assert said("the car on the left side of the barn") == [("relation", "left of")]
    assert said("the car in the middle of the picture") == [("position", "center")]
    assert said("the car in the middle of the field") == [("relation", "on")]
    assert said("the car at the top") == [("position", "top")]
    assert said("the car at the top of the field") == [("relation", "above")]
    assert said("the upper-left car") == [("position", "top left")]
    assert said("the car farthest to the left") == [("position", "leftmost")]
    assert said("the car facing left") == []


def test_what_follows_an_anchor_belongs_to_it_up_to_a_comma():
    (near,) = decouple("the car near the blue bridge on the left").modifiers
    assert near.text == "near the blue bridge on the left"
    assert near.anchors[0].text == "blue bridge on the left"
    assert near.anchors[0].noun == "bridge"
    assert said("the car near the bridge, on the left") == [
        ("relation", "near"),
        ("position", "left"),
    ]


def test_between_has_both_its_anchors():
    (between,) = decouple("a hut between the old mill and the lake").modifiers
    assert [anchor.text for anchor in between.anchors] == ["old mill", "lake"]


def test_a_comparative_has_an_anchor_or_is_the_extreme():
    (smaller,) = decouple("a car is a little smaller than the car on the top").modifiers
    assert (smaller.kind, smaller.value) == ("size", "smaller")
    assert smaller.anchors[0].text == "car on the top"
    assert said("the smaller car") == [("size", "smallest")]
    assert anchors("a boat larger than the one at the pier") == ["boat"]


def test_ordinals_carry_their_direction():
    (second,) = decouple("the second red boat from the left").modifiers[:1]
    assert (second.kind, second.value) == ("ordinal", "2 from left")
    assert second.text == "second red boat from the left"
    assert said("the last boat") == [("ordinal", "last")]


def test_what_is_of_another_clause_says_nothing_of_the_target():
    text = "A white boat is at the pier, and a red car is on the right."
    assert said(text) == [("attribute", "white"), ("relation", "on")]


# ---- what is not understood ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "!?",
        "12345",
        "船在左边",
        "большой корабль",
        "le grand navire",
        "on the left",
        "x" * 3000,
    ],
)
def test_the_whole_text_is_the_noun_and_the_reason_is_said(text, caplog):
    with caplog.at_level(logging.INFO, logger="dgl_rsis.decoupling.decouple"):
        decoupled = decouple(text)
    assert decoupled.noun == normalised(text)
    assert decoupled.reason
    assert decoupled.text == text
    assert [record.levelno for record in caplog.records] == [logging.INFO]
    assert decoupled.reason in caplog.text


def test_a_text_without_a_noun_keeps_what_it_says():
    assert said("on the left") == [("position", "left")]


def test_an_understood_text_logs_nothing(caplog):
    with caplog.at_level(logging.INFO, logger="dgl_rsis.decoupling.decouple"):
        assert not decouple("a red ship").reason
    assert not caplog.records


sentences = st.lists(st.sampled_from(OUR_WORDS), max_size=15).map(" ".join)


@given(st.text() | sentences)
def test_any_text_is_answered(text):
    decoupled = decouple(text)
    normal = normalised(text)
    assert decoupled.text == text
    assert decoupled.noun == decoupled.noun.lower()
    assert decoupled == decouple(text)
    for modifier in decoupled.modifiers:
        assert modifier.text
        assert modifier.text in normal
        for anchor in modifier.anchors:
            assert anchor.text in normal
            assert anchor.noun
    assert json.loads(json.dumps(to_json(decoupled)))["noun"] == decoupled.noun


@given(sentences)
def test_values_are_canonical(text):
    values: dict[str, set[str]] = {}
    for kind, value in said(text):
        values.setdefault(kind, set()).add(value)
    assert values.get("position", set()) <= POSITIONS
    assert values.get("relation", set()) <= RELATIONS
    sizes = {*spellings("size").values(), *spellings("comparative").values(), "similar"}
    assert values.get("size", set()) <= sizes
    assert all(x.isdigit() or x in {"all", "several"} for x in values.get("count", set()))


@given(sentences | st.text(st.characters(max_codepoint=127)))
def test_case_does_not_matter(text):
    lower, upper = decouple(text.lower()), decouple(text.upper())
    assert lower.noun == upper.noun
    assert lower.modifiers == upper.modifiers


@given(sentences)
def test_a_comparative_without_an_anchor_never_comes_out(text):
    for modifier in decouple(text).modifiers:
        if modifier.kind == "size" and modifier.value.endswith("er"):
            assert modifier.anchors


def test_a_lone_surrogate_is_answered():
    assert decouple("a ship \ud800 on the left").noun


def test_long_texts_are_not_read():
    assert "longer" in decouple("a ship " * LONGEST).reason


# ---- lines, JSON, data ---------------------------------------------------------------------------


def test_lines_are_answered_one_by_one_in_order():
    def endless():
        yield "a red ship\n"
        yield "two harbors\r\n"
        pytest.fail("read ahead")

    parsed = parse_lines(endless())
    assert next(parsed).text == "a red ship"
    assert next(parsed).noun == "harbor"


def test_json_has_every_part():
    printed = to_json(decouple("the two white boats near the pier"))
    assert printed["text"] == "the two white boats near the pier"
    assert printed["noun"] == "boat"
    assert printed["plural"] is True
    assert printed["anchors"] == [{"text": "pier", "noun": "pier"}]
    assert printed["modifiers"][2] == {
        "kind": "relation",
        "text": "near the pier",
        "value": "near",
        "anchors": [{"text": "pier", "noun": "pier"}],
    }
    assert "reason" not in printed
    assert to_json(decouple(""))["reason"]
