import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.regions.findings import ExportError, Findings
from backend.regions.records import Item
from backend.studio import export
from backend.studio.export import Reading
from tests.backend.studio.exports import (
    H,
    W,
    annotation,
    bitmap,
    box,
    brushed,
    mask_of,
    prediction,
    region,
    task,
    written,
)  # fmt: skip

TILE = {
    "scene": "delta.tif", "crs": "EPSG:32616", "transform": [2, 0, 7, 0, -2, 9],
    "window": [60, 0, W, H], "scene_size": [600, 400],
}  # fmt: skip


def items(*tasks: dict[str, Any], **how: Any) -> tuple[list[Item], Findings]:
    reading = Reading(**how)
    return list(export.read_tasks(tasks, reading)), reading.findings


def only(result: dict[str, Any], **how: Any) -> Any:
    (item,), findings = items(task(1, annotation(result)), **how)
    (marked,) = item.annotations[0].regions
    assert not findings.problems
    return marked


@given(st.tuples(*[st.integers(0, 20)] * 2), st.tuples(*[st.integers(1, 19)] * 2))
@settings(max_examples=30, deadline=None)
def test_a_polygon_along_the_edges_of_pixels_holds_these_pixels(
    start: tuple[int, int], size: tuple[int, int]
) -> None:
    (top, left), (high, wide) = start, size
    bottom, right = top + high, left + wide
    outline = [(left, top), (right, top), (right, bottom), (left, bottom)]
    corners = [[x / W * 100, y / H * 100] for x, y in outline]
    drawn = mask_of(only(region("polygonlabels", ["road"], {"points": corners})).runs)
    np.testing.assert_array_equal(drawn, box(top, left, bottom, right))


def test_reads_every_kind_of_mask() -> None:
    mask = box(8, 12, 24, 30)
    assert (mask_of(only(brushed(mask, "road")).runs) == mask).all()
    assert (mask_of(only(bitmap(mask, "road")).runs) == mask).all()
    upright = {"x": 20, "y": 20, "width": 30, "height": 40, "rotation": 0}
    assert (mask_of(only(region("rectanglelabels", ["road"], upright)).runs) == mask).all()
    corners = [[20, 20], [50, 20], [50, 60], [20, 60]]
    drawn = mask_of(only(region("polygonlabels", ["road"], {"points": corners})).runs)
    assert drawn[mask].all()
    assert not (drawn & ~box(7, 11, 25, 31)).any()
    round_ = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 15, "rotation": 0}
    ellipse = only(region("ellipselabels", ["road"], round_))
    rows, columns = np.mgrid[:H, :W] + 0.5
    assert (
        mask_of(ellipse.runs) == (((columns - 30) / 12) ** 2 + ((rows - 20) / 6) ** 2 <= 1)
    ).all()
    assert (ellipse.kind, ellipse.label, ellipse.origin, ellipse.score) == (
        "ellipse", "road", "manual", None
    )  # fmt: skip


def test_turns_about_the_upper_left_corner() -> None:
    # A quarter clockwise: what went right goes down, what went down goes left.
    turned = {"x": 50, "y": 20, "width": 30, "height": 10, "rotation": 90}
    marked = only(region("rectanglelabels", ["road"], turned))
    assert (mask_of(marked.runs) == box(8, 26, 26, 30)).all()


def test_a_region_of_two_labels_is_two() -> None:
    (item,), _ = items(task(1, annotation(brushed(box(1, 1, 5, 5), "road", "bridge"))))
    assert [each.label for each in item.annotations[0].regions] == ["road", "bridge"]


def test_sentences_beside_a_region_are_its_own() -> None:
    def written_(identity: str, *text: Any) -> dict[str, Any]:
        value = {"text": list(text), "x": 1, "y": 1}
        return {"id": identity, "type": "textarea", "from_name": "says", "value": value}

    one, other = (brushed(box(1, 1, 5, 5), "road", id=name) for name in ("a", "b"))
    result = (one, written_("a", "the road", " ", 3), other, written_("a", "x"), written_("c", "y"))
    (item,), findings = items(task(1, annotation(*result)))
    assert [each.texts for each in item.annotations[0].regions] == [("the road", "x"), ()]
    assert not findings.problems
    assert findings.skipped == {"textarea regions": 1}


