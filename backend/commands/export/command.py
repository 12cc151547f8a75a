"""`dgl-rsis export`: from what people marked to a training set."""

import re
from pathlib import Path
from typing import Annotated

import typer

from backend.commands import labels, options
from backend.commands.export import run, split
from backend.commands.export.run import ExportRun, Format
from backend.commands.export.selection import Choice
from backend.commands.options import Config, ProjectId
from backend.commands.refusals import refuse, told
from backend.regions.findings import ExportError
from backend.studio.client import StudioError
from backend.studio.project import StudioSource


def export(
    out: Annotated[Path, typer.Option(help="Folder for the set, one in it for each format.")],
    source: Annotated[
        Path | None,
        typer.Argument(help="Export of a Label Studio project, as JSON."),
    ] = None,
    project: ProjectId = None,
    formats: Annotated[
        list[Format] | None,
        typer.Option("--format", help="May be given several times; else coco."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder with the images; what is not there is fetched as workers do."),
    ] = None,
    names: Annotated[
        str,
        typer.Option("--labels", help='As in "building,road,water"; else those that are found.'),
    ] = "",
    config: Config = None,
    annotator: Annotated[
        str,
        typer.Option(help="Only what this person marked: e-mail address, or id if none is known."),
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
    min_score: Annotated[
        float, typer.Option(min=0, max=1, help="With --prelabels: leave out those with less.")
    ] = 0.0,
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
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="End with 0 although something was left out.")
    ] = False,
    regularize: Annotated[
        bool, typer.Option("--regularize", help="GeoPackage: buildings with right angles.")
    ] = False,
) -> None:
    """Make a training set of what people marked in Label Studio."""
    settings = options.local()  # sets up the log, too
    if (source is None) == (project is None):
        refuse("give either a JSON export of Label Studio or --project ID")
    if consensus and annotator:
        refuse("give --consensus or --annotator, not both")
    if min_score and not prelabels:
        refuse("--min-score goes with --prelabels: it is of pre-labels")
    wanted = list(dict.fromkeys(formats or [Format.COCO]))
    if (polygons or objects) and Format.COCO not in wanted:
        refuse("--polygons and --objects go with --format coco")
    if regularize and Format.GEOPACKAGE not in wanted:
        refuse("--regularize goes with --format geopackage: masks have no angles")
    studio = None if project is None else options.studio(settings, StudioSource)
    try:
        status = run.run(
            ExportRun(
                source, project, studio, wanted, out, images, labels.read(names, config),
                Choice(annotator, consensus, min_agreement, prelabels, min_score),
                split.ratios_of(shares), seed, _pattern(scene_pattern), polygons, objects,
                regularize, settings.max_image_pixels, keep_going,
            )
        )  # fmt: skip
    except (ExportError, StudioError, OSError) as error:
        refuse(told(error))
    raise typer.Exit(status)


def _pattern(text: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text) if text else None
    except re.error as error:
        raise ExportError(f"--scene-pattern is no regular expression: {error}") from None
