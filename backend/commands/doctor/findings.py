"""What a check found, and checks that cannot hold up the others."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

LOG = logging.getLogger(__name__)

MOST_SECONDS = 30.0  # of one check, whatever it waits for


class State(StrEnum):
    """How bad it is."""

    GOOD = "good"
    NOTE = "note"  # it works, but not all of it, or perhaps not for long
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        topic: what was looked at.
        state: how bad it is.
        said: what was found.
        way_out: what to do about it; empty where nothing is to be done.
    """

    topic: str
    state: State
    said: str
    way_out: str = ""


Check = Callable[[], Iterator[Finding]]


def examine(topic: str, check: Check, seconds: float = MOST_SECONDS) -> Iterator[Finding]:
    """Findings as they come; that there are no more in time, or an error, is one, too.

    Args:
        topic: of the check.
        check: in a thread of its own, which is left behind when it takes too long.
        seconds: for all of its findings together.
    """
    found: queue.Queue[Finding | None] = queue.Queue()

    def look() -> None:
        try:
            for each in check():
                found.put(each)
        except Exception as error:
            LOG.debug("%s", topic, exc_info=True)
            said = " ".join(f"{type(error).__name__}: {error}".split())
            found.put(Finding(topic, State.WRONG, f"the check broke off: {said}"))
        found.put(None)

    threading.Thread(target=look, name=topic, daemon=True).start()
    end = time.monotonic() + seconds
    while True:
        try:
            each = found.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            way_out = "look whether what it asks answers, or only very slowly"
            yield Finding(topic, State.WRONG, f"no answer within {seconds:.0f} s", way_out)
            return
        if each is None:
            return
        yield each
