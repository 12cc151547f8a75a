"""A GeoPackage: the masks of a training set as polygons on the map.

One layer a coordinate reference system, since tiles may come from scenes of several. Masks of a
scene without one are in the scene's pixels (x = column, y = row, downwards) in the layer `pixels`,
which has none, either; those of an image that is no tile are in the pixels of the image.

Outlines run along the edges of pixels and are not simplified, holes are kept, and parts that only
touch at a corner are two polygons: rasterised on the tile's grid they are the masks again. Those of
buildings may get right angles instead.
"""

import logging
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from rasterio import features
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import Affine
from shapely import affinity

from backend.commands.export.dataset import DatasetVocabulary, Example
from backend.regions.findings import ExportError
from backend.regions.records import Item, Region
from dgl_rsis import runs
from dgl_rsis.scenes import footprints, styles
from dgl_rsis.scenes.areas import area_field, ground_areas
from dgl_rsis.types import InputError

LOG = logging.getLogger(__name__)

FILE = "labels.gpkg"
PIXELS = "pixels"
UNKNOWN = "unknown_crs"
# GeoPackage's own CRS −1, by the name under which GDAL knows it.
PLANE = 'LOCAL_CS["Undefined Cartesian SRS"]'
FLUSH = 5_000  # polygons that wait in memory to be written
AREA = "area_m2"
COLUMNS: dict[str, str] = {
    "task_id": "int64",
    "region": "object",
    "label": "object",
    "annotator": "object",
    "model_version": "object",
    "score": "float64",
    AREA: "float64",
    "scene": "object",
    "image": "object",
    "split": "object",
}


@dataclass(frozen=True)
class Frame:
    """How the pixels of one image lie on a layer.

    Attributes:
        layer: its name.
        crs: None where there is none.
        transform: from the image's pixels to the layer.
    """

    layer: str
    crs: CRS | None
    transform: Affine


@dataclass
class _Layer:
    """What waits to be written to a layer.

    Attributes:
        crs: of the layer.
        shapes: polygons.
        rows: the values of `COLUMNS` of each.
        begun: whether the layer is in the file already.
    """

    crs: CRS | None
    shapes: list[shapely.Polygon] = field(default_factory=list)
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    begun: bool = False


def write(
    examples: Iterable[Example],
    vocabulary: DatasetVocabulary,
    out: Path,
    *,
    regularize: bool = False,
) -> Path:
    """Write the polygons of all examples to `labels.gpkg`, and their style for QGIS.

    Args:
        examples: in any order.
        vocabulary: labels that are not in it are left out.
        out: folder; an older file of the name is replaced.
        regularize: give buildings right angles (`footprints`). They are no masks any more then,
            and neighbours may overlap a little.

    Returns:
        The file. Its columns: `task_id`; `region`, Label Studio's id; `label`; `annotator`, empty
        for what several people or a model marked; `model_version` of what a model marked; `score`
        of a model or nothing; `area_m2` on the ellipsoid, nothing in pixels (`area`, in
        the CRS's own units, where it has no place on the earth); `scene`; `image`, the
        file's name in the set; `split`.

    Raises:
        ExportError: no label is of buildings, which were to get right angles.
    """
    try:
        squared = footprints.buildings(vocabulary.labels) if regularize else frozenset()
    except InputError as error:
        raise ExportError(str(error)) from None
    out.mkdir(parents=True, exist_ok=True)
    path = out / FILE
    path.unlink(missing_ok=True)
    frames, layers = _Frames(), dict[str, _Layer]()
    for example in examples:
        frame = frames.of(example.item)
        layer = layers.setdefault(frame.layer, _Layer(frame.crs))
        for region, shape in _shapes(example, vocabulary, frame, squared):
            _add(layer, example, region, shape)
        if len(layer.rows) >= FLUSH:
            _flush(path, frame.layer, layer)
    for name, layer in (layers or {PIXELS: _Layer(None)}).items():
        if layer.rows or not layer.begun:
            _flush(path, name, layer)
    colours = zip(vocabulary.labels, vocabulary.colours, strict=True)
    css = {name: "#{:02x}{:02x}{:02x}".format(*colour) for name, colour in colours}
    styles.write_polygons(path, "label", css)
    return path


