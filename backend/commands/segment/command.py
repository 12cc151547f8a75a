"""`dgl-rsis segment` and `parse`: images, scenes and sentences, without queue or server."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from backend.commands import options
from backend.commands.options import Bands, Config, Device, Labels, Metres, Model, Nodata
from backend.commands.refusals import refuse, refuse_known, told

if TYPE_CHECKING:
    from backend.commands.segment.queued import SceneQueue
    from workers.settings import WorkerSettings


def segment(
    images: Annotated[
        list[Path],
        typer.Argument(
            help="Images and rasters of any size; folders with all below them; lists of paths."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    labels: Labels = "",
    config: Config = None,
    expression: Annotated[
        str, typer.Option(help='Find this instead of classes: "the white tank on the left".')
    ] = "",
    top_k: Annotated[int, typer.Option(min=1, help="Candidates for the expression.")] = 3,
    explain: Annotated[bool, typer.Option(help="Draw the activation maps, too.")] = False,
    bands: Bands = "",
    nir: Annotated[
        int | None, typer.Option(help="GeoTIFF: number of the near infrared band, from 1.")
    ] = None,
    swir: Annotated[
        int | None, typer.Option(help="GeoTIFF: number of the short-wave infrared band, from 1.")
    ] = None,
    nodata: Nodata = None,
    polygons: Annotated[
        Literal["gpkg", "geojson"] | None, typer.Option(help="GeoTIFF: polygons, too, as this.")
    ] = None,
    min_area: Annotated[
        float, typer.Option(min=0, help="GeoTIFF: smaller polygons are left out; m².")
    ] = 0.0,
    regularize: Annotated[
        bool, typer.Option("--regularize", help="With --polygons: buildings with right angles.")
    ] = False,
    probability: Annotated[
        bool, typer.Option("--probability", help="GeoTIFF: the probability of the classes, too.")
    ] = False,
    window: Annotated[
        int | None, typer.Option(min=64, help="GeoTIFF: side of the pieces, pixels.")
    ] = None,
    overlap: Annotated[
        int | None, typer.Option(min=0, help="GeoTIFF: of neighbouring pieces, pixels.")
    ] = None,
    metres: Metres = "",
    queue: Annotated[
        str,
        typer.Option(
            help="Scenes: judged by the workers of this queue, as redis://…; - takes REDIS_URL. "
            "They lie below SCENES_ROOT, which all hosts share."
        ),
    ] = "",
    model: Model = None,
    device: Device = None,
) -> None:
    """Segment images, without queue or server: into classes, or by one expression.

    What is georeferenced is a scene, and so is a TIFF of more than 1024 pixels: it is read piece by
    piece and becomes rasters (and polygons) on its own grid. An option for rasters makes a scene of
    every file. Of a folder or a list, the same command goes on where it was ended.
    """
    from backend.commands import words
    from backend.commands.folders import make_writable
    from backend.commands.journal import JournalError
    from backend.commands.labels import LabelsError, read_config
    from backend.commands.lists import ListError
    from backend.commands.segment.images import LocalError, ReferringRun, refer
    from backend.commands.segment.inputs import InputsError, expand, readable
    from backend.commands.segment.queued import QueueLostError
    from backend.commands.segment.scene_work import SceneOptions
    from backend.commands.segment.scenes import segment_classes

    settings = options.local(model, device, metres, "" if queue == "-" else queue)
    scene_options = SceneOptions(
        options.bands(bands), polygons, min_area, probability, window, overlap, nir, swir,
        nodata, regularize,
    )  # fmt: skip
    if regularize and polygons is None:
        refuse("--regularize goes with --polygons: masks have no angles")
    try:
        given = expand(images, out)
        make_writable(out)
        inputs = readable(given)
        status = int(len(inputs.files) < len(given.files))
        if expression:
            if labels or config or queue or scene_options != SceneOptions():
                refuse("give --expression alone: its own noun says what to look for")
            asked = ReferringRun(inputs, expression, top_k, explain, out, settings)
            status = max(status, refer(asked))
        else:
            wanted = read_config(labels, config)
            windows = _queue(settings) if queue else None
            status = max(status, int(words.warn(wanted.labels, settings.model)))
            done = segment_classes(inputs, wanted, out, scene_options, settings, windows)
            status = max(status, done)
    except (
        InputsError, LabelsError, ListError, LocalError, JournalError, QueueLostError, OSError,
    ) as error:  # fmt: skip
        refuse(told(error))
    except ValueError as error:
        refuse_known(error)
    raise typer.Exit(status)


def _queue(settings: "WorkerSettings") -> "SceneQueue":
    """The queue of the settings, or of the `up` that runs."""
    from backend.commands.segment.queued import SceneQueue

    return SceneQueue.from_settings(settings, options.queue_url(settings))


def parse() -> None:
    """Split expressions, one a line on standard input, into noun, modifiers and anchors (JSON)."""
    from dgl_rsis.decoupling import decouple

    for decoupled in decouple.parse_lines(text.rstrip("\n") for text in sys.stdin):
        line = json.dumps(decouple.to_json(decoupled), ensure_ascii=False)
        sys.stdout.write(line + "\n")
