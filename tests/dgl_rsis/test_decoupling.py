import json
import logging
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.language import Language
from spacy.tokens import Doc

from dgl_rsis.decoupling import LONGEST, decouple, normalised, parse_lines, to_json
from dgl_rsis.decoupling_lexicon import data, singular, spellings, vocabulary
from dgl_rsis.decoupling_spelling import correct
from dgl_rsis.types import Decoupled, InputError

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT.parent / "shared" / "data" / "expressions" / "rrsisd_train_val.jsonl"
GOLD = ROOT / "tests" / "golden" / "expressions.jsonl"
RELATIONS = {
    *("left of", "right of", "above", "below"),
    *("top left of", "top right of", "bottom left of", "bottom right of"),
    *("near", "closest to", "between", "on", "surrounded by", "around", "opposite", "with"),
}
POSITIONS = {
    *("left", "right", "top", "bottom", "center", "edge", "corner"),
    *("top left", "top right", "bottom left", "bottom right"),
    *("leftmost", "rightmost", "topmost", "bottommost"),
}
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


def said(text: str, source: str = "rules") -> list[tuple[str, str]]:
    return [(modifier.kind, modifier.value) for modifier in decouple(text, source).modifiers]


def anchors(text: str, source: str = "rules") -> list[str]:
    return [anchor.noun for anchor in decouple(text, source).anchors]


# ---- the two collections -------------------------------------------------------------------------


@cache
def gold() -> list[dict]:
    return [json.loads(line) for line in GOLD.read_text("utf-8").splitlines()]


def f1(pairs: list[tuple[list, list]]) -> float:
    """Micro F1 of wanted and found multisets."""
    wanted, found = (sum(len(pair[side]) for pair in pairs) for side in (0, 1))
    shared = sum((Counter(want) & Counter(have)).total() for want, have in pairs)
    return 2 * shared / (wanted + found)


def test_the_gold_file_is_large_and_covers_every_kind():
    counts = Counter(modifier["kind"] for row in gold() for modifier in row["modifiers"])
    assert len(gold()) >= 200
    assert {"attribute", "size", "position", "relation", "ordinal", "count"} == set(counts)
    assert min(counts.values()) >= 10
    assert len({row["text"].lower() for row in gold()}) == len(gold())
    relations = {m["value"] for row in gold() for m in row["modifiers"] if m["kind"] == "relation"}
    positions = {m["value"] for row in gold() for m in row["modifiers"] if m["kind"] == "position"}
    assert relations == RELATIONS
    assert positions == POSITIONS


@pytest.mark.parametrize("part", ["kinds", "values", "anchors", "nouns"])
def test_gold_expressions(part):
    pairs = []
    for row in gold():
        found = decouple(row["text"])
        pairs.append(
            {
                "kinds": ([m["kind"] for m in row["modifiers"]], [m.kind for m in found.modifiers]),
                "values": (
                    [(m["kind"], m["value"]) for m in row["modifiers"]],
                    [(m.kind, m.value) for m in found.modifiers],
                ),
                "anchors": (row["anchors"], [anchor.noun for anchor in found.anchors]),
                "nouns": ([row["noun"]], [found.noun]),
            }[part]
        )
    assert f1(pairs) >= 0.95


def corpus() -> list[dict]:
    if not CORPUS.exists():
        pytest.skip(f"no referring expressions at {CORPUS}")
    return [json.loads(line) for line in CORPUS.read_text("utf-8").splitlines()]


def names_a_second_class(row: dict, categories: list[str]) -> bool:
    rest = row["sentence"].lower().replace(row["category"], "#", 1)
    return "#" in rest and any(category in rest for category in categories)


def test_real_expressions_have_their_category_as_noun():
    rows = corpus()
    categories = sorted({row["category"] for row in rows})
    right = [decouple(row["sentence"]).noun == row["category"] for row in rows]
    assert len(rows) > 10_000
    assert sum(right) / len(rows) >= 0.995
    seconds = [names_a_second_class(row, categories) for row in rows]
    both = [ok for ok, second in zip(right, seconds, strict=True) if second]
    assert len(both) > 1_000
    assert sum(both) / len(both) >= 0.985


