"""Region proposals that do not depend on where a scene is cut into windows. [ours].

`proposals` cuts the hierarchy of an image by the number of regions that a cut leaves. In a window
that number says little: in a calm one the same cut would split what stays whole in a busy one. So a
scene has limits of the cost of a merge, and they come from samples that know nothing of windows.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.masks import Cover, DrawnMasks
from dgl_rsis.regions.merging import Labels
from dgl_rsis.regions.proposals import RegionParameters
from dgl_rsis.regions.tree import RegionTree, build_tree, merge_costs
from dgl_rsis.types import RGB, Mask, Proposals

PLAIN_AREA = 1024**2  # pixels that `RegionParameters.levels` are meant for
MOST = 1.5  # times the regions that a level means


@dataclass(frozen=True)
class Kept:
    """The part of a window that proposals are needed for, pixels; bottom and right excluded."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Of rows and of columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def seen_from(self, row: int, column: int) -> "Kept":
        """The same part, in pixels of what begins so many rows above and columns to the left."""
        return Kept(self.top + row, self.bottom + row, self.left + column, self.right + column)


def limits(samples: Iterable[RGB], parameters: RegionParameters) -> tuple[float, ...]:
    """Costs that leave as many regions to an area, over all samples, as the levels say.

    Args:
        samples: (H, W, 3) uint8 each, of one scene.
        parameters: of the proposals.

    Returns:
        One cost for each level, ascending with the size of the regions; none without samples.
    """
    trees = [build_tree(sample, parameters) for sample in samples]
    if not trees:
        return ()
    costs = np.sort(np.concatenate([tree.cost for tree in trees]))
    area = sum(tree.leaves.size for tree in trees)
    counts = [max(len(trees), round(level * area / PLAIN_AREA)) for level in parameters.levels]
    return tuple(float(costs[-min(count, len(costs))]) for count in counts)


def propose(
    image: RGB, parameters: RegionParameters, costs: tuple[float, ...], window: Kept, kept: Kept
) -> Proposals:
    """Masks of the regions that cuts at these costs leave, as a window of the image shows them.

    A window that is far busier than the samples is cut higher, so that memory stays bounded.

    Args:
        image: (H, W, 3) uint8, the window and what surrounds it.
        parameters: of the tree; further nodes and numbers of regions do not matter here.
        costs: of `limits`.
        window: in pixels of the image.
        kept: in pixels of the image, inside the window; regions that lie elsewhere are left out,
            and every pixel of it is covered.
    """
    tree = build_tree(image, parameters)
    nodes = _cuts(tree, parameters, costs)
    left, top, right, bottom = tree.box[nodes].T
    near = (bottom > kept.top) & (top < kept.bottom) & (right > kept.left) & (left < kept.right)
    return _shown(tree, nodes[near], window)


def _cuts(
    tree: RegionTree, parameters: RegionParameters, costs: tuple[float, ...]
) -> NDArray[np.int64]:
    """Nodes that some cut leaves, each once, fine to coarse."""
    merged, ascending = merge_costs(tree), np.sort(tree.cost)
    distinct: dict[int, None] = {}
    for level, cost in zip(parameters.levels, costs, strict=True):
        most = max(parameters.min_regions, round(MOST * level * tree.leaves.size / PLAIN_AREA))
        limit = max(cost, float(ascending[-min(most, len(ascending))]))
        nodes = ((tree.cost < limit) | (tree.cost == 0.0)) & (merged >= limit)
        distinct.update(dict.fromkeys(np.flatnonzero(nodes).tolist()))
    return np.array(list(distinct), dtype=np.int64)


def _shown(tree: RegionTree, nodes: NDArray[np.int64], window: Kept) -> Proposals:
    """`tree.as_proposals`, with masks and boxes of a window only; the masks are drawn when read."""
    leaves = tree.leaves[window.slices]
    height, width = leaves.shape
    # Nodes with a leaf in the window: a box may reach further than its region.
    ranks = np.flatnonzero(np.bincount(leaves.reshape(-1)))
    ends = np.searchsorted(ranks, tree.last[nodes]), np.searchsorted(ranks, tree.first[nodes])
    nodes = nodes[ends[0] > ends[1]]
    offset = np.array([window.left, window.top] * 2)
    boxes = np.clip(tree.box[nodes] - offset, 0, [width, height] * 2).astype(np.int32)
    greatest = max(float(tree.cost.max()), 1e-9)
    quality = np.minimum(merge_costs(tree)[nodes], greatest) / greatest
    masks = cast(Mask, DrawnMasks(_cover(tree, nodes, leaves)))  # indexed as an array is
    return Proposals(masks, boxes, quality.astype(np.float32), height, width)


def _cover(tree: RegionTree, nodes: NDArray[np.int64], leaves: Labels) -> Cover:
    """Nodes are runs of ranks: between two ranks at which one begins or ends nothing changes."""
    first, last = tree.first[nodes], tree.last[nodes]  # (N,)
    begins = np.unique(np.concatenate([[0], first, last]))  # (U,)
    of_rank = np.searchsorted(begins, np.arange(tree.leaf_count), side="right") - 1
    members = (first[:, None] <= begins) & (begins < last[:, None])  # (N, U)
    return Cover(of_rank.astype(np.int32)[leaves], members)
