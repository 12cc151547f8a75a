"""The objects of a class: its connected parts, and of things that touch, one by one [ours].

Cars in a car park touch each other in any map of pixels. A part that is longer than a car can be is
several: each is where the part is deep and no border of an object runs. And things stand out: a
patch of asphalt amid asphalt is none, whatever a model calls it.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.segmentation import watershed

from dgl_rsis import masks
from dgl_rsis.classes.sizes import Limits
from dgl_rsis.types import RGB, Floats, Mask

# Measured on Estonian car parks (docs/LOG.md).
BORDER = 0.9  # how much of its depth a pixel loses where a border surely runs
BLUR = 2.0  # pixels, of the depth: what is rough has many peaks
CRUMB = 0.4  # of the median of a row's things; what is smaller is none
LENGTH = 1.7  # times its width that the smallest thing is long
STRETCH = 1.5  # times the longest thing: what is longer and could not be parted is none
CONTRAST = 5.0  # CIE76, of which 2.3 is just seen
NEAR, FAR = 2, 5  # pixels from a thing, between which its surroundings lie


def of_class(
    mask: Mask, border: Floats | None, bound: Limits, least: int, image: RGB | None = None
) -> Iterator[Mask]:
    """The objects of a class, largest first, one at a time.

    Args:
        mask: (H, W) bool, of the class.
        border: (H, W) float32 in [0, 1], how likely the border of an object runs through each
            pixel; None where nobody knows.
        bound: sizes of the class, in pixels of the mask.
        least: pixels; smaller parts are left out, whatever the class.
        image: (H, W, 3) uint8, in which things stand out; None where it is not at hand.

    Yields:
        Disjoint (H, W) bool masks.
    """
    if np.isinf(bound.longest):
        yield from masks.components(mask, least)
        return
    smallest = max(least, round(LENGTH * bound.narrowest**2))
    for part in masks.parts(numbered(mask, border, bound), smallest):
        if _may_be_one(part, bound) and (image is None or contrast(image, part) >= CONTRAST):
            yield part


def _may_be_one(part: Mask, bound: Limits) -> bool:
    """Whether a part is no longer than one thing of the class may look."""
    rows, columns = np.nonzero(part)
    points = np.stack([columns, rows], axis=1).astype(np.float32)
    length = max(cv2.minAreaRect(points)[1]) + 1  # from the middle of a pixel to another's
    return bool(length <= STRETCH * bound.longest)


def contrast(image: RGB, part: Mask) -> float:
    """How far the colours of a thing are from those around it: CIE76, at half of its pixels.

    Args:
        image: (H, W, 3) uint8.
        part: (H, W) bool, of the thing; not empty.

    Returns:
        Median distance to the median colour of the surroundings; infinite where there are none.
    """
    left, top, right, bottom = masks.box(part)
    window = np.s_[max(0, top - FAR) : bottom + FAR, max(0, left - FAR) : right + FAR]
    inside = part[window].astype(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    far, near = (cv2.dilate(inside, kernel, iterations=reach) for reach in (FAR, NEAR))
    around = far > near
    if not around.any():
        return np.inf
    unit = image[window].astype(np.float32) / 255
    colours: Floats = cv2.cvtColor(unit, cv2.COLOR_RGB2LAB).astype(np.float32)
    distances = colours[inside > 0] - np.median(colours[around], axis=0)
    return float(np.median(np.linalg.norm(distances, axis=1)))


def numbered(mask: Mask, border: Floats | None, bound: Limits) -> NDArray[np.int32]:
    """The number of each pixel's object: (H, W) int32 from 1, 0 for none. See `of_class`."""
    numbers, count = ndimage.label(mask, structure=np.ones((3, 3)))
    for number, window in enumerate(ndimage.find_objects(numbers), start=1):
        if max(side.stop - side.start for side in window) <= bound.longest:
            continue
        part = numbers[window] == number
        own = _parted(part, None if border is None else border[window], bound.narrowest)
        numbers[window][part] = np.where(own > 0, own + count, 0)[part]
        count += int(own.max(initial=0))
    return np.asarray(numbers, dtype=np.int32)


def _parted(part: Mask, border: Floats | None, narrowest: float) -> NDArray[np.int32]:
    """One number for each thing of a row, 0 for crumbs."""
    depth = np.minimum(masks.depth(part), narrowest)  # the depth of one, however deep the row is
    if border is not None:
        depth = depth * (1 - BORDER * border)
    depth = cv2.GaussianBlur(depth, (0, 0), BLUR)
    peaks = peak_local_max(
        depth, min_distance=max(1, int(narrowest)), labels=part.astype(int), exclude_border=False
    )
    markers = np.zeros(part.shape, dtype=np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    numbers: NDArray[np.int32] = watershed(-depth, markers, mask=part).astype(np.int32)
    areas = np.bincount(numbers.reshape(-1))
    areas[0] = 0
    crumbs = areas < CRUMB * np.median(areas[1:]) if len(peaks) else areas >= 0
    return np.where(crumbs[numbers], 0, numbers)
