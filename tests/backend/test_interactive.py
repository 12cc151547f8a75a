from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend import interactive, label_config
from backend.interactive import Prompt
from backend.tasks import LONGEST_EXPRESSION, TaskError
from tests.backend.worker_end import VERSION, XML, task

CONFIG = label_config.parse(XML)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["result", "value", "text", "type"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def textarea(*lines: str) -> dict[str, Any]:
    return {"type": "textarea", "from_name": "prompt", "value": {"text": list(lines)}}


def keypoint(label: str) -> dict[str, Any]:
    return {"type": "keypointlabels", "value": {"x": 1.0, "y": 2.0, "keypointlabels": [label]}}


def test_the_last_line_is_the_prompt() -> None:
    context = {"result": [textarea("the ship"), textarea("a", "  the  grey\nship ", " ")]}
    assert interactive.read(context, CONFIG) == Prompt("the grey ship")


def test_a_region_beside_the_text_says_which_label_is_selected() -> None:
    context = {"result": [keypoint("water"), textarea("the pond")]}
    assert interactive.read(context, CONFIG) == Prompt("the pond", "water")
    unknown = {"result": [keypoint("harbour"), textarea("the pond")]}
    assert interactive.read(unknown, CONFIG) == Prompt("the pond")


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"result": [keypoint("ship")]}, "A prompt of keypointlabels got no mask"),
        ({"result": []}, "A prompt of nothing got no mask"),
        ({"result": [textarea("   ")]}, "A prompt of textarea got no mask"),
        ({"result": "x"}, "holds no list of regions"),
        ({"result": [7]}, "holds no list of regions"),
        (["result"], "holds no list of regions"),
        ({"result": [textarea("x" * (LONGEST_EXPRESSION + 1))]}, "The prompt has 501 characters"),
    ],
)
def test_what_is_no_text_prompt_is_refused_with_its_cause(context: Any, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        interactive.read(context, CONFIG)


@given(JSON)
def test_any_context_is_a_prompt_or_refused(context: Any) -> None:
    with suppress(TaskError):
        assert interactive.read(context, CONFIG).text


def test_the_request_carries_image_words_and_selected_label() -> None:
    prompt = Prompt("the grey ship", "ship")
    request = interactive.to_request(task(3), CONFIG, prompt, VERSION)
    assert (request.expression, request.label, request.task_id) == ("the grey ship", "ship", "3")
    assert request.image == "/data/upload/1/8885ccc6-t3.png"
    assert [label.name for label in request.labels] == ["ship", "water"]


def test_a_task_or_config_that_cannot_be_served_is_named() -> None:
    with pytest.raises(TaskError, match="must be an object, got str"):
        interactive.to_request("7", CONFIG, Prompt("x"), VERSION)
    with pytest.raises(TaskError, match="no usable control"):
        interactive.to_request(task(1), label_config.parse("<View/>"), Prompt("x"), VERSION)
