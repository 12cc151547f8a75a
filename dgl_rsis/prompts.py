"""Reading a prompt: is it one, and where in the image does it lie. Every provider starts here."""

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.types import Floats, InputError, Mask, Prompt

Box = tuple[float, float, float, float]  # XYXY
Pixels = NDArray[np.int64]  # (n, 2), row and column

SHAPES: tuple[Literal["stroke", "outline", "prior"], ...] = ("stroke", "outline", "prior")


def checked(prompt: Prompt, height: int, width: int) -> Prompt:
    """The prompt as it is meant, for one image.

    Its box is turned the right way round and cut to the image; a stroke, an outline or a prior mask
    without a pixel says as much as none, and is left out.

    Args:
        prompt: see there.
        height: of the image, pixels.
        width: likewise.

    Raises:
        InputError: nothing says what belongs to the object, and no negative point what does not
            belong to the mask to correct; a mask has another size than the image; the box covers
            less than a pixel of it; a point lies outside; one pixel is marked as inside and as
            outside.
    """
    meant = replace(
        prompt,
        box=None if prompt.box is None else _cut(prompt.box, height, width),
        stroke=_drawn(prompt.stroke, "stroke", height, width),
        outline=_drawn(prompt.outline, "outline", height, width),
        prior=_drawn(prompt.prior, "mask to correct", height, width),
    )
    if not _says_something(meant):
        for name in ("stroke", "outline"):
            if getattr(prompt, name) is not None:
                raise InputError(f"the {name} is empty: draw it again, or click on the object")
        raise InputError(
            "the prompt says nothing about what belongs to the object: add a positive point, a box "
            "or a stroke"
        )
    _check_marks(meant, height, width)
    return meant


def has_shape(prompt: Prompt) -> bool:
    """Whether more than points and a prior mask were given."""
    return prompt.box is not None or prompt.stroke is not None or prompt.outline is not None


def pixels_at(points: Floats, height: int, width: int) -> Pixels:
    """The pixels that points lie on.

    Args:
        points: (n, 2) float32, x and y; 0 is the outer edge of the first pixel.
        height: of the image, pixels.
        width: likewise.

    Returns:
        (n, 2) int64, row and column.

    Raises:
        InputError: a point lies outside the image.
    """
    places = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    size = np.array([width, height])
    within = ((places >= 0) & (places <= size)).all(axis=1)  # false for NaN
    if not within.all():
        x, y = places[~within][0].tolist()
        raise InputError(
            f"the point at x {x:g}, y {y:g} lies outside the image of {width} × {height} pixels: "
            "give points in pixels of this image"
        )
    # The outer edge of the last pixel still belongs to it.
    pixels: Pixels = np.minimum(places.astype(np.int64), size - 1)[:, ::-1]
    return pixels


def _says_something(prompt: Prompt) -> bool:
    corrects = prompt.prior is not None and len(prompt.negative) > 0
    return len(prompt.positive) > 0 or has_shape(prompt) or corrects


def _drawn(mask: Mask | None, name: str, height: int, width: int) -> Mask | None:
    """The mask, or None where it is empty."""
    if mask is None:
        return None
    if mask.shape != (height, width):
        raise InputError(
            f"the {name} has {mask.shape} pixels, the image {(height, width)} "
            "(rows, columns): give it at the size of the image"
        )
    return mask if mask.any() else None


def _cut(box: Box, height: int, width: int) -> Box:
    given = ", ".join(f"{corner:g}" for corner in box)
    if not np.isfinite(box).all():
        raise InputError(f"the box ({given}) has a corner that is no number")
    left, top = max(0.0, min(box[0], box[2])), max(0.0, min(box[1], box[3]))
    right, bottom = min(float(width), max(box[0], box[2])), min(float(height), max(box[1], box[3]))
    if right - left < 1 or bottom - top < 1:
        raise InputError(
            f"the box ({given}) covers less than a pixel of the image of {width} × {height}: draw "
            "it around the object"
        )
    return left, top, right, bottom


def _check_marks(prompt: Prompt, height: int, width: int) -> None:
    positive, negative = (
        pixels_at(points, height, width) @ (width, 1)
        for points in (prompt.positive, prompt.negative)
    )  # (n,), (m,) places in the image, row by row
    both = np.intersect1d(positive, negative)
    if len(both):
        row, column = divmod(int(both[0]), width)
        raise InputError(
            f"the pixel at x {column}, y {row} is marked as inside and as outside: remove one of "
            "the two points"
        )