def test_passes_over_what_is_no_mask() -> None:
    result = (
        brushed(box(1, 1, 5, 5), "road"),
        brushed(box(0, 0, 0, 0), "road"),
        {"type": "relation", "from_id": "a", "to_id": "b"},
        {"id": "c", "type": "choices", "value": {"choices": ["good"]}},
        {"type": None},
        "nonsense",
    )
    (item,), findings = items(task(1, annotation(*result)))
    assert len(item.annotations[0].regions) == 1
    assert not findings.problems
    assert findings.skipped == {
        "masks without a pixel": 1, "relation regions": 1,
        "choices regions": 1, "unknown regions": 2,
    }  # fmt: skip


CUT = brushed(box(1, 1, 5, 5), "road")["value"]["rle"][:12]
BROKEN = {
    "cut short": region("brushlabels", ["road"], {"rle": CUT}),
    "integers 0-255": region("brushlabels", ["road"], {"rle": [400]}),
    "another image size": region("brushlabels", ["road"], {"rle": [0] * 20}),
    "at least 3": region("polygonlabels", ["road"], {"points": [[1, 1], [5, 5]]}),
    "on one line": region("polygonlabels", ["road"], {"points": [[1, 1], [5, 5], [9, 9]]}),
    "width is '9'": region("rectanglelabels", ["road"], {"x": 1, "y": 1, "width": "9"}),
    "radiusY is 0": region("ellipselabels", ["road"], {"x": 1, "y": 1, "radiusX": 2, "radiusY": 0}),
    "rotation is not a number": region(
        "ellipselabels", ["road"], {"x": 1, "y": 1, "radiusX": 2, "radiusY": 2, "rotation": []}
    ),
    "data URL": region("bitmasklabels", ["road"], {"imageDataURL": 3}),
    "image of 50 × 40 pixels": brushed(box(1, 1, 5, 5, (40, 50)), "road"),
}  # fmt: skip


@pytest.mark.parametrize("why", BROKEN)
def test_what_is_broken_is_named_and_the_rest_goes_on(why: str) -> None:
    good = brushed(box(1, 1, 5, 5), "road")
    broken = {**BROKEN[why], "id": "bad"}
    (item, other), findings = items(task(7, annotation(good, broken)), task(8, annotation(good)))
    assert len(item.annotations[0].regions) == len(other.annotations[0].regions) == 1
    (problem,) = findings.problems
    assert problem.startswith("task 7, annotation 1, region bad: ")
    assert why in problem


def test_unknown_labels_are_named() -> None:
    marked = annotation(brushed(box(1, 1, 5, 5), "road", "tram"))
    (item,), findings = items(task(7, marked), labels=["road", "water"])
    assert [each.label for each in item.annotations[0].regions] == ["road"]
    assert findings.problems == [
        "task 7, annotation 1, region r1: the label 'tram' is not among the labels asked for"
    ]


def test_the_size_of_an_image_without_masks() -> None:
    tile, blank = task(1, annotation(), **TILE), task(2, annotation())
    read, findings = items(tile, blank)
    assert [(each.task_id, each.height, each.width) for each in read] == [(1, H, W)]
    assert read[0].annotations[0].regions == ()
    assert read[0].place is not None
    assert read[0].place.transform == (2, 0, 7, 0, -2, 9)
    assert "task 2: it is left out" in findings.problems[0]
    read, findings = items(blank, measure=lambda reference: (5, 6))
    assert (read[0].height, read[0].width, findings.problems) == (5, 6, [])


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": [0, 0, 9, 9]}, {"window": [1]}, {"window": "x"}, {"scene_size": None},
        {"transform": [1, 2]}, {"transform": [10**400] * 6}, {"transform": [float("nan")] * 6},
    ],
)  # fmt: skip
def test_a_wrong_place_is_named(wrong: Mapping[str, Any]) -> None:
    marked = annotation(brushed(box(1, 1, 5, 5), "road"))
    (item,), findings = items(task(3, marked, **{**TILE, **wrong}))
    assert item.place is None
    assert findings.problems[0].startswith("task 3: its ")


