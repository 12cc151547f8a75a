"""Whether the thread that does the work waits for something outside of this process.

A job that uses no processor is stuck, unless it waits for the network, for another process or for
the queue's server. Code that may wait says so here; `workers.processes.watchdog` asks.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class _Clock:
    """How long the main thread waited. Other threads do no jobs, so their waits do not count."""

    def __init__(self) -> None:
        self.depth = 0
        self.seconds = 0.0
        self.since = 0.0


_CLOCK = _Clock()


@contextmanager
def waiting() -> Iterator[None]:
    """What is done inside may take its time without using the processor."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if not _CLOCK.depth:
        _CLOCK.since = time.monotonic()
    _CLOCK.depth += 1
    try:
        yield
    finally:
        _CLOCK.depth -= 1
        if not _CLOCK.depth:
            _CLOCK.seconds += time.monotonic() - _CLOCK.since


def waited() -> float:
    """Seconds that the main thread waited since the process began, the present wait included."""
    since = _CLOCK.since if _CLOCK.depth else None
    return _CLOCK.seconds + (time.monotonic() - since if since is not None else 0.0)


def is_waiting() -> bool:
    """Whether the main thread waits now."""
    return _CLOCK.depth > 0
