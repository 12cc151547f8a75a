from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.regions import brush
from backend.regions.touched import touched
from dgl_rsis.runs import to_runs

SIZE = 40
LABELS = ("building", "road", "water")


def plane(rows: slice, columns: slice = slice(0, SIZE)) -> Any:
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[rows, columns] = True
    return mask


def region(
    identity: str, label: str, mask: Any = None, origin: str = "prediction", **more: Any
) -> dict[str, Any]:
    """A brush region as Label Studio stores it."""
    rle = brush.encode(to_runs(plane(slice(4, 20)) if mask is None else mask))
    return {
        "id": identity,
        "type": "brushlabels",
        "from_name": "mask",
        "to_name": "image",
        "original_width": SIZE,
        "original_height": SIZE,
        "origin": origin,
        "value": {"format": "rle", "rle": rle, "brushlabels": [label]},
    } | more


PREDICTED = [region("a", "building"), region("b", "road", plane(slice(20, 30)))]


def test_what_is_submitted_as_predicted_confirms_the_whole() -> None:
    assert touched(PREDICTED, PREDICTED) is None
    assert touched(PREDICTED) is None


def test_other_bytes_of_the_same_mask_are_no_change() -> None:
    padded = region("a", "building")
    padded["value"]["rle"] = [*padded["value"]["rle"], 0]
    assert padded["value"] != PREDICTED[0]["value"]
    assert touched([padded, PREDICTED[1]], PREDICTED) is None


def test_a_changed_region_touches_its_class_alone() -> None:
    changed = region("a", "building", origin="prediction-changed")
    assert touched([changed, PREDICTED[1]], PREDICTED) == {"building"}
    assert touched([changed, PREDICTED[1]]) == {"building"}


def test_a_drawn_region_touches_its_class() -> None:
    assert touched([*PREDICTED, region("c", "water", origin="manual")], PREDICTED) == {"water"}


def test_a_deleted_region_touches_its_class() -> None:
    assert touched([PREDICTED[0]], PREDICTED) == {"road"}
    assert touched([], PREDICTED) == {"building", "road"}


def test_a_relabelled_region_touches_both_classes() -> None:
    relabelled = region("a", "water", origin="prediction-changed")
    assert touched([relabelled, PREDICTED[1]], PREDICTED) == {"building", "water"}


def test_an_accepted_suggestion_touches_its_class_whatever_its_origin() -> None:
    """Label Studio leaves the origin of the answer, and gives a new region the answer's id."""
    assert touched([*PREDICTED, region("new", "water")], PREDICTED) == {"water"}


def test_a_suggestion_that_took_the_place_of_a_region_is_a_change() -> None:
    replaced = region("a", "building", plane(slice(4, 30)))
    assert touched([replaced, PREDICTED[1]], PREDICTED) == {"building"}


def test_shape_and_label_of_one_id_are_one_region() -> None:
    def pair(label: str, origin: str = "prediction") -> list[dict[str, Any]]:
        shape = region("a", "", type="brush", origin=origin)
        shape["value"] = {name: shape["value"][name] for name in ("format", "rle")}
        value = {"labels": [label]}
        return [shape, region("a", "", type="labels", value=value, origin=origin)]

    assert touched(pair("road"), pair("road")) is None
    assert touched(pair("water", "prediction-changed"), pair("road")) == {"road", "water"}


def test_what_is_no_mask_touches_nothing() -> None:
    point = region("p", "road", type="keypointlabels", origin="manual")
    point["value"] = {"x": 1, "y": 2, "width": 1, "keypointlabels": ["road"]}
    sentence = {"id": "t", "type": "textarea", "value": {"text": ["a road"]}, "origin": "manual"}
    assert touched([*PREDICTED, point, sentence, 7], PREDICTED) is None


def polygon(points: list[list[float]]) -> dict[str, Any]:
    value = {"points": points, "closed": True, "polygonlabels": ["road"]}
    return region("a", "", type="polygonlabels", value=value)


@pytest.mark.parametrize(("moved", "expected"), [(1e-9, None), (20.0, {"road"})])
def test_rounding_of_an_outline_is_no_change(moved: float, expected: set[str] | None) -> None:
    points = [[10.0, 10.0], [90.0, 10.0], [90.0, 90.0]]
    other = [[x + moved if x == 10.0 else x, y] for x, y in points]
    assert touched([polygon(other)], [polygon(points)]) == expected


@given(
    st.lists(st.sampled_from(LABELS), min_size=1, max_size=5),
    st.sets(st.integers(0, 4)),
    st.sets(st.integers(0, 4)),
)
def test_only_classes_of_changed_or_deleted_regions_are_touched(
    labels: list[str], changed: set[int], deleted: set[int]
) -> None:
    predicted = [region(str(number), label) for number, label in enumerate(labels)]
    result = [
        one | ({"origin": "prediction-changed"} if number in changed else {})
        for number, one in enumerate(predicted)
        if number not in deleted
    ]
    concerned = (changed | deleted) & set(range(len(labels)))
    expected = {labels[number] for number in concerned} if concerned else None
    assert touched(result, predicted) == expected
