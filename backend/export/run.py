"""One export: reads, chooses, splits, writes every format, counts, and writes the card."""

import importlib
import logging
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import track

from backend.export import card, label_names, label_studio, split, statistics
from backend.export.assembly import Assembly, Source
from backend.export.card import Card
from backend.export.dataset import Example, Split, Vocabulary
from backend.export.findings import ExportError, Findings
from backend.export.images import Images, fetcher
from backend.export.label_names import LabelNames
from backend.export.label_studio import Reading
from backend.export.label_studio_regions import Json
from backend.export.selection import Choice
from backend.export.studio_source import StudioSource

LOG = logging.getLogger(__name__)

MOST_SHOWN = 20


class Format(StrEnum):
    """What can be written; each into a folder of its name."""

    COCO = "coco"
    YOLO = "yolo"
    SEMANTIC = "semantic"
    GEOPACKAGE = "geopackage"
    REFSEGRS = "refsegrs"
    RRSISD = "rrsis-d"
    HUGGINGFACE = "huggingface"


# Module below backend.export and its function; loaded when used, since each needs other libraries.
WRITERS = {
    Format.COCO: ("coco", "write"),
    Format.YOLO: ("yolo", "write"),
    Format.SEMANTIC: ("semantic", "write"),
    Format.GEOPACKAGE: ("geopackage", "write"),
    Format.REFSEGRS: ("referring", "write_refsegrs"),
    Format.RRSISD: ("referring", "write_rrsisd"),
    Format.HUGGINGFACE: ("huggingface", "write"),
}


@dataclass(frozen=True)
class ExportRun:
    """What to export.

    Attributes:
        source: a JSON export of Label Studio; None for a project.
        project: id of a project to read by API; None for a file.
        formats: each once.
        out: folder for the set; a folder of a format in it must be empty.
        images: folder to look for images in first; None for none.
        names: labels, colours and keys of the tasks' data; None takes the labels that are found.
        choice: which annotation counts.
        ratios, seed: of the split.
        scene_pattern: finds the scene in the path of an image; None for none.
        polygons, objects: as for `coco.write`.
    """

    source: Path | None
    project: int | None
    formats: Sequence[Format]
    out: Path
    images: Path | None
    names: LabelNames | None
    choice: Choice
    ratios: tuple[float, float, float]
    seed: int
    scene_pattern: re.Pattern[str] | None
    polygons: bool
    objects: bool


def run(task: ExportRun) -> int:
    """Write the set: a folder for each format, `README.md` and `statistics.json`.

    Returns:
        Exit status: 0, or 1 when something could not be used because of an error.

    Raises:
        ExportError: nothing to export, or the folder is not empty.
        StudioError: the project cannot be read.
    """
    _check_empty(task)
    findings = Findings()
    every, names = _tasks(task)
    task.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".images-", dir=task.out) as cache:
        images = Images(task.images, _lazy_fetch(), Path(cache))
        reading = _reading(names or LabelNames(), findings, images, task.choice)
        source = Source(task.choice, images, task.scene_pattern)
        with Assembly(source, findings) as assembly:
            assembly.add_all(label_studio.read_tasks(track(every, "Reading", total=None), reading))
            _write(task, assembly, _vocabulary(names, assembly))
    _report(findings)
    return 1 if findings.problems else 0


def _write(task: ExportRun, assembly: Assembly, vocabulary: Vocabulary) -> None:
    total = assembly.scenes.total()
    if not total:
        reasons = [*assembly.findings.problems, *assembly.findings.left_out][:3]
        raise ExportError("there is nothing to export: " + ("; ".join(reasons) or "no tasks"))
    parts = split.assign(assembly.scenes, task.ratios, task.seed)

    def examples(what: str) -> Iterator[Example]:
        return iter(track(assembly.examples(parts), what, total=total))

    for each in task.formats:
        _writer(each, task)(examples(f"Writing {each}"), vocabulary, task.out / each)
    counts = statistics.count(examples("Counting"), vocabulary)
    card.write(_card(task, assembly, vocabulary, counts), task.out)
    LOG.info("%d images in %s", total, task.out)


