"""What something costs, counted and not timed, so that a busy machine changes nothing."""

import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any


@dataclass(frozen=True)
class Cost:
    """What a call cost.

    Attributes:
        calls: of functions, Python's and C's.
        peak: bytes that it held at most.
        left: bytes that are still held.
    """

    calls: int
    peak: int
    left: int


def cost_of(work: Callable[[], Any]) -> Cost:
    """The cost of a call; its result counts as held."""
    calls = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    tracemalloc.start()
    sys.setprofile(count)
    try:
        held = work()
    finally:
        sys.setprofile(None)
    left, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del held
    return Cost(calls, peak, left)
