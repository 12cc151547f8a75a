"""Child processes: they do not outlive their parent, and start again when they die or hang."""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
ASK_SECONDS = 1.0
LONGEST_SOCKET_PATH = 100  # sun_path holds 104 bytes on macOS, 108 on Linux


class SocketPathError(RuntimeError):
    """A socket cannot be made. The message says why and what to do."""


def socket_path(path: Path) -> str:
    """A path that a Unix socket can have.

    Raises:
        SocketPathError: it is too long.
    """
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise SocketPathError(f"the path {path} is too long for a socket: set TMPDIR=/tmp")
    return str(path)


def ends_with_parent() -> Callable[[], None] | None:
    """A `preexec_fn` for `Popen`: the child gets SIGTERM when its parent is killed.

    Linux only (prctl(2)); None elsewhere.
    """
    return _ask_for_sigterm if sys.platform == "linux" else None


def _ask_for_sigterm() -> None:
    """In the child, before it becomes the program."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class Restarts:
    """When a process that ended starts again: at once at first, later with growing pauses.

    Attributes:
        count: how often it ended.
        in_a_row: how often without having come to anything in between.
        status: its last exit status, or the number of the signal that killed it, negative; None
            before it ended for the first time.
        cause: what it wrote last, or why it was killed; empty for nothing.
        at: when it starts again, by `time.monotonic`.
    """

    count: int = 0
    in_a_row: int = 0
    status: int | None = None
    cause: str = ""
    at: float = 0.0

    def ended(self, status: int, cause: str, *, healthy: bool, hopeless: bool = False) -> float:
        """Note an end.

        Args:
            status: as the attribute.
            cause: as the attribute.
            healthy: it had lived for a while or done some work: then it is no crash loop.
            hopeless: it says itself that another try is in vain: then the pause is the longest.

        Returns:
            Seconds until it starts again.
        """
        self.count += 1
        self.in_a_row = 1 if healthy else self.in_a_row + 1
        if not cause and -status in set(signal.Signals):
            cause = f"killed by {signal.Signals(-status).name}"
        self.status, self.cause = status, cause
        pause = FIRST_PAUSE_SECONDS * 2 ** min(self.in_a_row - 1, 16)
        pause = LONGEST_PAUSE_SECONDS if hopeless else min(pause, LONGEST_PAUSE_SECONDS)
        self.at = time.monotonic() + pause
        return pause

    @property
    def waits(self) -> bool:
        """Whether it is too early to start it."""
        return time.monotonic() < self.at


class Pulse:
    """Asks a process again and again, in a thread, whether it is well.

    Args:
        ask: raises, or returns False, when there is no answer.
    """

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask = ask
        self._stopped = threading.Event()
        self.answered_at = time.monotonic()
        threading.Thread(target=self._run, name="pulse", daemon=True).start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(ASK_SECONDS):
            with suppress(Exception):  # whatever it is, it is no answer
                if self._ask():
                    self.answered_at = time.monotonic()