def _check_empty(task: ExportRun) -> None:
    for each in task.formats:
        folder = task.out / each
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ExportError(f"{folder} is not empty: remove it, or give another --out")


def _tasks(task: ExportRun) -> tuple[Iterable[Json], LabelNames | None]:
    """The tasks one by one, and what is known of their labels."""
    if task.source is not None:
        return label_studio.tasks_of(task.source), task.names
    assert task.project is not None  # `export` sees to it
    settings = importlib.import_module("workers.settings").WorkerSettings()
    if settings.label_studio_url is None or settings.label_studio_api_key is None:
        raise ExportError("set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY for --project")
    bundle = settings.requests_ca_bundle
    client = StudioSource(
        settings.label_studio_url,
        settings.label_studio_api_key.get_secret_value(),
        verify=True if bundle is None else str(bundle),
    )
    config = client.project(task.project)["label_config"]
    return client.tasks_with_masks(task.project), task.names or label_names.from_config(config)


def _reading(names: LabelNames, findings: Findings, images: Images, choice: Choice) -> Reading:
    return Reading(
        findings,
        labels=names.labels.keys(),
        ignored=names.ignored,
        predicted_masks=choice.prelabels,
        image_key=names.image_key,
        expression_key=names.expression_key,
        measure=images.size,
    )


def _vocabulary(names: LabelNames | None, assembly: Assembly) -> Vocabulary:
    """The labels of the config in its order; else those that were found, by name."""
    if names is None:
        return Vocabulary.of(sorted(assembly.labels))
    colours = {name: colour for name, colour in names.labels.items() if colour}
    return Vocabulary.of(list(names.labels), colours)


def _writer(each: Format, task: ExportRun) -> Callable[..., Any]:
    module, function = WRITERS[each]
    try:
        write = getattr(importlib.import_module(f"backend.export.{module}"), function)
    except ImportError as error:
        raise ExportError(f"--format {each} needs {error.name}: install dgl-rsis[data]") from error
    if each is Format.COCO:
        return partial(write, polygons=task.polygons, objects=task.objects)
    found: Callable[..., Any] = write
    return found


def _lazy_fetch() -> Callable[[str], bytes]:
    """Made when the first image is not in the folder: until then, no setting is needed."""
    held: list[Callable[[str], bytes]] = []

    def fetch(reference: str) -> bytes:
        if not held:
            held.append(fetcher())
        return held[0](reference)

    return fetch


def _card(
    task: ExportRun,
    assembly: Assembly,
    vocabulary: Vocabulary,
    counts: dict[Split, statistics.SplitCounts],
) -> Card:
    name = task.source.name if task.source is not None else f"project {task.project}"
    return Card(
        source=name,
        date=datetime.now(UTC).date().isoformat(),
        formats=[str(each) for each in task.formats],
        vocabulary=vocabulary,
        splits=counts,
        ratios=task.ratios,
        seed=task.seed,
        choice=_sentence(task.choice),
        agreements=assembly.agreements,
        annotators=assembly.annotators,
        versions=assembly.versions,
        left_out=assembly.findings.left_out,
        problems=assembly.findings.problems,
        skipped=assembly.findings.skipped,
    )


def _sentence(choice: Choice) -> str:
    who = "the newest annotation of each image"
    if choice.annotator:
        who = f"what {choice.annotator} marked"
    if choice.consensus:
        who = "what more than half of an image's annotators marked"
    if choice.min_agreement:
        who += f", where people agree by {choice.min_agreement:g} or more"
    if choice.prelabels:
        who += "; the newest pre-label where nobody marked anything"
        who += f", if its score is {choice.min_score:g} or more" if choice.min_score else ""
    return who


def _report(findings: Findings) -> None:
    """What was left out as asked for; errors are in the log already."""
    for sentence in findings.left_out[:MOST_SHOWN]:
        LOG.info("left out: %s", sentence)
    more = len(findings.left_out) - MOST_SHOWN
    if more > 0:
        LOG.info("left out: %d more, see statistics.json", more)
    for what, number in sorted(findings.skipped.items()):
        LOG.info("passed over: %d %s", number, what)
    if findings.problems:
        LOG.warning("%d could not be used", len(findings.problems))
