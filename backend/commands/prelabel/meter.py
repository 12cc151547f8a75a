"""How far a run is: a bar on a terminal, a line in the log every now and then elsewhere."""

import logging
import sys
import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

LOG = logging.getLogger(__name__)

LINE_SECONDS = 30.0


class Meter:
    """Counts items; rate and time left come of this run alone, not of what was done before.

    Args:
        total: items, as far as known.
        terminal: draw a bar; None to find out.
    """

    def __init__(self, total: int, *, terminal: bool | None = None) -> None:
        self.total = total
        self.before = 0
        self.done = 0
        self.failed = 0
        self._started = time.monotonic()
        self._said_at = self._started
        console = Console(stderr=True, highlight=False)
        drawn = sys.stderr.isatty() if terminal is None else terminal
        columns = ("[progress.description]{task.description}", "{task.fields[count]}")
        self._bar = Progress(
            TextColumn(columns[0]), BarColumn(), TextColumn(columns[1]),
            console=console, disable=not drawn,
        )  # fmt: skip
        self._drawn = drawn
        self._task = self._bar.add_task("Pre-labelling", total=total, count="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._show()
        self._bar.stop()

    @property
    def rate(self) -> float:
        """Items a second of this run."""
        return (self.done + self.failed) / max(time.monotonic() - self._started, 1e-9)

    def count(self, *, before: int = 0, done: int = 0, failed: int = 0) -> None:
        """Count items that were done before this run, that are done now, or that failed."""
        self.before += before
        self.done += done
        self.failed += failed
        if self._drawn:
            self._show()
        elif time.monotonic() - self._said_at > LINE_SECONDS:
            self._said_at = time.monotonic()
            LOG.info("%s", self._text())

    def _show(self) -> None:
        seen = self.before + self.done + self.failed
        self._bar.update(self._task, completed=seen, total=max(self.total, seen))
        self._bar.update(self._task, count=self._text())

    def _text(self) -> str:
        seen = self.before + self.done + self.failed
        left = max(self.total - seen, 0)
        text = f"{seen} of {max(self.total, seen)}, {self.rate:.1f}/s"
        if left and self.rate > 0 and self.done + self.failed:
            text += f", {_clock(left / self.rate)} left"
        return text + (f", {self.failed} failed" if self.failed else "")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
