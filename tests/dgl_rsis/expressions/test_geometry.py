import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgl_rsis.expressions import geometry
from dgl_rsis.expressions.fields import DIRECTIONS
from dgl_rsis.expressions.geometry import (
    BESIDE,
    JUDGES,
    LARGEST,
    OUTERMOST,
    PLACES,
    RELATIVE,
    GeometryParameters,
    GeometryScores,
)
from dgl_rsis.expressions.shapes import Shapes, measure
from dgl_rsis.types import Anchor, Modifier
from starter.scenes.generate import generate
from tests.dgl_rsis.expressions.rectangles import masks_of, measured

PARAMETERS = GeometryParameters()
WITH_ANCHORS = (*JUDGES, "surrounded by", "closest to", "between")
ALONE = (*PLACES, *RELATIVE, *LARGEST, *OUTERMOST)
DIRECTED = tuple(f"{n} from {side}" for n in (1, 2, "last") for side in ("left", "top"))
DIRECTED += ("2 from right", "1 from bottom")
ONE, TWO = Anchor("the one", "one"), Anchor("the other", "other")


def modifier(value: str) -> Modifier:
    if re.match(r"\d|last", value):
        return Modifier("ordinal", value, value)
    if value in WITH_ANCHORS:
        return Modifier("relation", value, value, (ONE, TWO))
    return Modifier("size" if value in RELATIVE or value in LARGEST else "position", value, value)


@dataclass(frozen=True)
class Scene:
    """Candidates with weights, and what two anchors may be; it can be turned and mirrored."""

    masks: np.ndarray
    one: np.ndarray
    other: np.ndarray
    weights: np.ndarray
    probabilities: np.ndarray
    height: int
    width: int

    def moved(self, move: Callable, height: int, width: int) -> "Scene":
        masks = [move(m) for m in (self.masks, self.one, self.other)]
        return Scene(*masks, self.weights, self.probabilities, height, width)

    @cached_property
    def shapes(self) -> list[Shapes]:
        return [measure(m, self.height, self.width) for m in (self.masks, self.one, self.other)]

    def judge(self, *modifiers: Modifier) -> GeometryScores:
        candidates, one, other = self.shapes
        certain = np.ones(len(other), np.float32)
        anchors = {"the one": (one, self.probabilities), "the other": (other, certain)}
        return geometry.score(modifiers, candidates, self.weights, anchors, PARAMETERS)


@st.composite
def scenes(draw) -> Scene:
    rows, columns = draw(st.integers(24, 48)), draw(st.integers(24, 48))
    masks = draw(masks_of(st.integers(1, 6), rows, columns))
    one = draw(masks_of(st.integers(1, 3), rows, columns))
    other = draw(masks_of(st.integers(1, 2), rows, columns))
    numbers = st.floats(0.0625, 1, width=16)
    weights, probabilities = (
        np.array(draw(st.lists(numbers, min_size=len(m), max_size=len(m))), dtype=np.float32)
        for m in (masks, one)
    )
    return Scene(masks, one, other, weights, probabilities, rows * 2, columns * 2)


# ---- the answer follows the scene ----------------------------------------------------------------

MIRRORED = {"left": "right", "right": "left"}
# Anticlockwise by a quarter: what was at the top is at the left.
TURNED = {"top": "left", "left": "bottom", "bottom": "right", "right": "top"}
TURNED |= {"above": "left of", "below": "right of", "left of": "below", "right of": "above"}


def renamed(value: str, names: dict[str, str]) -> str:
    if value in names:
        return names[value]
    turned = re.sub(r"top|bottom|left|right", lambda m: names.get(m[0], m[0]), value)
    return re.sub(r"(left|right) (top|bottom)", r"\2 \1", turned)


def mirrored(masks):
    return masks[:, :, ::-1]


def turned(masks):
    return np.rot90(masks, axes=(1, 2))


@given(scenes())
@settings(max_examples=25, deadline=None)
def test_the_answer_follows_when_the_scene_is_mirrored_turned_or_scaled(scene):
    height, width = scene.height, scene.width
    flipped = scene.moved(mirrored, height, width)
    rotated = scene.moved(turned, width, height)
    larger = scene.moved(lambda masks: masks, 3 * height, 3 * width)
    for value in (*ALONE, *WITH_ANCHORS, *DIRECTED):
        expected = pytest.approx(scene.judge(modifier(value)).total, abs=1e-3)
        assert flipped.judge(modifier(renamed(value, MIRRORED))).total == expected, value
        assert rotated.judge(modifier(renamed(value, TURNED))).total == expected, value
        assert larger.judge(modifier(value)).total == expected, value


