"""`dgl-rsis report`: how much people changed of what the model proposed.

What it needs beside the web side's own packages is imported when it runs.
"""

import json as json_of
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from backend import command_settings, label_config
from backend.export import label_studio
from backend.export.findings import ExportError
from backend.export.label_studio import Reading
from backend.export.records import Item
from backend.export.studio_source import StudioSource
from backend.refusals import refuse
from backend.studio import StudioError

if TYPE_CHECKING:
    from backend.report import Report

LOG = logging.getLogger(__name__)


def report(
    export: Annotated[
        Path | None, typer.Argument(help="A JSON export of Label Studio (not JSON_MIN).")
    ] = None,
    project: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Read this project instead (env LABEL_STUDIO_URL, LABEL_STUDIO_API_KEY).",
        ),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="File for all numbers.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for pictures.")] = None,
    image_key: Annotated[
        str, typer.Option(help="Of the image in the tasks' data; a project says so itself.")
    ] = label_studio.IMAGE,
) -> None:
    """Say how much annotators changed: per class, for each model version."""
    from backend import report_text

    settings = command_settings.local()  # also sets up the log
    if (export is None) == (project is None):
        refuse("give the JSON export of a project, or else --project with its number")
    # Where nobody marked anything, the size of the image does not matter, either.
    reading = Reading(image_key=image_key, measure=lambda reference: (1, 1))
    try:
        if export is not None:
            items = label_studio.read(export, reading)
        else:
            url, key = settings.label_studio_url, settings.label_studio_api_key
            if url is None or key is None:
                refuse("set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY for --project")
            bundle = settings.requests_ca_bundle
            verify = True if bundle is None else str(bundle)
            studio = StudioSource(url, key.get_secret_value(), verify=verify)
            items = _of_project(studio, project or 0, reading)
        found = _compared(items)
        sys.stdout.write(report_text.text(found))
        _write(found, json, plots)
    except (ExportError, StudioError, OSError) as error:
        refuse(str(error))
    unknown = reading.findings.skipped[label_studio.NUMBER_ONLY]
    if unknown:
        LOG.warning(
            "of %d annotations the file has only the number of their pre-label, as exports of "
            "Label Studio do: read the project itself with --project",
            unknown,
        )
    if reading.findings.problems:
        LOG.warning("%d problems: see above", len(reading.findings.problems))


def _of_project(studio: StudioSource, project: int, reading: Reading) -> Iterator[Item]:
    config = label_config.parse(str(studio.project(project)["label_config"]))
    if config.image_key:
        reading.image_key = config.image_key
    yield from label_studio.read_tasks(studio.tasks_with_masks(project), reading)


def _compared(items: Iterator[Item]) -> "Report":
    from backend import report as reports

    with _counting() as counted:
        return reports.compare(counted(item) for item in items)


def _write(found: "Report", json: Path | None, plots: Path | None) -> None:
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        text = json_of.dumps(found.to_json(), ensure_ascii=False, indent=1)
        json.write_text(text + "\n", "utf-8")
        LOG.info("wrote %s", json)
    if plots is not None:
        from backend import report_plots

        for path in report_plots.plot(found, plots):
            LOG.info("wrote %s", path)


class _Counter:
    """Shows how many tasks there were."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bar = progress.add_task("tasks", total=None)

    def __call__(self, item: Item) -> Item:
        self._progress.advance(self._bar)
        return item


@contextmanager
def _counting() -> Iterator[_Counter]:
    """A line on standard error; how many there will be nobody knows before."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description} {task.completed:.0f}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Counter(progress)
