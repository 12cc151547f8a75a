from typing import Any

import numpy as np
import pytest

from backend.project.tasks import TaskError
from backend.prompts import clicks
from backend.prompts.clicks import MOST_POINTS, Clicks, Signs
from dgl_rsis import runs
from tests.backend.prompts.regions import H, W, brush, holding, square

A, B, FREE = square(4, 4), square(20, 40), (50.0, 5.0)
IN_A, IN_B = (100 * 6.5 / W, 100 * 6.5 / H), (100 * 42.5 / W, 100 * 22.5 / H)
EMPTY: dict[str, Any] = {"id": 1}


def keypoint(at: tuple[float, float], name: str = "k", positive: Any = None) -> dict[str, Any]:
    """A keypoint as the browser sends it; an old one without its sign."""
    value = {"x": at[0], "y": at[1], "width": 0.3, "keypointlabels": ["ship"]}
    region = {"id": name, "type": "keypointlabels", "value": value}
    sign = {} if positive is None else {"is_positive": positive}
    return {**region, **sign, "original_height": H, "original_width": W}


def read(*keypoints: dict[str, Any], task: Any = EMPTY, signs: Signs | None = None) -> Clicks:
    return clicks.read(keypoints, task, "ship", signs or Signs())


def at(*percent: tuple[float, float]) -> tuple[tuple[float, float], ...]:
    return tuple((x / 100, y / 100) for x, y in percent)


def test_a_click_says_on_which_side_it_is() -> None:
    prompt = read(keypoint(IN_A, "1", True), keypoint(FREE, "2", 0), keypoint(IN_B, "3", 1))
    assert (prompt.positive, prompt.negative, prompt.prior) == (at(IN_A, IN_B), at(FREE), None)


def test_a_sign_is_remembered_for_the_clicks_that_follow() -> None:
    signs = Signs()
    read(keypoint(IN_A, "1", True), signs=signs)
    read(keypoint(IN_A, "1"), keypoint(FREE, "2", False), signs=signs)
    third = [keypoint(IN_A, "1"), keypoint(FREE, "2"), keypoint(IN_B, "3", True)]
    prompt = read(*third, signs=signs)
    assert (prompt.positive, prompt.negative) == (at(IN_A, IN_B), at(FREE))
    other_task = read(*third, task={"id": 2}, signs=signs)
    assert other_task.positive == at(IN_A, FREE, IN_B)


def test_only_the_last_signs_are_remembered() -> None:
    signs = Signs(most=2)
    for name in "abc":
        signs.of("1", keypoint(FREE, name, False))
    assert [signs.of("1", keypoint(FREE, name)) for name in "abc"] == [True, False, False]


def test_a_click_inside_a_mask_corrects_that_object_of_it() -> None:
    task = holding(brush(A | B))
    for sign in (True, False):
        prompt = read(keypoint(IN_A, "1", sign), task=task)
        assert prompt.prior is not None
        np.testing.assert_array_equal(runs.from_runs(prompt.prior), A)
    assert read(keypoint(FREE, "1", True), task=task).prior is None
    assert read(keypoint(IN_A, "1", True), task=holding(brush(A, "water"))).prior is None


def test_the_newest_mask_under_the_click_is_the_one() -> None:
    corrected = A.copy()
    corrected[4] = False
    task = holding(brush(A)) | holding(brush(corrected), kind="drafts")
    prompt = read(keypoint(IN_A, "1", True), task=task)
    assert prompt.prior == runs.to_runs(corrected)


def test_the_clicks_of_a_finished_prompt_are_left_out() -> None:
    task = holding(brush(A), kind="drafts")
    prompt = read(keypoint(IN_A, "1"), keypoint(FREE, "2", True), task=task)
    assert (prompt.positive, prompt.prior) == (at(FREE), None)
    both = holding(brush(A), brush(B), kind="drafts")
    prompt = read(keypoint(IN_A, "1"), keypoint(IN_B, "2", True), task=both)
    assert (prompt.positive, prompt.prior) == (at(IN_B), runs.to_runs(B))
    again = read(keypoint(IN_A, "1"), keypoint(IN_A, "2", True), task=both)
    assert (again.positive, again.prior) == (at(IN_A, IN_A), runs.to_runs(A))


def test_clicks_that_no_mask_holds_are_the_present_prompt() -> None:
    prompt = read(keypoint(IN_A, "1"), keypoint(FREE, "2", True), task=holding(brush(B)))
    assert prompt.positive == at(IN_A, FREE)


def test_a_negative_click_begins_nothing() -> None:
    task = holding(brush(A), kind="drafts")
    prompt = read(keypoint(IN_A, "1"), keypoint(FREE, "2", False), task=task)
    assert (prompt.positive, prompt.negative) == (at(IN_A), at(FREE))
    assert prompt.prior == runs.to_runs(A)


def test_a_click_that_says_it_is_present_counts_wherever_it_lies() -> None:
    task = holding(brush(A))
    prompt = read(keypoint(IN_A, "1", True), keypoint(FREE, "2", True), task=task)
    assert (prompt.positive, prompt.prior) == (at(IN_A, FREE), runs.to_runs(A))


def test_too_many_points_are_counted() -> None:
    assert len(read(*[keypoint(FREE)] * MOST_POINTS).positive) == MOST_POINTS
    with pytest.raises(TaskError, match=r"has 10000 points; at most 500 are answered: delete"):
        read(*[keypoint(FREE)] * 10_000)


def test_without_a_size_there_is_no_mask_to_correct() -> None:
    click = keypoint(IN_A, "1", True)
    del click["original_width"]
    assert read(click, task=holding(brush(A))).prior is None
    assert read() == Clicks()
