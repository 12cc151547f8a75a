"""How far a long command is, on standard error: a bar on a terminal, else a line now and then."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from itertools import count
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

# Between two lines of the log, where no terminal shows a bar: a long run must not look dead.
LINE_SECONDS = 10.0
# Speeds are means over so long: a window of a scene takes seconds.
SPEED_SECONDS = 600.0

Each = TypeVar("Each")


class Lines:
    """Says every `LINE_SECONDS` in the log how far a `with` block is, also while it waits.

    A block that is over before the first line is not told.

    Args:
        title: what is done.
        unit: of what is counted, and how many of these a unit has.
    """

    def __init__(self, title: str, unit: tuple[str, float] = ("", 1.0)) -> None:
        self.title = title
        self._unit, self._size = unit
        self._done, self._total, self._name = 0.0, 0.0, ""
        self._started = time.monotonic()
        self._said = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._said:
            LOG.info("%s", self.text())

    def show(self, done: float, total: float | None, name: object = "") -> None:
        """Keep how far it is, for the next line.

        Args:
            done: since the block began.
            total: how many there are; 0 or None where nobody knows.
            name: of the last one.
        """
        self._done, self._total, self._name = done, total or 0.0, str(name)

    def text(self) -> str:
        """What the next line says."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        done, total, rate = self._done, self._total, self._done / seconds
        unit = f" {self._unit}" if self._unit else ""
        digits = 0 if self._size == 1 else 1
        text = f"{self.title}: {done / self._size:.{digits}f}"
        text += f" of {total / self._size:.{digits}f}{unit}" if total else f"{unit} done"
        text += f", {_speed(rate / self._size)}{unit}/s"
        if total > done and rate > 0:
            text += f", {_clock((total - done) / rate)} left"
        return text + (f", the last one {self._name}" if self._name else "")

    def _run(self) -> None:
        while not self._ended.wait(LINE_SECONDS):
            self._said = True
            LOG.info("%s", self.text())


def track(items: Iterable[Each], what: str, total: int | None = None) -> Iterable[Each]:
    """The same items, told about while they are gone over.

    Args:
        items: gone over once.
        what: is done with them.
        total: how many there are; None when nobody knows, or `items` has a length.
    """
    if sys.stderr.isatty():
        console = Console(stderr=True)
        return rich.progress.track(items, what, total=total, console=console)
    return _told(items, what, len(items) if total is None and isinstance(items, Sized) else total)


def _told(items: Iterable[Each], what: str, total: int | None) -> Iterator[Each]:
    with Lines(what) as lines:
        lines.show(0, total)
        for number, item in enumerate(items, start=1):
            yield item
            lines.show(number, total)


@contextmanager
def counting(title: str) -> Iterator[Callable[[str], object]]:
    """A line on standard error with a count; how many there will be nobody knows before.

    Yields:
        To be called with the name of each that is done.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        with Lines(title) as lines:
            numbers = count(1)
            yield lambda name: lines.show(next(numbers), None, name)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description} {task.completed:.0f} {task.fields[name]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(title, total=None, name="")
        yield lambda name: progress.update(bar, advance=1, name=str(name)[:60])


@contextmanager
def downloading(name: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of a file on its way, on standard error.

    Yields:
        To be called with the bytes that are here, and of the whole; 0 where nobody knows.
    """
    if not sys.stderr.isatty():
        with Lines(name, ("MB", 1e6)) as lines:
            yield lines.show
        return
    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total or None)


@contextmanager
def scanning(name: str) -> Iterator[Callable[[int, int], None]]:
    """How far a scene is gone over; a bar goes with the scene.

    Yields:
        To be called with the pixels that are done, and those of the whole.
    """
    if not sys.stderr.isatty():
        with Lines(name, ("Mpx", 1e6)) as lines:
            yield lines.show
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(),
               _PixelSpeed(), TimeRemainingColumn())  # fmt: skip
    with Progress(
        *columns, speed_estimate_period=SPEED_SECONDS, console=Console(stderr=True),
        transient=True,
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
        console = Console(stderr=True, highlight=False)
        drawn = sys.stderr.isatty() if terminal is None else terminal
        columns = ("[progress.description]{task.description}", "{task.fields[count]}")
        self._bar = Progress(
            TextColumn(columns[0]), BarColumn(), TextColumn(columns[1]),
            console=console, disable=not drawn,
        )  # fmt: skip
        self._lines = None if drawn else _MeterLines(self)
        self._task = self._bar.add_task("Pre-labelling", total=total, count="")

    def __enter__(self) -> Self:
        self._bar.start()
        if self._lines is not None:
            self._lines.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._lines is not None:
            self._lines.__exit__()
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
        if self._lines is None:
            self._show()

    def _show(self) -> None:
        seen = self.before + self.done + self.failed
        self._bar.update(self._task, completed=seen, total=max(self.total, seen))
        self._bar.update(self._task, count=self.text())

    def text(self) -> str:
        """How far it is: done and all, items a second, time left, how many failed."""
        seen = self.before + self.done + self.failed
        left = max(self.total - seen, 0)
        text = f"{seen} of {max(self.total, seen)}, {self.rate:.1f}/s"
        if left and self.rate > 0 and self.done + self.failed:
            text += f", {_clock(left / self.rate)} left"
        return text + (f", {self.failed} failed" if self.failed else "")


class _MeterLines(Lines):
    """The lines of a meter, which knows more than a count."""

    def __init__(self, meter: Meter) -> None:
        super().__init__("Pre-labelling")
        self._meter = meter

    def text(self) -> str:
        return f"{self.title}: {self._meter.text()}"


def _speed(rate: float) -> str:
    """Slow ones with digits that say something."""
    return f"{rate:.1f}" if rate >= 1 else f"{rate:.2g}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
