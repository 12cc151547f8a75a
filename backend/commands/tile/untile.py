"""`dgl-rsis untile`: a Label Studio export of tiles in, a class GeoTIFF of each scene out.

The export is read once, task by task; the class map of each tile waits in a temporary folder until
all labels are known. So the memory needed grows with the number of tiles, not with their pixels.
"""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.commands.file_names import FileNames, result_stems
from backend.commands.labels import LabelNames
from backend.commands.progress import track
from backend.commands.tile.tile import IMPORT, scene_name
from backend.project import colours
from backend.regions import planes
from backend.regions.findings import ExportError, Findings
from backend.regions.records import Annotation, Item, Place
from backend.studio import export
from backend.studio.export import Reading
from dgl_rsis.formats import PIXEL_BUDGET, TIFF_SUFFIXES
from dgl_rsis.scenes import mosaic, styles
from dgl_rsis.scenes.rasters import MOST_LABELS, Legend
from dgl_rsis.scenes.reading import Grid, open_scene
from dgl_rsis.scenes.tiles import Window

LOG = logging.getLogger(__name__)

Classes = NDArray[np.uint16]


@dataclass(frozen=True)
class UntileRun:
    """What to put together.

    Attributes:
        export: Label Studio's JSON export.
        out: file, or folder for several scenes.
        scenes: raster files whose grids to use; without them the grid is what the tasks say.
        names: labels in the order of their numbers, from 1; without any, all that come up, sorted.
        max_pixels: height · width of the largest tile.
    """

    export: Path
    out: Path
    scenes: Sequence[Path] = ()
    names: LabelNames = field(default_factory=LabelNames)
    max_pixels: int = PIXEL_BUDGET


@dataclass(frozen=True)
class _Tile:
    """The class map of a tile, in a file, and the annotation that it is of."""

    file: Path
    updated: str
    transform: tuple[float, ...] | None


@dataclass
class _Scene:
    """What is known of a scene."""

    name: str
    size: tuple[int, int]
    crs: str
    tiles: dict[Window, _Tile] = field(default_factory=dict)


@dataclass
class _Sheets:
    """The tiles of all scenes as they are read.

    Attributes:
        folder: for the class maps.
        findings: what could not be used.
        labels: the known ones, in the order of their numbers; empty for all.
        numbers: label → number in the class maps, in the order in which labels come up.
        scenes: by file name.
        counts: what is worth telling.
    """

    folder: Path
    findings: Findings
    labels: Sequence[str]
    numbers: dict[str, int]
    scenes: dict[str, _Scene] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, item: Item) -> None:
        """Take in a task."""
        where = f"task {item.task_id or item.image}"
        if not item.annotations:
            self.counts["tasks without an annotation are left out"] += 1
        elif item.place is None:
            self.findings.problem(
                where, f"it does not say where in a scene it lies: only tasks of the {IMPORT} "
                "of `dgl-rsis tile` do"
            )  # fmt: skip
        elif item.annotations[-1].unread and not item.annotations[-1].regions:
            self.findings.problem(where, "it is left out: none of its masks could be read")
        elif (scene := self._scene(item.place, where)) is not None:
            self._add(scene, item, item.place)

    def _scene(self, place: Place, where: str) -> _Scene | None:
        """The scene of a tile; None, with a message, if the tile does not fit it."""
        name = Path(place.scene).name or "scene"
        known = _Scene(name, place.scene_size, place.crs)
        scene = self.scenes.get(name, known)
        column, row, width, height = place.window
        if (scene.size, scene.crs) != (known.size, known.crs):
            self.findings.problem(where, f"other tasks say another size or CRS of {name}")
        elif column + width > scene.size[0] or row + height > scene.size[1]:
            self.findings.problem(
                where, f"its window {list(place.window)} is not inside {name} of {scene.size[0]} "
                f"× {scene.size[1]} pixels"
            )  # fmt: skip
        else:
            return self.scenes.setdefault(name, scene)
        return None

    def _add(self, scene: _Scene, item: Item, place: Place) -> None:
        newest = item.annotations[-1]
        if len(item.annotations) > 1:
            self.counts["tasks have several annotations: the newest counts"] += 1
        window = Window(*place.window)
        older = scene.tiles.get(window)
        if older is not None:
            self.counts["tasks are of a tile that others are of, too: the newest counts"] += 1
            if older.updated > newest.updated:
                return
        number = sum(len(each.tiles) for each in self.scenes.values())
        file = older.file if older else self.folder / f"{number}.npz"
        classes = self._classes(newest, item.height, item.width)
        np.savez_compressed(file, classes=classes)
        scene.tiles[window] = _Tile(file, newest.updated, place.transform)

    def _classes(self, annotation: Annotation, height: int, width: int) -> Classes:
        """(height, width) uint16 as the semantic export draws them, in the numbers of all tiles."""
        labels = self.labels or sorted({region.label for region in annotation.regions})
        own = {label: number for number, label in enumerate(labels, start=1)}
        classes, overlapping = planes.class_map(annotation.regions, own, height, width)
        if overlapping:
            self.counts["tasks have labels that overlap: the smaller region counts"] += 1
        numbers = [self.numbers.setdefault(label, len(self.numbers) + 1) for label in labels]
        if len(self.numbers) > MOST_LABELS:
            raise ExportError(f"more than {MOST_LABELS} labels: a class map holds no more")
        renumbered: Classes = np.array([0, *numbers], dtype=np.uint16)[classes]
        return renumbered


