import base64
import io
import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from label_studio_sdk.converter.brush import decode_rle
from label_studio_sdk.label_interface import LabelInterface
from numpy.typing import NDArray
from PIL import Image

from backend.project import label_config
from backend.regions import reading
from backend.regions.writing import to_changed, to_prediction, to_predictions
from dgl_rsis import runs
from dgl_rsis.runs import from_runs, to_runs
from dgl_rsis.types import Json, Mask
from workers.messages import SegmentReply, SegmentResult

XML = """<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image"><Label value="water"/><Label value="ship"/></BrushLabels>
<BitmaskLabels name="bit" toName="image"><Label value="water"/></BitmaskLabels>
<PolygonLabels name="poly" toName="image"><Label value="ship"/></PolygonLabels>
<RectangleLabels name="rect" toName="image"><Label value="ship"/></RectangleLabels>
</View>"""
TAGS = ["BrushLabels", "BitmaskLabels", "PolygonLabels", "RectangleLabels"]
MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=30))


def single(tag: str, mode: str = "semantic", label: str = "ship") -> str:
    return (
        f'<View><Image name="image" value="$image"/><{tag} name="c" toName="image" '
        f'model_mode="{mode}"><Label value="{label}"/></{tag}></View>'
    )


def reply(*segments: tuple[str, float, str, Mask]) -> SegmentReply:
    height, width = segments[0][3].shape
    results = tuple(
        SegmentResult(label, score, level, runs.to_runs(mask))
        for label, score, level, mask in segments
    )
    return SegmentReply(height, width, "worker", results)


def predict(xml: str, *segments: tuple[str, float, str, Mask]) -> Json:
    return to_prediction(reply(*segments), label_config.parse(xml), "v1")


def rectangle(rows: slice, columns: slice, shape: tuple[int, int] = (50, 70)) -> Mask:
    mask = np.zeros(shape, dtype=np.bool_)
    mask[rows, columns] = True
    return mask


def errors(xml: str, prediction: Json) -> list[str]:
    problems: list[str] = LabelInterface(xml).validate_prediction(prediction, return_errors=True)
    return problems


def test_candidates_are_predictions_of_their_own_in_the_first_control_of_their_label() -> None:
    second = rectangle(slice(30, 40), slice(5, 25))
    asked = reply(("ship", 0.9, "candidate", SHIP), ("ship", 0.4, "candidate", second))
    predictions = to_predictions(asked, label_config.parse(XML), "v1")
    # Label Studio opens the one that was stored last.
    assert [prediction["score"] for prediction in predictions] == [0.4, 0.9]
    for prediction, mask in zip(predictions, (second, SHIP), strict=True):
        (region,) = prediction["result"]
        assert (region["from_name"], region["value"]["brushlabels"]) == ("brush", ["ship"])
        drawn = decode_rle(region["value"]["rle"]).reshape(50, 70, 4)[..., 3] > 0
        assert (drawn == mask).all()
        assert errors(XML, prediction) == []
    identifiers = {region["id"] for prediction in predictions for region in prediction["result"]}
    assert len(identifiers) == 2


def test_a_candidate_of_several_parts_is_all_of_them_in_polygons() -> None:
    both = rectangle(slice(10, 20), slice(30, 50)) | rectangle(slice(30, 40), slice(5, 25))
    config = label_config.parse(single("PolygonLabels", "instance"))
    (prediction,) = to_predictions(reply(("ship", 0.9, "candidate", both)), config, "v1")
    assert len(prediction["result"]) == 2


def test_a_reply_without_candidates_is_one_prediction() -> None:
    asked = reply(("ship", 0.9, "class", SHIP))
    config = label_config.parse(XML)
    assert to_predictions(asked, config, "v1") == [to_prediction(asked, config, "v1")]


SHIP = rectangle(slice(10, 20), slice(30, 50))
WATER = rectangle(slice(0, 45), slice(0, 70)) & ~SHIP


