"""Boxes, presence, and what is made up."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from dgl_rsis.evaluation import detection, scores
from dgl_rsis.evaluation.datasets.lists import Overview, Question
from dgl_rsis.evaluation.datasets.samples import DatasetError
from dgl_rsis.evaluation.datasets.things import AIRPLANE, CAR, SHIP, Boxed, Tagged
from dgl_rsis.evaluation.detection import Answer, Found
from dgl_rsis.evaluation.scores import Tally
from dgl_rsis.types import Segment

BLANK = np.zeros((20, 20, 3), np.uint8)
SIDE = st.integers(0, 9)
BOX = st.tuples(SIDE, SIDE, st.integers(1, 6), st.integers(1, 6)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


def boxes(*each: Sequence[float]) -> np.ndarray:
    return np.array(each, np.float32).reshape(-1, 4)


def painted(box: Sequence[int]) -> np.ndarray:
    mask = np.zeros((16, 16), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


@given(st.lists(BOX, max_size=4), st.lists(BOX, max_size=4))
def test_the_iou_of_boxes_is_that_of_their_masks(some: list, others: list):
    ious = scores.box_ious(boxes(*some), boxes(*others))
    assert ious.shape == (len(some), len(others))
    for i, j in np.ndindex(ious.shape):
        assert ious[i, j] == pytest.approx(scores.overlap(painted(some[i]), painted(others[j])).iou)


@given(st.lists(BOX, max_size=5), st.lists(BOX, max_size=5), st.floats(0.05, 1))
def test_greedy_matching_finds_at_least_half_of_what_the_best_finds(
    some: list, others: list, threshold: float
):
    ious = scores.box_ious(boxes(*some), boxes(*others))
    best = ious >= threshold
    most = int(best[linear_sum_assignment(best, maximize=True)].sum())
    assert most / 2 <= scores.matched(ious, threshold) <= most


def test_each_object_is_hit_once_by_the_surest_claim():
    ious = np.array([[0.5, 0.4], [0.9, 0.0], [0.0, 0.3]])
    assert scores.matched(ious, 0.3) == 2  # the second finds its object taken
    assert scores.matched(ious, 0.4) == 1
    assert scores.matched(np.zeros((2, 0)), 0.3) == 0


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_f1_is_the_harmonic_mean(hits: int, false: int, missed: int):
    tally = Tally(hits, hits + false, hits + missed)
    if hits:
        mean = 2 / (1 / tally.precision + 1 / tally.recall)
        assert tally.f1 == pytest.approx(mean)
        assert tally.iou == pytest.approx(tally.f1 / (2 - tally.f1))
    else:
        assert tally.f1 == 0 or math.isnan(tally.f1)


def test_a_mask_becomes_the_box_around_it():
    mask = np.zeros((9, 9), bool)
    mask[2, 3:7] = mask[5, 4] = True
    assert detection.found(Segment("car", 0.5, mask)) == Found("car", 0.5, (3, 2, 7, 6))


def test_boxes_of_labels_that_mean_a_class_count_for_it():
    truth = {"car": boxes((0, 0, 4, 4), (10, 10, 14, 14)), "ship": boxes(), "airplane": boxes()}
    found = [
        Found("truck", 0.9, (0, 0, 4, 3)),
        Found("vehicle", 0.8, (0, 0, 4, 4)),  # the same once more
        Found("boat", 0.7, (10, 10, 14, 14)),
        Found("road", 0.7, (0, 0, 20, 20)),
    ]
    told: list[str] = []
    result = detection.evaluate_boxes(
        [Boxed("a", BLANK, truth)], (CAR, SHIP, AIRPLANE), lambda image: found, told.append
    )
    assert (told, result.images) == (["a"], 1)
    assert result.tallies == {"car": Tally(1, 2, 2), "ship": Tally(0, 1, 0), "airplane": Tally()}
    assert scores.total(result.tallies.values()) == Tally(1, 3, 2)
    with pytest.raises(DatasetError, match="no images"):
        detection.evaluate_boxes([], (CAR,), lambda image: found)


def test_twelve_pixels_say_that_a_class_is_there():
    images = [
        Tagged("a", BLANK, {"car": True, "ship": False}),
        Tagged("b", BLANK, {"car": True, "ship": False}),
    ]
    areas = iter([{"car": 7, "truck": 5, "ship": 11}, {"car": 11, "ship": 12}])
    result = detection.evaluate_presence(images, (CAR, SHIP), lambda image: next(areas))
    assert result.tallies == {"car": Tally(1, 1, 2), "ship": Tally(0, 1, 0)}


def test_questions_and_claims_are_gone_through():
    questions = [Question("a", BLANK, "the ship"), Question("a", BLANK, "the dam")]
    answers = detection.evaluate_absent(
        questions,
        lambda q: Answer(q.name, q.sentence, 0.5 if "ship" in q.sentence else None, "none"),
    )
    assert [each.answered for each in answers] == [True, False]
    found = [Found("car", 0.2, (0, 0, 1, 1)), Found("bus", 0.9, (0, 0, 2, 2))]
    (claims,) = detection.evaluate_claims(
        [Overview("a", BLANK, {"car": 3})], (CAR,), lambda image: found
    )
    assert [each.label for each in claims.objects["car"]] == ["bus", "car"]
    assert claims.counts == {"car": 3}
    with pytest.raises(DatasetError, match="no questions"):
        detection.evaluate_absent([], lambda q: answers[0])