def test_annotations_are_in_the_order_of_time_and_cancelled_ones_left_out() -> None:
    mask = brushed(box(1, 1, 5, 5), "road")
    person = {"id": 4, "email": "ann@example.org"}
    first, second = annotation(mask, identity=5), annotation(mask, identity=9, by=person)
    third = annotation(mask, identity=11, was_cancelled=True)
    (item,), findings = items(task(1, second, third, first))
    assert [each.id for each in item.annotations] == [5, 9]
    assert [each.annotator for each in item.annotations] == ["1", "ann@example.org"]
    assert findings.skipped == {"cancelled annotations": 1}


def test_knows_the_prediction_that_an_annotation_started_from() -> None:
    mask = brushed(box(1, 1, 5, 5), "road", score=0.7)
    old, new = prediction(mask, identity=2), prediction(mask, identity=6, version="dgl-2")
    held = prediction(mask, identity=8, version="dgl-0")
    (item,), _ = items(
        task(
            1,
            annotation(mask, identity=1, parent_prediction=2),
            annotation(mask, identity=2, prediction={"id": 6}),
            annotation(mask, identity=3, prediction=held),
            annotation(mask, identity=4),
            predictions=[new, old],
        )
    )
    starts = [each.predicted and each.predicted.model_version for each in item.annotations]
    assert starts == ["dgl-1", "dgl-2", "dgl-0", None]
    assert [each.id for each in item.predictions] == [2, 6]
    assert item.predictions[0].regions[0].score == 0.7


def test_masks_of_predictions_and_the_background_can_be_passed_over() -> None:
    bad = prediction(region("brushlabels", ["road"], {"rle": [400]}), identity=3)
    marked = annotation(brushed(box(1, 1, 5, 5), "road", "ground"), parent_prediction=3)
    how = {"labels": ["road"], "ignored": ["ground"], "predicted_masks": False}
    (item,), findings = items(task(1, marked, predictions=[bad]), **how)
    assert not findings.problems
    assert [each.label for each in item.annotations[0].regions] == ["road"]
    assert item.annotations[0].predicted == item.predictions[0]
    assert item.predictions[0].regions == ()


def test_tasks_without_any_mark_are_counted_and_not_measured() -> None:
    def measure(reference: str) -> tuple[int, int]:
        raise AssertionError(reference)

    cancelled = annotation(was_cancelled=True)
    read, findings = items(task(1), task(2, cancelled), measure=measure)
    assert read == []
    assert not findings.problems
    assert findings.skipped["tasks without any mark"] == 2


def test_predictions_of_which_only_ids_are_exported() -> None:
    plain = task(1, annotation(brushed(box(1, 1, 5, 5), "road")))
    (item,), _ = items({**plain, "predictions": [4, 5]})
    assert item.predictions == ()


def test_tasks_without_image_are_named() -> None:
    (item,), findings = items(
        {"id": 4, "data": {}}, task(5, annotation(brushed(box(1, 1, 5, 5), "a")))
    )
    assert item.task_id == 5
    assert "task 4" in findings.problems[0]


def test_reads_a_file(tmp_path: Path) -> None:
    mask = box(3, 3, 9, 9)
    path = written(tmp_path / "export.json", *(task(i, annotation(brushed(mask, "road")))
                                               for i in range(3)))  # fmt: skip
    read = list(export.read(path))
    assert [each.task_id for each in read] == [0, 1, 2]
    assert (mask_of(read[2].annotations[0].regions[0].runs) == mask).all()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (json.dumps([3]), "begins with what is no task"),
        (json.dumps({"images": [], "annotations": []}), "as of COCO: in Label Studio, export"),
        ('{"data": {}}\n{"data"', "line 2"),
        ("id,image\n1,a.png", "no export of Label Studio"),
        ("<annotation/>", "Pascal VOC"),
        ("PK\x03\x04", "archive"),
        ("", "no export of Label Studio"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text, "utf-8")
    with pytest.raises(ExportError, match=why):
        list(export.read(path))


NONSENSE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=5,
)
KEYS = st.sampled_from(
    ["rle", "points", "imageDataURL", "x", "y", "width", "height", "radiusX", "radiusY", "rotation"]
)


