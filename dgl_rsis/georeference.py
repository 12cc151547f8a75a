"""Where a raster lies → how many metres of the ground a pixel shows. [ours].

In one way for all of them: three points around the centre of the raster are moved to longitude and
latitude, and measured there on the ellipsoid. So degrees, feet, the latitude in Web Mercator and
turned rasters need no rules of their own.
"""

import math
from collections.abc import Sequence

from affine import Affine

# What `warp.transform` raises: none of it is an error of `rasterio.errors`.
from rasterio._err import CPLE_BaseError, CPLE_NotSupportedError
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.transform import from_gcps
from rasterio.warp import transform as reproject

from dgl_rsis.resolution import Resolution, plausible

WGS84 = CRS.from_epsg(4326)  # x is the longitude
EQUATORIAL_RADIUS, FLATTENING = 6_378_137.0, 1 / 298.257223563  # metres; of the same
STEP = 100.0  # pixels between the points: one alone may be less than what a projection is exact to
# Units of a CRS; the earth is 1.3e8 feet around. PROJ goes round and round with what is far beyond.
FARTHEST = 2e8
POLE = 90.0  # degrees
LEAST_POINTS = 3  # of ground control: fewer leave the scale open


def resolution_at_centre(
    width: int,
    height: int,
    crs: CRS | None,
    transform: Affine | None,
    gcps: Sequence[GroundControlPoint] = (),
) -> Resolution | None:
    """The ground sample distance in the middle of a raster.

    Args:
        width: pixels.
        height: pixels.
        crs: of the transform or of the ground control points.
        transform: from pixels (column, row) to the CRS; None when the raster has none.
        gcps: ground control points, for a raster without a transform.

    Returns:
        Its source is "transform". None where the place says nothing: no CRS, neither transform nor
        enough points, coordinates outside the domain of the CRS, or no plausible size.
    """
    if transform is None and len(gcps) >= LEAST_POINTS:
        transform = _fitted(gcps)
    if crs is None or transform is None:
        return None
    column, row = width / 2, height / 2
    pixels = ((column, row), (column + STEP, row), (column, row + STEP))
    points = [transform @ pixel for pixel in pixels]
    if not all(abs(place) <= FARTHEST for point in points for place in point):
        return None
    try:
        area = _square_metres(points, crs)
    except (CPLE_BaseError, RasterioError):  # outside its domain, or a CRS that is damaged
        return None
    return plausible(math.sqrt(area) / STEP, "transform")


def _fitted(gcps: Sequence[GroundControlPoint]) -> Affine | None:
    try:
        fitted: Affine = from_gcps(gcps)
    except RasterioError:  # all on one line
        return None
    return fitted


def _square_metres(points: Sequence[tuple[float, float]], crs: CRS) -> float:
    """Area of the parallelogram between three points in the CRS, on the ground; NaN for none."""
    try:
        longitudes, latitudes = reproject(crs, WGS84, *zip(*points, strict=True))[:2]
    except CPLE_NotSupportedError:  # no way to the earth, such as a building site's own grid
        if crs.is_geographic:  # degrees of another planet
            return math.nan
        return _parallelogram(points) * float(crs.units_factor[1]) ** 2
    if not abs(latitudes[0]) <= POLE:
        return math.nan
    latitude = math.radians(latitudes[0])
    # Radii of curvature: of the parallel, and along the meridian.
    squared = FLATTENING * (2 - FLATTENING)  # eccentricity
    across = EQUATORIAL_RADIUS / math.sqrt(1 - squared * math.sin(latitude) ** 2)
    along = across**3 * (1 - squared) / EQUATORIAL_RADIUS**2
    scale = math.radians(1) ** 2 * across * math.cos(latitude) * along
    east = [math.remainder(each - longitudes[0], 360) for each in longitudes]  # over the date line
    return _parallelogram(list(zip(east, latitudes, strict=True))) * scale


def _parallelogram(points: Sequence[tuple[float, float]]) -> float:
    """Area in the plane, in squares of its unit."""
    (x, y), (x1, y1), (x2, y2) = points
    return abs((x1 - x) * (y2 - y) - (x2 - x) * (y1 - y))
