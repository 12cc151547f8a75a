from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.project.tasks import (
    LONGEST_ID,
    TaskError,
    expression_of,
    image_of,
    metres_of,
    task_id_of,
)


def test_an_expression_is_one_line_of_text() -> None:
    assert (
        expression_of({"data": {"expression": " the  red\n car "}}, "expression") == "the red car"
    )
    assert expression_of({"data": {"image": "a.png"}}, "expression") == ""
    assert expression_of({"data": {"expression": ""}}, "expression") == ""


@pytest.mark.parametrize(
    ("value", "message"), [(7, "is int, not a sentence"), ("x" * 501, "has 501 characters")]
)
def test_an_expression_that_is_none_is_named(value: Any, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        expression_of({"data": {"expression": value}}, "expression")


@pytest.mark.parametrize(
    ("data", "metres"),
    [
        ({"metres_per_pixel": 0.3}, 0.3),
        ({"gsd": "30 cm"}, 0.3),
        ({"gsd": "0.5", "metres_per_pixel": 0.3}, 0.3),
        ({"gsd": 0.5, "metres_per_pixel": None}, 0.5),
        ({"gsd": " "}, None),  # an empty cell of a table
        ({"GSD": 0.5}, None),
        (None, None),
    ],
)
def test_a_task_may_say_how_large_pixels_are(data: Any, metres: float | None) -> None:
    assert metres_of({"data": data}) == pytest.approx(metres)


@pytest.mark.parametrize("key", ["metres_per_pixel", "gsd"])
@pytest.mark.parametrize(
    ("value", "message"), [("fine", "'fine' are no metres"), (3000, "3000 .* out of range")]
)
def test_what_is_no_resolution_is_named(key: str, value: Any, message: str) -> None:
    with pytest.raises(TaskError, match=f"The task's '{key}': {message}"):
        metres_of({"data": {key: value}})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        ("8", "8"),
        ("tile-ü", "tile-ü"),
        ("x" * LONGEST_ID, "x" * LONGEST_ID),
        ("x" * (LONGEST_ID + 1), "?"),
        (10**LONGEST_ID, "?"),
        ("", "?"),
        ("1\n2026 forged", "?"),
        ("\x1b[2J", "?"),
        ("\ud800", "?"),
        (None, "?"),
        (1.5, "?"),
        ([1], "?"),
    ],
)
def test_an_id_fits_a_log_line(value: Any, text: str) -> None:
    assert task_id_of({"id": value}) == text


@pytest.mark.parametrize("task", [None, 7, [], "task", {}])
def test_what_is_no_task_has_no_id(task: Any) -> None:
    assert task_id_of(task) == "?"


@given(st.text(st.characters(), max_size=80))  # lone surrogates, too
def test_any_id_can_be_written_anywhere(value: str) -> None:
    text = task_id_of({"id": value})
    assert len(text.encode().splitlines()) == 1


@pytest.mark.parametrize(
    ("key", "data", "image"),
    [
        ("image", {"image": "a.png"}, "a.png"),
        ("image", {"image": " a.png\n"}, "a.png"),
        ("images.rgb", {"images": {"rgb": "a.png"}}, "a.png"),
        ("images.rgb", {"images.rgb": "a.png", "images": {}}, "a.png"),
        ("images[1].url", {"images": [{}, {"url": "a.png"}]}, "a.png"),
        ("bild", {"bild": "data:image/png;base64,AAAA"}, "data:image/png;base64,AAAA"),
    ],
)
def test_where_the_image_is(key: str, data: dict[str, Any], image: str) -> None:
    assert image_of({"id": 1, "data": data}, key) == image


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"id": 1}, "no 'images.rgb'"),
        ({"id": 1, "data": None}, "no 'images.rgb'"),
        ({"id": 1, "data": {"image": "a.png"}}, "no 'images.rgb'"),
        ({"id": 1, "data": {"images": "a.png"}}, "no 'images.rgb'"),
        ({"id": 1, "data": {"images": ["a.png"]}}, "no 'images.rgb'"),
        ({"id": 1, "data": {"images": {"rgb": None}}}, "no 'images.rgb'"),
        ({"id": 1, "data": {"images": {"rgb": "  "}}}, "is empty"),
        ({"id": 1, "data": {"images": {"rgb": 3}}}, "is int, not the address"),
        ({"id": 1, "data": {"images": {"rgb": ["a.png"]}}}, "is list, not the address"),
    ],
)
def test_a_task_without_an_image_says_so(task: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskError, match=words):
        image_of(task, "images.rgb")
