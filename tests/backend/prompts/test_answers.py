from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from backend.project import label_config
from backend.prompts import answers, context
from backend.prompts.answers import NoSuggestionError
from backend.prompts.memory import Memory
from backend.regions import reading
from dgl_rsis.runs import from_runs, to_runs
from dgl_rsis.types import Json
from tests.backend.prompts.regions import SIZE, H, W, brush, holding, polygon, square
from tests.backend.worker_end import XML
from workers.messages import SegmentReply, SegmentResult

CONFIG = label_config.parse(XML)
A, B, C = square(4, 4), square(20, 40), square(30, 4)


def click(row: int, column: int, name: str = "k", *, positive: bool = True) -> Json:
    x, y = 100 * (column + 0.5) / W, 100 * (row + 0.5) / H
    value = {"x": x, "y": y, "width": 0.3, "keypointlabels": ["ship"]}
    size = {"original_height": H, "original_width": W}
    return {
        "id": name, "type": "keypointlabels", "to_name": "image", "value": value,
        "is_positive": positive, **size,
    }  # fmt: skip


def reply(*masks: NDArray[np.bool_], reason: str = "") -> SegmentReply:
    segments = [SegmentResult("ship", 0.8, "candidate", to_runs(mask)) for mask in masks]
    return SegmentReply(H, W, "v", tuple(segments), reason=reason)


def suggest(
    task: Any, answer: SegmentReply, *clicks: Json, seed: str = "s", memory: Memory | None = None
) -> dict[str, NDArray[np.bool_]]:
    """Id → mask of what is suggested."""
    prompt = context.read({"result": list(clicks)}, CONFIG, task, memory or Memory())
    result = answers.suggest(answer, prompt, CONFIG, seed)["result"]
    return {region["id"]: from_runs(reading.mask(region, SIZE)) for region in result}


def test_a_new_mask_has_an_id_of_its_own() -> None:
    task = {"id": 1}
    (first,) = suggest(task, reply(A), click(6, 6), seed="1")
    (again,) = suggest(task, reply(A), click(6, 6), seed="1")
    (second,) = suggest(task, reply(A), click(6, 6), seed="2")
    assert first == again
    assert first != second


def test_a_corrected_mask_is_whole_and_keeps_its_id() -> None:
    task = holding(brush(A | C, id="ships"))
    larger = square(4, 4, 9)
    assert_masks(suggest(task, reply(larger), click(6, 6)), ships=larger | C)


def test_a_negative_click_takes_a_part_away() -> None:
    task = holding(brush(A | C, id="ships"))
    smaller = A.copy()
    smaller[6:] = False
    assert_masks(suggest(task, reply(smaller), click(8, 8, positive=False)), ships=smaller | C)
    nothing = reply(reason="nothing was found where you point")
    assert_masks(suggest(task, nothing, click(8, 8, positive=False)), ships=C)
    with pytest.raises(NoSuggestionError, match="nothing was found where you point, or delete"):
        suggest(holding(brush(A, id="ships")), nothing, click(8, 8, positive=False))


def test_both_masks_come_back_where_a_negative_click_lies_in_another_class() -> None:
    """The border moves: what the ship gives up goes to the water, what it takes comes from it."""
    ship, water = square(10, 10, 10), square(10, 20, 10)
    task = holding(brush(ship | C, id="ship"), brush(water, "water", id="water"))
    after = np.zeros(SIZE, dtype=np.bool_)
    after[10:18, 10:22] = True  # two columns more, two rows less
    changed = suggest(task, reply(after), click(12, 12, "1"), click(15, 25, "2", positive=False))
    assert_masks(changed, ship=after | C, water=(ship | water) & ~after)


def test_masks_that_overlap_are_parted() -> None:
    both = square(10, 10, 10)
    task = holding(brush(both, id="ship"), brush(both, "water", id="water"))
    left = both.copy()
    left[:, 15:] = False
    clicks = click(12, 12, "1"), click(12, 18, "2", positive=False)
    assert_masks(suggest(task, reply(left), *clicks), ship=left, water=both & ~left)


def test_a_mask_below_keeps_what_the_clicks_did_not_touch() -> None:
    everything = np.ones(SIZE, dtype=np.bool_)
    task = holding(brush(A | C, id="ship"), brush(everything, "water", id="water"))
    clicks = click(6, 6, "1"), click(20, 50, "2", positive=False)
    assert_masks(suggest(task, reply(A), *clicks), ship=A | C, water=everything & ~A)
    only = suggest(task, reply(A), click(20, 50, positive=False))
    assert_masks(only, ship=A | C, water=everything)


def test_a_negative_click_that_the_mask_does_not_hold_leaves_it_as_it_is() -> None:
    task = holding(brush(A, id="ship"), brush(B, "water", id="water"))
    changed = suggest(task, reply(square(0, 0, 20)), click(22, 42, positive=False))
    assert_masks(changed, ship=A, water=B)


