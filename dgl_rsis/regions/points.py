"""Reading a prompt: is it one, and where in the image and in the tree does it lie."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.regions.tree import RegionTree
from dgl_rsis.types import Floats, InputError, Mask, Prompt

Pixels = NDArray[np.int64]  # (n, 2), row and column
Box = tuple[float, float, float, float]
SHAPES: tuple[Literal["stroke", "outline", "prior"], ...] = ("stroke", "outline", "prior")


@dataclass(frozen=True)
class Points:
    """Where somebody clicked, and on which leaves.

    Attributes:
        pixels: (n, 2) row and column in the image.
        positive: (n,) bool.
        leaves: (n,) ranks.
    """

    pixels: Pixels
    positive: Mask
    leaves: Pixels

    def where(self, chosen: Mask) -> "Points":
        """Some of them."""
        return Points(self.pixels[chosen], self.positive[chosen], self.leaves[chosen])

    def joined(self, others: "Points") -> "Points":
        """All of both."""
        return Points(
            np.concatenate([self.pixels, others.pixels]),
            np.concatenate([self.positive, others.positive]),
            np.concatenate([self.leaves, others.leaves]),
        )

    def inside(self, mask: Mask) -> Mask:
        """(n,) whether the mask holds each."""
        held: Mask = mask[self.pixels[:, 0], self.pixels[:, 1]]
        return held


def has_shape(prompt: Prompt) -> bool:
    """Whether more than points and a prior mask were given."""
    return prompt.box is not None or prompt.stroke is not None or prompt.outline is not None


def checked(prompt: Prompt, tree: RegionTree) -> Prompt:
    """The prompt with its box cut to the image, and without a prior that is empty.

    Raises:
        InputError: the prompt says nothing, or a shape of it does not fit the image.
    """
    for name in SHAPES:
        shape = getattr(prompt, name)
        if shape is not None and shape.shape != (tree.height, tree.width):
            raise InputError(
                f"the {name} has {shape.shape} pixels, the image {(tree.height, tree.width)} "
                "(rows, columns): give it at the size of the image"
            )
        if name != "prior" and shape is not None and not shape.any():
            raise InputError(f"the {name} is empty: draw it again, or click on the object")
    # An empty prior says as much as none.
    if prompt.prior is not None and not prompt.prior.any():
        prompt = replace(prompt, prior=None)
    corrects = prompt.prior is not None and len(prompt.negative) > 0
    if not (len(prompt.positive) or has_shape(prompt) or corrects):
        raise InputError(
            "the prompt says nothing about what belongs to the object: add a positive point, a box "
            "or a stroke"
        )
    return prompt if prompt.box is None else replace(prompt, box=_cut(prompt.box, tree))


def _cut(box: Box, tree: RegionTree) -> Box:
    if not np.isfinite(box).all():
        raise InputError(f"the box {box} has a corner that is no number")
    left, top = max(0.0, min(box[0], box[2])), max(0.0, min(box[1], box[3]))
    right = min(float(tree.width), max(box[0], box[2]))
    bottom = min(float(tree.height), max(box[1], box[3]))
    if right - left < 1 or bottom - top < 1:
        raise InputError(
            f"the box {box} covers less than a pixel of the image of {tree.width} × {tree.height}: "
            "draw it around the object"
        )
    return left, top, right, bottom


def located(prompt: Prompt, tree: RegionTree) -> Points:
    """The points of a prompt, the positive ones first.

    Raises:
        InputError: one lies outside the image, or two contradict each other.
    """
    pixels = np.concatenate([_pixels(prompt.positive, tree), _pixels(prompt.negative, tree)])
    positive = np.arange(len(pixels)) < len(prompt.positive)
    places = pixels[:, 0] * tree.width + pixels[:, 1]
    both = np.intersect1d(places[positive], places[~positive])
    if len(both):
        row, column = divmod(int(both[0]), tree.width)
        raise InputError(
            f"the pixel at x {column}, y {row} is marked as inside and as outside: remove one of "
            "the two points"
        )
    return at_pixels(pixels, positive, tree)


def at_pixels(pixels: Pixels, positive: Mask, tree: RegionTree) -> Points:
    """Points at (n, 2) rows and columns of the image."""
    rows, columns = _small(pixels, tree).T
    return Points(pixels, positive, tree.leaves[rows, columns].astype(np.int64))


def _pixels(points: Floats, tree: RegionTree) -> Pixels:
    places = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    size = np.array([tree.width, tree.height])
    wrong = ~((places >= 0) & (places <= size)).all(axis=1)
    if wrong.any():
        x, y = places[wrong][0].tolist()
        raise InputError(
            f"the point at x {x:g}, y {y:g} lies outside the image of {tree.width} × {tree.height} "
            "pixels: give points in pixels of this image"
        )
    # The outer edge of the last pixel still belongs to it.
    inside: Pixels = np.minimum(places.astype(np.int64), size - 1)[:, ::-1]
    return inside


def _small(pixels: Pixels, tree: RegionTree) -> Pixels:
    """Row and column at the size of the leaves."""
    height, width = tree.leaves.shape
    scaled: Pixels = pixels * np.array([height, width]) // np.array([tree.height, tree.width])
    return scaled


def at_full_size(tree: RegionTree, inside: Mask) -> Mask:
    """(L,) leaves → (H, W) pixels, by the nearest."""
    mask: Mask = inside[tree.leaves]
    height, width = mask.shape
    if (height, width) == (tree.height, tree.width):
        return mask
    rows = np.arange(tree.height) * height // tree.height
    columns = np.arange(tree.width) * width // tree.width
    full: Mask = mask[rows[:, None], columns]
    return full


def at_leaf_size(tree: RegionTree, mask: Mask) -> Mask:
    """(H, W) → (h, w), by the nearest."""
    height, width = tree.leaves.shape
    if mask.shape == (height, width):
        return mask
    rows = ((np.arange(height) + 0.5) * tree.height / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * tree.width / width).astype(np.intp)
    small: Mask = mask[rows[:, None], columns]
    return small
