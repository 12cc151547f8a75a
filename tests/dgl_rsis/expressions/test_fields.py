from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from dgl_rsis.expressions import fields
from dgl_rsis.expressions.fields import DIRECTIONS
from dgl_rsis.expressions.geometry import BESIDE, COMPARED, JUDGES, PLACES
from dgl_rsis.expressions.shapes import measure
from tests.dgl_rsis.expressions.rectangles import measured, rectangles

# ---- the image as the frame ----------------------------------------------------------------------

WORDS = (
    "top left",
    "top",
    "top right",
    "left",
    "center",
    "right",
    "bottom left",
    "bottom",
    "bottom right",
)
NINE = [(20 * x + 6, 20 * y + 6, 20 * x + 14, 20 * y + 14) for y in range(3) for x in range(3)]


@pytest.mark.parametrize(("i", "word"), list(enumerate(WORDS)))
def test_each_of_nine_fields_fits_its_word_best(i, word):
    scores = PLACES[word](measured(NINE))
    assert scores.argmax() == i
    assert scores[i] > 0.9
    assert np.sort(scores)[-2] < 0.65


@pytest.mark.parametrize("word", DIRECTIONS)
def test_each_half_comes_before_the_other_half(word):
    columns, rows = np.meshgrid(np.arange(0, 60, 4), np.arange(0, 60, 4))
    corners = np.stack([columns, rows, columns + 4, rows + 4], axis=-1).reshape(-1, 4)
    grid = measured(corners)
    offsets = (grid.places - 0.5) @ np.array(DIRECTIONS[word])
    scores = PLACES[word](grid)
    twins = scores[::-1]  # point-symmetric
    assert (scores[offsets > 0.1] > twins[offsets > 0.1]).all()


@settings(deadline=None)
@given(st.integers(0, 50), st.integers(0, 54), st.sampled_from(["left", "top left", "bottom left"]))
def test_farther_left_is_never_less_left(left, top, word):
    here, there = PLACES[word](
        measured([(left, top, left + 6, top + 6), (left + 4, top, left + 10, top + 6)])
    )
    assert here >= there


def test_centre_edge_and_corner_are_gaussians():
    places = measured([(28, 38, 32, 42), (13, 38, 17, 42), (0, 38, 4, 42), (0, 0, 2, 2)], 80, 60)
    assert fields.centre(places)[:2] == pytest.approx([1, np.exp(-0.5)], abs=1e-6)
    assert fields.edge(places)[[1, 2]] == pytest.approx(
        np.exp([-2, -((2 / 7.5) ** 2) / 2]), abs=1e-5
    )
    assert fields.corner(places)[3] == pytest.approx(np.exp(-2 / 15**2 / 2), abs=1e-5)
    assert fields.edge(places).argmin() == fields.corner(places).argmin() == 0


# ---- beside one anchor ---------------------------------------------------------------------------


def test_beside_is_linear_up_to_the_extent_and_nothing_on_the_wrong_side():
    anchor = measured([(26, 26, 34, 34)])  # extent with boxes of side 4: 6
    places = measured([(x - 2, 28, x + 2, 32) for x in (6, 24, 27, 30, 33)])
    apart = 1 - np.array([0, 0, 3 * 4, 16, 16]) / 64
    expected = np.array([1, 1, 0.5, 0, 0]) * apart
    assert fields.beside(places, anchor, (-1, 0)) == pytest.approx(expected, abs=1e-5)


@settings(deadline=None)
@given(st.integers(0, 54), st.integers(0, 54))
def test_a_thing_lies_on_one_side_or_two_of_another(left, top):
    anchor, candidate = measured([(27, 27, 33, 33)]), measured([(left, top, left + 6, top + 6)])
    scores = {
        w: float(fields.beside(candidate, anchor, DIRECTIONS[d])[0]) for w, d in BESIDE.items()
    }
    across, down = left - 27, top - 27
    assert (scores["left of"] > 0) == (across < 0)
    assert (scores["below"] > 0) == (down > 0)
    assert min(scores["left of"], scores["right of"]) == 0
    assert min(scores["above"], scores["below"]) == 0
    assert (scores["top left of"] > 0) == (across < 0 and down < 0)
    if max(abs(across), abs(down)) > 12:
        assert max(scores.values()) > 0.8


def test_beside_either_end_of_a_long_thing_is_beside_it():
    runway = measured([(28, 5, 32, 55)])
    ends = measured([(10, 6, 14, 10), (10, 28, 14, 32), (10, 50, 14, 54)])
    assert fields.beside(ends, runway, (-1, 0)) == pytest.approx(1)


