from typing import Any

import numpy as np
import pytest

from backend.project.tasks import TaskError
from backend.prompts import clicks, stored
from backend.prompts.clicks import MOST_POINTS, Clicks
from backend.prompts.memory import Signs
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
    regions = list(stored.newest_regions(task))
    return clicks.read(keypoints, regions, "ship", signs or Signs(), str(task["id"]))


def prior(prompt: Clicks) -> runs.Runs | None:
    return None if prompt.correction is None else prompt.correction.prior


def at(*percent: tuple[float, float]) -> tuple[tuple[float, float], ...]:
    return tuple((x / 100, y / 100) for x, y in percent)


def test_a_click_says_on_which_side_it_is() -> None:
    prompt = read(keypoint(IN_A, "1", True), keypoint(FREE, "2", 0), keypoint(IN_B, "3", 1))
    assert (prompt.positive, prompt.negative, prior(prompt)) == (at(IN_A, IN_B), at(FREE), None)


def test_a_sign_is_remembered_for_the_clicks_that_follow() -> None:
    signs = Signs()
    read(keypoint(IN_A, "1", True), signs=signs)
    read(keypoint(IN_A, "1"), keypoint(FREE, "2", False), signs=signs)
    third = [keypoint(IN_A, "1"), keypoint(FREE, "2"), keypoint(IN_B, "3", True)]
    prompt = read(*third, signs=signs)
    assert (prompt.positive, prompt.negative) == (at(IN_A, IN_B), at(FREE))
    other_task = read(*third, task={"id": 2}, signs=signs)
    assert other_task.positive == at(IN_A, FREE, IN_B)


def test_a_click_inside_a_mask_corrects_that_object_of_it() -> None:
    task = holding(brush(A | B))
    for sign in (True, False):
        prompt = read(keypoint(IN_A, "1", sign), task=task)
        assert prior(prompt) is not None
        np.testing.assert_array_equal(runs.from_runs(prior(prompt)), A)
    assert read(keypoint(FREE, "1", True), task=task).correction is None
    assert read(keypoint(IN_A, "1", True), task=holding(brush(A, "water"))).correction is None


def test_the_newest_mask_under_the_click_is_the_one() -> None:
    corrected = A.copy()
    corrected[4] = False
    task = holding(brush(A)) | holding(brush(corrected), kind="drafts")
    prompt = read(keypoint(IN_A, "1", True), task=task)
    assert prior(prompt) == runs.to_runs(corrected)


def test_the_clicks_of_a_finished_prompt_are_left_out() -> None:
    task = holding(brush(A), kind="drafts")
    prompt = read(keypoint(IN_A, "1"), keypoint(FREE, "2", True), task=task)
    assert (prompt.positive, prior(prompt)) == (at(FREE), None)
    both = holding(brush(A), brush(B), kind="drafts")
    prompt = read(keypoint(IN_A, "1"), keypoint(IN_B, "2", True), task=both)
    assert (prompt.positive, prior(prompt)) == (at(IN_B), runs.to_runs(B))
    again = read(keypoint(IN_A, "1"), keypoint(IN_A, "2", True), task=both)
    assert (again.positive, prior(again)) == (at(IN_A, IN_A), runs.to_runs(A))


def test_clicks_that_no_mask_holds_are_the_present_prompt() -> None:
    prompt = read(keypoint(IN_A, "1"), keypoint(FREE, "2", True), task=holding(brush(B)))
    assert prompt.positive == at(IN_A, FREE)


def test_a_negative_click_begins_nothing() -> None:
    task = holding(brush(A), kind="drafts")
    prompt = read(keypoint(IN_A, "1"), keypoint(FREE, "2", False), task=task)
    assert (prompt.positive, prompt.negative) == (at(IN_A), at(FREE))
    assert prior(prompt) == runs.to_runs(A)


def test_a_click_that_says_it_is_present_counts_wherever_it_lies() -> None:
    task = holding(brush(A))
    prompt = read(keypoint(IN_A, "1", True), keypoint(FREE, "2", True), task=task)
    assert (prompt.positive, prior(prompt)) == (at(IN_A, FREE), runs.to_runs(A))


def test_a_negative_click_in_a_mask_of_another_label_takes_that_mask_along() -> None:
    task = holding(brush(A, id="ship"), brush(B, "water", id="water"), brush(A, "sand", id="sand"))
    inside = [keypoint(IN_A, "1", True), keypoint(IN_B, "2", False)]
    correction = read(*inside, task=task).correction
    assert correction is not None
    assert correction.target.region["id"] == "ship"
    assert [other.region["id"] for other in correction.others] == ["water"]
    positive = read(keypoint(IN_A, "1", True), keypoint(IN_B, "2", True), task=task).correction
    assert positive is not None
    assert positive.others == ()


def test_a_negative_click_alone_in_another_mask_means_the_nearest_of_its_label() -> None:
    near, far = square(20, 30), square(0, 0)
    task = holding(brush(near, id="near"), brush(far, id="far"), brush(B, "water", id="water"))
    correction = read(keypoint(IN_B, "1", False), task=task).correction
    assert correction is not None
    assert correction.target.region["id"] == "near"
    assert [other.region["id"] for other in correction.others] == ["water"]
    assert read(keypoint(IN_B, "1", False), task=holding(brush(B, "water"))).correction is None
    assert read(keypoint(FREE, "1", False), task=task).correction is None


def test_too_many_points_are_counted() -> None:
    assert len(read(*[keypoint(FREE)] * MOST_POINTS).positive) == MOST_POINTS
    with pytest.raises(TaskError, match=r"has 10000 points; at most 500 are answered: delete"):
        read(*[keypoint(FREE)] * 10_000)


def test_without_a_size_there_is_no_mask_to_correct() -> None:
    click = keypoint(IN_A, "1", True)
    del click["original_width"]
    assert read(click, task=holding(brush(A))).correction is None
    assert read() == Clicks()
