"""Where in the tree a prompt lies."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.prompts import Pixels, pixels_at
from dgl_rsis.regions.tree import RegionTree
from dgl_rsis.types import Mask, Prompt


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
    leaves: NDArray[np.int64]

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


def located(prompt: Prompt, tree: RegionTree) -> Points:
    """The points of a prompt that was checked for the tree's image, the positive ones first."""
    pixels = np.concatenate(
        [
            pixels_at(points, tree.height, tree.width)
            for points in (prompt.positive, prompt.negative)
        ]
    )
    positive = np.arange(len(pixels)) < len(prompt.positive)
    return at_pixels(pixels, positive, tree)


def at_pixels(pixels: Pixels, positive: Mask, tree: RegionTree) -> Points:
    """Points at (n, 2) rows and columns of the image."""
    rows, columns = _small(pixels, tree).T
    return Points(pixels, positive, tree.leaves[rows, columns].astype(np.int64))


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