def polygons(region: Region, transform: Affine) -> Iterator[shapely.Polygon]:
    """The parts of a mask as valid polygons with their holes.

    Args:
        region: its mask may be empty.
        transform: from pixels to where the polygons lie.
    """
    crop = runs.cropped(region.runs)
    if crop is None:
        return
    lowered = transform @ Affine.translation(0, crop.top)
    plane = crop.mask.view(np.uint8)
    for outline, _ in features.shapes(plane, mask=crop.mask, connectivity=4, transform=lowered):
        shape = shapely.geometry.shape(outline)
        # Holes that meet at a corner come as one ring that crosses itself.
        valid = shape if shape.is_valid else shapely.make_valid(shape, method="structure")
        yield from (part for part in shapely.get_parts(valid) if part.geom_type == "Polygon")


class _Frames:
    """The layers, by the CRS that a task names; each text is parsed once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, CRS | None]] = {}
        self._unnamed: list[CRS] = []

    def of(self, item: Item) -> Frame:
        place = item.place
        if place is None:
            return Frame(PIXELS, None, Affine.identity())
        if place.transform is None:
            return Frame(PIXELS, None, Affine.translation(*place.window[:2]))
        if place.crs not in self._known:
            self._known[place.crs] = self._layer(place.crs)
        name, crs = self._known[place.crs]
        return Frame(name, crs, Affine(*place.transform))

    def _layer(self, text: str) -> tuple[str, CRS | None]:
        if not text:
            return UNKNOWN, None
        try:
            crs = CRS.from_user_input(text)
        except (CRSError, ValueError) as error:
            LOG.warning("%s: no such CRS (%s); the layer %s has none", text[:60], error, UNKNOWN)
            return UNKNOWN, None
        code = crs.to_epsg()
        if code is not None:
            return f"epsg_{code}", crs
        if crs not in self._unnamed:
            self._unnamed.append(crs)
        return f"crs_{self._unnamed.index(crs) + 1}", crs


def _shapes(
    example: Example, vocabulary: DatasetVocabulary, frame: Frame, squared: Container[str]
) -> Iterator[tuple[Region, shapely.Polygon]]:
    """The polygons of an example on its layer, each with its region."""
    regions = [region for region in example.regions if region.label in vocabulary.numbers]
    for region in regions:
        if region.label not in squared:
            yield from ((region, shape) for shape in polygons(region, frame.transform))
    outlined = [
        (region, shape)
        for region in regions
        if region.label in squared
        for shape in polygons(region, Affine.identity())
    ]
    before = [shape for _, shape in outlined]
    size = example.item.height, example.item.width
    after = footprints.squared(before, footprints.ground_plane(frame.transform, frame.crs, *size))
    if kept := sum(one is other for one, other in zip(before, after, strict=True)):
        LOG.info(
            "%s: %d of %d footprints stay as they are: right angles would change them too much, "
            "or not at all",
            example.file, kept, len(before),
        )  # fmt: skip
    for (region, _), shape in zip(outlined, after, strict=True):
        yield region, affinity.affine_transform(shape, frame.transform.to_shapely())


def _add(layer: _Layer, example: Example, region: Region, shape: shapely.Polygon) -> None:
    annotation, place = example.annotation, example.item.place
    layer.shapes.append(shape)
    layer.rows.append(
        (
            example.item.task_id,
            region.id,
            region.label,
            annotation.annotator if annotation else "",
            example.model_version,
            region.score,
            None,  # the area: of many at once
            place.scene if place else "",
            example.file,
            example.split,
        )
    )


def _flush(path: Path, name: str, layer: _Layer) -> None:
    """Write what waits, and forget it."""
    columns: dict[str, list[Any]] = defaultdict(list)
    for row in layer.rows:
        for column, value in zip(COLUMNS, row, strict=True):
            columns[column].append(value)
    if layer.crs is not None and layer.shapes:
        columns[AREA] = list(ground_areas(layer.shapes, layer.crs))
    values = [np.array(columns[column], dtype=kind) for column, kind in COLUMNS.items()]
    pyogrio.raw.write(
        path,
        np.array([shapely.to_wkb(shape) for shape in layer.shapes], dtype=object),
        values,
        fields=np.array(
            [area_field(layer.crs) if column == AREA else column for column in COLUMNS],
            dtype=object,
        ),
        layer=name,
        driver="GPKG",
        geometry_type="Polygon",
        crs=layer.crs.to_wkt() if layer.crs else PLANE,
        append=layer.begun,
    )
    layer.shapes, layer.rows, layer.begun = [], [], True
