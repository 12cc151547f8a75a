"""Child processes that do not outlive their parent."""

import ctypes
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1


def ends_with_parent() -> Callable[[], None] | None:
    """A `preexec_fn` for `Popen`: the child gets SIGTERM when its parent is killed.

    Linux only (prctl(2)); None elsewhere.
    """
    return _ask_for_sigterm if sys.platform == "linux" else None


def _ask_for_sigterm() -> None:
    """In the child, before it becomes the program."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