@pytest.mark.parametrize("kind", ["predictions", "drafts", "annotations"])
def test_masks_of_every_kind_are_corrected(kind: str) -> None:
    task = holding(brush(A, id="drawn", origin="manual"), kind=kind)
    assert_masks(suggest(task, reply(C), click(6, 6)), drawn=C)


def test_the_mask_under_the_click_is_corrected_however_many_there_are() -> None:
    many = [brush(square(30, number % 50), id=str(number)) for number in range(200)]
    task = holding(brush(A, id="first"), *many)
    assert_masks(suggest(task, reply(C), click(6, 6)), first=C)


def test_what_is_written_of_a_mask_stays_with_it() -> None:
    mask, size = brush(A, id="ship"), {"original_height": H, "original_width": W}
    written = {"id": "ship", "type": "textarea", "from_name": "note", "to_name": "image", **size}
    rle = mask["value"]["rle"]
    note = {**written, "value": {"text": ["grey"], "format": "rle", "rle": rle}}
    older = {**note, "value": {"text": ["white"]}}
    task = holding(mask, older) | holding(mask, note, kind="drafts")
    prompt = context.read({"result": [click(6, 6)]}, CONFIG, task, Memory())
    changed, kept = answers.suggest(reply(C), prompt, CONFIG, "s")["result"]
    assert kept["value"] == {"text": ["grey"], "format": "rle", "rle": changed["value"]["rle"]}
    assert {**kept, "value": note["value"]} == note
    deleted = holding(mask, older) | holding(mask, kind="drafts")
    prompt = context.read({"result": [click(6, 6)]}, CONFIG, deleted, Memory())
    assert len(answers.suggest(reply(C), prompt, CONFIG, "s")["result"]) == 1


def test_an_outline_is_corrected_too() -> None:
    outline = {**polygon((10, 10), (40, 10), (40, 60), (10, 60)), "id": "outline"}
    changed = suggest(holding(outline), reply(square(4, 6, 12)), click(10, 12))
    assert_masks(changed, outline=square(4, 6, 12))


def test_a_mask_that_was_just_accepted_is_corrected_although_no_draft_holds_it() -> None:
    memory, task = Memory(), {"id": 1}
    prompt = context.read({"result": [click(6, 6, "1")]}, CONFIG, task, memory)
    accepted = answers.suggest(reply(A), prompt, CONFIG, "s")["result"]
    memory.suggestions.remember("1", accepted, prompt.asked_by)
    changed = suggest(task, reply(C), click(6, 6, "2"), seed="other", memory=memory)
    assert_masks(changed, **{accepted[0]["id"]: C})
    # While it is only suggested, its clicks are there, and what is asked next takes its place.
    pending = suggest(
        task, reply(C), click(6, 6, "1"), click(8, 8, "2"), seed="third", memory=memory
    )
    assert accepted[0]["id"] not in pending


def test_what_was_just_taken_away_counts_until_a_click_says_otherwise() -> None:
    memory, task = Memory(), holding(brush(A | C, id="ships"))
    out = click(8, 8, "1", positive=False)
    prompt = context.read({"result": [out]}, CONFIG, task, memory)
    first = answers.suggest(reply(), prompt, CONFIG, "s")["result"]
    memory.suggestions.remember("1", first, prompt.asked_by)
    smaller = square(30, 4, 3)
    changed = suggest(task, reply(smaller), click(34, 8, "2", positive=False), memory=memory)
    assert_masks(changed, ships=smaller)  # the next click does not bring back what the last took
    changed = suggest(task, reply(A), click(6, 6, "3"), memory=memory)
    assert_masks(changed, ships=A | C)  # it was not taken: somebody points at it


def test_what_was_asked_for_by_hand_is_told_from_what_nobody_looked_at() -> None:
    for task in ({"id": 1}, holding(brush(A))):
        prompt = context.read({"result": [click(6, 6)]}, CONFIG, task, Memory())
        (region,) = answers.suggest(reply(A), prompt, CONFIG, "s")["result"]
        assert region["origin"] == "prediction-changed"


def test_no_candidate_is_no_suggestion() -> None:
    with pytest.raises(NoSuggestionError, match="too dark"):
        suggest({"id": 1}, reply(reason="too dark"), click(6, 6))
    with pytest.raises(NoSuggestionError, match="nothing was found"):
        suggest({"id": 1}, reply(), click(6, 6))


def assert_masks(actual: dict[str, NDArray[np.bool_]], **expected: NDArray[np.bool_]) -> None:
    assert actual.keys() == expected.keys()
    for name, mask in expected.items():
        np.testing.assert_array_equal(actual[name], mask, err_msg=name)