def test_near_falls_with_the_gap_and_knows_not_itself():
    anchor = measured([(10, 28, 14, 32)])
    row = measured(
        [(10, 28, 14, 32), (14, 28, 18, 32), *((x, 28, x + 4, 32) for x in range(18, 50, 4))]
    )
    scores = fields.near(row, anchor)
    assert scores[0] == 0
    assert all(a > b or b < 1e-6 for a, b in pairwise(scores[1:].tolist()))
    # The gap: 4 to its nearest pixel, 6.5 in the mean of the pixels' centres; L = 6 at most.
    assert scores[2] == pytest.approx(np.exp(-(((4 + 6.5) / 2 / 6) ** 2) / 2), abs=1e-5)
    holder = measured([(8, 26, 30, 34)])
    assert fields.near(holder, anchor)[0] == 0


def test_between_two_is_neither_beyond_nor_at_them():
    first, second = measured([(4, 28, 8, 32)]), measured([(52, 28, 56, 32)])
    places = measured(
        [(28, 28, 32, 32), (16, 28, 20, 32), (28, 2, 32, 6), (4, 28, 8, 32), (57, 28, 60, 32)]
    )
    scores = fields.between(places, first, second)
    assert scores[:2] == pytest.approx(1, abs=1e-5)
    assert scores[2] < 0.3
    assert scores[3:] == pytest.approx(0, abs=1e-5)
    roads = measured([(10, 0, 14, 60)]), measured([(40, 0, 44, 60)])
    along = measured([(25, 2, 29, 6), (50, 30, 54, 34)])
    assert fields.between(along, *roads) == pytest.approx([1, 0], abs=1e-5)


def test_inside_is_the_share_within_the_outline():
    ring = rectangles(60, 60, [(10, 10, 40, 40)]) & ~rectangles(60, 60, [(20, 20, 30, 30)])
    anchor = measure(ring, 60, 60)
    places = measured([(22, 22, 28, 28), (36, 20, 44, 30), (50, 50, 55, 55), (11, 11, 15, 15)])
    assert fields.inside(places, anchor) == pytest.approx([1, 0.5, 0, 1])
    assert fields.inside(anchor, anchor)[0] == 0
    holder = measured([(0, 0, 60, 60)])
    assert fields.inside(holder, anchor)[0] < 0.3


def test_the_open_middle_of_a_compact_thing_is_inside_it():
    horseshoe = rectangles(60, 60, [(10, 10, 50, 50)]) & ~rectangles(60, 60, [(20, 20, 30, 50)])
    stadium = measure(horseshoe, 60, 60)
    pitch, house = measured([(21, 25, 29, 45)]), measured([(52, 52, 58, 58)])
    assert fields.inside(pitch, stadium)[0] == pytest.approx(1300 / 1600)
    assert fields.inside(house, stadium)[0] == 0


def test_with_means_holding_or_beside():
    pool = measured([(10, 10, 14, 14)])
    houses = measured([(8, 8, 20, 20), (15, 10, 22, 17), (40, 40, 50, 50)])
    scores = fields.accompanied(houses, pool)
    assert scores[0] == 1
    assert 0.5 < scores[1] < 1
    assert scores[2] < 0.01


def test_surrounded_is_the_share_of_the_ring():
    house = measured([(20, 20, 28, 28)])
    everywhere = measure(~rectangles(60, 60, [(20, 20, 28, 28)]), 60, 60)
    halves = measured([(0, 0, 24, 60), (24, 0, 60, 60)])
    assert fields.surrounded(house, everywhere) == pytest.approx(1)
    assert fields.surrounded(house, halves) == pytest.approx(1)
    assert fields.surrounded(house, halves.take([0])) == pytest.approx(0.5)
    assert fields.surrounded(house, measured([(40, 40, 50, 50)])) == pytest.approx(0)


@settings(deadline=None)
@given(st.sampled_from(list(COMPARED)), st.integers(4, 12))
def test_comparatives_with_an_anchor(word, side):
    anchor = measured([(40, 40, 48, 48)])
    candidate = measured([(2, 2, 2 + side, 2 + side)])
    score = float(JUDGES[word](candidate, anchor)[0])
    if word == "similar":
        assert (score == pytest.approx(1)) == (side == 8)
    else:
        more = word in ("larger", "longer", "wider")
        assert np.sign(score - 0.5 if side != 8 else 0) == np.sign(side - 8) * (1 if more else -1)


# ---- among the candidates ------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=8), st.data())
def test_extremal_is_a_softmax_whose_best_is_one(numbers, data):
    values = np.array(numbers, dtype=np.float32)
    weights = np.array(
        data.draw(
            st.lists(st.floats(0.25, 1, width=16), min_size=len(values), max_size=len(values))
        ),
        np.float32,
    )
    scores = fields.extremal(values, weights, np.arange(len(values)), 0.1, 1.0)
    mean = np.average(values, weights=weights)
    std = max(np.sqrt(np.average((values - mean) ** 2, weights=weights)), 0.1)
    probabilities = softmax(values.astype(np.float64) / std)
    assert scores == pytest.approx(probabilities / probabilities.max(), abs=1e-5)