def test_every_direction_is_renamed():
    words = [*DIRECTIONS, *BESIDE, *OUTERMOST]
    assert {renamed(w, TURNED) for w in words} == set(words)
    assert renamed("top left of", TURNED) == "bottom left of"
    assert renamed("2 from left", MIRRORED) == "2 from right"


@given(
    scenes(), st.lists(st.sampled_from([*ALONE, *WITH_ANCHORS, *DIRECTED, "2", "last"]), max_size=4)
)
@settings(max_examples=60, deadline=None)
def test_scores_lie_in_the_unit_interval_and_the_least_part_decides(scene, values):
    scene.masks[0] = False
    scores = scene.judge(*(modifier(v) for v in values))
    parts = list(scores.parts.values())
    assert all(((p >= 0) & (p <= 1)).all() and p.dtype == np.float32 for p in parts)
    assert scores.total[0] == 0  # an empty mask
    least = np.minimum.reduce([np.ones(len(scene.masks)), *parts])
    assert scores.total[1:] == pytest.approx(least[1:])


@given(scenes(), st.sampled_from([*ALONE, *WITH_ANCHORS, *DIRECTED, "2", "last"]))
@settings(max_examples=40, deadline=None)
def test_what_is_denied_counts_the_other_way_round(scene, value):
    said = modifier(value)
    (part,) = scene.judge(said).parts.values()
    (denied,) = scene.judge(replace(said, negated=True)).parts.values()
    assert denied == pytest.approx(1 - part)
    assert geometry.measures(said)


@pytest.mark.parametrize("value", [*ALONE, *WITH_ANCHORS, *DIRECTED, "2", "last"])
def test_none_one_and_equal_candidates_are_judged(value):
    anchor = (measured([(30, 30, 36, 36)]), np.ones(1, np.float32))
    anchors = {"the one": anchor, "the other": anchor}
    for corners in ([], [(10, 10, 16, 16)], [(10, 10, 16, 16)] * 3):
        for weight in (0.0, 0.7):
            weights = np.full(len(corners), weight, dtype=np.float32)
            scores = geometry.score(
                [modifier(value)], measured(corners), weights, anchors, PARAMETERS
            )
            assert scores.total.shape == (len(corners),)
            assert np.isfinite(scores.total).all()
            assert np.ptp(scores.total) == 0 if corners else True
            if corners and value not in (*PLACES, *WITH_ANCHORS):
                assert scores.total == pytest.approx(1)


# ---- what has no say -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "unjudged",
    [
        Modifier("position", "words", "somewhere"),
        Modifier("size", "words", "tall"),
        Modifier("relation", "words", "beneath the spell of", (ONE,)),
        Modifier("relation", "words", "left of"),
        Modifier("relation", "words", "left of", (Anchor("the missing", "missing"),)),
        Modifier("relation", "words", "closest to", (Anchor("the missing", "missing"),)),
        Modifier("relation", "words", "between", (ONE, Anchor("the missing", "missing"))),
        Modifier("relation", "words", "surrounded by", (Anchor("the missing", "missing"),)),
        Modifier("relation", "words", "near", (Anchor("the doubtful", "doubtful"),)),
        Modifier("ordinal", "words", "umpteenth"),
        Modifier("count", "words", "2"),
        Modifier("attribute", "words", "large"),
    ],
)
def test_what_cannot_be_judged_is_left_out(unjudged):
    candidates = measured([(0, 0, 5, 5), (40, 40, 50, 50)])
    anchor = measured([(30, 30, 36, 36)])
    anchors = {
        "the one": (anchor, np.ones(1, np.float32)),
        "the doubtful": (anchor, np.zeros(1, np.float32)),
    }
    weights = np.ones(2, np.float32)
    scores = geometry.score([unjudged], candidates, weights, anchors, PARAMETERS)
    assert scores.total.tolist() == [1, 1]
    assert not scores.parts
    assert scores.left_out == ("words",)
    both = geometry.score([unjudged, modifier("left")], candidates, weights, anchors, PARAMETERS)
    assert both.total == pytest.approx(PLACES["left"](candidates))