# ---- what the words mean -------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("ferries", "ferry"),
        ("buses", "bus"),
        ("houses", "house"),
        ("boxes", "box"),
        ("wharves", "wharf"),
        ("people", "person"),
        ("tennis", "tennis"),
        ("campus", "campus"),
        ("overpass", "overpass"),
        ("aircraft", "aircraft"),
        ("bridges", "bridge"),
        ("churches", "church"),
        ("crossroads", "crossroads"),
        ("pies", "pie"),
        ("gas", "gas"),
        ("volcanoes", "volcano"),
    ],
)
def test_singulars(word, expected):
    assert singular(word) == expected
    assert singular(expected) == expected


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


def test_what_is_denied_or_of_another_clause_says_nothing_of_the_target():
    assert said("a boat that is not on the left") == []
    assert anchors("a truck without a trailer") == []
    text = "A white boat is at the pier, and a red car is on the right."
    assert said(text) == [("attribute", "white"), ("relation", "on")]


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
    with caplog.at_level(logging.INFO, logger="dgl_rsis.decoupling"):
        found = decouple(text)
    assert found.noun == normalised(text)
    assert found.reason
    assert found.text == text
    assert [record.levelno for record in caplog.records] == [logging.INFO]
    assert found.reason in caplog.text


def test_a_text_without_a_noun_keeps_what_it_says():
    assert said("on the left") == [("position", "left")]


def test_an_understood_text_logs_nothing(caplog):
    with caplog.at_level(logging.INFO, logger="dgl_rsis.decoupling"):
        assert not decouple("a red ship").reason
    assert not caplog.records


sentences = st.lists(st.sampled_from(OUR_WORDS), max_size=15).map(" ".join)


@given(st.text() | sentences)
def test_any_text_is_answered(text):
    found = decouple(text)
    normal = normalised(text)
    assert found.text == text
    assert found.noun == found.noun.lower()
    assert found == decouple(text)
    for modifier in found.modifiers:
        assert modifier.text
        assert modifier.text in normal
        for anchor in modifier.anchors:
            assert anchor.text in normal
            assert anchor.noun
    assert json.loads(json.dumps(to_json(found)))["noun"] == found.noun


@given(sentences)
def test_values_are_canonical(text):
    found: dict[str, set[str]] = {}
    for kind, value in said(text):
        found.setdefault(kind, set()).add(value)
    assert found.get("position", set()) <= POSITIONS
    assert found.get("relation", set()) <= RELATIONS
    sizes = {*spellings("size").values(), *spellings("comparative").values(), "similar"}
    assert found.get("size", set()) <= sizes
    assert all(x.isdigit() or x in {"all", "several"} for x in found.get("count", set()))


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

    found = parse_lines(endless())
    assert next(found).text == "a red ship"
    assert next(found).noun == "harbor"


def test_json_has_every_part():
    found = to_json(decouple("the two white boats near the pier"))
    assert found["text"] == "the two white boats near the pier"
    assert found["noun"] == "boat"
    assert found["plural"] is True
    assert found["anchors"] == [{"text": "pier", "noun": "pier"}]
    assert found["modifiers"][2] == {
        "kind": "relation",
        "text": "near the pier",
        "value": "near",
        "anchors": [{"text": "pier", "noun": "pier"}],
    }
    assert "reason" not in found
    assert to_json(decouple(""))["reason"]


def test_no_spelling_is_in_two_tables():
    tables = {kind: set(spellings(kind)) for kind in data() if kind not in {"spelling", "shade"}}
    counts = Counter(spelling for table in tables.values() for spelling in table)
    assert [spelling for spelling, count in counts.items() if count > 1] == []
    assert set(spellings("relation").values()) - {""} <= RELATIONS
    assert set(spellings("place").values()) == POSITIONS


# ---- a trained pipeline --------------------------------------------------------------------------

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
    found = trained("the apartment building near the lake on the left")
    assert found.noun == "apartment building"
    assert [modifier.value for modifier in found.modifiers] == ["near", "left"]
    assert found.anchors[0].text == "lake"
    assert said(found.text) == [("relation", "near")]  # the rules give the place to the lake


def test_a_parse_knows_verbs(trained):
    found = trained("white boats crowd the small bay")
    assert found.noun == "boat"
    assert found.plural
    assert [modifier.value for modifier in found.modifiers] == ["white"]
    assert decouple(found.text).noun != "boat"


def test_a_parse_finds_a_subject_behind_its_verb(trained):
    found = trained("near the mill stands a red tower")
    assert found.noun == "tower"
    assert [(m.kind, m.value) for m in found.modifiers] == [
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
