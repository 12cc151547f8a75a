"""The bar of a long command: on standard error, and on a terminal only."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from rich import progress
from rich.console import Console

Each = TypeVar("Each")


def track(items: Iterable[Each], what: str, total: int | None = None) -> Iterable[Each]:
    """The same items, with a bar while they are gone over.

    Args:
        items: gone over once.
        what: is done with them.
        total: how many there are; None when nobody knows.
    """
    console = Console(stderr=True)
    drawn = sys.stderr.isatty()
    return progress.track(items, what, total=total, console=console, disable=not drawn)
