"""One export: reads, chooses, splits, writes every format, counts, and writes the card."""

import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from backend.commands import labels
from backend.commands.export import card, counts, split
from backend.commands.export.assembly import Assembly, Source
from backend.commands.export.card import Card
from backend.commands.export.dataset import DatasetVocabulary, Example, Split
from backend.commands.export.images import Images, fetcher
from backend.commands.export.selection import Choice
from backend.commands.labels import LabelNames
from backend.commands.progress import track
from backend.regions.findings import ExportError, Findings
from backend.studio import export
from backend.studio.export import Reading
from backend.studio.export_files import tasks_in
from backend.studio.project import StudioSource
from dgl_rsis.types import Json
from workers.extras import way_out

LOG = logging.getLogger(__name__)

MOST_SHOWN = 20
Write = Callable[..., Any]  # of examples, vocabulary and folder


class Format(StrEnum):
    """What can be written; each into a folder of its name."""

    COCO = "coco"
    YOLO = "yolo"
    SEMANTIC = "semantic"
    GEOPACKAGE = "geopackage"
    REFSEGRS = "refsegrs"
    RRSISD = "rrsis-d"
    HUGGINGFACE = "huggingface"
    VOC = "voc"


@dataclass(frozen=True)
class ExportRun:
    """What to export.

    Attributes:
        source: a JSON export of Label Studio; None for a project.
        project: id of a project to read by API; None for a file.
        studio: where the project is; None for a file.
        formats: each once.
        out: folder for the set; a folder of a format in it must be empty.
        images: folder to look for images in first; None for none.
        names: labels, colours and keys of the tasks' data; None takes the labels that are found.
        choice: which annotation counts.
        ratios, seed: of the split.
        scene_pattern: finds the scene in the path of an image; None for none.
        polygons, objects: as for `coco.write`.
        regularize: as for `geopackage.write`.
        max_pixels: height · width of the largest image.
        keep_going: end with 0 although something could not be used.
    """

    source: Path | None
    project: int | None
    studio: StudioSource | None
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
    regularize: bool
    max_pixels: int
    keep_going: bool = False


def run(task: ExportRun) -> int:
    """Write the set: a folder for each format, `README.md` and `statistics.json`.

    A format that cannot hold the set, as one of sentences where there is none, is reported, and the
    others go on.

    Returns:
        Exit status: 0, or 1 when something could not be used because of an error.

    Raises:
        ExportError: nothing to export, no format could be written, a folder is not empty or not
            there, or a library is missing.
        StudioError: the project cannot be read.
    """
    _check_folders(task)
    writers = {each: _writer(each, task) for each in task.formats}
    findings = Findings()
    every, names = _tasks(task)
    task.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".images-", dir=task.out) as cache:
        images = Images(task.images, _lazy_fetch(), Path(cache))
        reading = _reading(task, names or LabelNames(), findings, images)
        source = Source(task.choice, images, task.scene_pattern)
        with Assembly(source, findings, Path(cache)) as assembly:
            assembly.add_all(export.read_tasks(track(every, "Reading"), reading))
            _write(task, writers, assembly, _vocabulary(names, assembly))
    _report(findings)
    return 1 if findings.problems and not task.keep_going else 0


