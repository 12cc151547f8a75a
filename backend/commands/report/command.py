"""`dgl-rsis report`: how much people changed of what the model proposed.

What it needs beside the web side's own packages is imported when it runs.
"""

import json as json_of
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.commands import labels, options
from backend.commands.options import ProjectId
from backend.commands.progress import track
from backend.commands.refusals import refuse, told
from backend.regions.findings import ExportError, Findings
from backend.studio.client import StudioError
from backend.studio.export import NUMBER_ONLY, Reading, read_tasks
from backend.studio.export_files import tasks_in
from backend.studio.project import StudioSource

if TYPE_CHECKING:
    from backend.commands.report.changes import Report

LOG = logging.getLogger(__name__)


def report(
    export: Annotated[
        Path | None,
        typer.Argument(help="Export of a Label Studio project, as JSON."),
    ] = None,
    project: ProjectId = None,
    json: Annotated[Path | None, typer.Option(help="File for all numbers.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Folder for pictures.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="The label config (XML): where tasks hold their image, if not in image."),
    ] = None,
) -> None:
    """Say how much annotators changed: per class, for each model version.

    An export of Label Studio has only the numbers of its pre-labels, not their masks: read the
    project itself with --project.
    """
    from backend.commands.report import changes, text

    settings = options.local()  # also sets up the log
    if (export is None) == (project is None):
        refuse("give the JSON export of a project, or else --project with its number")
    studio = None if project is None else options.studio(settings, StudioSource)
    # Where nobody marked anything, the size of the image does not matter, either.
    reading = Reading(measure=lambda reference: (1, 1), max_pixels=settings.max_image_pixels)
    try:
        names = labels.read("", config)
        if export is not None:
            every = tasks_in(export)
        else:
            assert studio is not None
            assert project is not None
            names = names or labels.from_config(studio.project(project)["label_config"])
            every = studio.tasks_with_masks(project)
        if names is not None:
            reading.pictures, reading.beside = names.pictures, names.beside
            reading.names = names.names
        comparison = changes.compare(read_tasks(track(every, "Reading"), reading))
        sys.stdout.write(text.text(comparison))
        _write(comparison, json, plot)
    except (ExportError, StudioError, OSError) as error:
        refuse(told(error))
    raise typer.Exit(_tell(reading.findings))


def _tell(findings: Findings) -> int:
    """Say what is not in the report; the exit status."""
    if unknown := findings.skipped[NUMBER_ONLY]:
        LOG.warning(
            "of %d annotations the file has only the number of their pre-label, as exports of "
            "Label Studio do: read the project itself with --project",
            unknown,
        )
    if findings.problems:
        LOG.warning("%d could not be used: see above", len(findings.problems))
    return 1 if findings.problems else 0


def _write(comparison: "Report", json: Path | None, plot: Path | None) -> None:
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        text = json_of.dumps(comparison.to_json(), ensure_ascii=False, indent=1)
        json.write_text(text + "\n", "utf-8")
        LOG.info("wrote %s", json)
    if plot is not None:
        from backend.commands.report import plots

        for path in plots.plot(comparison, plot):
            LOG.info("wrote %s", path)
