from typing import Any

import pytest
from pydantic import TypeAdapter

from backend.studio import shapes


@pytest.mark.parametrize(
    ("shape", "answer"),
    [
        (shapes.PREDICTIONS, [{"id": 1, "model_version": None, "result": {}, "more": [1]}]),
        (shapes.ANNOTATIONS, [{"id": 1, "task": 2, "parent_prediction": None}]),
        (shapes.VERSIONS, {"static": [{"model_version": "a", "count": 1}], "live": None}),
        (shapes.TOLD_VERSIONS, {"message": "it has no versions"}),
        (shapes.WEBHOOKS, [{"id": 1, "url": "http://b/webhook", "headers": None}]),
        (shapes.TASKS, {"tasks": [], "total": 0}),
    ],
)
def test_what_label_studio_answers_fits(shape: TypeAdapter[Any], answer: object) -> None:
    assert shapes.misfit(answer, shape) == ""


def test_what_does_not_fit_says_where_and_nothing_of_what_was_sent() -> None:
    why = shapes.misfit({"tasks": [{"id": 1}, {"id": "a secret"}], "total": 2}, shapes.TASKS)
    assert why == "tasks.1.id: Input should be a valid integer"
    assert shapes.misfit([], shapes.PROJECT).startswith("the answer: ")
