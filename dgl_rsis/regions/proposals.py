"""Class-agnostic mask proposals from a hierarchy of regions: no weights, CPU only.

[paper] mask proposals. [ours] the provider `regions`: the tree of `regions.tree`, cut at
several levels. Every proposal is a node of the tree.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.masks import box, planes
from dgl_rsis.regions.tree import (
    RegionTree,
    TreeParameters,
    as_proposals,
    build_tree,
    merge_costs,
)
from dgl_rsis.types import RGB, Mask, Proposals


@dataclass(frozen=True)
class RegionParameters(TreeParameters):
    """How the tree is built and cut. Masks have the size of the tree.

    Attributes:
        levels: regions that each cut leaves in an image of 1024²; scaled with the area.
        min_regions: no cut leaves fewer.
        objects: further nodes, those with the strongest outlines; 0 for none. Small things of a
            class that nobody asked for disappear in the cuts, and these keep them.
        min_area: pixels; smaller nodes are none of them.
        max_area: pixels; larger nodes are none of them; None for half of the image.
    """

    levels: tuple[int, ...] = (384, 128, 32)
    min_regions: int = 8
    objects: int = 0
    min_area: int = 32
    max_area: int | None = None


def propose(image: RGB, parameters: RegionParameters) -> Proposals:
    """Masks of the regions at every level of the hierarchy, and of its strongest nodes.

    Args:
        image: (H, W, 3) uint8.
        parameters: see there.

    Returns:
        See `cut`.
    """
    return cut(build_tree(image, parameters), parameters)


def cut(tree: RegionTree, parameters: RegionParameters) -> Proposals:
    """The same from a tree that is there already.

    Each level partitions the image, so every pixel lies in at least one mask. A region that two
    cuts share is returned once.

    Args:
        tree: of the image.
        parameters: those of the cut are read.

    Returns:
        Proposals, fine to coarse, then the further nodes; `quality` is the strength of a region's
        outline: the cost of merging it into its parent, as a share of the greatest such cost.
    """
    nodes = _cuts(tree, parameters)
    nodes += _strongest(tree, set(nodes), parameters)
    return as_proposals(tree, nodes)


def boxes_of_masks(proposed: Proposals) -> NDArray[np.int64]:
    """The boxes in pixels of the masks, which may be smaller than the image: (N, 4) XYXY."""
    rows, columns = proposed.masks.shape[1:]
    boxes = proposed.boxes / np.array([proposed.width / columns, proposed.height / rows] * 2)
    return np.hstack([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])]).astype(np.int64)


def joined(proposed: Proposals, masks: Sequence[Mask]) -> Proposals:
    """Further masks behind the proposals, with a middling quality.

    Args:
        proposed: N of them.
        masks: (h, w) bool each, none empty; at least one.
    """
    further = of_masks(masks, proposed.height, proposed.width)
    corners = np.concatenate([boxes_of_masks(proposed), boxes_of_masks(further)])
    quality = np.full(len(masks), np.median(proposed.quality), dtype=np.float32)
    return Proposals(
        _planes([*proposed.masks, *masks], corners),
        np.concatenate([proposed.boxes, further.boxes]),
        np.concatenate([proposed.quality, quality]),
        proposed.height,
        proposed.width,
    )


def of_masks(masks: Sequence[Mask], height: int, width: int) -> Proposals:
    """Masks as proposals, all of the same quality, 1.

    Args:
        masks: (h, w) bool each, none empty; at least one.
        height: H of the image, pixels.
        width: W.
    """
    rows, columns = masks[0].shape
    inside = np.array([box(mask) for mask in masks])  # (N, 4)
    boxes = inside * np.array([width / columns, height / rows] * 2)
    boxes = np.hstack([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])]).astype(np.int32)
    quality = np.ones(len(masks), dtype=np.float32)
    return Proposals(_planes(masks, inside), boxes, quality, height, width)


def _planes(masks: Sequence[Mask], boxes: NDArray[np.int64]) -> Mask:
    """Masks in one array, (N, h, w); nothing of them lies outside their boxes, (N, 4) XYXY pixels.

    Only what lies in the boxes is copied: most of these planes is empty and stays untouched.
    """
    joined = planes(len(masks), *masks[0].shape)
    for plane, mask, (left, top, right, bottom) in zip(joined, masks, boxes.tolist(), strict=True):
        plane[top:bottom, left:right] = mask[top:bottom, left:right]
    return joined


def _cuts(tree: RegionTree, parameters: RegionParameters) -> list[int]:
    """Nodes that some cut leaves, each once, fine to coarse."""
    ascending = np.sort(tree.cost)
    merging = merge_costs(tree)
    nodes: dict[int, None] = {}  # a set that keeps its order
    for level in parameters.levels:
        regions = max(parameters.min_regions, round(level * tree.leaves.size / 1024**2))
        limit = ascending[-regions] if regions <= len(ascending) else -1.0
        # A cut keeps the nodes made below the limit whose parents are made at or above it.
        kept = ((tree.cost < limit) | (tree.cost == 0.0)) & (merging >= limit)
        nodes.update(dict.fromkeys(np.flatnonzero(kept).tolist()))
    return list(nodes)


def _strongest(tree: RegionTree, known: set[int], parameters: RegionParameters) -> list[int]:
    """The nodes that it costs most to merge away, without those that are known."""
    largest = 0.5 * tree.area.max() if parameters.max_area is None else parameters.max_area
    eligible = (tree.area >= parameters.min_area) & (tree.area <= largest)
    eligible[list(known)] = False
    nodes = np.flatnonzero(eligible)
    order = np.argsort(-merge_costs(tree)[nodes], kind="stable")
    strongest: list[int] = nodes[order[: parameters.objects]].tolist()
    return strongest