# ---- among the candidates ------------------------------------------------------------------------

SIZES = [(0, 0, 4, 4), (10, 0, 20, 8), (30, 0, 58, 4), (0, 20, 30, 50)]  # 16, 80, 112, 900
EXTREMES = {
    "largest": {3},
    "smallest": {0},
    "longest": {3},
    "shortest": {0},
    "widest": {3},
    "narrowest": {0, 2},
    "leftmost": {0},
    "rightmost": {2},
    "topmost": {0, 2},
    "bottommost": {3},
}


@pytest.mark.parametrize("word", EXTREMES)
def test_extremes(word):
    scores = judge(word, SIZES)
    assert set(np.flatnonzero(scores > 0.999).tolist()) == EXTREMES[word]


def judge(values: str, corners, weights=None) -> np.ndarray:
    given_weights = (
        np.ones(len(corners), np.float32) if weights is None else np.array(weights, np.float32)
    )
    modifiers = [modifier(v) for v in values.split(", ")]
    return geometry.score(modifiers, measured(corners), given_weights, {}, PARAMETERS).total


def test_large_and_small_follow_the_size_and_mirror_each_other():
    large, small = judge("large", SIZES), judge("small", SIZES)
    assert np.argsort(large).tolist() == [0, 1, 2, 3]
    assert np.argsort(small).tolist() == [3, 2, 1, 0]
    assert large[3] == small[0] == 1
    assert judge("medium", SIZES).argmax() in (1, 2)
    assert judge("long", SIZES)[2] > judge("large", SIZES)[2]


def test_an_unlikely_candidate_sets_no_extreme():
    row = [(0, 0, 5, 5), (20, 0, 25, 5), (40, 0, 45, 5)]
    assert judge("leftmost", row, [0.2, 0.9, 0.8])[1] == 1
    assert judge("2 from left", row, [0.2, 0.9, 0.8]).argmax() == 2
    assert judge("leftmost", row, [0.8, 0.9, 0.8])[1] < 0.1


ROW = [
    (0, 20, 6, 26),
    (20, 21, 26, 27),
    (21, 21, 27, 27),
    (40, 20, 46, 26),
    (53, 20, 59, 26),
]  # the third is the second again


@pytest.mark.parametrize(
    ("value", "best"),
    [
        ("1 from left", {0}),
        ("2 from left", {1, 2}),
        ("3 from left", {3}),
        ("2 from right", {3}),
        ("3", {3}),
        ("last", {4}),
        ("last from right", {0}),
        ("9 from left", {4}),
    ],
)
def test_ordinals_count_each_thing_once(value, best):
    scores = judge(value, ROW)
    assert set(np.flatnonzero(scores == 1).tolist()) == best
    assert np.sort(scores)[: -len(best)].max() < 0.2


def test_a_bare_ordinal_reads_along_the_row_or_the_column():
    column = [(y, x, b, r) for x, y, r, b in ROW]
    assert judge("last", column).argmax() == 4
    assert judge("3", column).argmax() == 3


def test_the_second_largest_is_one_rank():
    scores = judge("2, largest", SIZES)
    assert scores.argmax() == 2
    assert scores[2] == 1
    assert judge("last, smallest", SIZES).argmax() == 3


def test_an_extreme_is_sought_among_those_that_fit():
    corners = [(40, 20, 58, 38), (2, 20, 12, 30), (2, 34, 8, 40)]
    assert judge("largest", corners).argmax() == 0
    assert judge("largest, left", corners).argmax() == 1
    assert judge("largest, left", corners)[1] > 0.9
    assert judge("rightmost, left", corners).argmax() == 1
    assert judge("1 from right, left", corners).argmax() == 1


def test_closest_to_is_not_the_thing_itself_nor_what_holds_it():
    corners = [(10, 10, 20, 20), (8, 8, 24, 24), (26, 10, 32, 16), (40, 10, 46, 16)]
    anchors = {"the one": (measured(corners[:1]), np.ones(1, np.float32))}
    ask = Modifier("relation", "words", "closest to", (ONE,))
    totals = geometry.score(
        [ask], measured(corners), np.ones(4, np.float32), anchors, PARAMETERS
    ).total
    assert totals.argmax() == 2
    assert totals[:2].tolist() == [0, 0]


# ---- several anchors -----------------------------------------------------------------------------


