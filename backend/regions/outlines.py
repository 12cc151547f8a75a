"""Masks → parts and outlines, without loss.

Two kinds of outline: through the centres of the border's pixels, as OpenCV draws them, and along
the pixels' edges, as geometry has them.
"""

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.regions.records import Region
from dgl_rsis import runs
from dgl_rsis.runs import Runs
from dgl_rsis.types import Mask

Ring = NDArray[np.int64]  # (N, 2) XY, pixels; closed without repeating the first


def parts(region: Region) -> Iterator[Region]:
    """The connected parts of a region (also by corners), each as a region."""
    plane = runs.from_runs(region.runs)
    count, numbered, boxes, _ = cv2.connectedComponentsWithStats(
        plane.view(np.uint8), connectivity=8
    )
    for number in range(1, count):
        identity = region.id if count == 2 else f"{region.id}-{number}"
        top, rows = int(boxes[number, cv2.CC_STAT_TOP]), int(boxes[number, cv2.CC_STAT_HEIGHT])
        part = numbered[top : top + rows] == number  # its own rows: there may be thousands
        yield replace(region, id=identity, runs=placed(part, top, region.runs.height))


def placed(rows: Mask, top: int, height: int) -> Runs:
    """The runs of a mask of some height, of which these are all rows with foreground."""
    first, *rest = runs.to_runs(rows).counts
    last = (height - top - len(rows)) * rows.shape[1]
    counts = [top * rows.shape[1] + first, *rest]
    if len(counts) % 2:  # ends with background
        counts[-1] += last
    elif last:
        counts.append(last)
    return Runs(height, rows.shape[1], tuple(counts))


def number_of_parts(region: Region) -> int:
    """How many connected parts (also by corners) a region has."""
    crop = runs.cropped(region.runs)
    if crop is None:
        return 0
    return int(cv2.connectedComponents(crop.mask.view(np.uint8), connectivity=8)[0]) - 1


def through_centres(mask: Mask) -> list[Ring]:
    """One ring for each connected part (also by corners), through the centres of border pixels.

    `cv2.fillPoly` of all rings, one by one, gives the mask back exactly. A hole is joined to what
    is left of it by a bridge: a straight line there and back, inside the mask.
    """
    contours, hierarchy = cv2.findContours(
        mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    if not contours:
        return []
    rings = [np.asarray(contour, dtype=np.int64).reshape(-1, 2) for contour in contours]
    parents = hierarchy[0, :, 3]
    joined = []
    for number in np.flatnonzero(parents < 0):
        ring = rings[number]
        holes = [rings[i] for i in np.flatnonzero(parents == number)]
        # From left to right: what a bridge meets first is then already part of the ring.
        for hole in sorted(holes, key=lambda hole: int(hole[:, 0].min())):
            ring = _bridged(ring, hole, mask)
        joined.append(_corners(ring))
    return joined


def along_edges(mask: Mask) -> list[Ring]:
    """Rings without holes along the edges of pixels; their union is the mask exactly.

    What has holes is cut in two, from top to bottom through the middle of one of them.
    """
    from rasterio.features import shapes  # GDAL, which few formats need

    rings: list[Ring] = []
    waiting: list[tuple[Mask, int]] = [(mask, 0)]  # a part, and its first column in the whole
    while waiting:
        plane, left = waiting.pop()
        for shape, _ in shapes(plane.view(np.uint8), mask=plane, connectivity=4):
            outer, *holes = (np.asarray(ring, dtype=np.int64)[:-1] for ring in shape["coordinates"])
            if not holes:
                rings.append(outer + np.array([left, 0]))
                continue
            inside = _between(plane, outer)
            start, middle = int(outer[:, 0].min()), _cut(outer, holes)
            waiting.append((inside[:, : middle - start], left + start))
            waiting.append((inside[:, middle - start :], left + middle))
    return rings


def _cut(outer: Ring, holes: list[Ring]) -> int:
    """The column through the middle of the hole that divides the outline best."""
    best = (outer[:, 0].min() + outer[:, 0].max()) / 2
    middles = [int(hole[:, 0].min() + hole[:, 0].max() + 1) // 2 for hole in holes]
    return min(middles, key=lambda column: abs(column - best))


def _between(plane: Mask, outer: Ring) -> Mask:
    """The part of a plane that an outline along edges holds, cut to the outline's columns."""
    start, end = int(outer[:, 0].min()), int(outer[:, 0].max())
    _, numbered = cv2.connectedComponents(
        np.ascontiguousarray(plane[:, start:end]).view(np.uint8), connectivity=4
    )
    # The pixel right of and below the highest of the outline's leftmost corners is inside.
    x, y = min(map(tuple, outer.tolist()))
    inside: Mask = np.ascontiguousarray(numbered == numbered[y, x - start])
    return inside


def _bridged(ring: Ring, hole: Ring, mask: Mask) -> Ring:
    """The ring with a hole in it, joined from the hole's leftmost point straight to the left."""
    start = int(hole[:, 0].argmin())
    x, y = hole[start].tolist()
    while x > 0 and mask[y, x - 1]:
        x -= 1
    at = int(np.flatnonzero((ring[:, 0] == x) & (ring[:, 1] == y))[0])
    around = np.concatenate((hole[start:], hole[: start + 1]))
    return np.concatenate((ring[: at + 1], around, ring[at:]))


def _corners(ring: Ring) -> Ring:
    """The ring without the points at which it goes straight on."""
    if len(ring) < 3:
        return ring
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    back = (before * after).sum(axis=1) <= 0
    kept = ring[turns | back]
    return kept if len(kept) else ring[:1]