@given(
    st.sampled_from(["brushlabels", "bitmasklabels", "polygonlabels", "rectanglelabels",
                     "ellipselabels"]),
    st.dictionaries(KEYS, NONSENSE),
    st.dictionaries(st.sampled_from(["original_width", "score", "id", "origin"]), NONSENSE),
    st.dictionaries(
        st.sampled_from(["completed_by", "updated_at", "prediction", "parent_prediction", "id"]),
        NONSENSE,
    ),
    st.dictionaries(st.sampled_from([*TILE, "expression"]), NONSENSE),
)  # fmt: skip
@settings(deadline=None)
def test_nothing_that_somebody_wrote_stops_the_others(
    kind: str, value: Any, of_region: Any, of_annotation: Any, of_data: Any
) -> None:
    odd = {**region(kind, ["road"], value), **of_region}
    wrong = task(1, {**annotation(odd), **of_annotation}, **of_data)
    right = task(2, annotation(brushed(box(1, 1, 5, 5), "road")))
    read, _ = items(wrong, right, measure=lambda reference: (H, W))
    assert read[-1].task_id == 2


def test_what_a_task_says_never_fills_the_memory(tmp_path: Path) -> None:
    vast = brushed(box(1, 1, 5, 5), "road", original_width=500_000, original_height=500_000)
    place = {"scene": "a.tif", "crs": "", "transform": None, "scene_size": [10**6, 10**6]}
    reading = Reading()
    path = written(
        tmp_path / "export.json",
        task(1, annotation(vast)),
        task(2, annotation(), window=[0, 0, 10**6, 10**6], **place),
        task(3, annotation(brushed(box(1, 1, 5, 5), "road"))),
    )
    assert [item.task_id for item in export.read(path, reading)] == [3]
    first, second = reading.findings.problems
    assert "task 1: it is left out: 500000 × 500000 pixels are more than" in first
    assert second.startswith("task 2: it is left out: 1000000 × 1000000")


def test_an_image_may_have_as_many_pixels_as_the_reader_is_told() -> None:
    vast = task(1, annotation())
    refused, findings = items(vast, measure=lambda reference: (10_000, 10_001))
    assert refused == []
    (problem,) = findings.problems
    assert "more than 100,000,000; cut" in problem
    assert "raise MAX_IMAGE_PIXELS" in problem
    (read,), findings = items(vast, measure=lambda _: (10_000, 10_001), max_pixels=100_010_000)
    assert (read.height, read.width) == (10_000, 10_001)
    assert not findings.problems


def test_half_characters_become_readable(tmp_path: Path) -> None:
    mask = brushed(box(1, 1, 5, 5), "ro\ud800ad", id="\udfff")
    path = written(tmp_path / "export.json", task(1, annotation(mask, by="\ud800"), scene="\ud800"))
    (item,) = export.read(path)
    (region_,) = item.annotations[0].regions
    assert (region_.label, region_.id, item.annotations[0].annotator) == ("ro?ad", "?", "?")


def test_scores_that_are_no_numbers_are_none(tmp_path: Path) -> None:
    mask = brushed(box(1, 1, 5, 5), "road", score=float("nan"))
    odd = prediction(mask, score=float("inf"))
    (item,) = export.read(written(tmp_path / "export.json", task(1, predictions=[odd])))
    assert item.predictions[0].score is None
    assert item.predictions[0].regions[0].score is None


def test_what_is_no_task_does_not_stop_the_others(tmp_path: Path) -> None:
    good = task(1, annotation(brushed(box(1, 1, 5, 5), "road")))
    reading = Reading()
    path = written(tmp_path / "export.json", good, 3, {"x": 1}, {**good, "id": 2})  # type: ignore[arg-type]
    assert [item.task_id for item in export.read(path, reading)] == [1, 2]
    assert len(reading.findings.problems) == 2


def test_a_label_that_nobody_asked_for_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given_ = [task(i, annotation(brushed(box(1, 1, 5, 5), "tram"))) for i in range(5)]
    reading = Reading(labels={"road"})
    list(export.read(written(tmp_path / "export.json", *given_), reading))
    assert len(reading.findings.problems) == 5
    assert caplog.text.count("'tram'") == 1
