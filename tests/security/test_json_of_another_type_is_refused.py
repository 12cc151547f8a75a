"""JSON holds numbers without end, and a list where an id belongs: neither ends a call."""

import math
from typing import Any

import pytest

from backend.project.label_config import parse
from backend.project.tasks import TaskError
from backend.prompts import context
from backend.prompts.memory import Memory
from backend.regions.reading import score_of
from dgl_rsis.resolution import parse_metres
from dgl_rsis.types import InputError
from tests.backend.worker_end import XML

OTHERS: list[Any] = [
    [],
    {},
    [1],
    {"a": 1},
    10**400,
    -(10**400),
    math.nan,
    math.inf,
    True,
    None,
    "x",
]


@pytest.mark.parametrize("number", [10**400, -(10**400), math.inf, -math.inf, math.nan, [], {}])
def test_a_number_without_end_is_no_resolution_and_no_score(number: Any) -> None:
    with pytest.raises(InputError):
        parse_metres(number)
    assert score_of({"score": number}) is None


@pytest.mark.parametrize("key", ["id", "annotation", "parent_prediction", "updated_at", "result"])
@pytest.mark.parametrize("value", OTHERS, ids=lambda value: repr(value)[:9])
def test_what_is_stored_of_a_task_may_be_anything(key: str, value: Any) -> None:
    region = {"type": "brushlabels", "id": "r", "origin": value, "to_name": "image",
              "original_width": 8, "original_height": 8,
              "value": {"rle": [1], "brushlabels": ["ship"]}}  # fmt: skip
    held = {"id": 1, "result": [region], key: value}
    task = {"id": 1, "data": {"image": "a"}, "drafts": [held], "annotations": [held],
            "predictions": [held]}  # fmt: skip
    point = {"x": 5, "y": 5, "keypointlabels": ["ship"]}
    click = {"type": "keypointlabels", "id": "k", "to_name": "image", "original_width": 8,
             "original_height": 8, "value": point}  # fmt: skip
    asked = {"type": "textarea", "value": {"text": ["all like this"]}}
    assert context.read({"result": [click]}, parse(XML), task, Memory()).correction is None
    with pytest.raises(TaskError):
        context.read({"result": [asked]}, parse(XML), task, Memory())
