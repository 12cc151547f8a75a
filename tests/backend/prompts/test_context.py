import json
import time
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.project import label_config
from backend.project.tasks import LONGEST_EXPRESSION, TaskError
from backend.prompts import context
from backend.prompts.context import InteractivePrompt
from backend.prompts.memory import Memory
from backend.regions import shapes
from dgl_rsis import runs
from tests.backend.prompts.regions import H, W, brush, holding, square
from tests.backend.studio.exports import DRAWN
from tests.backend.worker_end import VERSION, XML, task
from tests.paths import PAYLOADS
from workers.messages import SegmentRequest, VisualPrompt

CONFIG = label_config.parse(XML)
TYPES = ["keypointlabels", "rectanglelabels", "ellipselabels", "brushlabels", "polygonlabels"]
NAMES = [
    *("result", "value", "type", "text", "id", "to_name", "is_positive", "labels", *TYPES),
    *("x", "y", "width", "height", "rotation", "radiusX", "radiusY", "points", "rle", "touches"),
    *("original_width", "original_height", "relativePoints", "predictions", "drafts"),
]
LEAF = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from([*TYPES, "textarea", "ship", "image"])
)  # fmt: skip
JSON = st.recursive(
    LEAF,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6)
    ),
    max_leaves=12,
)
NUMBER = st.floats(-10, 110) | st.integers(0, 100) | LEAF
VALUE = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(["x", "y", "width", "height", "radiusX", "radiusY", "rotation"], NUMBER),
        "points": st.lists(st.lists(NUMBER, min_size=2, max_size=2), max_size=4) | LEAF,
        "rle": st.lists(st.integers(-1, 256), max_size=20) | LEAF,
        "touches": JSON,
        "text": JSON,
        "labels": JSON,
        "brushlabels": st.just(["ship"]),
    },
)
REGION = st.fixed_dictionaries(
    {"type": st.sampled_from([*TYPES, "textarea"]) | LEAF, "value": VALUE | JSON},
    optional={
        "is_positive": LEAF,
        "id": LEAF,
        "to_name": st.just("image") | LEAF,
        "original_width": st.just(20) | LEAF,
        "original_height": st.just(10) | LEAF,
    },
)


def textarea(*lines: str) -> dict[str, Any]:
    return {"type": "textarea", "from_name": "prompt", "value": {"text": list(lines)}}


def drawn(kind: str, label: str = "ship", **value: Any) -> dict[str, Any]:
    region = {"type": f"{kind}labels", "to_name": "image", "original_height": H}
    return {**region, "original_width": W, "value": {**value, f"{kind}labels": [label]}}


def keypoint(label: str = "ship", x: Any = 25.0, y: Any = 50.0, **more: Any) -> dict[str, Any]:
    return {**drawn("keypoint", label, x=x, y=y), "is_positive": True, **more}


def box(label: str = "ship", x: float = 25, width: float = 50) -> dict[str, Any]:
    return drawn("rectangle", label, x=x, y=25, width=width, height=50, rotation=0)


def unsized(kind: str, **value: Any) -> dict[str, Any]:
    return {**drawn(kind, **value), "original_width": None}


AWAY = [[110, 10], [150, 10], [150, 50]]


def read(*regions: Any, of: Any = None) -> InteractivePrompt:
    return context.read({"result": list(regions)}, CONFIG, of or task(1), Memory())


def test_the_last_line_is_the_prompt() -> None:
    assert read(
        textarea("the ship"), textarea("a", "  the  grey\nship ", " ")
    ) == InteractivePrompt("the grey ship")


@pytest.mark.parametrize(
    ("attributes", "expected"), [('maxSubmissions="0"', "the ship"), ("", "the reason")]
)
def test_only_a_field_that_nobody_can_type_into_is_no_prompt(
    attributes: str, expected: str
) -> None:
    field = f'<TextArea name="reason" toName="image" {attributes}/>'
    config = label_config.parse(XML.replace("</View>", f"{field}</View>"))
    sent = {"result": [textarea("the ship"), textarea("the reason") | {"from_name": "reason"}]}
    assert context.read(sent, config, task(1), Memory()).text == expected


