"""Results that are kept by their bytes: what a stranger asks for may be a thousand times as large.

A cache that counts its entries keeps the sixteen largest things that anybody ever sent. This one
counts bytes, so that what is kept has one limit, however it is made up.
"""

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from functools import wraps
from threading import Lock
from typing import Any, ParamSpec, TypeVar

from cachetools import LRUCache

P = ParamSpec("P")
T = TypeVar("T")


def kept(most_bytes: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Have a function's results kept, the least recently used dropped first. Safe for threads.

    Args:
        most_bytes: of all arguments and results together; a result that is larger than this is not
            kept.

    Returns:
        A decorator, for functions of hashable positional arguments.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        entries: LRUCache[Any, tuple[Any, T]] = LRUCache(most_bytes, getsizeof=footprint)
        lock = Lock()

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            key = args, tuple(kwargs.items())
            with lock:
                if key in entries:
                    return entries[key][1]
            value = function(*args, **kwargs)  # two threads may both make it
            with lock, suppress(ValueError):  # it is larger than all that may be kept
                entries[key] = key, value
            return value

        return call

    return decorate


def footprint(value: object) -> int:
    """Bytes of memory that a value of plain types takes, with all that it holds, each once.

    Args:
        value: of texts, numbers, arrays, tensors, tuples, lists, sets, mappings and dataclasses.
    """
    seen: set[int] = set()
    waiting, total = [value], 0
    while waiting:
        each = waiting.pop()
        if id(each) not in seen:
            seen.add(id(each))
            total += max(sys.getsizeof(each), getattr(each, "nbytes", 0))
            waiting.extend(_parts(each))
    return total


def _parts(value: object) -> list[object]:
    """What a value holds."""
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    if isinstance(value, tuple | list | set | frozenset):
        return list(value)
    if is_dataclass(value):
        return [vars(value)]
    return []
