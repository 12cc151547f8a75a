"""Segmentation of scenes in this process: a raster in, rasters and polygons out."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from affine import Affine
from PIL import Image

from backend.project import colours
from dgl_rsis import overlays, resolution
from dgl_rsis.classes import pipeline
from dgl_rsis.rasters import cause
from dgl_rsis.resolution import Resolution
from dgl_rsis.scenes import footprints, polygons, rasters, styles, vectors
from dgl_rsis.scenes.pipeline import Judge, WindowParameters, segment_scene
from dgl_rsis.scenes.polygons import Component
from dgl_rsis.scenes.rasters import Legend, SceneRaster
from dgl_rsis.scenes.reading import Grid, Scene, open_scene, tell_border
from dgl_rsis.scenes.vectors import Format
from dgl_rsis.types import RGB, Floats, Label, Segment
from workers.engine.segmenter import Segmenter

LOG = logging.getLogger(__name__)

OVERLAY_SIDE = 1600  # pixels


@dataclass(frozen=True)
class SceneOptions:
    """What photos do not have.

    Attributes:
        bands: three numbers from 1, shown as red, green and blue; None leaves the choice to each
            file.
        polygons: as what to write them; None for none.
        min_area: of polygons, m²; pixels for a scene without a CRS.
        probability: write the probability of each pixel's class, too.
        window: side of a window, pixels; None for the usual one.
        overlap: of windows, pixels; None for the usual one.
        nir, swir: numbers of the infrared bands, from 1; None leaves them to each file.
        nodata: a value that says that nothing was measured, beside what each file declares.
        regularize: give polygons of buildings right angles.
    """

    bands: tuple[int, ...] | None = None
    polygons: Format | None = None
    min_area: float = 0.0
    probability: bool = False
    window: int | None = None
    overlap: int | None = None
    nir: int | None = None
    swir: int | None = None
    nodata: float | None = None
    regularize: bool = False

    @property
    def windows(self) -> WindowParameters:
        """As asked for, or the usual ones."""
        usual = WindowParameters()
        side = usual.side if self.window is None else self.window
        return replace(usual, side=side, overlap=self.overlap)


@dataclass(frozen=True)
class SceneJob:
    """What to make of scenes.

    Attributes:
        labels: the vocabulary.
        colours: CSS colours of labels; others get those of `backend.project.colours`.
        options: how scenes are read, and what is written.
    """

    labels: Sequence[Label]
    colours: Mapping[str, str]
    options: SceneOptions = SceneOptions()


@dataclass(frozen=True)
class SceneReport:
    """What came of a scene.

    Attributes:
        files: that were written.
        polygons: how many; None where nobody asked for them.
        megapixels: of the scene.
        seconds: wall-clock seconds of each stage.
        resolution: of the scene; None where nobody knows.
        problem: why there are no polygons; empty where there are, or nobody asked for them.
    """

    files: tuple[Path, ...]
    polygons: int | None
    megapixels: float
    seconds: dict[str, float]
    resolution: Resolution | None
    problem: str = ""


class LocalSceneSegmenter:
    """A model and scenes of any size.

    Args:
        segmenter: the loaded model.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self.model_version = segmenter.model_version

    def segment(
        self,
        path: Path,
        out: Path,
        job: SceneJob,
        progress: Callable[[int, int], None],
        name: str = "",
        judge: Judge | None = None,
    ) -> SceneReport:
        """Write `<stem>.classes.tif`, `<stem>.overlay.png`, and what else was asked for.

        Classes and polygons come with a style for QGIS.

        Args:
            path: a raster.
            out: folder for the results.
            job: see there.
            progress: called with the pixels that are done and those of the whole scene.
            name: what the results are called instead of the raster's stem.
            judge: judges the windows elsewhere; None for here.

        Raises:
            OSError: a result cannot be written.
            InputError: no raster that can be read, or one that cannot be segmented.
        """
        options, names = job.options, [label.name for label in job.labels]
        stem = out / (name or path.stem)
        legend = Legend(names, colours.colours(names, job.colours))
        seconds: dict[str, float] = {}
        with ExitStack() as stack:
            scene = stack.enter_context(
                open_scene(
                    path,
                    options.bands,
                    nir=options.nir,
                    swir=options.swir,
                    nodata=options.nodata,
                )
            )
            tell_border(scene)
            classes = stack.enter_context(
                rasters.class_raster(
                    _beside(stem, "classes.tif"), scene.grid, legend, self.model_version
                )
            )
            probability = stack.enter_context(
                rasters.probability_raster(_beside(stem, "probability.tif"), scene.grid)
            )
            with pipeline.timed(seconds, "segmentation"):
                known = resolution.preferred(self._segmenter.setting, scene.grid.resolution)
                self._fill(scene, job, known, classes, probability, progress, judge)
            files, count, problem = [classes.path], None, ""
            if options.polygons:
                with pipeline.timed(seconds, "polygons"):
                    vector = _beside(stem, options.polygons)
                    count, problem = _polygons(vector, scene, job, classes, probability)
                    if not problem:
                        style = styles.write_polygons(vector, "label", legend.colours)
                        files += [vector, style]
            with pipeline.timed(seconds, "files"):
                files.append(_beside(stem, "overlay.png"))
                picture = _overlay(scene, legend, classes, probability)
                Image.fromarray(picture).save(files[-1])
                files += classes.publish()
                files.append(styles.write_raster(classes.path, names, legend.colours))
                if options.probability:
                    files += [probability.path, *probability.publish()]
            pixels = scene.grid.width * scene.grid.height
        return SceneReport(tuple(files), count, pixels / 1e6, seconds, known, problem)

    def _fill(
        self,
        scene: Scene,
        job: SceneJob,
        known: Resolution | None,
        classes: SceneRaster,
        probability: SceneRaster,
        progress: Callable[[int, int], None],
        judge: Judge | None,
    ) -> None:
        model = self._segmenter
        blocks = segment_scene(
            scene,
            job.labels,
            model.clip,
            model.parameters,
            job.options.windows,
            model.propose,
            progress,
            known,
            judge,
        )
        start, pixels = time.perf_counter(), 0
        with closing(blocks):  # whoever ends this ends what waits elsewhere, too
            for block in blocks:
                pixels += block.classes.size
                if not block.valid.any():  # what is never written takes neither time nor place
                    continue
                classes.write(block.row, block.column, block.classes)
                levels = rasters.scaled(block.probability, block.valid)
                probability.write(block.row, block.column, levels)
        spent = time.perf_counter() - start
        LOG.debug("%s: %.2f s a megapixel", scene.name, spent / (pixels / 1e6))


