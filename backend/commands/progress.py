"""How far a long command is: a bar on a terminal, lines in the log elsewhere, on standard error."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Self, TypeVar

import rich.progress
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

LOG = logging.getLogger(__name__)

# Between two lines of the log, where no terminal shows a bar.
LINE_SECONDS = 30.0
COUNT_SECONDS = 60.0
# Speeds are means over so long: a window of a scene takes seconds.
SPEED_SECONDS = 600.0

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
    return rich.progress.track(items, what, total=total, console=console, disable=not drawn)


@contextmanager
def counting(title: str) -> Iterator[Callable[[str], object]]:
    """A line on standard error with a count; how many there will be nobody knows before.

    Yields:
        To be called with the name of each that is done.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _LoggedCount(title)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description} {task.completed:.0f} {task.fields[name]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(title, total=None, name="")
        yield lambda name: progress.update(bar, advance=1, name=str(name)[:60])


class _LoggedCount:
    """Says in the log how far it is: a long run into a file must not look dead."""

    def __init__(self, title: str) -> None:
        self.title, self.done, self.said = title, 0, time.monotonic()

    def __call__(self, name: object) -> None:
        self.done += 1
        if time.monotonic() - self.said >= COUNT_SECONDS:
            self.said = time.monotonic()
            LOG.info("%s: %d done, the last one %s", self.title, self.done, name)


@contextmanager
def downloading(name: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of a file on its way, on standard error.

    Yields:
        To be called with the bytes that are here, and of the whole; 0 where nobody knows.
    """
    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total or None)


@contextmanager
def scanning(name: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of a scene that is gone over, on a terminal; it goes with the scene.

    Yields:
        To be called with the pixels that are done, and those of the whole.
    """
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(),
               _PixelSpeed(), TimeRemainingColumn())  # fmt: skip
    with Progress(
        *columns, speed_estimate_period=SPEED_SECONDS, console=Console(stderr=True),
        transient=True, disable=not sys.stderr.isatty(),
    ) as progress:  # fmt: skip
        bar = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


class _PixelSpeed(ProgressColumn):
    """Megapixels a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed / 1e6:.2f} Mpx/s" if speed else "")


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
