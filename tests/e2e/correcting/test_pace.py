"""The seconds that a person is said to take."""

from dataclasses import replace

import numpy as np
import pytest

from tests.e2e.correcting.pace import AWAY, Pace

PACE = Pace()
SQUARE = np.array([[0, 0], [100, 0], [100, 100], [0, 100]], dtype=np.int32)


def test_pointing_is_fitts_law_and_a_press() -> None:
    # D / W = 7: three bits.
    assert PACE.pointing(70, 10) == pytest.approx(-0.107 + 3 * 0.223 + 0.2)


def test_no_movement_is_faster_than_the_shortest() -> None:
    assert PACE.pointing(0, 10) == pytest.approx(PACE.shortest + PACE.press)


def test_only_the_ratio_of_distance_and_width_counts() -> None:
    assert PACE.pointing(300, 20) == pytest.approx(PACE.pointing(600, 40))


def test_an_outline_is_priced_corner_by_corner() -> None:
    side = PACE.pointing(100, 6)
    by_hand = 1.35 + 0.28 + PACE.pointing(AWAY, 6) + 4 * side
    assert PACE.outline(SQUARE, tolerance=3) == pytest.approx(by_hand)


def test_a_corner_more_takes_longer_and_a_laxer_outline_less_long() -> None:
    more = np.insert(SQUARE, 1, [50, 0], axis=0)
    assert PACE.outline(more, 3) > PACE.outline(SQUARE, 3) > PACE.outline(SQUARE, 6)


def test_strokes_follow_the_steering_law() -> None:
    short, long = PACE.strokes([100], tolerance=3), PACE.strokes([400], tolerance=3)
    assert long - short == pytest.approx(0.1 * 300 / 6)
    assert PACE.strokes([100], tolerance=6) < short


def test_one_decision_for_several_strokes() -> None:
    once = PACE.strokes([100, 100], tolerance=3)
    assert once < 2 * PACE.strokes([100], tolerance=3)


def test_a_person_half_as_fast_takes_twice_as_long() -> None:
    slow = replace(PACE, **{name: 2 * value for name, value in vars(PACE).items()})
    assert slow.outline(SQUARE, 3) == pytest.approx(2 * PACE.outline(SQUARE, 3))
    assert slow.strokes([250, 40], 3) == pytest.approx(2 * PACE.strokes([250, 40], 3))
    assert slow.click(30) + slow.verdict() == pytest.approx(2 * (PACE.click(30) + PACE.verdict()))
    assert slow.renaming(30) == pytest.approx(2 * PACE.renaming(30))