def test_anchors_are_alternatives_and_doubtful_ones_count_less():
    candidates = measured([(0, 28, 4, 32), (24, 28, 28, 32), (50, 28, 54, 32)])
    tanks = measured([(10, 28, 14, 32), (40, 28, 44, 32), (56, 2, 60, 6)])
    ask = Modifier("relation", "words", "left of", (Anchor("tank", "tank"),))

    def score(probabilities):
        anchors = {"tank": (tanks, np.array(probabilities, np.float32))}
        return geometry.score([ask], candidates, np.ones(3, np.float32), anchors, PARAMETERS).total

    assert score([0.8, 0, 0]) == pytest.approx([1, 0, 0])
    assert score([0.8, 0.6, 0.1])[:2] == pytest.approx([1, 0.75])
    assert score([0.8, 0.6, 0.1])[2] == 0  # the third is too unlikely to be a tank at all


def test_two_texts_are_alternatives_but_for_between():
    candidates = measured([(0, 28, 4, 32), (28, 28, 32, 32)])
    anchors = {
        "the one": (measured([(10, 28, 14, 32)]), np.ones(1, np.float32)),
        "the other": (measured([(48, 28, 52, 32)]), np.ones(1, np.float32)),
    }

    def score(value, *texts):
        ask = Modifier("relation", "words", value, texts)
        return geometry.score([ask], candidates, np.ones(2, np.float32), anchors, PARAMETERS).total

    either = np.maximum(score("right of", ONE), score("right of", TWO))
    assert score("right of", ONE, TWO) == pytest.approx(either)
    assert score("between", ONE, TWO) == pytest.approx([0, 1], abs=1e-5)


def test_between_two_of_a_kind():
    tanks = measured([(10, 28, 14, 32), (48, 28, 52, 32)])
    ask = Modifier("relation", "words", "between", (ONE,))
    candidates = measured([(0, 28, 4, 32), (28, 28, 32, 32)])
    anchors = {"the one": (tanks, np.ones(2, np.float32))}
    scores = geometry.score([ask], candidates, np.ones(2, np.float32), anchors, PARAMETERS)
    assert scores.total == pytest.approx([0, 1], abs=1e-5)


# ---- generated expressions -----------------------------------------------------------------------

PHRASES = {
    "in the upper left": "top left",
    "in the upper right": "top right",
    "in the lower left": "bottom left",
    "in the lower right": "bottom right",
    "at the top": "top",
    "at the bottom": "bottom",
    "on the left": "left",
    "on the right": "right",
    "in the middle": "center",
    "to the left of": "left of",
    "to the right of": "right of",
}
RELATION = re.compile(r"(near|closest to|to the left of|to the right of|above|below) the (.+)$")


def parsed(text: str) -> tuple[list[Modifier], str]:
    """The modifiers of a generated expression, and the class of its anchor."""
    values = [w for w in text.split() if w in (*RELATIVE, *LARGEST, *OUTERMOST)]
    values += [value for words, value in PHRASES.items() if text.endswith(words)]
    modifiers = [modifier(value) for value in values]
    relation = RELATION.search(text)
    if not relation:
        return modifiers, ""
    value = PHRASES.get(relation[1], relation[1])
    anchors = (Anchor("mark", relation[2]),)
    return [*modifiers, Modifier("relation", relation[1], value, anchors)], relation[2]


def test_the_words_of_generated_scenes_choose_their_targets():
    right = asked = 0
    for seed in range(7000, 7010):
        scene = generate(seed, 256)
        for expression in scene.expressions:
            if set(expression.text.split()) & {o.attributes.get("colour") for o in scene.objects}:
                continue
            modifiers, mark = parsed(expression.text)
            masks = [o.mask for o in scene.objects if o.label == expression.noun]
            marks = np.array([o.mask for o in scene.objects if o.label == mark]).reshape(
                -1, 256, 256
            )
            anchors = {"mark": (measure(marks, 256, 256), np.ones(len(marks), np.float32))}
            scores = geometry.score(
                modifiers,
                measure(np.array(masks), 256, 256),
                np.ones(len(masks), np.float32),
                anchors,
                PARAMETERS,
            )
            assert not scores.left_out
            targets = np.array([expression.mask[m].any() for m in masks])
            best = np.argsort(-scores.total, kind="stable")[: targets.sum()]
            asked, right = asked + 1, right + bool(targets[best].all())
    assert asked > 20
    assert right >= 0.95 * asked
