"""`dgl-rsis tile` and `untile`: from scenes to Label Studio's tasks, and back."""

from pathlib import Path
from typing import Annotated

import typer

from backend.commands import options
from backend.commands.options import Bands, Config, Metres, Nodata
from backend.commands.refusals import refuse, refuse_known, told


def tile(
    scenes: Annotated[
        list[Path], typer.Argument(help="GeoTIFF, JPEG 2000, VRT, PNG, JPEG … files.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the tiles and import.json.")],
    size: Annotated[int, typer.Option(min=16, help="Side of a tile, pixels.")] = 1024,
    overlap: Annotated[int, typer.Option(min=0, help="Of neighbouring tiles, pixels.")] = 64,
    bands: Bands = "",
    nodata: Nodata = None,
    metres: Metres = "",
    stretch: Annotated[
        bool, typer.Option("--stretch", help="Spread the values of 8-bit scenes, too.")
    ] = False,
    image_prefix: Annotated[
        str,
        typer.Option(
            help="Address of the folder that will hold the tiles (https://…/, s3://…/); "
            "else Label Studio's local files."
        ),
    ] = "",
    root: Annotated[
        Path | None,
        typer.Option(
            envvar="LOCAL_FILES_DOCUMENT_ROOT",
            help="Folder that Label Studio serves as local files; else the one that holds --out.",
        ),
    ] = None,
) -> None:
    """Cut scenes into PNG tiles, with the tasks to import into Label Studio (import.json).

    Each task carries where its tile lies, so that `untile` can put the annotations together again.

    The tiles are referred to as /data/local-files/?d=PATH, PATH seen from --root: start Label
    Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and
    LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT set to that folder, and add the folder of the tiles to
    the project as an import storage of local files (without syncing it).
    """
    from backend.commands.tile.tile import TileRun, TilingError, run
    from dgl_rsis.scenes.tiles import TileParameters

    options.local()  # sets up the log
    try:
        tiling, chosen = TileParameters(size, overlap), options.bands(bands)
        stated = options.metres(metres)
        task = TileRun(scenes, out, tiling, stretch, chosen, image_prefix, root, stated, nodata)
        status = run(task)
    except (TilingError, OSError) as error:
        refuse(told(error))
    except ValueError as error:
        refuse_known(error)
    raise typer.Exit(status)


def untile(
    export: Annotated[Path, typer.Argument(help="JSON export of the Label Studio project.")],
    out: Annotated[Path, typer.Option(help="GeoTIFF to write; a folder for several scenes.")],
    scene: Annotated[
        list[Path] | None,
        typer.Option(help="The scene itself, for its exact grid; may be given several times."),
    ] = None,
    labels: Annotated[
        str, typer.Option(help='Numbered from 1 in this order: "building,road"; else sorted.')
    ] = "",
    config: Config = None,
) -> None:
    """Put annotated tiles together: a class GeoTIFF on the grid of each scene.

    Where tiles overlap, each pixel is taken from the tile that it lies deepest in; how many pixels
    they do not agree on is told. 0 is "none"; the labels of the other numbers are in the
    file's tags, its category names, and the report beside it (JSON).
    """
    from backend.commands.labels import LabelNames, read
    from backend.commands.tile.untile import UntileRun, run
    from backend.regions.findings import ExportError

    settings = options.local()  # sets up the log, too
    try:
        names = read(labels, config) or LabelNames()
        status = run(UntileRun(export, out, tuple(scene or ()), names, settings.max_image_pixels))
    except (ExportError, OSError) as error:
        refuse(told(error))
    except ValueError as error:
        refuse_known(error)
    raise typer.Exit(status)