def test_each_control_gets_its_labels_in_its_level() -> None:
    prediction = predict(
        XML,
        ("water", 0.8, "class", WATER),
        ("ship", 0.6, "class", SHIP),
        ("water", 0.8, "object", WATER),
        ("ship", 0.6, "object", SHIP),
        ("land", 0.9, "class", SHIP),
    )
    assert [
        (r["from_name"], r["type"], r["value"][r["type"]], r["score"]) for r in prediction["result"]
    ] == [
        ("brush", "brushlabels", ["water"], 0.8),
        ("brush", "brushlabels", ["ship"], 0.6),
        ("bit", "bitmasklabels", ["water"], 0.8),
        ("poly", "polygonlabels", ["ship"], 0.6),
        ("rect", "rectanglelabels", ["ship"], 0.6),
    ]
    for region in prediction["result"]:
        assert (region["original_width"], region["original_height"]) == (70, 50)
        assert region["to_name"] == "image"
        assert region["image_rotation"] == 0
    assert prediction["model_version"] == "v1"


@pytest.mark.parametrize("mode", ["semantic", "instance"])
@pytest.mark.parametrize("tag", TAGS)
def test_the_sdk_accepts_every_kind(tag: str, mode: str) -> None:
    xml = single(tag, mode)
    level = {"semantic": "class", "instance": "object"}[mode]
    prediction = predict(xml, ("ship", 0.6, level, SHIP), ("ship", 0.7, level, WATER))
    assert len(prediction["result"]) == 2
    assert errors(xml, prediction) == []


@pytest.mark.parametrize("tag", TAGS)
def test_the_sdk_would_refuse_a_label_of_another_config(tag: str) -> None:
    prediction = predict(single(tag), ("ship", 0.6, "class", SHIP))
    assert errors(single(tag, label="car"), prediction)


@given(MASKS)
def test_a_brush_region_is_the_mask(mask: Mask) -> None:
    prediction = predict(single("BrushLabels"), ("ship", 0.6, "class", mask))
    if not mask.any():
        assert prediction["result"] == []
        return
    rle = prediction["result"][0]["value"]["rle"]
    assert np.array_equal(decode_rle(rle).reshape(*mask.shape, 4)[..., 3] == 255, mask)


@given(MASKS)
def test_a_bitmask_region_is_the_mask_black_on_transparent(mask: Mask) -> None:
    prediction = predict(single("BitmaskLabels"), ("ship", 0.6, "class", mask))
    if not mask.any():
        assert prediction["result"] == []
        return
    url = prediction["result"][0]["value"]["imageDataURL"]
    assert url.startswith("data:image/png;base64,")
    image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGBA")
    pixels = np.asarray(image)
    assert np.array_equal(pixels[..., 3], mask * np.uint8(255))
    assert not pixels[..., :3].any()


def filled(region: Json, shape: tuple[int, int]) -> Mask:
    """Pixels whose centres are inside a polygon region."""
    points = np.array(region["value"]["points"]) / 100 * (shape[1], shape[0])
    scale, canvas = 16, np.zeros(shape, dtype=np.uint8)
    # Pixel centres lie on whole numbers in OpenCV, corners on halves.
    cv2.fillPoly(canvas, [np.round((points - 0.5) * scale).astype(np.int32)], 1, shift=4)
    return canvas > 0


def test_a_polygon_keeps_the_exact_size_of_a_rectangle() -> None:
    prediction = predict(single("PolygonLabels", "instance"), ("ship", 0.6, "object", SHIP))
    (region,) = prediction["result"]
    expected = np.array([[30, 10], [30, 20], [50, 20], [50, 10]]) / (70, 50) * 100
    assert np.allclose(region["value"]["points"], expected, atol=1e-4)


def test_a_polygon_follows_a_disk() -> None:
    rows, columns = np.mgrid[:200, :300]
    disk = (rows - 90) ** 2 + (columns - 160) ** 2 < 60**2
    prediction = predict(single("PolygonLabels", "instance"), ("ship", 0.6, "object", disk))
    (region,) = prediction["result"]
    drawn = filled(region, (200, 300))
    assert (drawn & disk).sum() / (drawn | disk).sum() > 0.97
    assert len(region["value"]["points"]) < 60


@given(MASKS)
def test_polygons_and_boxes_stay_inside_the_image(mask: Mask) -> None:
    segment = ("ship", 0.6, "class", mask)
    for region in predict(single("PolygonLabels"), segment)["result"]:
        points = np.array(region["value"]["points"])
        assert len(points) >= 3
        assert points.min() >= 0
        assert points.max() <= 100
    for region in predict(single("RectangleLabels"), segment)["result"]:
        value = region["value"]
        assert value["width"] > 0
        assert value["height"] > 0
        assert value["x"] + value["width"] <= 100.001
        assert value["y"] + value["height"] <= 100.001


