"""JSON bodies: of up to MAX_BODY_BYTES, whatever is in them, only what is used becomes objects.

Msgspec passes over what nobody asks for at about a GB a second, and keeps the wanted fields as they
lie; each is decoded by itself, when it is its turn, and only if it does not hold too many values. A
body that lies in a file is mapped, not read into memory.
"""

import mmap
import os
import re
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias, TypeVar, overload

import msgspec
from flask import Request
from msgspec import Raw
from werkzeug.exceptions import RequestEntityTooLarge

from backend.project.markup import MAX_CHARACTERS
from backend.project.tasks import LONGEST_ID, TaskError
from backend.web.errors import RequestError

Json: TypeAlias = Any
Data: TypeAlias = bytes | mmap.mmap | Raw
Body = TypeVar("Body", bound=msgspec.Struct)

MOST_TASKS = 200_000  # in a call; Label Studio sends all of a project in one
MOST_PROMPTED = 4  # tasks with something pointed at: they are answered one after the other
MOST_VALUES = 2_000_000  # of a task's regions, or of what is pointed at
MOST_DATA_VALUES = 100_000  # of a task's data
MOST_SURROGATES = 200_000  # escaped, in a body in which one has no other half
MOST_ODD = 100_000  # elements of a list of tasks that holds others than objects
LARGE = 2**20  # bytes; of such, one is looked through at a time
NULL = Raw(b"null")
REGIONS = ("annotations", "predictions", "drafts")
# An escaped surrogate, with all backslashes before it and the half that may follow.
SURROGATE = re.compile(rb"(\\+)u[dD]([89a-fA-F])[0-9a-fA-F]{2}(\\u[dD][c-fC-F][0-9a-fA-F]{2})?")
KINDS: Mapping[bytes, str] = {
    b"{": "dict",
    b"[": "list",
    b'"': "str",
    b"n": "NoneType",
    b"t": "bool",
    b"f": "bool",
}

_one_at_a_time = threading.Lock()


class SetupBody(msgspec.Struct):
    """What is used of the body of /setup, undecoded."""

    project: Raw = NULL
    schema: Raw = NULL


class PredictBody(msgspec.Struct):
    """What is used of the body of /predict, undecoded."""

    project: Raw = NULL
    label_config: Raw = NULL
    tasks: Raw = NULL
    params: Raw = NULL


class _Params(msgspec.Struct):
    context: Raw = NULL


class _Left(threading.local):
    tasks = 0


_left = _Left()  # how many tasks this thread may still find


class _Task(msgspec.Struct, gc=False):
    """What is used of a task, undecoded; Label Studio sends some twenty fields more."""

    id: Raw = NULL
    data: Raw = NULL
    annotations: Raw = NULL
    predictions: Raw = NULL
    drafts: Raw = NULL

    def __post_init__(self) -> None:
        """Called with each as it is found, so that what holds millions is left at once."""
        _left.tasks -= 1
        if _left.tasks < 0:
            raise OverflowError


class Tasks(Sequence[Json]):
    """Tasks as Label Studio sends them, with what is used of them, decoded when one is taken.

    A task that cannot be read has a `TaskError` for its data, which `as_task` raises.

    Args:
        found: in the body.
        regions: with what is marked in them, for prompts.
    """

    def __init__(self, found: Sequence[_Task | Json], *, regions: bool) -> None:
        self._found = found
        self._regions = regions

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, index: int) -> Json: ...
    @overload
    def __getitem__(self, index: slice) -> "Tasks": ...
    def __getitem__(self, index: int | slice) -> Json:
        """A task, or several."""
        if isinstance(index, slice):
            return Tasks(self._found[index], regions=self._regions)
        found = self._found[index]
        return self._decoded(found) if isinstance(found, _Task) else found

    def __iter__(self) -> Iterator[Json]:
        return (self[number] for number in range(len(self)))

    def _decoded(self, found: _Task) -> dict[str, Json]:
        task: dict[str, Json] = {"id": _short(found.id)}
        try:
            task["data"] = decode(found.data, "its data", MOST_DATA_VALUES)
            for name in REGIONS if self._regions else ():
                task[name] = decode(getattr(found, name), f"its {name}", MOST_VALUES)
        except RequestError as error:
            task["data"] = TaskError(f"The task cannot be read: {error}")
        return task


def read(request: Request, shape: type[Body]) -> Body:
    """The wanted fields of a request's body, whatever its content type says.

    Args:
        request: with a JSON object.
        shape: names the fields.

    Raises:
        RequestError: not JSON, nested too deeply, or not an object.
        RequestEntityTooLarge: larger than the application's `MAX_CONTENT_LENGTH`.
    """
    data = _data_of(request)
    with _turn(len(data)):
        try:
            try:
                return msgspec.json.decode(data, type=shape)
            except msgspec.DecodeError:
                mended = without_lone_surrogates(data)
                if mended is None:
                    raise
                return msgspec.json.decode(mended, type=shape)
        except msgspec.ValidationError:
            raise RequestError(f"The body must be a JSON object, got {_kind(data)}.") from None
        except msgspec.DecodeError as error:
            raise RequestError(f"The body must be a JSON object: {error}.") from None
        except RecursionError:
            raise RequestError("The body must be a JSON object: it is nested too deep.") from None


