"""What a sentence denies is measured the other way round, or refused with the reason."""

import pytest

from dgl_rsis.decoupling.decouple import decouple, to_json

Denied = list[tuple[bool, str]]


@pytest.mark.parametrize(
    ("text", "noun", "modifiers"),
    [
        ("ships that are not in the harbor", "ship", [(True, "on")]),
        ("the non-white vehicle", "vehicle", [(True, "white")]),
        ("the vehicle that isn't white", "vehicle", [(True, "white")]),
        ("the cars that are not red or blue", "car", [(True, "red"), (True, "blue")]),
        ("neither large nor white tanks", "tank", [(True, "large"), (True, "white")]),
        ("the not so large ship on the right", "ship", [(True, "large"), (False, "right")]),
        ("a boat that is not on the left", "boat", [(True, "left")]),
        ("planes not parked at the terminal", "plane", [(True, "on")]),
        ("every hut but the one on the left", "hut", [(False, "all"), (True, "left")]),
        ("a truck without a trailer", "truck", [(True, "with")]),
        ("a truck with no trailer on the right", "truck", [(True, "with"), (False, "right")]),
        ("all boats except the white one", "boat", [(False, "all"), (True, "white")]),
        ("the boats other than those on the left", "boat", [(True, "left")]),
        ("ships not in the harbor but near the pier", "ship", [(True, "on"), (False, "near")]),
        ("the largest ship that is not near a pier", "ship", [(False, "largest"), (True, "near")]),
        ("the non-residential building", "building", [(True, "residential")]),
        ("the hut near the tree that is not on the left", "hut", [(False, "near")]),
    ],
)
def test_what_is_denied_is_said_to_be(text: str, noun: str, modifiers: Denied) -> None:
    decoupled = decouple(text)
    assert (decoupled.noun, decoupled.refused) == (noun, False)
    assert [(m.negated, m.value) for m in decoupled.modifiers] == modifiers


def test_without_several_things_is_without_any_of_them() -> None:
    (lacking,) = decouple("the house that has no garden or pool").modifiers
    assert [anchor.noun for anchor in lacking.anchors] == ["garden", "pool"]


@pytest.mark.parametrize(
    "text",
    [
        "non-building",
        "no ships",
        "everything but the water",
        "not the white ship",
        "vehicles except trucks",
        "a building that is not a house",
        "vehicles that do not move",
        "ships except the large white one",
        "ships, not",
    ],
)
def test_what_cannot_be_denied_is_refused_with_the_reason(text: str) -> None:
    said = to_json(decouple(text))
    assert said["refused"]
    assert "say what it is, not what it is not" in said["reason"]


def test_the_command_prints_it() -> None:
    (modifier,) = to_json(decouple("the non-white vehicle"))["modifiers"]
    assert modifier == {
        "kind": "attribute",
        "text": "non-white",
        "value": "white",
        "anchors": [],
        "negated": True,
    }
    assert "negated" not in to_json(decouple("the white vehicle"))["modifiers"][0]