def run(task: UntileRun) -> int:
    """Write `<out>`, or `<out>/<scene>_labels.tif` of each scene, with a report (JSON) beside it.

    What cannot be used is reported, and the rest goes on.

    Returns:
        Exit status: 0, or 1 when something that somebody marked was left out.

    Raises:
        ExportError: the file is no export, holds no tile, or holds several scenes for one file.
    """
    task.out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=task.out.parent, prefix=".untile-") as folder:
        sheets = _read(task, Path(folder))
        _tell_unused(task, sheets)
        labels = tuple(task.names.labels) or tuple(sorted(sheets.numbers))
        outs = _outs(task, sheets)
        for scene in sheets.scenes.values():
            try:
                _assemble(task, scene, sheets, labels, outs[scene.name])
            except OSError as error:
                sheets.findings.problem(scene.name, f"cannot be written: {error.strerror or error}")
            except ValueError as error:  # of the algorithm: fit for users
                sheets.findings.problem(scene.name, str(error))
    return 1 if sheets.findings.problems else 0


def _read(task: UntileRun, folder: Path) -> _Sheets:
    """All tiles of the export, spooled."""
    names = task.names
    labels = tuple(names.labels)
    reading = Reading(
        labels=labels,
        ignored=names.ignored,
        names=names.names,
        chosen=names.chosen,
        pictures=names.pictures,
        max_pixels=task.max_pixels,
    )
    numbers = {label: number for number, label in enumerate(labels, start=1)}
    sheets = _Sheets(folder, reading.findings, labels, numbers)
    for item in track(export.read(task.export, reading), "Reading"):
        sheets.add(item)
    for what, count in [*sheets.counts.items(), *reading.findings.skipped.items()]:
        LOG.info("%d %s", count, what)
    if not sheets.scenes:
        raise ExportError(
            f"{task.export} holds no annotated tile of a scene: import the {IMPORT} of "
            "`dgl-rsis tile`, annotate, and export the project as JSON"
        )
    return sheets


def _tell_unused(task: UntileRun, sheets: _Sheets) -> None:
    """Name the scenes that were given for nothing; a single one may have been renamed."""
    if len(task.scenes) == len(sheets.scenes) == 1:
        return
    for name, path in _by_name(task).items():
        if name not in sheets.scenes:
            sheets.findings.problem(str(path), "the export holds no tile of this scene")


