"""Components of a scene in the world: their place, their area in m², and files of them. [ours]."""

import json
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyogrio.raw
import shapely
from affine import Affine
from numpy.typing import NDArray

# What `warp.transform` raises: none of it is an error of `rasterio.errors`.
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.transform import GCPTransformer
from shapely.errors import ShapelyError

from dgl_rsis.scenes.areas import WGS84, Points, area_field, ground_areas, moved, on_earth
from dgl_rsis.scenes.polygons import Component
from dgl_rsis.scenes.reading import Grid

Format = Literal["gpkg", "geojson"]
Geometries = NDArray[Any]  # (n,) of shapely's

BATCH = 2000  # polygons in memory
DECIMALS = 8  # of a degree: 1 mm
HALF, FULL = 180.0, 360.0  # degrees
# What GDAL, PROJ and GEOS raise when polygons cannot be placed or written: hardly any of it is of
# one family. `RuntimeError` is what pyogrio's are.
FAILURES = (OSError, ValueError, RuntimeError, RasterioError, CPLE_BaseError, ShapelyError)
# Without any transform y is minus the row: so GIS show the polygons on the raster, which they draw
# from (0, 0) downwards.
PIXELS = Affine.scale(1, -1)


@dataclass(frozen=True)
class Place:
    """From pixels to the CRS of a scene.

    Attributes:
        grid: of the scene.
    """

    grid: Grid

    @property
    def crs(self) -> CRS | None:
        """Of the coordinates; None: they are pixels, or nobody knows."""
        return self.grid.crs

    def located(self, geometries: Geometries) -> Geometries:
        """Geometries in pixels → in the CRS."""
        located: Geometries = shapely.transform(geometries, self._points)
        return located

    def areas(self, located: Geometries) -> NDArray[np.float64]:
        """(n,), see `ground_areas`; NaN without a CRS."""
        if self.crs is None:
            return np.full(len(located), np.nan)
        return ground_areas(located, self.crs)

    @property
    def area_field(self) -> str:
        """Name of the areas, which tells their unit."""
        return area_field(self.crs)

    def _points(self, points: Points) -> Points:
        grid = self.grid
        if grid.transform is None and grid.gcps:
            with GCPTransformer(list(grid.gcps)) as transformer:
                # "ul": the corner of a pixel, since ours are counted from the outer edge.
                x, y = transformer.xy(points[:, 1], points[:, 0], offset="ul")
            return np.stack([x, y], axis=1)
        a, b, c, d, e, f = (grid.transform or PIXELS)[:6]
        x, y = points.T
        return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)


@dataclass(frozen=True)
class Features:
    """Some polygons, ready to be written: arrays of n; areas are NaN where not known."""

    labels: NDArray[np.object_]
    scores: NDArray[np.float64]
    areas: NDArray[np.float64]
    geometries: Geometries

    def __len__(self) -> int:
        return len(self.labels)


def write(
    path: Path,
    form: Format,
    components: Iterable[Component],
    grid: Grid,
    names: Sequence[str],
    least_area: float = 0,
) -> int:
    """Write polygons in batches, so that memory does not grow with their number.

    Fields: `label`, `score` (mean probability inside), `area_m2` (see `areas`; null without a CRS;
    `area`, in its own units, in a CRS that is not of the earth).
    GeoPackage in the CRS of the scene; GeoJSON in WGS 84 as RFC 7946 wants it, cut at the date
    line, in the scene's own coordinates where these have no place on the earth, or in pixels
    without a CRS.

    Args:
        path: of the file; an old one is replaced, once the new one is complete.
        form: "gpkg" or "geojson".
        components: of the class raster.
        grid: of the scene.
        names: of the values of the class raster, from 1.
        least_area: smaller polygons are left out: m², units of a CRS that is not of the earth, or
            pixels where there is no CRS.

    Returns:
        How many were written.

    Raises:
        FAILURES: the file cannot be written, or the CRS cannot be followed; none of them stays.
    """
    part = path.with_name(f".{path.stem}.part.{form}")
    part.unlink(missing_ok=True)
    place = Place(grid)
    batches = _batches(components, place, names, least_area)
    try:
        if form == "geojson":
            count = _write_geojson(part, batches, place)
        else:
            count = _write_geopackage(part, path.stem, batches, place)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return count


