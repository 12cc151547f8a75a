"""Areas on the ground, whatever a CRS does to them. [ours].

A module of its own beside `polygons`, which needs scikit-image: training sets are exported without.
"""

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

# What `warp.transform` raises: none of it is an error of `rasterio.errors`.
from rasterio._err import CPLE_BaseError, CPLE_NotSupportedError
from rasterio.crs import CRS
from rasterio.warp import transform as reproject
from shapely.geometry.base import BaseGeometry

Points = NDArray[np.float64]  # (n, 2)

WGS84 = CRS.from_epsg(4326)  # x is the longitude
PIECES = 64  # of a line as long as all polygons together


def area_field(crs: CRS | None) -> str:
    """Name of a column of `ground_areas`: "area_m2", or "area" where metres are not known."""
    return "area_m2" if crs is None or on_earth(crs) else "area"


def ground_areas(
    polygons: Sequence[BaseGeometry] | NDArray[np.object_], crs: CRS
) -> NDArray[np.float64]:
    """Areas on the ellipsoid of WGS 84, or in the plane of a CRS that is not of the earth.

    In an equal-area projection (Lambert's azimuthal) around the first of the polygons: so neither
    the poles nor the date line are in the way. A CRS that has no place on the earth, such as a
    building site's own grid or one of another planet, has a plane and units of its own.

    Args:
        polygons: (n,) in coordinates of the CRS, x east and y north.
        crs: of the coordinates.

    Returns:
        (n,) float64, m², or squares of the CRS's own unit off the earth (see `area_field`); NaN
        where the coordinates lie outside the domain of the CRS.
    """
    shapes = np.asarray(polygons, dtype=object)
    first = shapely.get_coordinates(shapes)[:1]  # (1, 2), or (0, 2) where all are empty
    if not len(first):
        return np.zeros(len(shapes))
    if not on_earth(crs):
        in_plane: NDArray[np.float64] = shapely.area(shapes)
        return in_plane
    # A long line that is straight in the CRS is curved on the ground: more corners follow it.
    left, bottom, right, top = shapely.total_bounds(shapes)
    detailed = shapely.segmentize(shapes, max(right - left, top - bottom) / PIECES)
    try:
        ((longitude, latitude),) = moved(first, crs, WGS84)
        around = CRS.from_string(f"+proj=laea +lat_0={latitude} +lon_0={longitude} +datum=WGS84")
        on_ground = shapely.transform(detailed, lambda points: moved(points, crs, around))
    except CPLE_BaseError:
        return np.full(len(shapes), np.nan)
    measured: NDArray[np.float64] = shapely.area(on_ground)
    return np.where(np.isfinite(measured), measured, np.nan)


def on_earth(crs: CRS) -> bool:
    """Whether a CRS has a way to WGS 84: a site's own grid and other planets have none."""
    try:
        reproject(crs, WGS84, [0.0], [0.0])
    except CPLE_NotSupportedError:
        return False
    except CPLE_BaseError:  # of this point alone
        return True
    return True


def moved(points: Points, source: CRS, target: CRS) -> Points:
    """Coordinates in another CRS: (n, 2), x east and y north."""
    x, y = reproject(source, target, points[:, 0].tolist(), points[:, 1].tolist())[:2]
    return np.stack([x, y], axis=1)
