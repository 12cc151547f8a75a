import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgl_rsis.decoupling.heads import denied, heads

QUALIFIERS = st.lists(st.sampled_from(["residential", "old", "flat", "grey", "x1"]), max_size=3)
FORMS = st.lists(st.sampled_from(["footprint", "outlines", "Mask", "areas"]), max_size=2)


@given(QUALIFIERS, st.sampled_from(["tower", "jetties", "Huts"]), FORMS, st.sampled_from(" _-"))
def test_qualifiers_and_forms_come_off(
    before: list[str], noun: str, after: list[str], joint: str
) -> None:
    (names,) = heads(joint.join([*before, noun, *after]))
    assert {"tower": "tower", "jetties": "jetty", "Huts": "hut"}[noun] in names
    assert all(name == name.lower() for name in names)
    assert len(names) == len(set(names))


@given(st.text(max_size=60))
def test_any_text_is_answered(text: str) -> None:
    assert all(names and all(names) for names in heads(text))


@pytest.mark.parametrize(
    ("label", "last"),
    [
        ("field of crops", "field"),
        ("area of crops", "crop"),
        ("crops and pasture", "crop"),
        ("tank (full of oil)", "tank"),
        ("12_tank", "tank"),
    ],
)
def test_the_head_is_before_what_qualifies_it_from_behind(label: str, last: str) -> None:
    assert heads(label)[0][-1] == last


@pytest.mark.parametrize(
    ("label", "word"),
    [
        ("non-building", "non"),
        ("Not_Water", "not"),
        ("road without cars", "without"),
        ("truck w/o trailer", "without"),
        ("Everything_but_water", "everything but"),
        ("northern tank", ""),
        ("nonsense", ""),
    ],
)
def test_what_a_label_denies(label: str, word: str) -> None:
    assert denied(label) == word
