"""What somebody asks for, as it crosses the queue → as the algorithm knows it; and what agrees."""

from collections.abc import Sequence

import numpy as np

from dgl_rsis import masks
from dgl_rsis.runs import Runs, from_runs
from dgl_rsis.types import Floats, InputError, Mask, Prompt
from workers.messages import Point, VisualPrompt

WAYS_OUT = {
    "strokes": "draw them on this image",
    "outline": "draw it on this image",
    "mask to correct": "delete the region, and click again",
    "exemplar": "draw or click one on this image",
    "mask of what is known": "delete the regions that were made on another image",
}


def to_prompt(pointed: VisualPrompt, height: int, width: int) -> Prompt:
    """A prompt in pixels of its image.

    Args:
        pointed: in shares of the image's width and height.
        height: of the image as a browser shows it, pixels.
        width: likewise.

    Raises:
        InputError: strokes, an outline, or a mask to correct, of another size than the image.
    """
    box = pointed.box
    return Prompt(
        positive=_pixels(pointed.positive, height, width),
        negative=_pixels(pointed.negative, height, width),
        box=None
        if box is None
        else (box[0] * width, box[1] * height, box[2] * width, box[3] * height),
        stroke=_drawn(pointed.strokes, "strokes", height, width),
        outline=_drawn(pointed.outline, "outline", height, width),
        prior=_drawn(pointed.prior, "mask to correct", height, width),
    )


def to_mask(runs: Runs, name: str, height: int, width: int) -> Mask:
    """A mask of an image: (height, width) bool.

    Args:
        runs: as they crossed the queue.
        name: what it is, one of `WAYS_OUT`.
        height: of the image as a browser shows it, pixels.
        width: likewise.

    Raises:
        InputError: it is of another size, or its runs do not add up.
    """
    if (runs.height, runs.width) != (height, width):
        raise InputError(
            f"the {name}: made on {runs.width} × {runs.height} pixels, but the image has {width} × "
            f"{height}: {WAYS_OUT[name]}"
        )
    try:
        return from_runs(runs)
    except ValueError as error:
        raise InputError(f"the {name}: {error}") from None


def agreement(mask: Mask, prompt: Prompt) -> float:
    """How far a mask is what a prompt shows: [0, 1]; 1 where the prompt shows nothing.

    The mean over its parts: the share of points on the right side of the mask, the overlap (IoU)
    with the box and with the outline, the share of the stroke that is inside.
    """
    points = len(prompt.positive) + len(prompt.negative)
    shares = [_on_the_right_side(mask, prompt)] if points else []
    if prompt.box is not None:
        shares.append(_box_overlap(masks.box(mask), prompt.box) if mask.any() else 0.0)
    if prompt.outline is not None:
        shared = int((mask & prompt.outline).sum())
        shares.append(shared / max(1, int((mask | prompt.outline).sum())))
    if prompt.stroke is not None:
        shares.append(int((mask & prompt.stroke).sum()) / max(1, int(prompt.stroke.sum())))
    return float(np.mean(shares)) if shares else 1.0


def _pixels(points: Sequence[Point], height: int, width: int) -> Floats:
    shares = np.array(points, dtype=np.float32).reshape(-1, 2)
    scaled: Floats = shares * np.array([width, height], dtype=np.float32)
    return scaled


def _drawn(runs: Runs | None, name: str, height: int, width: int) -> Mask | None:
    return None if runs is None else to_mask(runs, name, height, width)


def _on_the_right_side(mask: Mask, prompt: Prompt) -> float:
    return float(
        np.mean([*_at(mask, prompt.positive).tolist(), *(~_at(mask, prompt.negative)).tolist()])
    )


def _at(mask: Mask, points: Floats) -> Mask:
    """(n,) bool: whether the pixels at these points belong to the mask."""
    height, width = mask.shape
    columns = np.clip(np.floor(points[:, 0]), 0, width - 1).astype(np.int64)
    rows = np.clip(np.floor(points[:, 1]), 0, height - 1).astype(np.int64)
    inside: Mask = mask[rows, columns]
    return inside


def _box_overlap(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> float:
    """Intersection over union of two XYXY boxes."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, wide) * max(0.0, high)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / max(areas - shared, 1e-9)
