"""A hierarchy of regions over an image: no weights, CPU only.

[ours] A watershed over-segmentation in CIELAB, merged bottom-up by Ward's criterion on colour,
texture and the strength of the shared border. `proposals` cuts it, `refinement` picks nodes of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from dgl_rsis.masks import planes
from dgl_rsis.regions import merging
from dgl_rsis.regions.merging import Labels
from dgl_rsis.types import RGB, Floats, InputError, Mask, Proposals

SIZES = ("height", "width")
PARTS = 32  # that are compared with all nodes at a time


@dataclass(frozen=True)
class TreeParameters:
    """How a tree is built.

    Attributes:
        max_side: longer images are segmented at this size, pixels.
        texture_weight: weight of the difference of texture against that of colour.
        edge_weight: weight of the gradient along the shared border.
        smoothing: standard deviation of the Gaussian before the watershed, pixels.
        seed_distance: least distance of two seeds, pixels.
        border_weight: gradient that a sure border of an object counts as, where borders are known,
            CIELAB units a pixel.
    """

    max_side: int = 1024
    texture_weight: float = 1.0
    edge_weight: float = 4.0
    smoothing: float = 1.0
    seed_distance: int = 5
    border_weight: float = 70.0


@dataclass(frozen=True, eq=False)
class RegionTree:
    """Regions, and how they join. Its arrays cannot be written to.

    Nodes 0 … L−1 are the leaves, later ones are merges of two, so that a parent's number is above
    its children's. Leaves have ranks, the order in which a walk down the tree meets them: those
    under node n have the ranks first[n] … last[n] − 1.

    Attributes:
        leaves: (h, w) int32, the rank of each pixel's leaf.
        parent: (N,) int32, -1 for a root.
        first, last: (N,) int32, ranks.
        area: (N,) int32, pixels of `leaves`.
        cost: (N,) float64, cost of the merge that made the node, 0 for a leaf; no node's is above
            its parent's.
        box: (N, 4) int32, XYXY pixels of `leaves`, right and bottom edge excluded.
        outline: (N, 2) float32, pixels of a node's border with others, and the mean gradient along
            it, CIELAB units a pixel.
        pairs: (M, 2) int32, ranks of the leaves that touch, the smaller first.
        contrast: (M,) float32, mean gradient along their border.
        height, width: of the image, pixels; `leaves` may be smaller.
    """

    leaves: Labels
    parent: Labels
    first: Labels
    last: Labels
    area: Labels
    cost: NDArray[np.float64]
    box: Labels
    outline: Floats
    pairs: Labels
    contrast: Floats
    height: int
    width: int

    def __post_init__(self) -> None:
        for array in self._arrays().values():
            array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.parent)

    @property
    def leaf_count(self) -> int:
        """L."""
        return (len(self) + int((self.parent < 0).sum())) // 2

    @property
    def nbytes(self) -> int:
        """Memory that the arrays take."""
        return sum(array.nbytes for array in self._arrays().values())

    def mask(self, node: int) -> Mask:
        """(h, w) bool, the pixels of a node at the size of `leaves`."""
        mask = np.zeros(self.leaves.shape, dtype=np.bool_)
        self.draw(node, mask)
        return mask

    def draw(self, node: int, mask: Mask) -> None:
        """Add the pixels of a node to a mask, (h, w) bool."""
        left, top, right, bottom = self.box[node]
        part = self.leaves[top:bottom, left:right]
        inside = (part >= self.first[node]) & (part < self.last[node])
        mask[top:bottom, left:right] |= inside

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All of it, as `numpy.savez` takes it: no pickling needed."""
        return {**self._arrays(), **{name: np.asarray(getattr(self, name)) for name in SIZES}}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The tree that `to_arrays` took apart; `numpy.load` of an .npz file serves, too.

        Raises:
            InputError: an array is missing.
        """
        missing = [f.name for f in fields(cls) if f.name not in arrays]
        if missing:
            raise InputError(f"no region tree: {', '.join(missing)} missing; build it anew")
        given: dict[str, Any] = {
            f.name: int(arrays[f.name]) if f.name in SIZES else arrays[f.name] for f in fields(cls)
        }
        return cls(**given)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in SIZES}


def build_tree(
    image: RGB,
    parameters: TreeParameters,
    borders: Floats | None = None,
    within: Mask | None = None,
) -> RegionTree:
    """The tree of an image.

    Args:
        image: (H, W, 3) uint8.
        parameters: see there.
        borders: (H, W) float32 in [0, 1], how likely the border of an object runs through each
            pixel; None where nobody knows.
        within: (H, W) bool, where regions are wanted: the rest is one leaf, which merges with none
            and costs no time. None for everywhere.
    """
    height, width = image.shape[:2]
    small = _shrunk(image, min(1.0, parameters.max_side / max(height, width)))
    strong = np.zeros(small.shape[:2], dtype=np.float32)
    if borders is not None:
        sized = cv2.resize(borders, small.shape[1::-1], interpolation=cv2.INTER_AREA)
        strong += np.float32(parameters.border_weight) * sized
    wanted = np.ones(small.shape[:2], dtype=np.bool_)
    if within is not None:
        shares = cv2.resize(
            within.astype(np.float32), small.shape[1::-1], interpolation=cv2.INTER_AREA
        )
        wanted = shares > 0
    basins, channels, gradient = _oversegment(small, strong, wanted, parameters)
    outside = merging.NO_LEAF if wanted.all() else int(basins[~wanted][0])
    grown = merging.grow(basins, channels, gradient, parameters.edge_weight, outside)
    leaves = grown.first[: basins.max() + 1][basins]
    return RegionTree(leaves=leaves, height=height, width=width, **vars(grown))


def best_match(
    tree: RegionTree, labels: Labels, numbers: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The node that has the greatest IoU with each of some parts of an image, and that: (M,) each.

    Args:
        tree: of N nodes.
        labels: (h, w) as the tree's leaves, the number of each pixel's part.
        numbers: M of them.
    """
    rows = np.full(int(labels.max(initial=0)) + 1, -1)
    rows[list(numbers)] = np.arange(len(numbers))
    row = rows[labels]  # (h, w), −1 outside of these parts
    inside = row >= 0
    common = np.zeros((len(numbers), tree.leaf_count + 1))  # (M, L + 1)
    np.add.at(common, (row[inside], tree.leaves[inside] + 1), 1)
    upto = common.cumsum(axis=1)  # of the leaves before each rank: a node's are a difference
    nodes, ious = np.zeros(len(numbers), dtype=np.int64), np.zeros(len(numbers))
    for first in range(0, len(numbers), PARTS):  # of all parts with all nodes would be large
        some = slice(first, first + PARTS)
        shared = upto[some, tree.last] - upto[some, tree.first]  # (m, N)
        iou = shared / (upto[some, -1:] + tree.area - shared)  # (m, N)
        nodes[some], ious[some] = iou.argmax(axis=1), iou.max(axis=1)
    return nodes, ious