def _batches(
    components: Iterable[Component], place: Place, names: Sequence[str], least: float
) -> Iterator[Features]:
    rest = iter(components)
    while batch := list(islice(rest, BATCH)):
        geometries = np.array([component.geometry for component in batch], dtype=object)
        pixels = np.array([component.pixels for component in batch])
        located = place.located(geometries)
        areas = place.areas(located)
        kept = np.flatnonzero(np.where(np.isnan(areas), pixels, areas) >= least)
        if len(kept):
            yield Features(
                np.array([names[batch[i].value - 1] for i in kept], dtype=object),
                np.array([round(batch[i].score, 4) for i in kept]),
                areas[kept].round(3),
                _valid(located[kept]),
            )


def _valid(geometries: Geometries) -> Geometries:
    """Valid ones, should the way into the CRS have closed a gap of less than its precision."""
    wrong = ~shapely.is_valid(geometries)
    if wrong.any():
        geometries[wrong] = shapely.make_valid(
            geometries[wrong], method="structure", keep_collapsed=False
        )
    return geometries


def _write_geopackage(path: Path, layer: str, batches: Iterable[Features], place: Place) -> int:
    count = 0
    nothing = np.empty(0, dtype=object)
    _append(path, layer, Features(nothing, np.empty(0), np.empty(0), nothing), place)
    for features in batches:
        _append(path, layer, features, place)
        count += len(features)
    return count


def _append(path: Path, layer: str, features: Features, place: Place) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")  # that is what it has
        pyogrio.raw.write(
            path,
            shapely.to_wkb(features.geometries),
            [features.labels, features.scores, features.areas],
            ["label", "score", place.area_field],
            layer=layer,
            driver="GPKG",
            geometry_type="MultiPolygon",
            promote_to_multi=True,
            crs=_wkt(place.crs),
            append=path.exists(),
        )


def _wkt(crs: CRS | None) -> str | None:
    """As GDAL takes it; in WKT 2 where the first has no words for it."""
    if crs is None:
        return None
    try:
        return str(crs.to_wkt())
    except CRSError:
        return str(crs.to_wkt(version="WKT2_2019"))


def _write_geojson(path: Path, batches: Iterable[Features], place: Place) -> int:
    """By hand: GDAL's driver appends by reading all of it again."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for features in batches:
            for line in _lines(features, place):
                file.write((",\n" if count else "\n") + line)
                count += 1
        file.write("\n]}\n")
    return count


def _lines(features: Features, place: Place) -> Iterator[str]:
    geometries = features.geometries
    if place.crs is not None and on_earth(place.crs):
        geometries = shapely.transform(
            geometries, lambda points: moved(points, place.crs, WGS84).round(DECIMALS)
        )
        geometries = _cut_at_date_line(geometries, continuous=place.crs.is_geographic)
    geometries = shapely.orient_polygons(_valid(geometries))  # shells counter-clockwise
    for label, score, area, text in zip(
        features.labels, features.scores, features.areas, shapely.to_geojson(geometries),
        strict=True,
    ):  # fmt: skip
        known = None if np.isnan(area) else area
        properties = json.dumps(
            {"label": label, "score": score, place.area_field: known}, ensure_ascii=False
        )
        yield f'{{"type": "Feature", "properties": {properties}, "geometry": {text}}}'


def _cut_at_date_line(geometries: Geometries, *, continuous: bool) -> Geometries:
    """Polygons in degrees, in two where they cross the date line (RFC 7946, 3.1.9).

    Args:
        geometries: (n,), x is the longitude.
        continuous: longitudes go on beyond 180°; else they begin anew there, and what is wider than
            half of the earth is what crosses the line.
    """
    west, _, east, _ = shapely.bounds(geometries).T
    if not continuous:
        jumping = east - west > HALF
        geometries[jumping] = shapely.transform(geometries[jumping], _unwrapped)
        west, _, east, _ = shapely.bounds(geometries).T
    for i in np.flatnonzero((west < -HALF) | (east > HALF)):
        pieces = []
        for turn in (-1, 0, 1):
            world = shapely.box(*(np.array([-HALF, -HALF, HALF, HALF]) + (turn * FULL, 0) * 2))
            part = shapely.intersection(geometries[i], world)
            back = shapely.transform(part, lambda points, turn=turn: points - (turn * FULL, 0))
            parts = shapely.get_parts(back)  # an empty polygon has itself as a part
            pieces += [p for p in parts if p.geom_type == "Polygon" and not p.is_empty]
        geometries[i] = pieces[0] if len(pieces) == 1 else shapely.MultiPolygon(pieces)
    return geometries


def _unwrapped(points: Points) -> Points:
    """Longitudes from 0 to 360°."""
    return np.stack(
        [np.where(points[:, 0] < 0, points[:, 0] + FULL, points[:, 0]), points[:, 1]], 1
    )
