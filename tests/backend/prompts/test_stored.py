from typing import Any

import numpy as np
import pytest

from backend.prompts import stored
from backend.prompts.stored import Budget
from backend.regions import reading
from dgl_rsis.runs import from_runs, to_runs
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


def test_every_format_is_decoded() -> None:
    mask = square(8, 12, 12)
    corners = ((20, 20), (40, 20), (40, 50), (20, 50))
    task = holding(brush(mask), bitmask(mask), polygon(*corners))
    masks = list(stored.stored(task, "ship", SIZE))
    assert len(masks) == 3
    for runs in masks:
        np.testing.assert_array_equal(from_runs(runs), mask)


def test_what_smart_tools_were_asked_with_is_no_mask_to_correct() -> None:
    names = ["rectangle with negative sides", "turned rectangle", "ellipse"]
    assert not list(stored.stored(holding(*[DRAWN[name][0] for name in names]), "ship", SIZE))


def test_drafts_come_first_and_the_newest_of_each() -> None:
    kinds = ["predictions", "annotations", "drafts"]
    task: dict[str, Any] = {"id": 1}
    for number, kind in enumerate(kinds):
        regions = [brush(square(0, 20 * number)), brush(square(20, 20 * number))]
        task |= holding(*regions, kind=kind)
    masks = [from_runs(runs) for runs in stored.stored(task, "ship", SIZE)]
    wanted = [(row, 20 * number) for number in (2, 1, 0) for row in (20, 0)]
    for runs, at in zip(masks, wanted, strict=True):
        assert runs[at]


def test_other_labels_and_sizes_are_not_decoded() -> None:
    other_size = {**brush(square(0, 0)), "original_width": 61}
    task = holding(brush(square(0, 0), "water"), other_size, brush(square(9, 9)))
    assert len(list(stored.stored(task, "ship", SIZE))) == 1
    assert len(list(stored.stored(task, "", SIZE))) == 2


def test_the_search_is_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    task = holding(*[brush(square(0, 0))] * 50)
    caplog.set_level("INFO")
    assert len(list(stored.stored(task, "ship", SIZE, Budget(masks=3)))) == 3
    assert "not all stored masks were searched" in caplog.text
    assert len(list(stored.stored(task, "ship", SIZE, Budget(regions=2)))) == 2
    assert not list(stored.stored(task, "ship", SIZE, Budget(items=5)))
    decoded: list[int] = []
    monkeypatch.setattr(reading, "mask", lambda *_: decoded.append(1))
    next(stored.stored(task, "ship", SIZE))
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
    (readable,) = stored.stored(task, "ship", SIZE)
    assert from_runs(readable)[7, 7]
    huge = holding({**bitmask(square(1, 1)), "original_width": 10**5, "original_height": 10**5})
    assert not list(stored.stored(huge, "ship", (10**5, 10**5)))


@pytest.mark.parametrize("held", [None, 7, [7], [{"result": 7}], [{}]])
def test_a_task_may_hold_anything(held: Any) -> None:
    assert not list(stored.stored({"predictions": held}, "", SIZE))


def test_a_point_is_held_by_the_pixel_under_it() -> None:
    runs = to_runs(square(8, 12))
    for row, column in np.ndindex(SIZE):
        at = ((column + 0.5) / W, (row + 0.5) / H)
        assert stored.holds(runs, at) == square(8, 12)[row, column]
    assert not stored.holds(runs, (1.0, 1.0))
    assert stored.holds(to_runs(square(H - 6, W - 6)), (1.0, 1.0))


def test_the_parts_that_hold_a_point_are_kept() -> None:
    runs = to_runs(square(2, 2) | square(2, 20) | square(20, 2))
    points = [(4 / W, 4 / H), (21 / W, 4 / H), (0.9, 0.9)]
    kept = from_runs(stored.parts_at(runs, points))
    np.testing.assert_array_equal(kept, square(2, 2) | square(2, 20))