def merge_costs(tree: RegionTree) -> NDArray[np.float64]:
    """(N,) the cost of merging each node into its parent; of a root infinite."""
    costs: NDArray[np.float64] = np.where(tree.parent < 0, np.inf, tree.cost[tree.parent])
    return costs


def as_proposals(tree: RegionTree, nodes: Sequence[int]) -> Proposals:
    """Nodes as masks.

    Their quality is the strength of their outline: the cost of merging a node into its parent, as a
    share of the greatest such cost.
    """
    masks = planes(len(nodes), *tree.leaves.shape)
    for mask, node in zip(masks, nodes, strict=True):
        tree.draw(node, mask)
    height, width = tree.leaves.shape
    boxes = tree.box[nodes] * np.array([tree.width / width, tree.height / height] * 2)
    boxes = np.hstack([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])]).astype(np.int32)
    greatest = float(tree.cost.max())
    costs = np.minimum(merge_costs(tree), greatest)[nodes].astype(np.float32)
    return Proposals(masks, boxes, costs / max(greatest, 1e-9), tree.height, tree.width)


def _shrunk(image: RGB, scale: float) -> RGB:
    if scale == 1.0:
        return image
    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def _steepest(gradients: Floats) -> Floats:
    """(H, W, 3) → (H, W): the maximum along the last axis, in a tenth of NumPy's time for that."""
    first, second, third = cv2.split(gradients)
    return np.asarray(cv2.max(cv2.max(first, second), third), dtype=np.float32)


def _oversegment(
    image: RGB, borders: Floats, wanted: Mask, parameters: TreeParameters
) -> tuple[Labels, Floats, Floats]:
    """Watershed basins, the four channels that merging compares, and the gradient."""
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)  # (H, W, 3)
    smooth = cv2.GaussianBlur(lab, (0, 0), parameters.smoothing)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, *axes, scale=1 / 8) for axes in ((1, 0), (0, 1)))
    gradient = _steepest(np.hypot(across, down))  # CIELAB units a pixel
    detail = np.abs(lab[..., 0] - cv2.GaussianBlur(lab[..., 0], (0, 0), 3.0))
    texture = cv2.GaussianBlur(detail, (0, 0), 3.0)
    relief = cv2.GaussianBlur(gradient, (0, 0), parameters.smoothing) + borders
    window = np.ones((parameters.seed_distance, parameters.seed_distance), dtype=np.uint8)
    minima = (cv2.erode(relief, window) == relief) & wanted
    seeds, count = ndimage.label(minima, structure=np.ones((3, 3)))
    basins = merging.flood(relief, seeds, wanted) - 1
    basins[basins < 0] = count  # not wanted, or a sliver of what is, without a minimum
    weighted = texture * np.float32(np.sqrt(parameters.texture_weight))
    return basins, np.dstack([smooth, weighted]), gradient + borders
