"""What the Python interface answers with: arrays that know where they lie, and files of them.

The suffix of a file says what it is: ".tif", a cloud-optimised GeoTIFF of class numbers; ".gpkg" or
".geojson", polygons; ".png", a picture to look at. GeoTIFFs and polygons come with a style for
QGIS, and lie where the image lies.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dgl_rsis import overlays
from dgl_rsis.classes.pipeline import ClassSegmentation
from dgl_rsis.expressions.pipeline import Candidate
from dgl_rsis.rasters import cause
from dgl_rsis.scenes import polygons, rasters, styles, vectors
from dgl_rsis.scenes.polygons import Component
from dgl_rsis.scenes.rasters import MOST_LABELS, Legend
from dgl_rsis.scenes.reading import Grid
from dgl_rsis.scenes.vectors import Format
from dgl_rsis.types import RGB, Decoupled, Floats, InputError, Mask, Segment

FORMS = ".tif", ".gpkg", ".geojson", ".png"


@dataclass(frozen=True)
class Classes:
    """A class for every pixel: the answer of `api.segment`.

    Attributes:
        names: of the labels, in the order asked for.
        image: (H, W, 3) uint8, as it was seen.
        grid: where its pixels lie; without CRS and transform for a photo or an array.
        answer: of the pipeline, with the seconds of its stages.
        model_version: changes with weights, parameters and package.
    """

    names: tuple[str, ...]
    image: RGB
    grid: Grid
    answer: ClassSegmentation
    model_version: str

    @property
    def class_map(self) -> NDArray[np.uint16]:
        """(H, W) uint16: 0 where no label holds, i for `names[i - 1]`."""
        return self.answer.class_map

    @property
    def probability(self) -> Floats:
        """(H, W) float32 in [0, 1], of the best class of each pixel."""
        return self.answer.probability

    @property
    def margin(self) -> float:
        """How sure it is, [0, 1]: p(best class) − p(second), the mean over the pixels."""
        return self.answer.margin

    @property
    def segments(self) -> tuple[Segment, ...]:
        """`label`, `score` in [0, 1] and `mask` of each label that was found, in their order."""
        return self.answer.classes

    @property
    def masks(self) -> Mapping[str, Mask]:
        """Name → (H, W) bool, of the labels that were found."""
        return {each.label: each.mask for each in self.segments}

    @property
    def scores(self) -> Mapping[str, float]:
        """Name → score in [0, 1], of the labels that were found."""
        return {each.label: each.score for each in self.segments}

    @property
    def objects(self) -> Iterator[Segment]:
        """Parts of the classes, largest first within a label, one at a time."""
        return self.answer.objects

    def overlay(self, colours: Mapping[str, str] | None = None) -> RGB:
        """The image with its masks in colour and a legend beside it: (H', W', 3) uint8.

        Args:
            colours: "#rrggbb" of some labels; the others get those of a palette in turn.
        """
        return overlays.overlay(self.image, self.segments, self._colours(colours))

    def write(self, path: str | Path, colours: Mapping[str, str] | None = None) -> tuple[Path, ...]:
        """Write a GeoTIFF, polygons or a picture; see `results`.

        Args:
            path: ends in ".tif", ".gpkg", ".geojson" or ".png". An old file is replaced.
            colours: as for `overlay`.

        Returns:
            All files that were written: a style for QGIS, too.

        Raises:
            InputError: another suffix, a colour for no label, or more labels than a raster has
                numbers.
            OSError: the file cannot be written.
        """
        legend = Legend(self.names, self._colours(colours))
        path, suffix = _target(path)
        if suffix == ".png":
            return _picture(path, self.overlay(colours))
        if suffix == ".tif":
            return _raster(path, self.class_map, legend, self.grid, self.model_version)
        found = _components(self.class_map, self.probability)
        return _polygons(path, found, self.grid, self.names, legend.colours)

    def _colours(self, given: Mapping[str, str] | None) -> dict[str, str]:
        given = given or {}
        if strange := [name for name in given if name not in self.names]:
            raise InputError(
                f"a colour for {strange[0]!r}, which is none of {', '.join(self.names)}"
            )
        return {**overlays.in_turn(self.names), **given}


@dataclass(frozen=True)
class Found:
    """Masks of one thing, the best first: the answer of `api.refer` and `api.refine`.

    Attributes:
        name: of the thing.
        candidates: each with `mask`, (H, W) bool, `score` in [0, 1], and in `parts` what each stage
            said of it; none where nothing fits.
        image: (H, W, 3) uint8, as it was seen.
        grid: where its pixels lie; without CRS and transform for a photo or an array.
        model_version: of whoever found it; empty for the image's own regions.
        reason: why there is no candidate; empty otherwise.
        decoupled: what was understood of an expression; None where somebody pointed.
    """

    name: str
    candidates: tuple[Candidate, ...]
    image: RGB
    grid: Grid
    model_version: str = ""
    reason: str = ""
    decoupled: Decoupled | None = None

    @cached_property
    def mask(self) -> Mask:
        """(H, W) bool, of the best candidate; nothing where there is none."""
        if not self.candidates:
            return np.zeros(self.image.shape[:2], dtype=np.bool_)
        return self.candidates[0].mask

    @property
    def score(self) -> float:
        """Of the best candidate, [0, 1]; 0 where there is none."""
        return self.candidates[0].score if self.candidates else 0.0

    @property
    def masks(self) -> Mask:
        """(N, H, W) bool, best first."""
        height, width = self.image.shape[:2]
        planes = [each.mask for each in self.candidates]
        return np.array(planes, dtype=np.bool_).reshape(-1, height, width)

    @property
    def scores(self) -> Floats:
        """(N,) float32 in [0, 1], best first."""
        return np.array([each.score for each in self.candidates], dtype=np.float32)

    def overlay(self) -> RGB:
        """The image with all candidates in colour and a legend beside it: (H', W', 3) uint8."""
        names = [f"{rank}. {self.name}" for rank, _ in enumerate(self.candidates, start=1)]
        segments = [
            Segment(name, each.score, each.mask)
            for name, each in zip(names, self.candidates, strict=True)
        ]
        # The best one is painted last, over the others.
        return overlays.overlay(self.image, segments[::-1], overlays.in_turn(names))

    def write(self, path: str | Path) -> tuple[Path, ...]:
        """Write the best mask as a GeoTIFF, or all candidates as polygons or a picture.

        Args:
            path: ends in ".tif", ".gpkg", ".geojson" or ".png". An old file is replaced.

        Returns:
            All files that were written: a style for QGIS, too.

        Raises:
            InputError: another suffix.
            OSError: the file cannot be written.
        """
        colours = overlays.in_turn([self.name])
        path, suffix = _target(path)
        if suffix == ".png":
            return _picture(path, self.overlay())
        if suffix == ".tif":
            values = self.mask.astype(np.uint16)
            legend = Legend([self.name], colours)
            return _raster(path, values, legend, self.grid, self.model_version)
        parts = (
            _components(each.mask.astype(np.uint16), np.full(each.mask.shape, each.score, "f4"))
            for each in self.candidates
        )
        found = chain.from_iterable(parts)
        return _polygons(path, found, self.grid, [self.name], colours)


def _target(path: str | Path) -> tuple[Path, str]:
    """The file, in a folder that is there, and what it is to be.

    Raises:
        InputError: its suffix does not say that.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMS:
        raise InputError(f"{path} does not end in one of {', '.join(FORMS)}: name it so")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path, suffix


