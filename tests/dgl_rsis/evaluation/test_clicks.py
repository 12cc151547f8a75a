import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgl_rsis.evaluation import clicks
from dgl_rsis.evaluation.clicks import Click, ClickRun, ClickScores
from dgl_rsis.types import Prompt


def box(left: int, top: int, right: int, bottom: int, side: int = 40) -> np.ndarray:
    mask = np.zeros((side, side), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


NOTHING = np.zeros((40, 40), dtype=bool)


def test_the_first_click_goes_to_the_centre():
    assert clicks.next_click(NOTHING, box(10, 10, 21, 21)) == Click(15, 15, True)


def test_the_edge_of_the_image_is_an_edge():
    click = clicks.next_click(NOTHING, box(0, 0, 11, 11))
    assert click == Click(5, 5, True)


def test_the_deeper_error_is_clicked():
    truth = box(10, 10, 30, 20)
    missing = truth & ~box(10, 10, 15, 20)
    assert clicks.next_click(missing, truth) == Click(12, 12, True)
    surplus = truth | box(10, 20, 30, 31)
    click = clicks.next_click(surplus, truth)
    assert click is not None
    assert not click.positive
    assert click.y == 25


def test_nothing_wrong_needs_no_click():
    assert clicks.next_click(box(1, 1, 9, 9), box(1, 1, 9, 9)) is None


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_click_is_always_on_an_error(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    mask, truth = rng.random((2, 12, 15)) < 0.5
    click = clicks.next_click(mask, truth)
    assert click is not None
    assert mask[click.y, click.x] != truth[click.y, click.x]
    assert truth[click.y, click.x] == click.positive


def test_clicks_are_kept_and_the_last_answer_stays():
    asked: list[Prompt] = []

    def answer(prompt: Prompt) -> np.ndarray:
        asked.append(prompt)
        return box(10, 10, 20 if len(asked) < 3 else 30, 30)

    run = clicks.simulate(box(10, 10, 30, 30), answer)
    assert run.ious == pytest.approx((0, 0.5, 0.5, 1))
    assert [len(p.positive) for p in asked] == [1, 2, 3]
    assert run.after(5) == 1
    assert (run.needed(0.4), run.needed(0.8)) == (1, 3)


def test_a_prior_goes_into_every_prompt_and_counts_as_no_click():
    prior = box(10, 10, 30, 30)
    run = clicks.simulate(prior, lambda prompt: prior, prior=prior)
    assert run.ious == (1,)
    assert run.needed(0.85) == 0


def test_who_never_gets_there_stops_at_the_most():
    run = clicks.simulate(box(10, 10, 30, 30), lambda prompt: NOTHING, most=7)
    assert len(run.ious) == 8
    assert run.needed(0.8) == 20
    assert ClickRun((0.0, 0.9)).needed(0.8, most=0) == 0


def test_means_over_objects(click_scores: ClickScores):
    runs = click_scores.from_nothing
    assert clicks.mean_iou_after(runs, 1) == pytest.approx(0.7)
    assert clicks.mean_iou_after(runs, 5) == pytest.approx(0.86)
    assert clicks.clicks_needed(runs, 0.8) == 1.5
    assert clicks.clicks_needed(runs, 0.85) == (20 + 1) / 2
    assert clicks.failures(runs, 0.85) == 1
    assert click_scores.saved(0.8) == pytest.approx(1.5 - 0.5)
