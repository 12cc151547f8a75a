"""`dgl-rsis tile`: scenes in, PNG tiles and a Label Studio import JSON out.

Label Studio shows no GeoTIFF, and a browser no raster of any size.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from backend.commands.file_names import result_stems
from backend.commands.progress import track
from backend.studio.references import LOCAL_FILES, served
from dgl_rsis.bands import Stretch
from dgl_rsis.resolution import stated
from dgl_rsis.scenes import tiles
from dgl_rsis.scenes.reading import Scene, open_scene, tell_border
from dgl_rsis.scenes.tiles import TileParameters, Window

LOG = logging.getLogger(__name__)

IMPORT = "import.json"
COMPRESSION = 4  # of PNG, 0-9: twice as fast as the usual 6, and a few per cent larger


class TilingError(ValueError):
    """The command cannot run as it was given; the message says the way out."""


@dataclass(frozen=True)
class TileRun:
    """What to tile.

    Attributes:
        scenes: raster files; their names are those of the tiles.
        out: folder for the tiles and the import file.
        tiling: how scenes are cut.
        stretch: spread the values of 8-bit scenes, too.
        bands: three numbers from 1; None leaves the choice to the files.
        image_prefix: what stands before a tile's name in its reference; empty for Label Studio's
            local files.
        root: folder that Label Studio serves as local files; None for the one that holds `out`.
        metres: of the ground that a pixel shows; None for what the place of each scene says.
        nodata: a value that says that nothing was measured, beside what each file declares.
    """

    scenes: Sequence[Path]
    out: Path
    tiling: TileParameters
    stretch: bool = False
    bands: Sequence[int] | None = None
    image_prefix: str = ""
    root: Path | None = None
    metres: float | None = None
    nodata: float | None = None


def run(task: TileRun) -> int:
    """Cut all scenes; a scene that cannot be read is reported, and the others go on.

    Returns:
        Exit status: 0, or 1 when a scene could not be tiled; its tiles are taken away again.

    Raises:
        TilingError: a folder that Label Studio does not serve, or one that holds the tasks of an
            earlier run.
    """
    if (task.out / IMPORT).exists():
        raise TilingError(
            f"{task.out / IMPORT} holds the tasks of an earlier run: remove it, or give another "
            "--out"
        )
    prefix = _prefix(task)
    task.out.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, Any]] = []
    failed = 0
    for path, stem in result_stems(task.scenes).items():
        try:
            entries += _tile(path, stem, task, prefix)
        except OSError as error:
            LOG.error("%s: cannot be tiled: %s", path, error.strerror or error)
            failed += 1
        except ValueError as error:  # of the algorithm: fit for users
            LOG.error("%s", error)
            failed += 1
    if entries:
        (task.out / IMPORT).write_text(json.dumps(entries, ensure_ascii=False), "utf-8")
        LOG.info("%s: %d tasks, to import into Label Studio", task.out / IMPORT, len(entries))
    return 1 if failed else 0


def _prefix(task: TileRun) -> str:
    """The address of the folder of tiles, as `served` takes it."""
    if task.image_prefix:
        return task.image_prefix
    out = task.out.resolve()
    root = task.root.resolve() if task.root else out.parent
    if not out.is_relative_to(root):
        raise TilingError(
            f"--out {task.out} is not inside --root {root}, so Label Studio cannot show the tiles: "
            "choose a folder inside, or say by --image-prefix where they will be"
        )
    inside = out.relative_to(root).as_posix()
    return LOCAL_FILES if inside == "." else f"{LOCAL_FILES}{quote(inside)}/"


def _tile(path: Path, stem: str, task: TileRun, prefix: str) -> list[dict[str, Any]]:
    """The tasks of one scene; when it fails on the way, no tile of it stays."""
    written: list[Path] = []
    try:
        return list(_tasks(path, stem, task, prefix, written))
    except BaseException:
        for file in written:
            file.unlink(missing_ok=True)
        raise


def _tasks(
    path: Path, stem: str, task: TileRun, prefix: str, written: list[Path]
) -> Iterator[dict[str, Any]]:
    empty = 0
    stretch = Stretch(always=task.stretch)
    with open_scene(path, task.bands, stretch, nodata=task.nodata) as scene:
        tell_border(scene)
        grid = scene.grid
        if grid.gcps and grid.transform is None:
            LOG.warning(
                "%s is placed by ground control points alone, which tasks do not carry: give it "
                "to `untile --scene`, too", path.name,
            )  # fmt: skip
        known = stated(task.metres, "setting") or grid.resolution
        count = len(tiles.windows(grid.width, grid.height, task.tiling))
        for tile in track(tiles.cut(scene, task.tiling), path.name, total=count):
            if tile.image is None:
                empty += 1
                continue
            name = _name(stem, tile.window)
            written.append(task.out / name)
            Image.fromarray(tile.image).save(written[-1], compress_level=COMPRESSION)
            data = _data(scene, scene_name(path, stem), tile.window, served(prefix, name))
            if known is not None:  # a PNG tells nobody
                data["metres_per_pixel"] = known.to_json()["metres_per_pixel"]
            yield {"data": data}
    LOG.info(
        "%s: %d tiles%s", path.name, count - empty,
        f"; {empty} more hold no valid pixel and are left out" if empty else "",
    )  # fmt: skip


def _name(stem: str, window: Window) -> str:
    size = f"{window.width}x{window.height}"
    return f"{stem}_{window.column:05}_{window.row:05}_{size}.png"


def scene_name(path: Path, stem: str) -> str:
    """What tasks call a scene: its file, or that with its folders where several are called so."""
    return path.name if stem == path.stem else stem


def _data(scene: Scene, name: str, window: Window, image: str) -> dict[str, Any]:
    """A task's data: the image, and where it lies; `studio.export` reads it as a `Place`."""
    transform = scene.grid.transform_at(window.column, window.row)
    return {
        "image": image,
        "scene": name,
        "crs": scene.grid.crs_text,
        "transform": None if transform is None else list(transform[:6]),
        "window": list(window),
        "scene_size": [scene.grid.width, scene.grid.height],
    }
