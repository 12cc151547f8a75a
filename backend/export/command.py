"""`dgl-rsis export`: from what people marked to a training set."""

import re
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from backend import command_settings
from backend.export import label_names, run, split
from backend.export.findings import ExportError
from backend.export.label_names import LabelNames
from backend.export.run import ExportRun, Format
from backend.export.selection import Choice
from backend.refusals import refuse
from backend.studio import StudioError


def export(
    source: Annotated[
        Path | None, typer.Argument(help="A project of Label Studio, exported as JSON.")
    ] = None,
    project: Annotated[
        int | None,
        typer.Option(help="Id of a project to read by API (env LABEL_STUDIO_URL, …_API_KEY)."),
    ] = None,
    formats: Annotated[
        list[Format] | None, typer.Option("--format", help="May be given several times.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the set.")] = Path("training-set"),
    images: Annotated[
        Path | None,
        typer.Option(help="Folder with the images; what is not there is fetched as workers do."),
    ] = None,
    labels: Annotated[
        str, typer.Option(help='As in "building,road,water"; else those that are found.')
    ] = "",
    config: Annotated[
        Path | None, typer.Option(help="The project's label config (XML) instead of --labels.")
    ] = None,
    annotator: Annotated[
        str, typer.Option(help="Only what this person marked (e-mail address or id).")
    ] = "",
    consensus: Annotated[
        bool, typer.Option("--consensus", help="What most people marked, not the newest.")
    ] = False,
    min_agreement: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out images on which people agree less.")
    ] = 0.0,
    prelabels: Annotated[
        bool, typer.Option("--prelabels", help="Take the pre-label where nobody marked anything.")
    ] = False,
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Of such a pre-label.")] = 0.0,
    shares: Annotated[
        str, typer.Option("--split", help="Shares of train, val and test.")
    ] = "0.8,0.1,0.1",
    seed: Annotated[int, typer.Option(help="Another one, another split.")] = 0,
    scene_pattern: Annotated[
        str,
        typer.Option(
            help="Regex that finds the scene in an image's path, for tiles cut elsewhere."
        ),
    ] = "",
    polygons: Annotated[
        bool, typer.Option("--polygons", help="COCO: outlines instead of run lengths.")
    ] = False,
    objects: Annotated[
        bool, typer.Option("--objects", help="COCO: one annotation for each connected part.")
    ] = False,
) -> None:
    """Make a training set of what people marked in Label Studio."""
    if (source is None) == (project is None):
        refuse("give either a JSON export of Label Studio or --project ID")
    command_settings.local()  # sets up the log
    if consensus and annotator:
        refuse("give --consensus or --annotator, not both")
    try:
        status = run.run(
            ExportRun(
                source, project, list(dict.fromkeys(formats or [Format.COCO])), out, images,
                _names(labels, config), Choice(annotator, consensus, min_agreement, prelabels,
                min_score), split.ratios_of(shares), seed, _pattern(scene_pattern), polygons,
                objects,
            )
        )  # fmt: skip
    except (ExportError, ValidationError, StudioError, OSError) as error:
        refuse(str(error))
    raise typer.Exit(status)


def _names(labels: str, file: Path | None) -> LabelNames | None:
    if labels and file is not None:
        raise ExportError("give --labels or --config, not both")
    if file is None:
        return label_names.from_list(labels) if labels else None
    try:
        return label_names.from_config(file.read_text("utf-8"))
    except UnicodeDecodeError:
        raise ExportError(f"{file} is no text in UTF-8: export the label config again") from None


def _pattern(text: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text) if text else None
    except re.error as error:
        raise ExportError(f"--scene-pattern is no regular expression: {error}") from None