def _beside(stem: Path, ending: str) -> Path:
    """`stem` may have dots of its own."""
    return stem.with_name(f"{stem.name}.{ending}")


def _polygons(
    path: Path, scene: Scene, job: SceneJob, classes: SceneRaster, probability: SceneRaster
) -> tuple[int | None, str]:
    """How many were written, or why there are none: the rasters are worth hours of work."""
    form = job.options.polygons
    assert form is not None

    def read(row: int, column: int, height: int, width: int) -> tuple[polygons.Classes, Floats]:
        place = row, column, height, width
        found = classes.read(*place)
        if not found.any():
            return found, np.broadcast_to(np.float32(0), found.shape)
        return found, probability.read(*place) * np.float32(rasters.PROBABILITY_STEP)

    grid, names = scene.grid, [label.name for label in job.labels]
    components = polygons.components(grid.width, grid.height, read)
    if job.options.regularize:
        components = _squared(components, [footprints.is_building(name) for name in names], grid)
    try:
        return vectors.write(path, form, components, grid, names, job.options.min_area), ""
    except vectors.FAILURES as error:
        return None, cause(error)


def _squared(
    components: Iterable[Component], buildings: Sequence[bool], grid: Grid
) -> Iterator[Component]:
    """The same components, those of buildings with right angles.

    Args:
        components: of the class raster.
        buildings: whether each of its values is of buildings, from 1.
        grid: of the scene.
    """
    transform = grid.transform or Affine.identity()
    plane = footprints.ground_plane(transform, grid.crs, grid.height, grid.width)
    rest = iter(components)
    while batch := list(islice(rest, vectors.BATCH)):
        chosen = [
            i
            for i, each in enumerate(batch)
            if buildings[each.value - 1] and each.geometry.geom_type == "Polygon"
        ]
        made = footprints.squared([batch[i].geometry for i in chosen], plane)
        for i, geometry in zip(chosen, made, strict=True):
            batch[i] = replace(batch[i], geometry=geometry)
        yield from batch


def _overlay(scene: Scene, legend: Legend, classes: SceneRaster, probability: SceneRaster) -> RGB:
    """The scene shrunk, with its classes in colour and a legend."""
    grid = scene.grid
    step = max(1.0, max(grid.width, grid.height) / OVERLAY_SIDE)
    height, width = max(1, round(grid.height / step)), max(1, round(grid.width / step))
    values, levels = classes.shrunk(height, width), probability.shrunk(height, width)
    rows = (np.arange(height) + 0.5) * grid.height / height
    columns = ((np.arange(width) + 0.5) * grid.width / width).astype(np.int64)
    image = np.stack([scene.read(0, int(r), grid.width, 1)[0][0, columns] for r in rows])
    segments = []
    for value, name in enumerate(legend.names, start=1):
        mask = values == value
        if mask.any():
            segments.append(
                Segment(name, float(levels[mask].mean()) * rasters.PROBABILITY_STEP, mask)
            )
    return overlays.overlay(image, segments, legend.colours)
