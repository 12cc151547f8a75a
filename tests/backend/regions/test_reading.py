import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from label_studio_sdk.converter.brush import mask2rle
from PIL import Image

from backend.project import label_config
from backend.project.controls import KINDS, MASKS
from backend.prompts import context, stored
from backend.prompts.memory import Memory
from backend.regions import reading
from backend.regions.geometry import RegionError
from backend.studio import export
from backend.studio.corrections import to_learn
from dgl_rsis.runs import Runs, area, from_runs, to_runs
from dgl_rsis.types import Json
from tests.backend.studio.exports import DRAWN, H, W, annotation, region, task
from tests.backend.worker_end import XML
from tests.backend.worker_end import task as open_task
from workers.engine.prompts import to_prompt

SIZE = (H, W)
LINE = {"type": "add", "relativePoints": [25, 50, 75, 50], "relativeStrokeWidth": 5}


def exported(drawn: Json) -> Runs:
    (item,) = export.read_tasks([task(1, annotation(drawn))])
    (only,) = item.annotations[0].regions
    return only.runs


def learnt(drawn: Json) -> Runs:
    annotation = {"id": 11, "result": [drawn], "updated_at": "2026-11-23T07:46:22Z"}
    request = to_learn(annotation, open_task(5), {"id": 1, "label_config": XML}, None)
    ((_, runs),) = request.regions
    return runs


def corrected(drawn: Json) -> Runs:
    (held,) = stored.stored([drawn], SIZE, lambda _: True)
    return held.runs


def pointed(drawn: Json) -> Runs:
    """As the segment worker has it, after the queue."""
    prompt = context.read(
        {"result": [drawn]}, label_config.parse(XML), open_task(1), Memory()
    ).pointed
    assert prompt is not None
    crossed = to_prompt(type(prompt).from_json(json.loads(json.dumps(prompt.to_json()))), H, W)
    shown = crossed.outline if crossed.stroke is None else crossed.stroke
    assert shown is not None
    return to_runs(shown)


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("reader", [exported, learnt])
def test_a_region_is_the_same_mask_for_all_who_read_masks(name: str, reader: Any) -> None:
    drawn, expected = DRAWN[name]
    np.testing.assert_array_equal(from_runs(reading.mask(drawn, SIZE)), expected)
    assert reader(drawn) == reading.mask(drawn, SIZE)


@pytest.mark.parametrize("reader", [corrected, pointed])
@pytest.mark.parametrize("name", ["brush", "bitmask", "polygon", "polygon with corners outside"])
def test_what_a_click_corrects_and_what_points_is_that_mask_too(name: str, reader: Any) -> None:
    drawn, expected = DRAWN[name]
    np.testing.assert_array_equal(from_runs(reader(drawn)), expected)


@pytest.mark.parametrize("reader", [exported, learnt, corrected, pointed])
def test_a_ragged_polygon_has_one_mask(reader: Any) -> None:
    """Only of one whose sides run through pixels do other rules make another mask."""
    points = np.random.default_rng(0).uniform(-10, 110, (9, 2)).tolist()
    drawn = region("polygonlabels", ["ship"], {"points": points})
    assert reader(drawn) == reading.mask(drawn, SIZE)


def test_a_brush_is_what_the_sdk_encodes() -> None:
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[10:14, 20:60] = 255
    drawn = region("brushlabels", ["ship"], {"format": "rle", "rle": list(mask2rle(mask))})
    np.testing.assert_array_equal(from_runs(reading.mask(drawn, SIZE)), mask > 0)


def test_a_bitmask_is_painted_where_it_is_opaque() -> None:
    pixels = np.zeros((H, W, 4), dtype=np.uint8)
    pixels[10:14, 20:60, 3] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    drawn = region("bitmasklabels", ["ship"], {"imageDataURL": url})
    np.testing.assert_array_equal(from_runs(reading.mask(drawn, SIZE)), pixels[..., 3] > 0)


def test_a_brush_that_is_being_drawn_is_its_lines() -> None:
    runs = reading.mask(region("brushlabels", ["ship"], {"touches": [LINE]}), SIZE)
    assert from_runs(runs)[20, 30]
    assert not from_runs(runs)[5].any()


def test_what_lies_outside_the_image_has_no_pixel() -> None:
    points = [[110, 10], [150, 10], [150, 50]]
    assert area(reading.mask(region("polygonlabels", ["ship"], {"points": points}), SIZE)) == 0


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("brush", {}, "it is empty"),
        ("brush", {"touches": []}, "it is empty"),
        ("brush", {"rle": [1, 2, 3]}, "another image size"),
        ("brush", {"rle": "abc"}, "no list of integers"),
        ("brush", {"rle": 10**12}, "no list of integers"),
        ("brush", {"rle": [300]}, "integers 0-255"),
        ("brush", {"touches": [7]}, "no line"),
        ("bitmask", {"imageDataURL": "data:image/png;base64,AAAA"}, "cannot identify"),
        ("bitmask", {"imageDataURL": 7}, "data URL"),
        ("keypoint", {"x": 1, "y": 1}, "no mask"),
    ],
)
def test_what_is_no_mask_is_named(kind: str, value: Json, words: str) -> None:
    with pytest.raises(RegionError, match=words):
        reading.mask(region(f"{kind}labels", ["ship"], value), SIZE)


@pytest.mark.parametrize("kind", ["bitmask", "polygon", "rectangle", "ellipse"])
def test_nothing_is_drawn_on_an_image_that_is_too_large(kind: str) -> None:
    with pytest.raises(RegionError, match="more than"):
        reading.mask(region(f"{kind}labels", ["ship"], {}), (10**6, 10**6))


def test_every_kind_of_mask_has_a_reader() -> None:
    assert {KINDS[kind].form for kind in MASKS} == {*reading.READERS}


def test_the_labels_are_those_of_its_type_or_of_all() -> None:
    both = {"labels": ["b"], "brushlabels": ["a", 7, "", "a", "ro\ud800ad"]}
    assert reading.labels_of({"type": "brushlabels", "value": both}) == ["a", "ro?ad"]
    assert reading.labels_of({"type": "brush", "value": both}) == ["b"]
    assert reading.labels_of({"type": [], "value": 7}) == []
