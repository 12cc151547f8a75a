"""`dgl-rsis evaluate`: a data set in, tables, numbers and pictures out.

A data set is given as NAME or NAME:FOLDER, such as `dubai:../data/dubai`, `rrsisd:../RRSIS-D` or
`scenes`; `dgl_rsis/dataset_catalogue.py` lists the names and what `--split` means for each.
"""

import importlib
import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from workers import registry

LOG = logging.getLogger(__name__)

Task = Literal["ovss", "res", "proposals", "parser", "clicks"]
# Task → what opens a data set, and what measures on it, in which module.
DOORS: dict[Task, tuple[str, str, str]] = {
    "ovss": ("open_classes", "evaluate_ovss", "evaluation_runs"),
    "res": ("open_referrals", "evaluate_res", "evaluation_runs"),
    "proposals": ("open_objects", "evaluate_proposals", "evaluation_runs"),
    "parser": ("open_sentences", "evaluate_parser", "evaluation_runs"),
    "clicks": ("open_objects", "evaluate_clicks", "evaluation_clicks"),
}
SCENES = "scenes"
SAID_EVERY = 60.0  # seconds, where no terminal shows a count


@dataclass(frozen=True)
class EvaluationRun:
    """What to evaluate.

    Attributes:
        task: which part of the system.
        dataset: NAME or NAME:FOLDER.
        split: part of the data set; None for its usual one.
        limit: the first so many images, of the parser sentences; None for all.
        per_image: the first so many expressions of an image; None for all.
        piece: larger images are cut into pieces of this side, pixels; 0 never, None as usual.
        top_k: answers to an expression that count for "best of the top k".
        thing: class whose objects proposals have to cover, or clicks to outline.
        min_area: pixels; smaller objects are left out.
        json: file for all numbers; None for none.
        plot: folder for pictures; None for none.
        model, device: as the settings MODEL and DEVICE.
    """

    task: Task
    dataset: str
    split: str | None = None
    limit: int | None = None
    per_image: int | None = None
    piece: int | None = None
    top_k: int = 3
    thing: str = "building"
    min_area: int = 100
    json: Path | None = None
    plot: Path | None = None
    model: str = "starter"
    device: str = "cpu"


def run(task: EvaluationRun) -> int:
    """Evaluate, and write tables to standard output.

    Returns:
        Exit status: 0.

    Raises:
        ValueError: of the algorithm's package, with the file or the setting that is wrong.
        OSError: a result cannot be written.
    """
    name, _, folder = task.dataset.partition(":")
    # By name: this package never imports the algorithm's, so that the web server stays small.
    place = "starter.evaluation_scenes" if name == SCENES else "dgl_rsis.dataset_catalogue"
    source = importlib.import_module(place)
    runs = importlib.import_module("dgl_rsis.evaluation_runs")
    opening, measuring, module = DOORS[task.task]
    measures = importlib.import_module(f"dgl_rsis.{module}")
    arguments = [name, Path(folder) if folder else None, task.split]
    if opening == "open_objects":
        arguments.append(task.thing)
    data = getattr(source, opening)(*arguments)
    options = runs.Options(
        dataset=name,
        model=registry.resolve_clip(task.model),
        device=task.device,
        limit=task.limit,
        per_image=task.per_image,
        piece=task.piece,
        top_k=task.top_k,
        min_area=task.min_area,
    )
    with _progress(data.title) as done:
        report = getattr(measures, measuring)(data, options, done)
    sys.stdout.write(report.text + "\n")
    _write(report, task)
    return 0


def _write(report: Any, task: EvaluationRun) -> None:
    if task.json is not None:
        task.json.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(report.json, ensure_ascii=False, indent=1)
        task.json.write_text(text + "\n", "utf-8")
        LOG.info("wrote %s", task.json)
    if task.plot is not None:
        for path in report.plot(task.plot):
            LOG.info("wrote %s", path)


@contextmanager
def _progress(title: str) -> Iterator[Any]:
    """A line on standard error with a count; how many there will be nobody knows before."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Counted(title)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description} {task.completed:.0f} {task.fields[name]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(title, total=None, name="")
        yield lambda name: progress.update(bar, advance=1, name=str(name)[:60])


class _Counted:
    """Says in the log how far it is: a long run into a file must not look dead."""

    def __init__(self, title: str) -> None:
        self.title, self.done, self.said = title, 0, time.monotonic()

    def __call__(self, name: object) -> None:
        self.done += 1
        if time.monotonic() - self.said >= SAID_EVERY:
            self.said = time.monotonic()
            LOG.info("%s: %d done, the last one %s", self.title, self.done, name)