def test_a_thin_strip_does_not_collapse() -> None:
    strip = rectangle(slice(7, 8), slice(10, 40))
    prediction = predict(single("PolygonLabels", "instance"), ("ship", 0.6, "object", strip))
    (region,) = prediction["result"]
    assert np.ptp(np.array(region["value"]["points"])[:, 1]) == pytest.approx(100 / 50)


def test_a_box_is_the_bounding_box_in_percent() -> None:
    prediction = predict(single("RectangleLabels", "instance"), ("ship", 0.6, "object", SHIP))
    value = prediction["result"][0]["value"]
    assert value == {
        "x": pytest.approx(30 / 70 * 100, abs=1e-4),
        "y": 20.0,
        "width": pytest.approx(20 / 70 * 100, abs=1e-4),
        "height": 20.0,
        "rotation": 0,
        "rectanglelabels": ["ship"],
    }


PARTS = SHIP | rectangle(slice(30, 33), slice(0, 3)) | rectangle(slice(40, 48), slice(0, 8))


@pytest.mark.parametrize("tag", ["PolygonLabels", "RectangleLabels"])
def test_a_class_has_a_region_a_part_without_the_tiny_ones(tag: str) -> None:
    # 200, 64 and 9 pixels: the last is below 16.
    assert len(predict(single(tag), ("ship", 0.6, "class", PARTS))["result"]) == 2


@pytest.mark.parametrize("tag", ["PolygonLabels", "RectangleLabels"])
def test_an_object_has_one_region(tag: str) -> None:
    xml = single(tag, "instance")
    assert len(predict(xml, ("ship", 0.6, "object", PARTS))["result"]) == 1
    tiny = rectangle(slice(0, 3), slice(0, 5))
    assert predict(xml, ("ship", 0.6, "object", tiny))["result"] == []
    assert len(predict(xml, ("ship", 0.6, "object", rectangle(slice(4), slice(4))))["result"]) == 1


def test_ids_are_safe_unique_and_the_same_each_time() -> None:
    segments = [("ship", 0.6, "object", SHIP), ("water", 0.6, "class", WATER)] * 3
    ids = [region["id"] for region in predict(XML, *segments)["result"]]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[0-9a-f]{10}", name) for name in ids)
    assert ids == [region["id"] for region in predict(XML, *segments)["result"]]


def test_the_score_is_the_mean_weighted_by_area() -> None:
    half, quarter = rectangle(slice(50), slice(35)), rectangle(slice(25), slice(35, 70))
    prediction = predict(XML, ("water", 0.9, "class", half), ("ship", 0.3, "class", quarter))
    assert prediction["score"] == pytest.approx((2 * 0.9 + 0.3) / 3, abs=1e-4)


def test_nothing_found_is_an_answer() -> None:
    prediction = to_prediction(SegmentReply(5, 5, "w", ()), label_config.parse(XML), "v1")
    assert prediction == {"result": [], "score": 0.0, "model_version": "v1"}
    assert errors(XML, prediction) == []


def test_what_is_too_small_to_show_has_no_score() -> None:
    tiny = rectangle(slice(0, 2), slice(0, 2))
    prediction = predict(single("RectangleLabels", "instance"), ("ship", 0.6, "object", tiny))
    assert (prediction["result"], prediction["score"]) == ([], 0.0)


@given(st.floats() | st.sampled_from([np.float32(0.5), np.float64(2)]))
def test_any_score_is_clipped_and_json(score: float) -> None:
    prediction = predict(XML, ("ship", float(score), "class", SHIP))
    assert 0 <= json.loads(json.dumps(prediction, allow_nan=False))["score"] <= 1


@pytest.mark.parametrize(("margin", "score"), [(0.25, 0.25), (0.0, 0.0), (None, 0.75)])
def test_the_margin_is_the_score_where_that_is_wanted(margin: float | None, score: float) -> None:
    mask = rectangle(slice(0, 10), slice(0, 10))
    config = label_config.parse(single("BrushLabels"))
    answered = replace(reply(("ship", 0.75, "class", mask)), margin=margin)
    (usual,) = to_predictions(answered, config, "v1")
    (by_margin,) = to_predictions(answered, config, "v1", by_margin=True)
    assert usual["score"] == 0.75
    assert by_margin == {**usual, "score": score}
    (empty,) = to_predictions(replace(answered, segments=()), config, "v1", by_margin=True)
    assert (empty["result"], empty["score"]) == ([], score if margin is not None else 0.0)