def _picture(path: Path, pixels: RGB) -> tuple[Path, ...]:
    Image.fromarray(pixels).save(path)
    return (path,)


def _raster(
    path: Path, values: NDArray[np.uint16], legend: Legend, grid: Grid, made_by: str
) -> tuple[Path, ...]:
    if len(legend.names) > MOST_LABELS:
        raise InputError(f"{len(legend.names)} labels: at most {MOST_LABELS:,} fit a raster")
    with rasters.class_raster(path, grid, legend, made_by) as raster:
        raster.write(0, 0, values)
        beside = raster.publish()
    return path, *beside, styles.write_raster(path, legend.names, legend.colours)


def _components(values: NDArray[np.uint16], probability: Floats) -> Iterator[Component]:
    """Connected parts of an array of class numbers."""
    height, width = values.shape

    def read(row: int, column: int, rows: int, columns: int) -> tuple[polygons.Classes, Floats]:
        block = slice(row, row + rows), slice(column, column + columns)
        return values[block], probability[block]

    return polygons.components(width, height, read)


def _polygons(
    path: Path,
    found: Iterator[Component],
    grid: Grid,
    names: Sequence[str],
    colours: Mapping[str, str],
) -> tuple[Path, ...]:
    form = cast(Format, path.suffix.lower().removeprefix("."))
    try:
        vectors.write(path, form, found, grid, names)
    except OSError:
        raise
    except vectors.FAILURES as error:
        raise InputError(f"{path}: no polygons: {cause(error)}; write a .tif instead") from error
    return path, styles.write_polygons(path, "label", colours)
