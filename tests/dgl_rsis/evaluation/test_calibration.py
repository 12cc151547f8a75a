"""Whether confidence is what it says."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgl_rsis.evaluation.calibration import BINS, Reliability

UNIT = st.floats(0, 1, allow_nan=False, width=32)
ANSWERS = st.lists(st.tuples(UNIT, st.booleans()), min_size=1, max_size=60)


def counted(answers: list[tuple[float, bool]]) -> Reliability:
    reliability = Reliability()
    reliability.add(*zip(*answers, strict=True))
    return reliability


@given(ANSWERS)
def test_the_error_is_that_of_its_definition(answers: list[tuple[float, bool]]):
    error = 0.0
    for i in range(BINS):
        inside = [a for a in answers if min(int(a[0] * BINS), BINS - 1) == i]
        if inside:
            sure, right = (np.mean(each) for each in zip(*inside, strict=True))
            error += len(inside) / len(answers) * abs(sure - right)
    assert counted(answers).ece == pytest.approx(error, abs=1e-9)


@given(ANSWERS, st.integers(0, 60))
def test_images_one_by_one_give_what_all_together_give(answers: list[tuple[float, bool]], cut: int):
    apart = Reliability()
    for part in (answers[:cut], answers[cut:]):
        apart.add([a for a, _ in part], [b for _, b in part])
    together = counted(answers)
    assert apart.ece == pytest.approx(together.ece)
    assert sum(count for _, count, _, _ in apart.rows) == len(answers)


@given(st.lists(st.booleans(), min_size=1, max_size=50))
def test_who_says_how_often_they_are_right_makes_no_error(right: list[bool]):
    assert counted([(float(np.mean(right)), each) for each in right]).ece == pytest.approx(0)


def test_full_confidence_is_in_the_last_bin_and_nothing_has_no_error():
    assert math.isnan(Reliability().ece)
    assert Reliability().rows == []
    sure = counted([(1.0, False), (1.0, True)])
    assert sure.rows == [((BINS - 1) / BINS, 2, 1.0, 0.5)]
    with pytest.raises(ValueError, match="2 confidences, 1 outcomes"):
        sure.add([0.1, 0.2], [1])


def test_a_mask_counts_where_the_truth_is_known():
    mask = np.array([[True, True, True, False]])
    positive, known = np.array([[True, False, False, True]]), np.array([[True, True, False, True]])
    probability = np.array([[0.2, 0.4, 0.6, 1.0]], np.float32)
    reliability = Reliability()
    reliability.add_mask(mask, probability, positive, known)
    ((_, count, sure, iou),) = reliability.rows
    assert (count, sure, iou) == (1, pytest.approx(0.4), pytest.approx(1 / 3))
    reliability.add_mask(mask & ~known, probability, positive, known)
    assert reliability.counts.sum() == 1
