"""Small records that processes leave in the queue's server for each other, as JSON.

Processes of two versions may share a queue while one takes the other's place: what a newer one says
besides is left out, and what is no such record at all counts as none.
"""

import json
import math
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from pydantic import TypeAdapter, ValidationError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")


def write(record: "DataclassInstance") -> str:
    """A record as text; `read` inverts it."""
    return json.dumps(asdict(record))


def read(kind: type[Record], stored: bytes | str | None) -> Record | None:
    """A record; None where there is none, or something else.

    Args:
        kind: a dataclass of JSON types.
        stored: what the server has.
    """
    every = read_all(kind, stored, one=True)
    return every[0] if every else None


def read_all(kind: type[Record], stored: bytes | str | None, *, one: bool = False) -> list[Record]:
    """Records that were left as a list; without what is none.

    Args:
        kind: a dataclass of JSON types.
        stored: what the server has.
        one: it is a record by itself.
    """
    if stored is None:
        return []
    try:
        told = json.loads(stored)
    except (ValueError, RecursionError):
        return []
    told = [told] if one else told
    made = [_made(kind, each) for each in told] if isinstance(told, list) else []
    return [each for each in made if each is not None]


def text(stored: bytes | str) -> str:
    """What the server has as text; what is no text has signs in it that stand for none."""
    return stored if isinstance(stored, str) else stored.decode(errors="replace")


def number(stored: bytes | str | None, otherwise: float = 0.0) -> float:
    """What the server has as a finite number.

    Args:
        stored: what the server has.
        otherwise: what counts where it has none, or what is none.
    """
    try:
        read = float(stored) if stored is not None else otherwise
    except ValueError:
        return otherwise
    return read if math.isfinite(read) else otherwise


def _made(kind: type[Record], told: object) -> Record | None:
    if not isinstance(told, dict) or not all(map(_is_finite, told.values())):
        return None
    try:
        made: Record = _adapter(kind).validate_python(told)
    except ValidationError:
        return None
    return made


def _is_finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


@cache
def _adapter(kind: type[Record]) -> TypeAdapter[Record]:
    return TypeAdapter(kind)
