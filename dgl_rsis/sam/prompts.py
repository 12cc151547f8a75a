"""What somebody points at, put into the three things that Segment Anything understands.

SAM knows points, one box and one mask. [ours] A stroke becomes points along it; a rough outline its
box, its innermost point and a mask; the mask to correct becomes a mask.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dgl_rsis import masks
from dgl_rsis.prompts import Box, checked
from dgl_rsis.types import Floats, Mask, Prompt

MOST_POINTS = 32  # of either sign; more are thinned out, since a click must stay quick
STROKE_POINTS = 8  # along all strokes together
SURE = 8.0  # logit of a pixel that a mask prompt covers: about what SAM's own masks have inside

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Pointed:
    """A prompt in SAM's terms.

    Attributes:
        points: (n, 2) float64, x and y, pixels of the image.
        inside: (n,) bool, whether the point lies on the object.
        box: XYXY pixels around it, or None.
        prior: (H, W) bool, roughly the object, or None.
        ambiguous: a single point and nothing else.
    """

    points: Points
    inside: NDArray[np.bool_]
    box: Box | None
    prior: Mask | None
    ambiguous: bool


def translate(prompt: Prompt, height: int, width: int) -> Pointed:
    """A prompt in SAM's terms.

    Raises:
        InputError: it is none for an image of this size, see `dgl_rsis.prompts.checked`.
    """
    prompt = checked(prompt, height, width)
    positive, negative = _thinned(prompt.positive), _thinned(prompt.negative)
    box, stroke, outline, prior = prompt.box, prompt.stroke, prompt.outline, prompt.prior
    if stroke is not None:
        positive = np.concatenate([positive, along(stroke)])
    if outline is not None:
        positive = np.concatenate([positive, _deepest(outline)[None]])
    rough = outline if outline is not None else prior
    if box is None and rough is not None and (outline is not None or not len(positive)):
        box = _around(rough)
    points = np.concatenate([positive, negative])
    inside = np.arange(len(points)) < len(positive)
    ambiguous = len(points) == 1 and bool(inside[0]) and box is None and rough is None
    return Pointed(points, inside, box, rough, ambiguous and stroke is None)


def _thinned(points: Floats) -> Points:
    places = points.astype(np.float64)
    return places if len(places) <= MOST_POINTS else _spread(places, MOST_POINTS)


def along(stroke: Mask) -> Points:
    """Points along the middle of all strokes, far from each other; always the same ones.

    Args:
        stroke: (H, W) bool, not empty.

    Returns:
        (n, 2) float64, x and y of the centres of pixels, n between 1 and `STROKE_POINTS`.
    """
    depth = masks.depth(stroke)
    middle = stroke & (depth >= cv2.dilate(depth, np.ones((3, 3), dtype=np.uint8)))
    rows, columns = np.nonzero(middle)
    order = np.argsort(-depth[rows, columns], kind="stable")  # the surest first
    ridge = np.column_stack([columns, rows])[order].astype(np.float64) + 0.5
    return _spread(ridge, STROKE_POINTS, apart=float(depth.max()))


def _spread(points: Points, most: int, apart: float = 0.0) -> Points:
    """The first point, then ever the one farthest from those taken, while it is `apart` of them."""
    taken = [0]
    distance = np.full(len(points), np.inf)
    while len(taken) < most:
        distance = np.minimum(distance, np.hypot(*(points - points[taken[-1]]).T))
        farthest = int(distance.argmax())
        if distance[farthest] <= apart:
            break
        taken.append(farthest)
    return points[taken]


def _deepest(mask: Mask) -> Points:
    """(2,) float64, x and y of the pixel farthest from the mask's edge."""
    row, column = np.unravel_index(int(masks.depth(mask).argmax()), mask.shape)
    return np.array([column + 0.5, row + 0.5])


def _around(mask: Mask) -> Box:
    left, top, right, bottom = masks.box(mask)
    return float(left), float(top), float(right), float(bottom)


def as_logits(mask: Mask, inside: tuple[int, int], side: int, low: int) -> Floats:
    """A mask as SAM takes masks: what the decoder might have answered before.

    Args:
        mask: (H, W) bool.
        inside: size of the image within the encoder's square, pixels.
        side: of the square.
        low: pixels of the result's side.

    Returns:
        (low, low) float32: `SURE` where the mask covers the cell, −`SURE` where it does not and
        beyond the image, between them where it covers a part.
    """
    rows, columns = (max(1, round(extent * low / side)) for extent in inside)
    cover = cv2.resize(mask.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    planes = np.full((low, low), -SURE, dtype=np.float32)
    planes[:rows, :columns] = (2 * cover - 1) * SURE
    return planes