@pytest.mark.parametrize("tag", ["BrushLabels", "BitmaskLabels", "PolygonLabels"])
def test_a_changed_region_keeps_its_id_its_control_and_its_labels(tag: str) -> None:
    xml = single(tag, "semantic")
    (region,) = predict(xml, ("ship", 0.9, "class", SHIP))["result"]
    other = rectangle(slice(5, 25), slice(30, 40))
    (changed,) = to_changed({**region, "is_positive": True}, to_runs(other), 0.7, "s")
    assert reading.mask(changed, SHIP.shape) == to_runs(other)
    kept = ("id", "from_name", "to_name", "type", "original_width", "original_height")
    assert {name: changed[name] for name in kept} == {name: region[name] for name in kept}
    assert reading.labels_of(changed) == ["ship"]
    assert (changed["origin"], changed["score"]) == ("prediction-changed", 0.7)
    assert "is_positive" not in changed
    prediction = {"result": [changed], "score": 0.7, "model_version": "v1"}
    assert errors(xml, prediction) == []


def test_a_hole_that_a_click_made_is_a_hole_of_the_outline() -> None:
    xml = single("PolygonLabels", "semantic")
    (region,) = predict(xml, ("ship", 0.9, "class", rectangle(slice(5, 45), slice(5, 65))))[
        "result"
    ]
    holed = rectangle(slice(5, 45), slice(5, 65))
    holed &= ~rectangle(slice(15, 25), slice(10, 20))
    holed &= ~rectangle(slice(20, 40), slice(40, 60))
    island = rectangle(slice(26, 34), slice(46, 54))
    changed = to_changed(region, to_runs(holed | island), 0.7, "s")
    assert [reading.mask(each, SHIP.shape) for each in changed] == [to_runs(holed), to_runs(island)]
    prediction = {"result": changed, "score": 0.7, "model_version": "v1"}
    assert errors(xml, prediction) == []


@given(arrays(np.bool_, (12, 16)))
def test_outlines_with_holes_are_the_mask_to_a_pixel(
    coarse: NDArray[np.bool_],
) -> None:
    mask = np.kron(coarse, np.ones((5, 5), dtype=np.bool_))  # no part and no hole below 25 pixels
    (region,) = predict(single("PolygonLabels", "semantic"), ("ship", 0.9, "class", SHIP))["result"]
    region |= {"original_height": mask.shape[0], "original_width": mask.shape[1]}
    drawn = np.zeros_like(mask)
    for each in to_changed(region, to_runs(mask), 0.5, "s"):
        drawn |= from_runs(reading.mask(each, (mask.shape[0], mask.shape[1])))
    around = np.ones((3, 3), dtype=np.uint8)
    assert not (drawn & ~cv2.dilate(mask.view(np.uint8), around).view(np.bool_)).any()
    assert not (~drawn & cv2.erode(mask.view(np.uint8), around).view(np.bool_)).any()


def test_an_outline_that_falls_apart_is_several_regions_the_largest_under_the_old_id() -> None:
    (region,) = predict(single("PolygonLabels", "semantic"), ("ship", 0.9, "class", SHIP))["result"]
    parts = rectangle(slice(0, 5), slice(0, 5)) | rectangle(slice(20, 40), slice(20, 40))
    changed = to_changed(region, to_runs(parts), 0.5, "s")
    assert [reading.mask(each, SHIP.shape).counts[1] for each in changed] == [20, 5]
    assert changed[0]["id"] == region["id"]
    assert changed[1]["id"] not in ("", region["id"])
    assert to_changed(region, to_runs(np.zeros_like(parts)), 0.5, "s") == []


def test_what_is_cut_off_later_does_not_take_the_place_of_what_was_cut_off_before() -> None:
    (region,) = predict(single("PolygonLabels", "semantic"), ("ship", 0.9, "class", SHIP))["result"]
    parts = to_runs(rectangle(slice(0, 5), slice(0, 5)) | rectangle(slice(20, 40), slice(20, 40)))
    ids = [each["id"] for seed in "ab" for each in to_changed(region, parts, 0.5, seed)]
    assert ids == [each["id"] for seed in "ab" for each in to_changed(region, parts, 0.5, seed)]
    assert ids[0] == ids[2] == region["id"]
    assert ids[1] != ids[3]
    del region["id"]
    nameless = {each["id"] for seed in "ab" for each in to_changed(region, parts, 0.5, seed)}
    assert len(nameless) == 4