def test_a_click_is_a_point_with_the_label_of_the_mask() -> None:
    assert read(keypoint("water")) == InteractivePrompt(
        "", "water", VisualPrompt(positive=((0.25, 0.5),))
    )
    negative = read(keypoint(), keypoint(x=50, is_positive=False))
    assert negative.pointed == VisualPrompt(positive=((0.25, 0.5),), negative=((0.5, 0.5),))
    unlabelled = {**keypoint(), "value": {"x": 25, "y": 50}}
    assert read(unlabelled) == InteractivePrompt("", "", VisualPrompt(positive=((0.25, 0.5),)))


def test_the_recorded_click_and_text() -> None:
    if not PAYLOADS.exists():
        pytest.skip(f"no recorded calls in {PAYLOADS}")
    for name, text, pointed in (
        ("06_interactive_keypoint", "", VisualPrompt(positive=((0.4375, 0.5),))),
        ("07_interactive_textarea", "the large grey ship near the pier", None),
    ):
        body = json.loads((PAYLOADS / f"{name}_POST_predict.json").read_text())["body"]
        config = label_config.parse(body["label_config"])
        prompt = context.read(body["params"]["context"], config, body["tasks"][0], Memory())
        assert prompt.text == text
        if pointed is None:
            assert prompt.pointed is None
            continue
        assert prompt.label == "ship"
        assert prompt.pointed is not None
        assert prompt.pointed.positive == pointed.positive
        assert prompt.pointed.prior is not None, "the click lies inside the stored ship"
        assert (prompt.pointed.prior.height, prompt.pointed.prior.width) == (64, 64)


def test_of_boxes_strokes_and_outlines_the_newest_counts() -> None:
    assert read(box(x=0), box()).pointed == VisualPrompt(box=(0.25, 0.25, 0.75, 0.75))
    oval = drawn("ellipse", x=50, y=50, radiusX=10, radiusY=25)
    ellipse = read(box(), oval).pointed
    assert ellipse is not None
    assert ellipse.box == pytest.approx((0.4, 0.25, 0.6, 0.75))
    old, new = square(2, 2), square(20, 20)
    stroke = read(brush(old), brush(new)).pointed
    assert stroke == VisualPrompt(strokes=runs.to_runs(new))
    corners = [[10, 10], [60, 10], [60, 90]]
    rough = read(drawn("polygon", points=corners)).pointed
    pixels = np.array([(6, 4), (36, 4), (36, 36)], dtype=float)
    assert rough == VisualPrompt(outline=shapes.polygon(pixels, (H, W)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rectangle with negative sides", (0.2, 0.2, 0.5, 0.6)),
        ("turned rectangle", (26 / 60, 0.2, 0.5, 0.65)),
        ("ellipse", (0.3, 0.35, 0.7, 0.65)),
        ("ellipse with negative radii", (0.3, 0.35, 0.7, 0.65)),
    ],
)
def test_a_smart_box_is_the_box_of_what_is_exported(name: str, expected: Any) -> None:
    region, mask = DRAWN[name]
    pointed = read(region).pointed
    assert pointed is not None
    assert pointed.box == pytest.approx(expected)
    left, top, right, bottom = expected
    covered = mask[round(top * H) : round(bottom * H), round(left * W) : round(right * W)]
    assert covered.sum() == mask.sum()
    assert covered.any(axis=0).all()
    assert covered.any(axis=1).all()


def test_kinds_may_come_together() -> None:
    prompt = read(box(), keypoint(), textarea("the grey ship"), keypoint(is_positive=False, x=75))
    expected = VisualPrompt(((0.25, 0.5),), ((0.75, 0.5),), box=(0.25, 0.25, 0.75, 0.75))
    assert prompt == InteractivePrompt("the grey ship", "ship", expected)


def test_regions_of_another_label_than_the_newest_are_left_out() -> None:
    prompt = read(keypoint("water"), box("water"), keypoint("ship", x=75))
    assert prompt == InteractivePrompt("", "ship", VisualPrompt(positive=((0.75, 0.5),)))


def test_a_click_inside_a_stored_mask_brings_it_along() -> None:
    at = {"x": 100 * 22.5 / W, "y": 100 * 22.5 / H}
    prior = runs.to_runs(square(20, 20))
    of = holding(brush(square(20, 20)))
    for sign in (True, False):
        pointed = read(keypoint(**at, is_positive=sign), of=of).pointed
        assert pointed is not None
        assert pointed.prior == prior
    assert read(keypoint("water", **at), of=of).pointed.prior is None  # type: ignore[union-attr]


