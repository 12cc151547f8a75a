from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.prompts import stored
from backend.regions import reading
from backend.regions.allowance import BUDGET, Allowance, Budget
from dgl_rsis.runs import Runs, from_runs, to_runs
from tests.backend.prompts.regions import (
    SIZE,
    H,
    W,
    bitmask,
    brush,
    holding,
    polygon,
    sized,
    square,
)
from tests.backend.studio.exports import DRAWN


def masks_of(
    task: dict[str, Any], label: str, size: tuple[int, int], budget: Budget = BUDGET
) -> Iterator[Runs]:
    """The masks of a label, or of any."""

    def has(labels: Sequence[str]) -> bool:
        return not label or label in labels

    for mask in stored.stored(
        list(stored.newest_regions(task)), size, has, allowance=Allowance(budget)
    ):
        yield mask.runs


def test_every_format_is_decoded() -> None:
    mask = square(8, 12, 12)
    corners = ((20, 20), (40, 20), (40, 50), (20, 50))
    task = holding(brush(mask), bitmask(mask), polygon(*corners))
    masks = list(masks_of(task, "ship", SIZE))
    assert len(masks) == 3
    for runs in masks:
        np.testing.assert_array_equal(from_runs(runs), mask)


def test_what_smart_tools_were_asked_with_is_no_mask_to_correct() -> None:
    names = ["rectangle with negative sides", "turned rectangle", "ellipse"]
    assert not list(masks_of(holding(*[DRAWN[name][0] for name in names]), "ship", SIZE))


def test_drafts_come_first_and_the_newest_of_each() -> None:
    kinds = ["predictions", "annotations", "drafts"]
    task: dict[str, Any] = {"id": 1}
    for number, kind in enumerate(kinds):
        regions = [brush(square(0, 20 * number)), brush(square(20, 20 * number))]
        task |= holding(*regions, kind=kind)
    masks = [from_runs(runs) for runs in masks_of(task, "ship", SIZE)]
    wanted = [(row, 20 * number) for number in (2, 1, 0) for row in (20, 0)]
    for runs, at in zip(masks, wanted, strict=True):
        assert runs[at]


def test_of_the_regions_with_one_id_the_newest_is_the_mask() -> None:
    task = holding(brush(square(0, 0), id="a"), brush(square(9, 9), id="b"))
    task |= holding(brush(square(20, 0), "water", id="a"), kind="drafts")
    (only,) = masks_of(task, "ship", SIZE)
    assert from_runs(only)[9, 9]
    corrected = brush(square(30, 30), id="b")
    regions = list(stored.newest_regions(task, [answered(corrected)]))
    assert [region["id"] for region in regions] == ["b", "a", "b"], "the suggestion, then the rest"
    assert regions[0] is corrected


def answered(*regions: dict[str, Any]) -> dict[str, Any]:
    """What was suggested for a click."""
    at = "2026-01-01T00:00:05+00:00"
    return {"result": list(regions), "updated_at": at, "asked_by": frozenset({"click"})}


def saved(second: int, *regions: dict[str, Any]) -> dict[str, Any]:
    """A task with a draft."""
    at = f"2026-01-01T00:00:0{second}Z"
    return {"id": 1, "drafts": [{"result": list(regions), "updated_at": at}]}


def test_a_draft_that_was_saved_after_the_decision_tells_what_became_of_a_suggestion() -> None:
    suggestion, erased = brush(square(30, 30), id="b"), brush(square(9, 9), id="b")
    point = {"id": "click", "type": "keypointlabels"}

    def newest(task: dict[str, Any]) -> list[dict[str, Any]]:
        regions = stored.newest_regions(task, [answered(suggestion)])
        return [region for region in regions if region is not point]

    assert newest(saved(6, erased)) == [erased], "accepted, and changed since"
    assert newest(saved(6)) == [], "rejected"
    undecided = [suggestion, erased]
    assert newest(saved(6, erased, point)) == undecided, "saved while it was only suggested"
    assert newest(saved(4, erased)) == undecided, "saved before"


def test_a_shape_has_the_labels_of_the_result_beside_it() -> None:
    shape = brush(square(9, 9), id="a")
    shape["type"] = "brush"
    del shape["value"]["brushlabels"]
    labels = {"id": "a", "type": "labels", "value": {"labels": ["ship"]}}
    (runs,) = masks_of(holding(shape, labels), "ship", SIZE)
    assert from_runs(runs)[9, 9]
    assert not list(masks_of(holding(shape, labels), "water", SIZE))


def held(name: str, at: str, **more: Any) -> dict[str, Any]:
    return {"result": [{"id": name}], "updated_at": at, **more}


def test_what_was_written_of_a_region_does_not_hide_it() -> None:
    note = sized({"type": "textarea", "id": "a", "value": {"text": ["a roof of tin"]}})
    (mask,) = masks_of(holding(brush(square(4, 4), id="a"), note), "ship", SIZE)
    np.testing.assert_array_equal(from_runs(mask), square(4, 4))


