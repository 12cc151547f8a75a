"""Footprints of buildings: outlines that follow pixels → outlines with right angles. [ours].

By the library buildingregulariser (MIT), which turns each edge along the main direction of its
building or across it. Masks say where walls are to a pixel or two; this says nothing more, only
that walls are straight and meet at right angles.
"""

import math
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence

import shapely
from affine import Affine
from rasterio.crs import CRS
from shapely import affinity

from dgl_rsis.names import normal_name
from dgl_rsis.types import InputError

# What labels of buildings end in; the first is the knowledge file's class.
BUILDINGS = frozenset({"building", "house", "rooftop", "roof", "footprint"})
NOTCH = 2.0  # pixels: what sticks out by less is the border's noise
STEP = 2.0  # pixels: parallel walls that are closer are one
LEAST_IOU = 0.7  # with the outline before; below it that is kept


def is_building(label: str) -> bool:
    """Whether a label is of buildings: `residential buildings`, `building footprint`, `Roof`."""
    return normal_name(label).split(" ")[-1] in BUILDINGS


def buildings(labels: Iterable[str]) -> frozenset[str]:
    """Those labels that are of buildings.

    Raises:
        InputError: none is.
    """
    every = list(labels)
    chosen = frozenset(label for label in every if is_building(label))
    if not chosen:
        raise InputError(
            f"--regularize: none of {', '.join(every)} is of buildings; such labels end in "
            f"{', '.join(sorted(BUILDINGS))}"
        )
    return chosen


def squared(polygons: Sequence[shapely.Polygon], plane: Affine) -> list[shapely.Polygon]:
    """The same polygons with right angles.

    Args:
        polygons: valid, in pixels.
        plane: where right angles are right, see `ground_plane`.

    Returns:
        As many, in their order, in pixels. One that right angles would change too much, as a few
        pixels in a row, or not at all is as it was: the very same object.
    """
    if not polygons:
        return []
    import geopandas  # with pandas and PROJ, which nothing else here needs
    from buildingregulariser import regularize_geodataframe

    there, back = plane.to_shapely(), (~plane).to_shapely()
    laid = [affinity.affine_transform(polygon, there) for polygon in polygons]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # says which it leaves as they are
        made = regularize_geodataframe(
            geopandas.GeoDataFrame({"number": range(len(laid))}, geometry=laid),
            simplify_tolerance=NOTCH,
            parallel_threshold=STEP,
            allow_45_degree=False,
            allow_circles=False,
            num_cores=1,
        )
    pieces: dict[int, list[shapely.Geometry]] = defaultdict(list)
    for number, piece in zip(made["number"], made.geometry, strict=True):
        pieces[int(number)].append(affinity.affine_transform(piece, back))
    return [_better(polygon, pieces[number]) for number, polygon in enumerate(polygons)]


def ground_plane(transform: Affine, crs: CRS | None, height: int, width: int) -> Affine:
    """From pixels to a plane with the angles of the ground, on which a pixel has an area of 1.

    Args:
        transform: from pixels to the CRS.
        crs: degrees, or a plane that keeps angles; None for one that nobody knows.
        height: of the raster, pixels.
        width: of the raster, pixels.
    """
    a, b, _, d, e, _ = transform[:6]
    linear = Affine(a, b, 0, d, e, 0)
    if crs is not None and crs.is_geographic:
        latitude = (transform @ (width / 2, height / 2))[1]
        linear = Affine.scale(math.cos(math.radians(latitude)), 1) @ linear
    return Affine.scale(1 / math.sqrt(abs(linear.determinant))) @ linear


def _better(before: shapely.Polygon, pieces: Sequence[shapely.Geometry]) -> shapely.Polygon:
    after = shapely.union_all(pieces)
    if after.geom_type != "Polygon" or not after.is_valid or after.equals(before):
        return before
    iou = before.intersection(after).area / before.union(after).area
    return after if iou >= LEAST_IOU else before