def test_the_label_of_a_text_is_the_one_that_is_selected() -> None:
    choice = {"type": "labels", "value": {"labels": ["water"]}}
    assert read(choice, textarea("the pond")) == InteractivePrompt("the pond", "water")
    choice["value"] = {"labels": ["harbour"]}
    assert read(choice, textarea("the pond")) == InteractivePrompt("the pond")


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"result": []}, "A prompt of nothing got no mask"),
        ({"result": [{"type": "choices", "value": {}}]}, "A prompt of choices got no mask"),
        ({"result": [textarea("   ")]}, "A prompt of textarea got no mask"),
        ({"result": "x"}, "holds no list of regions"),
        ({"result": [7]}, "holds no list of regions"),
        (["result"], "holds no list of regions"),
        ({"result": [textarea("x" * (LONGEST_EXPRESSION + 1))]}, "The prompt has 501 characters"),
        ({"result": [keypoint("harbour")]}, "label 'harbour' is none that a mask can have"),
        ({"result": [keypoint(to_name="map")]}, "is on 'map', but masks are made for .* 'image'"),
        ({"result": [keypoint(to_name=[])]}, "but masks are made for the image"),
        ({"result": [keypoint(x=140.0)]}, "x 140.0%, y 50.0% lies outside the image"),
        ({"result": [keypoint(x=float("nan"))]}, "its x is 'nan'"),
        ({"result": [keypoint(y="50")]}, "its y is '50'"),
        ({"result": [keypoint(y=None)]}, "its y is 'NoneType'"),
        ({"result": [box(width=0)]}, "The prompt cannot be read: it has no area"),
        ({"result": [box(x=110)]}, "it has no area inside the image"),
        ({"result": [drawn("brush", rle=[])]}, "it is empty"),
        ({"result": [drawn("brush", touches=[{}])]}, "pairs of numbers"),
        ({"result": [drawn("polygon", points=AWAY)]}, "polygon is empty: draw it over or around"),
        ({"result": [unsized("polygon", points=AWAY)]}, "polygon does not say how large its image"),
        ({"result": [unsized("brush", rle=[0])]}, "brush does not say how large its image is"),
        ({"result": [keypoint()] * 10_000}, "The prompt has 10000 points; at most 500"),
    ],
)
def test_what_is_no_prompt_is_refused_with_its_cause(sent: Any, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        context.read(sent, CONFIG, task(1), Memory())


@settings(max_examples=200, deadline=None)
@given(JSON | st.fixed_dictionaries({"result": st.lists(REGION, max_size=4)}), st.lists(REGION))
def test_any_context_is_a_prompt_or_refused(sent: Any, held: list[Any]) -> None:
    of = {**task(1), "drafts": [{"result": held}]}
    with suppress(TaskError):
        prompt = context.read(sent, CONFIG, of, Memory())
        assert prompt.text or prompt.pointed
        request = context.to_request(CONFIG.to_request(of, VERSION), prompt)
        wire = json.loads(json.dumps(request.to_json(), allow_nan=False))
        assert SegmentRequest.from_json(wire) == request


def test_a_context_of_thirty_megabytes_is_read_in_time() -> None:
    noise = np.random.default_rng(0).random((H, W)) > 0.5
    region = brush(noise)
    region["value"]["rle"] += [0] * 1_000_000
    of = holding(*[region] * 30)
    started = time.monotonic()
    row, column = (int(each) for each in np.argwhere(~noise)[0])
    at = {"x": 100 * (column + 0.5) / W, "y": 100 * (row + 0.5) / H}
    prompt = read(keypoint(**at), *[keypoint("water")] * 9000, keypoint(**at), of=of)
    assert prompt.pointed is not None
    assert prompt.pointed.prior is None
    assert time.monotonic() - started < 5


def test_the_request_carries_image_words_label_and_points() -> None:
    prompt = InteractivePrompt("the grey ship", "ship", VisualPrompt(positive=((0.25, 0.5),)))
    request = context.to_request(CONFIG.to_request(task(3), VERSION), prompt)
    assert (request.expression, request.label, request.task_id) == ("the grey ship", "ship", "3")
    assert request.pointed == prompt.pointed
    assert request.image == "/data/upload/1/8885ccc6-t3.png"
    assert [label.name for label in request.labels] == ["ship", "water"]


def test_the_prompt_takes_the_place_of_the_tasks_own_expression() -> None:
    plain = CONFIG.to_request(task(1, image="a.png", expression="the pond"), VERSION)
    assert context.to_request(plain, read(keypoint())).expression == ""
