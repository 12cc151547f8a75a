"""`dgl-rsis evaluate`: a data set in, tables, numbers and pictures out.

A data set is given as NAME or NAME:FOLDER, such as `dubai:../data/dubai`, `rrsisd:../RRSIS-D` or
`scenes`; `dgl_rsis/evaluation/datasets/catalogue.py` lists the names and what `--split` means
for each.
"""

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from backend.commands.folders import make_writable
from backend.commands.progress import counting
from workers.registry import names
from workers.settings import WorkerSettings

if TYPE_CHECKING:
    from dgl_rsis.evaluation.ladders import Options, Report

    Measure = Callable[[Options, Callable[[str], object]], Report]

LOG = logging.getLogger(__name__)

Task = Literal[
    "ovss", "res", "proposals", "parser", "clicks", "objects", "presence", "absent", "claims"
]
SCENES = "scenes"


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
        labels: names with commas between them, where the data set leaves them open; "" as usual.
        settings: of MODEL, DEVICE and MODELS_DIR.
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
    labels: str = ""
    settings: WorkerSettings = field(default_factory=WorkerSettings)


def run(task: EvaluationRun) -> int:
    """Evaluate, and write tables to standard output.

    Returns:
        Exit status: 0.

    Raises:
        ValueError: of the algorithm's package, with the file or the setting that is wrong.
        OSError: a result cannot be written.
    """
    name, _, folder = task.dataset.partition(":")
    from backend.commands.labels import read_names  # its readers of label configs are heavy
    from dgl_rsis.evaluation.ladders import Options

    settings = task.settings
    for place in (task.json and task.json.parent, task.plot):
        if place is not None:
            make_writable(place)
    title, measure = _measurement(task, name, Path(folder) if folder else None)
    options = Options(
        dataset=name,
        model=names.resolve_clip(settings.model, settings.models_dir),
        device=settings.device,
        limit=task.limit,
        per_image=task.per_image,
        piece=task.piece,
        top_k=task.top_k,
        min_area=task.min_area,
        labels=tuple(read_names(task.labels)) if task.labels else None,
    )
    with counting(title) as done:
        report = measure(options, done)
    sys.stdout.write(report.text + "\n")
    _write(report, task)
    return 0


def _measurement(task: EvaluationRun, name: str, folder: Path | None) -> "tuple[str, Measure]":
    """The title of the data set, opened, and what measures on it."""
    from dgl_rsis.evaluation import click_ladder, ladders
    from dgl_rsis.evaluation.datasets import catalogue
    from starter.scenes import evaluation

    source = evaluation if name == SCENES else catalogue
    match task.task:
        case "ovss" if not task.labels and not catalogue.is_judged(name):
            data = source.open_classes(name, folder, task.split)
            return data.title, partial(ladders.evaluate_ovss, data)
        case "res":
            data = source.open_referrals(name, folder, task.split)
            return data.title, partial(ladders.evaluate_res, data)
        case "parser":
            data = source.open_sentences(name, folder, task.split)
            return data.title, partial(ladders.evaluate_parser, data)
        case "proposals":
            data = source.open_objects(name, folder, task.split, task.thing)
            return data.title, partial(ladders.evaluate_proposals, data)
        case "clicks":
            data = source.open_objects(name, folder, task.split, task.thing)
            return data.title, partial(click_ladder.evaluate_clicks, data)
        case _:
            return _partial_measurement(task, name, folder)


def _partial_measurement(
    task: EvaluationRun, name: str, folder: Path | None
) -> "tuple[str, Measure]":
    """Of what the truth does not say of every pixel, or not in the labels that are asked for."""
    from dgl_rsis.evaluation import measures
    from dgl_rsis.evaluation.datasets import catalogue
    from starter.scenes import evaluation

    match task.task:
        case "objects":
            boxed = catalogue.open_boxes(name, folder, task.split)
            return boxed.title, partial(measures.evaluate_objects, boxed)
        case "presence":
            tagged = catalogue.open_presence(name, folder, task.split)
            return tagged.title, partial(measures.evaluate_presence, tagged)
        case "absent":
            questions = catalogue.open_questions(name, folder)
            return questions.title, partial(measures.evaluate_absent, questions)
        case "claims":
            large = catalogue.open_large(name, folder)
            return large.title, partial(measures.evaluate_claims, large)
    if catalogue.is_judged(name):
        data = catalogue.open_judged(name, folder, task.split)
    else:
        source = evaluation if name == SCENES else catalogue
        data = catalogue.as_judged(source.open_classes(name, folder, task.split), task.piece)
    return data.title, partial(measures.evaluate_judged, data)


def _write(report: "Report", task: EvaluationRun) -> None:
    if task.json is not None:
        task.json.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(report.json, ensure_ascii=False, indent=1)
        task.json.write_text(text + "\n", "utf-8")
        LOG.info("wrote %s", task.json)
    if task.plot is not None:
        for path in report.plot(task.plot):
            LOG.info("wrote %s", path)
