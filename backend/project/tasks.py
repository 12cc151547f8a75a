"""A task as Label Studio sends it: its id and its image. Whoever imports tasks writes both."""

import re
from collections.abc import Mapping
from typing import Any

from dgl_rsis.resolution import parse_metres
from dgl_rsis.types import InputError
from workers.images.storages import is_cloud, link, stored

LONGEST_ID = 64
LONGEST_EXPRESSION = 500
LONGEST_MESSAGE = 500
METRES = ("metres_per_pixel", "gsd")  # keys of a task's data; the first one counts


class TaskError(Exception):
    """This task cannot be segmented; the message names the cause and the way out."""


def task_id_of(task: Any) -> str:
    """Label Studio's id of a task as text that fits a log line; "?" when it is none."""
    value = task.get("id") if isinstance(task, Mapping) else None
    text = str(value) if isinstance(value, int | str) else ""
    return text if 0 < len(text) <= LONGEST_ID and text.isprintable() else "?"


def as_task(task: Any) -> Mapping[str, Any]:
    """What Label Studio sent, seen to be an object that could be read.

    Raises:
        TaskError: it is none, or could not.
    """
    if not isinstance(task, Mapping):
        raise TaskError(f"A task must be an object, got {type(task).__name__}.")
    if isinstance(task.get("data"), TaskError):
        raise task["data"]
    return task


def image_of(task: Mapping[str, Any], key: str) -> str:
    """The task's image reference, as workers can read it.

    What lies in a cloud storage is asked for from Label Studio, for this task, if that is stored
    there: the task has an id then.

    Raises:
        TaskError: missing, empty, or not text.
    """
    value = look_up(task.get("data"), key)
    if value is None:
        raise TaskError(
            f"The task's data has no '{key}', which the label config's <Image> shows; import the "
            f"task with this key."
        )
    if not isinstance(value, str):
        raise TaskError(
            f"The task's '{key}' is {type(value).__name__}, not the address of an image (text)."
        )
    if not value.strip():
        raise TaskError(f"The task's '{key}' is empty; it must be the address of an image.")
    return _opened(value.strip(), task.get("id"))


def expression_of(task: Mapping[str, Any], key: str) -> str:
    """The task's referring expression; empty when it has none.

    Raises:
        TaskError: not text, or too long to be one sentence.
    """
    value = look_up(task.get("data"), key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TaskError(
            f"The task's '{key}' is {type(value).__name__}, not a sentence that says what to find."
        )
    return short_expression(value, f"The task's '{key}'")


def metres_of(task: Mapping[str, Any]) -> float | None:
    """Metres of the ground that a pixel of the task's image shows; None where it does not say.

    Raises:
        TaskError: it says something that is no resolution.
    """
    for key in METRES:
        value = look_up(task.get("data"), key)
        if value is None or (isinstance(value, str) and not value.strip()):
            continue  # an empty cell of a table
        try:
            return parse_metres(value)
        except InputError as error:
            raise TaskError(f"The task's '{key}': {error}.") from None
    return None


def short_expression(text: str, whose: str) -> str:
    """The sentence on one line.

    Raises:
        TaskError: too long to be one sentence.
    """
    sentence = " ".join(text.split())
    if len(sentence) > LONGEST_EXPRESSION:
        raise TaskError(
            f"{whose} has {len(sentence)} characters; an expression is one sentence of at most "
            f"{LONGEST_EXPRESSION}."
        )
    return sentence


def one_line(text: str) -> str:
    """Text from outside, fit for one log line: no control characters, not endless."""
    short = text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…"
    return "".join(c if c.isprintable() else " " for c in short)


def _opened(reference: str, task_id: Any) -> str:
    """A reference; of a file in a cloud storage, the link under which Label Studio opens it.

    Label Studio itself writes either, and links with the address that people know it by; one of
    another task would be opened by the rights of the worker's key.
    """
    uri = stored(reference)
    digits = str(task_id) if isinstance(task_id, int | str) else ""
    if not is_cloud(uri) or not digits.isascii() or not digits.isdigit():
        return reference
    return link(uri, int(digits))


def look_up(data: Any, key: str) -> Any:
    """A value by its key, such as "image", "images.rgb" or "images[0]"; None if it is missing."""
    if isinstance(data, Mapping) and key in data:
        return data[key]
    for part in re.findall(r"[^.\[\]]+", key):
        if isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(data, list) and re.fullmatch(r"\d{1,9}", part) and int(part) < len(data):
            data = data[int(part)]
        else:
            return None
    return data
