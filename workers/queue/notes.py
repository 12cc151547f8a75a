"""Small records that processes leave in the queue's server for each other, as JSON.

Processes of two versions may share a queue while one takes the other's place: what a newer one says
besides is left out, and what is no such record at all counts as none.
"""

import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, TypeVar

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
    if stored is None:
        return None
    try:
        told = json.loads(stored)
        known = {field.name for field in fields(kind)}
        return kind(**{name: value for name, value in told.items() if name in known})
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