def tasks_of(body: PredictBody, *, regions: bool) -> Tasks:
    """The list of tasks in a body.

    Args:
        body: of /predict.
        regions: with what is marked in them: it is a prompt.

    Raises:
        RequestError: no list, or too long a list.
    """
    if _kind(body.tasks) != "list":
        raise RequestError(f"'tasks' must be a list of tasks, got {_kind(body.tasks)}.")
    most = MOST_PROMPTED if regions else MOST_TASKS
    with _turn(len(memoryview(body.tasks))):
        _left.tasks = most
        try:
            return Tasks(msgspec.json.decode(body.tasks, type=list[_Task]), regions=regions)
        except msgspec.ValidationError:
            return Tasks(_odd(body.tasks, most), regions=regions)
        except OverflowError:
            raise _too_many(most) from None


def context_of(body: PredictBody) -> Json:
    """What somebody pointed at or wrote; None where it is no such call.

    Raises:
        RequestError: it has too many values.
    """
    try:
        params = msgspec.json.decode(body.params, type=_Params)
    except msgspec.DecodeError:
        return None
    return decode(params.context, "'params.context'", MOST_VALUES)


def config_of(value: Raw, name: str) -> str:
    """A label config.

    Raises:
        RequestError: missing, no text, or longer than any that is read.
    """
    try:
        decoded = msgspec.json.decode(value, type=str)
    except msgspec.DecodeError:
        raise RequestError(f"'{name}' must be text, got {_kind(value)}.") from None
    if len(decoded) > MAX_CHARACTERS:
        raise RequestError(
            f"'{name}' has {len(decoded)} characters; at most {MAX_CHARACTERS} are read."
        )
    return decoded


def project_of(value: Raw) -> str:
    """How Label Studio names a project; "None" where it does not."""
    return str(_short(value))


def decode(value: Raw, what: str, most: int) -> Json:
    """A field as objects.

    Args:
        value: of a body.
        what: it is, in words.
        most: values that it may have.

    Raises:
        RequestError: it has more, or a number or text that cannot be.
    """
    data = bytes(memoryview(value))
    # Each value but the first follows one of these; those in texts count as well.
    if len(data) > most and sum(data.count(mark) for mark in (b",", b"[", b"{")) > most:
        raise RequestError(f"{what} may have more than {most} values: send fewer.")
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise RequestError(f"{what} cannot be decoded: {error}.") from None


def without_lone_surrogates(data: bytes | mmap.mmap) -> bytes | None:
    r"""JSON with U+FFFD for each `\ud800` that has no other half; None where there is none.

    Whoever may import tasks can write one; Label Studio sends it, and without this it would take
    the answers for all other tasks of a call with it.

    Raises:
        RequestError: there are too many.
    """
    if data.find(b"\\ud") < 0 and data.find(b"\\uD") < 0:
        return None
    looked = found = 0

    def mend(match: re.Match[bytes]) -> bytes:
        nonlocal looked, found
        looked += 1
        if looked > MOST_SURROGATES:
            raise RequestError(f"The body has more than {MOST_SURROGATES} surrogates: send fewer.")
        slashes, half, second = match.groups(default=b"")
        is_high = half in b"89abAB"
        if len(slashes) % 2 == 0 or (is_high and second):
            return match[0]  # of the former, the backslash before the "u" is itself escaped
        found += 1
        return slashes + b"ufffd" + (b"\\ufffd" if second else b"")

    mended = SURROGATE.sub(mend, data)  # a map is searched as it is
    return mended if found else None


def _odd(tasks: Raw, most: int) -> list[_Task | Json]:
    """A list of which some elements are no objects: those stay what they are, if they are short."""
    data = bytes(memoryview(tasks))
    if data.count(b",") >= MOST_ODD:
        raise RequestError("'tasks' must be a list of objects, each with 'id' and 'data'.")
    elements = msgspec.json.decode(data, type=list[Raw])
    if len(elements) > most:
        raise _too_many(most)
    _left.tasks = most
    return [_task_or_other(each) for each in elements]


def _task_or_other(element: Raw) -> _Task | Json:
    try:
        return msgspec.json.decode(element, type=_Task)
    except msgspec.DecodeError:
        return _short(element)


def _too_many(most: int) -> RequestError:
    return RequestError(f"'tasks' has more than {most} tasks: send them in several calls.")


def _short(value: Raw) -> Json:
    """A field that is a number or a short text; None for anything else."""
    data = bytes(memoryview(value)[: 8 * LONGEST_ID])
    try:
        decoded = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None  # or it was cut
    return decoded if isinstance(decoded, str | int | float) else None


def _kind(value: Data) -> str:
    start = bytes(memoryview(value)[:64]).lstrip()[:1]
    return KINDS.get(start, "number")


def _turn(size: int) -> AbstractContextManager[Any]:
    """Large bodies one at a time: while one is looked through, no other thread computes."""
    return _one_at_a_time if size > LARGE else nullcontext()


def _data_of(request: Request) -> bytes | mmap.mmap:
    """The body, mapped where the server keeps it in a file."""
    most, length = request.max_content_length, request.content_length
    if most is not None and length is not None and length > most:
        raise RequestEntityTooLarge(
            f"The body has more than {most} bytes: send fewer tasks in a call, or raise "
            "MAX_BODY_BYTES."
        )
    stream = request.environ["wsgi.input"]
    try:
        number = stream.fileno()
    except (AttributeError, OSError):  # it lies in memory
        return request.get_data(cache=False)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        return request.get_data(cache=False)
    stream.flush()
    return mmap.mmap(number, 0, access=mmap.ACCESS_READ)
