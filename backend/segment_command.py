"""`dgl-rsis segment` and `parse`: images, scenes and sentences, without queue or server."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from backend import command_settings, local, scene_command
from backend.command_settings import Bands, Config, Device, Labels, Model
from backend.label_config import LabelConfig
from backend.refusals import refuse, refuse_known
from backend.scene_command import Polygons, SceneOptions, SceneRun
from workers.settings import WorkerSettings


def segment(
    images: Annotated[list[Path], typer.Argument(help="Image files, and GeoTIFFs of any size.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    labels: Labels = "",
    config: Config = None,
    expression: Annotated[
        str, typer.Option(help='Find this instead of classes: "the white tank on the left".')
    ] = "",
    top_k: Annotated[int, typer.Option(min=1, help="Candidates for the expression.")] = 3,
    explain: Annotated[bool, typer.Option(help="Draw the activation maps, too.")] = False,
    bands: Bands = "",
    polygons: Annotated[
        Polygons | None, typer.Option(help="GeoTIFF: polygons, too, as this.")
    ] = None,
    min_area: Annotated[
        float, typer.Option(min=0, help="GeoTIFF: smaller polygons are left out; m².")
    ] = 0.0,
    probability: Annotated[
        bool, typer.Option("--probability", help="GeoTIFF: the probability of the classes, too.")
    ] = False,
    window: Annotated[
        int | None, typer.Option(min=64, help="GeoTIFF: side of the pieces, pixels.")
    ] = None,
    overlap: Annotated[
        int | None, typer.Option(min=0, help="GeoTIFF: of neighbouring pieces, pixels.")
    ] = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Segment images, without queue or server: into classes, or by one expression.

    A TIFF that is georeferenced, or larger than 1024 pixels, is a scene: it is read piece by piece
    and becomes rasters (and polygons) on its own grid.
    """
    settings = command_settings.local(model, device)
    options = SceneOptions(
        command_settings.bands(bands), polygons, min_area, probability, window, overlap
    )
    rest = (
        out, settings.model, settings.device, settings.max_image_pixels, settings.proposals
    )  # fmt: skip
    try:
        if expression:
            if labels or config or options != SceneOptions():
                refuse("give --expression alone: its own noun says what to look for")
            status = local.refer(local.ReferringRun(images, expression, top_k, explain, *rest))
        else:
            wanted = local.read_config(labels, config)
            status = _classes(images, wanted, out, options, settings)
    except (local.LocalError, OSError) as error:
        refuse(str(error))
    except ValueError as error:
        refuse_known(error)
    raise typer.Exit(status)


def parse() -> None:
    """Split expressions, one a line on standard input, into noun, modifiers and anchors (JSON)."""
    for line in local.parse(text.rstrip("\n") for text in sys.stdin):
        sys.stdout.write(line + "\n")


def _classes(
    images: Sequence[Path],
    config: LabelConfig,
    out: Path,
    options: SceneOptions,
    settings: WorkerSettings,
) -> int:
    """Photos are held whole, scenes are not; the worse exit status of the two."""
    asked = options != SceneOptions()
    scenes = [path for path in images if scene_command.is_scene(path, asked=asked)]
    photos = [path for path in images if path not in scenes]
    model, device, proposals = settings.model, settings.device, settings.proposals
    status = 0
    if photos:
        status = local.run(
            local.LocalRun(photos, config, out, model, device, settings.max_image_pixels, proposals)
        )
    if scenes:
        run = SceneRun(scenes, config, out, model, device, proposals, options)
        status = max(status, scene_command.run(run))
    return status
