"""Which mask is meant by "all like this", in tasks as Label Studio sends them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from backend.project.tasks import TaskError
from backend.prompts import exemplars
from backend.prompts.exemplars import Meant
from backend.prompts.memory import Suggestions
from backend.regions.writing import CHANGED
from dgl_rsis.runs import from_runs
from dgl_rsis.types import Json
from tests.backend.prompts.regions import H, W, brush, holding, polygon, square
from workers.messages import Point

A, B, C = square(4, 4), square(20, 40), square(30, 4)
TEXT = "all like this"
PREDICTED = "prediction"


def answered(*regions: Json, at: float = 0.0, points: Sequence[Point] = ()) -> Suggestions:
    """The memory of one answer."""
    shown = Suggestions(clock=lambda: at, answers=1, seconds=60.0)
    shown.remember("1", regions, {"click"}, points)
    return shown


def read(task: Json, shown: Suggestions | None = None) -> Meant:
    return exemplars.read(TEXT, task, shown.recent("1", ()) if shown else ())


def assert_is(meant: Meant, mask: NDArray[np.bool_], label: str = "ship") -> None:
    assert meant.label == label
    np.testing.assert_array_equal(from_runs(meant.exemplar.mask), mask)


def middle(mask: NDArray[np.bool_]) -> Point:
    """Of its pixels, as shares of the image."""
    row, column = np.argwhere(mask).mean(axis=0) + 0.5
    return float(column / W), float(row / H)


@pytest.mark.parametrize(
    "text",
    [
        "all like this",
        "All like these.",
        "more like this one",
        "all  others like it",
        "find everything similar to this",
        "Please mark all of the things like that!",
        "show me more like those",
    ],
)
def test_what_asks_for_all_like_one(text: str) -> None:
    assert exemplars.asks(text)


@pytest.mark.parametrize(
    "text",
    [
        "all like this everywhere",
        "All like this in the project.",
        "more like these in all images",
        "all like this, in every task",
        "find all things similar to it in all the other images!",
        "everything like this across the whole project",
    ],
)
def test_what_asks_for_all_like_one_in_the_whole_project(text: str) -> None:
    assert exemplars.asks(text)
    task = holding(brush(A, id="a", origin="manual"), kind="drafts")
    assert exemplars.read(text, task, ()).everywhere
    assert not exemplars.read(TEXT, task, ()).everywhere


@pytest.mark.parametrize(
    "text",
    [
        "",
        "everywhere",
        "all like this in the image",
        "all like this every",
        "all",
        "like this",
        "all the ships",
        "all ships like this",
        "the building that looks like this road",
        "all like this in the harbour",
        "all like the red one",
    ],
)
def test_what_is_a_sentence(text: str) -> None:
    assert not exemplars.asks(text)


def test_the_mask_that_was_just_accepted_is_meant() -> None:
    task = holding(
        brush(A, id="a", origin=PREDICTED), brush(B, id="b", origin=CHANGED), kind="drafts"
    )
    assert_is(read(task), B)


def test_the_mask_that_was_drawn_last_is_meant() -> None:
    drafts = brush(A, id="a", origin="manual"), brush(B, "water", id="b", origin="manual")
    assert_is(read(holding(*drafts, kind="drafts")), B, "water")
    assert_is(read(holding(*drafts[::-1], kind="annotations")), A)


def test_a_mask_that_nobody_touched_is_not_meant() -> None:
    for task in (
        {"id": 1},
        holding(brush(A, id="a", origin=PREDICTED)),
        holding(brush(A, id="a", origin=PREDICTED), kind="drafts"),
        holding(brush(A & ~A, id="a", origin="manual"), kind="drafts"),
    ):
        with pytest.raises(TaskError, match=r"no mask to go by.*write 'all like this' again"):
            read(task)


def test_a_suggestion_that_is_still_shown_is_meant_and_comes_back() -> None:
    suggested = brush(B, id="b", origin=CHANGED)
    task = holding(brush(A, id="a", origin="manual"), kind="drafts")
    meant = read(task, answered(suggested))
    assert_is(meant, B)
    assert meant.pending == (suggested,)


def test_an_accepted_suggestion_stands_in_the_draft_and_does_not_come_back() -> None:
    accepted = brush(B, id="b", origin=CHANGED)
    drafts = [{"result": [{**accepted}], "updated_at": "1970-01-01T00:00:30Z"}]
    meant = read({"id": 1, "drafts": drafts}, answered(accepted))
    assert_is(meant, B)
    assert meant.pending == ()


def test_a_rejected_suggestion_is_not_meant() -> None:
    drawn = brush(A, id="a", origin="manual")
    drafts = [{"result": [drawn], "updated_at": "1970-01-01T00:00:30Z"}]
    meant = read({"id": 1, "drafts": drafts}, answered(brush(B, id="b", origin=CHANGED)))
    assert_is(meant, A)
    assert meant.pending == ()


def test_of_a_mask_that_was_clicked_the_clicked_part_is_meant() -> None:
    """A pre-label may hold all that a class has; what has its label already is not sought."""
    corrected = brush(A | C, id="ships", origin=CHANGED)
    meant = read({"id": 1}, answered(corrected, points=[middle(C)]))
    assert_is(meant, C)
    np.testing.assert_array_equal(from_runs(meant.exemplar.marked), A | C)


def test_a_click_that_the_mask_does_not_hold_any_more_says_nothing_of_its_parts() -> None:
    assert_is(read({"id": 1}, answered(brush(A | C, id="x"), points=[middle(B)])), A | C)


def test_what_has_the_label_already_is_marked_and_other_labels_are_not() -> None:
    task = holding(
        brush(A, id="a", origin=PREDICTED),
        brush(C, "water", id="c", origin=PREDICTED),
        brush(B, id="b", origin="manual"),
        kind="drafts",
    )
    meant = read(task)
    assert_is(meant, B)
    np.testing.assert_array_equal(from_runs(meant.exemplar.marked), A | B)


def test_holes_stay_holes() -> None:
    ring = square(4, 4, 12) & ~square(8, 8, 4)
    assert_is(read(holding(brush(ring, origin="manual"), kind="drafts")), ring)


def test_a_polygon_is_an_exemplar_and_a_box_or_a_point_is_none() -> None:
    drawn = {**polygon((10, 10), (50, 10), (50, 50), (10, 50)), "origin": "manual"}
    value = {"x": 10, "y": 10, "width": 20, "height": 20, "rectanglelabels": ["ship"]}
    box = {"type": "rectanglelabels", "original_height": H, "original_width": W, "value": value}
    task = holding(drawn, {**box, "id": "box", "origin": "manual"}, kind="drafts")
    assert from_runs(read(task).exemplar.mask)[4:20, 6:30].all()


def test_the_label_may_stand_beside_the_mask() -> None:
    shape = brush(A, id="a", origin="manual")
    del shape["value"]["brushlabels"]
    shape["type"] = "brush"
    beside: dict[str, Any] = {"id": "a", "type": "labels", "value": {"labels": ["water"]}}
    assert_is(read(holding(shape, beside, kind="drafts")), A, "water")
    with pytest.raises(TaskError, match="has no label: give it one"):
        read(holding(shape, kind="drafts"))