def test_what_was_deleted_in_a_newer_state_is_not_there() -> None:
    """A draft of an annotation of a prediction: only what is left in the newest counts."""
    task = {
        "predictions": [held("p1", "2026-01-01T00:00:00Z", id=1)],
        "annotations": [held("a", "2026-01-02T00:00:00Z", id=2, parent_prediction=1)],
    }
    assert [r["id"] for r in stored.newest_regions(task)] == ["a"]
    task["drafts"] = [held("d", "2026-01-03T00:00:00Z", id=3, annotation=2)]
    assert [r["id"] for r in stored.newest_regions(task)] == ["d"]
    task["predictions"].append(held("p2", "2026-01-01T00:00:00Z", id=4))
    assert [r["id"] for r in stored.newest_regions(task)] == ["d", "p2"]


def test_a_draft_without_annotation_was_made_of_an_older_prediction() -> None:
    task = {
        "predictions": [
            held("newer", "2026-01-03T00:00:00Z", id=1),
            held("older", "2026-01-01T00:00:00.5Z", id=2),
        ],
        "drafts": [held("d", "2026-01-02T00:00:00Z", id=3, annotation=None)],
    }
    assert [r["id"] for r in stored.newest_regions(task)] == ["d", "newer"]


def test_other_labels_and_sizes_are_not_decoded() -> None:
    other_size = {**brush(square(0, 0)), "original_width": 61}
    task = holding(brush(square(0, 0), "water"), other_size, brush(square(9, 9)))
    assert len(list(masks_of(task, "ship", SIZE))) == 1
    assert len(list(masks_of(task, "", SIZE))) == 2


def test_the_search_is_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    task = holding(*(brush(square(0, 0)) for _ in range(50)))
    caplog.set_level("INFO")
    assert len(list(masks_of(task, "ship", SIZE, Budget(masks=3)))) == 3
    assert "not all stored masks were searched" in caplog.text
    assert len(list(masks_of(task, "ship", SIZE, Budget(regions=2)))) == 2
    assert not list(masks_of(task, "ship", SIZE, Budget(items=5)))
    decoded: list[int] = []

    def decode(*_: Any) -> Runs:
        decoded.append(1)
        return Runs(*SIZE, (SIZE[0] * SIZE[1],))

    monkeypatch.setattr(reading, "mask", decode)
    next(masks_of(task, "ship", SIZE))
    assert len(decoded) == 1


BROKEN: list[Any] = [
    None,
    7,
    {},
    {"type": []},
    sized({"type": "brushlabels", "value": {"rle": "x", "brushlabels": ["ship"]}}),
    sized({"type": "brushlabels", "value": {"rle": [1, None], "brushlabels": ["ship"]}}),
    sized({"type": "bitmasklabels", "value": {"imageDataURL": "x", "bitmasklabels": ["ship"]}}),
    sized({"type": "bitmasklabels", "value": {"imageDataURL": [1], "bitmasklabels": ["ship"]}}),
    sized(
        {
            "type": "bitmasklabels",
            "value": {
                "imageDataURL": "data:image/png;base64,iVBORw0KGgo=",
                "bitmasklabels": ["ship"],
            },
        }
    ),
    sized(
        {
            "type": "bitmasklabels",
            "value": {"imageDataURL": "data:image/png;base64,ü", "bitmasklabels": ["ship"]},
        }
    ),
    polygon((0, 0), (50, 0)),
    sized({"type": "polygonlabels", "value": {"points": "xyz", "polygonlabels": ["ship"]}}),
    {**bitmask(square(1, 1)), "original_width": 10**9, "original_height": 10**9},
]


def test_what_cannot_be_read_is_passed_over() -> None:
    task = holding(brush(square(5, 5)), *BROKEN)
    (readable,) = masks_of(task, "ship", SIZE)
    assert from_runs(readable)[7, 7]
    huge = holding({**bitmask(square(1, 1)), "original_width": 10**5, "original_height": 10**5})
    assert not list(masks_of(huge, "ship", (10**5, 10**5)))


@pytest.mark.parametrize("held", [None, 7, [7], [{"result": 7}], [{}]])
def test_a_task_may_hold_anything(held: Any) -> None:
    assert not list(masks_of({"predictions": held}, "", SIZE))


def test_a_point_is_held_by_the_pixel_under_it() -> None:
    runs = to_runs(square(8, 12))
    for row, column in np.ndindex(SIZE):
        at = ((column + 0.5) / W, (row + 0.5) / H)
        assert stored.holds(runs, at) == square(8, 12)[row, column]
    assert not stored.holds(runs, (1.0, 1.0))
    assert stored.holds(to_runs(square(H - 6, W - 6)), (1.0, 1.0))


@given(
    st.tuples(st.integers(0, H - 6), st.integers(0, W - 6)),
    st.tuples(st.integers(0, H - 1), st.integers(0, W - 1)),
)
def test_the_distance_is_to_the_nearest_pixel(
    corner: tuple[int, int], pixel: tuple[int, int]
) -> None:
    mask = square(*corner)
    expected = np.hypot(*(np.argwhere(mask) - pixel).T).min()
    point = ((pixel[1] + 0.5) / W, (pixel[0] + 0.5) / H)
    assert stored.distance(to_runs(mask), point) == pytest.approx(expected)
    assert stored.distance(to_runs(np.zeros_like(mask)), point) == float("inf")


def test_the_parts_that_hold_a_point_are_kept() -> None:
    runs = to_runs(square(2, 2) | square(2, 20) | square(20, 2))
    points = [(4 / W, 4 / H), (21 / W, 4 / H), (0.9, 0.9)]
    kept = from_runs(stored.parts_at(runs, points))
    np.testing.assert_array_equal(kept, square(2, 2) | square(2, 20))
