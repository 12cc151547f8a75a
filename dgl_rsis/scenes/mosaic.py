"""Class maps of tiles put together on the grid of their scene: a class GeoTIFF. [ours].

Tiles come one at a time, and what they own goes to a file on disk: the memory needed is that of
one tile.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError

from dgl_rsis.scenes.rasters import MOST_LABELS, Legend, SceneRaster, class_raster
from dgl_rsis.scenes.reading import Grid
from dgl_rsis.scenes.tiles import Seams, Window
from dgl_rsis.types import InputError

Classes = NDArray[np.uint16]  # (h, w), 0 = none
LoadTile = Callable[[Window], Classes]

TOLERANCE = 0.01  # pixels by which the transforms of a scene's tiles may differ


@dataclass(frozen=True)
class Assembled:
    """What came of it.

    Attributes:
        covered: pixels of the scene that a tile covers.
        disagreeing: pixels that several tiles cover and do not agree on.
    """

    covered: int
    disagreeing: int


def assemble(
    tiles: Sequence[Window], load: LoadTile, grid: Grid, legend: Legend, out: Path
) -> Assembled:
    """Write the class GeoTIFF of a scene.

    Of several tiles that cover a pixel the one counts that it lies deepest in (`Seams`).

    Args:
        tiles: windows inside the grid, no two alike.
        load: gives the (h, w) uint16 class map of a tile; called twice for each.
        grid: of the scene.
        legend: of the numbers: label i has i + 1, 0 is none.
        out: file to write; is replaced.

    Raises:
        InputError: more labels than numbers, or the file cannot be written.
    """
    if len(legend.names) > MOST_LABELS:
        raise InputError(f"{len(legend.names)} labels: a class map holds at most {MOST_LABELS}")
    ordered = sorted(tiles, key=lambda window: (window.row, window.column))
    out.parent.mkdir(parents=True, exist_ok=True)
    with _writing(out), class_raster(out, grid, legend) as raster:
        covered = _fill(raster, ordered, load, grid)
        disagreeing = _compare(raster, ordered, load, grid)
        raster.publish(categories=("", *legend.names))
    return Assembled(covered, disagreeing)


def grid_of(
    width: int, height: int, crs: str, tiles: Sequence[tuple[Window, Sequence[float] | None]]
) -> Grid:
    """The grid of a scene, from what its tiles say.

    Args:
        width: of the scene, pixels.
        height: of the scene, pixels.
        crs: as "EPSG:32616" or WKT; empty for none. Without transforms it says nothing.
        tiles: windows and the six numbers of their own transforms; None for none.

    Raises:
        InputError: not a CRS, or transforms that do not belong to one grid.
    """
    try:
        known = CRS.from_user_input(crs) if crs else None
    except (CRSError, ValueError) as error:  # the second of "EPSG:" without a number
        raise InputError(f"the tiles' CRS {crs!r} is none: give the scene itself") from error
    # The tile nearest to the scene's first pixel has lost least to rounding, that at it nothing.
    first, numbers = min(tiles, key=lambda tile: tile[0].row + tile[0].column)
    transform = _moved(first, numbers)
    for window, others in tiles:
        if _apart(transform, _moved(window, others), width, height):
            raise InputError(
                f"the transforms of the tiles at {tuple(first)} and {tuple(window)} belong to "
                "different grids: give the scene itself"
            )
    return Grid(width, height, known if transform is not None else None, transform)


def _moved(window: Window, numbers: Sequence[float] | None) -> Affine | None:
    """The transform of the scene, from that of a tile."""
    if numbers is None:
        return None
    own = Affine(*numbers)
    if not (window.column or window.row):
        return own
    return own @ Affine.translation(-window.column, -window.row)


def _apart(one: Affine | None, other: Affine | None, width: int, height: int) -> bool:
    """Whether two transforms put a corner of the scene at different places."""
    if one is None or other is None:
        return one is not other
    if one.is_degenerate:
        return True
    corners = ((0, 0), (width, 0), (0, height))
    back = (~one @ (other @ corner) for corner in corners)
    return any(
        max(abs(x - column), abs(y - row)) > TOLERANCE
        for (x, y), (column, row) in zip(back, corners, strict=True)
    )


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Write a raster; a full disk is the user's business."""
    try:
        yield
    except RasterioError as error:
        raise InputError(f"{out} cannot be written: {error.__cause__ or error}") from error


def _fill(raster: SceneRaster, tiles: Sequence[Window], load: LoadTile, grid: Grid) -> int:
    """Write what each tile owns; returns how many pixels that are."""
    seams = Seams(tiles, grid.width, grid.height)
    covered = 0
    for index, window in enumerate(tiles):
        mine = seams.owned(index)
        column, row, width, height = window
        part = raster.read(row, column, height, width)
        part[mine] = load(window)[mine]
        raster.write(row, column, part)
        covered += int(mine.sum())
    return covered


def _compare(raster: SceneRaster, tiles: Sequence[Window], load: LoadTile, grid: Grid) -> int:
    """How many pixels some tile sees otherwise than their owner; each is marked once in a file."""
    path = raster.path.with_name(f"{raster.path.stem}.seams")
    plain = Grid(grid.width, grid.height)
    disagreeing = 0
    with SceneRaster(path, plain, {"dtype": "uint8"}, "NEAREST") as marks:  # never published
        for column, row, width, height in tiles:
            written = raster.read(row, column, height, width)
            wrong = written != load(Window(column, row, width, height))
            if not wrong.any():
                continue
            marked = marks.read(row, column, height, width) > 0
            disagreeing += int((wrong & ~marked).sum())
            marks.write(row, column, marked | wrong)
    return disagreeing