def _write(
    task: ExportRun,
    writers: Mapping[Format, Write],
    assembly: Assembly,
    vocabulary: DatasetVocabulary,
) -> None:
    total = assembly.scenes.total()
    if not total:
        raise ExportError("there is nothing to export: " + _reasons(assembly.findings))
    parts = split.assign(assembly.scenes, task.ratios, task.seed)

    def examples(what: str) -> Iterator[Example]:
        return iter(track(assembly.examples(parts), what, total=total))

    written = []
    for each, write in writers.items():
        try:
            with _whole(task.out / each) as folder:
                write(examples(f"Writing {each}"), vocabulary, folder)
            written.append(each)
        except ExportError as error:
            if not written and each is task.formats[-1]:
                raise
            assembly.findings.problem(f"--format {each}", str(error))
    by_split = counts.count(examples("Counting"), vocabulary)
    card.write(_card(task, written, assembly, vocabulary, by_split), task.out)
    LOG.info("%d images in %s", total, task.out)


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder that was empty; what fails on the way leaves none: half a set looks like a whole."""
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _reasons(findings: Findings) -> str:
    passed_over = [f"{number} {what}" for what, number in findings.skipped.items()]
    first, *rest = [*findings.problems, *findings.left_out, *passed_over, "no tasks"]
    return first + (f" (and {len(rest) - 1} more)" if len(rest) > 1 else "")


def _check_folders(task: ExportRun) -> None:
    if task.images is not None and not task.images.is_dir():
        what = "is a file" if task.images.exists() else "does not exist"
        raise ExportError(f"--images {task.images} {what}: give the folder that holds the images")
    if (task.out / card.NUMBERS).exists():
        raise ExportError(f"{task.out} holds a set already: remove it, or give another --out")
    for each in task.formats:
        folder = task.out / each
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ExportError(f"{folder} is not empty: remove it, or give another --out")


def _tasks(task: ExportRun) -> tuple[Iterable[Json], LabelNames | None]:
    """The tasks one by one, and what is known of their labels."""
    if task.source is not None:
        return tasks_in(task.source), task.names
    assert task.project is not None  # `export` sees to it
    assert task.studio is not None
    config = task.studio.project(task.project)["label_config"]
    every = task.studio.tasks_with_masks(task.project)
    return every, task.names or labels.from_config(config)


def _reading(task: ExportRun, names: LabelNames, findings: Findings, images: Images) -> Reading:
    return Reading(
        findings,
        labels=names.labels.keys(),
        ignored=names.ignored,
        predicted_masks=task.choice.prelabels,
        names=names.names,
        chosen=names.chosen,
        pictures=names.pictures,
        beside=names.beside,
        expression_key=names.expression_key,
        measure=images.size,
        max_pixels=task.max_pixels,
    )


def _vocabulary(names: LabelNames | None, assembly: Assembly) -> DatasetVocabulary:
    """The labels of the config in its order; else those that were found, by name."""
    if names is None:
        return DatasetVocabulary.of(sorted(assembly.labels))
    colours = {name: colour for name, colour in names.labels.items() if colour}
    return DatasetVocabulary.of(list(names.labels), colours, names.categories)


def _writer(each: Format, task: ExportRun) -> Write:
    """The function that writes a format; loaded now, as each needs other libraries."""
    try:
        return _load_writer(each, task)
    except ImportError as error:
        raise ExportError(f"--format {each} needs {error.name}: {way_out(error.name)}") from error


def _load_writer(each: Format, task: ExportRun) -> Write:
    match each:
        case Format.COCO:
            from backend.commands.export.formats import coco

            return partial(coco.write, polygons=task.polygons, objects=task.objects)
        case Format.YOLO:
            from backend.commands.export.formats import yolo

            return yolo.write
        case Format.SEMANTIC:
            from backend.commands.export.formats import semantic

            return semantic.write
        case Format.GEOPACKAGE:
            from backend.commands.export.formats import geopackage

            return partial(geopackage.write, regularize=task.regularize)
        case Format.REFSEGRS:
            from backend.commands.export.formats import referring

            return referring.write_refsegrs
        case Format.RRSISD:
            from backend.commands.export.formats import referring

            return referring.write_rrsisd
        case Format.HUGGINGFACE:
            from backend.commands.export.formats import huggingface

            return huggingface.write
        case Format.VOC:
            from backend.commands.export.formats import voc

            return voc.write


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
    formats: Sequence[Format],
    assembly: Assembly,
    vocabulary: DatasetVocabulary,
    by_split: dict[Split, counts.SplitCounts],
) -> Card:
    name = task.source.name if task.source is not None else f"project {task.project}"
    return Card(
        source=name,
        date=datetime.now(UTC).date().isoformat(),
        formats=[str(each) for each in formats],
        vocabulary=vocabulary,
        splits=by_split,
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
        LOG.warning("%d could not be used, listed in statistics.json", len(findings.problems))