def _by_name(task: UntileRun) -> dict[str, Path]:
    """The scenes that were given, by the names that `tile` gives to the same ones together."""
    stems = result_stems(task.scenes)
    return {scene_name(path, stem): path for path, stem in stems.items()}


def _outs(task: UntileRun, sheets: _Sheets) -> dict[str, Path]:
    """Scene → file to write."""
    names = list(sheets.scenes)
    if task.out.suffix.lower() in TIFF_SUFFIXES and not task.out.is_dir():
        if len(names) > 1:
            raise ExportError(
                f"{task.export} holds tiles of {len(names)} scenes ({', '.join(sorted(names))}), "
                f"which {task.out} cannot hold together: give a folder"
            )
        return {names[0]: task.out}
    stems = Counter(Path(name).stem for name in names)
    files = FileNames()  # scenes are called what the tasks say
    return {
        name: task.out / f"{files.give(stem if stems[stem] == 1 else name, 'scene')}_labels.tif"
        for name, stem in ((name, Path(name).stem) for name in names)
    }


def _assemble(
    task: UntileRun, scene: _Scene, sheets: _Sheets, labels: tuple[str, ...], out: Path
) -> None:
    """Write the class map of one scene, and its report."""
    final = np.zeros(len(sheets.numbers) + 1, dtype=np.uint16)
    for number, label in enumerate(labels, start=1):
        final[sheets.numbers[label]] = number

    def load(place: Window) -> Classes:
        with np.load(scene.tiles[place].file) as file:
            numbered: Classes = final[file["classes"]]
        return numbered

    grid = _grid(task, scene, len(sheets.scenes) == 1)
    if grid.crs is None:
        way_out = " (give the scene itself by --scene)" if scene.crs else ""
        LOG.info("%s: no CRS for its pixels%s: writing a plain TIFF", scene.name, way_out)
    given = {name: colour for name, colour in task.names.labels.items() if colour}
    legend = Legend(labels, colours.colours(labels, given))
    places = list(scene.tiles)
    assembled = mosaic.assemble(places, load, grid, legend, out)
    styles.write_raster(out, labels, legend.colours)
    numbers = {label: number for number, label in enumerate(labels, start=1)}
    _report(scene, numbers, assembled, sheets, out)


def _grid(task: UntileRun, scene: _Scene, alone: bool) -> Grid:
    """That of the raster file, if it was given; else what the tiles say."""
    path = _by_name(task).get(scene.name)
    if path is None and alone and len(task.scenes) == 1:
        path = task.scenes[0]  # it may have been renamed
    width, height = scene.size
    if path is None:
        tiles = [(place, tile.transform) for place, tile in scene.tiles.items()]
        return mosaic.grid_of(width, height, scene.crs, tiles)
    with open_scene(path) as raster:
        grid = raster.grid
    if (grid.width, grid.height) != scene.size:
        raise ExportError(
            f"{path} has {grid.width} × {grid.height} pixels, but the tiles are of a scene of "
            f"{width} × {height}: give the scene that was tiled"
        )
    return grid


def _report(
    scene: _Scene, numbers: Mapping[str, int], assembled: Any, sheets: _Sheets, out: Path
) -> None:
    """Log what came of a scene, and write it beside its class map."""
    pixels = scene.size[0] * scene.size[1]
    LOG.info(
        "%s: %d tiles cover %.1f %% of %s; %d pixels on their seams disagree",
        out, len(scene.tiles), 100 * assembled.covered / pixels, scene.name, assembled.disagreeing,
    )  # fmt: skip
    report = {
        "scene": scene.name,
        "labels": numbers,
        "tiles": len(scene.tiles),
        "covered_pixels": assembled.covered,
        "disagreeing_pixels": assembled.disagreeing,
        "notes": sheets.counts | sheets.findings.skipped,
        "problems": sheets.findings.problems,
    }
    text = json.dumps(report, ensure_ascii=False, indent=2)
    out.with_name(f"{out.name}.json").write_text(text, "utf-8")
