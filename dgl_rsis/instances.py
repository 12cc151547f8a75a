"""Candidates for a noun: nodes of the tree of regions, chosen once the noun is known. [ours].

Cuts of the tree are made before anybody asks, and have no room for small things. Here every node
has a mask feature, from sums over the leaves, so that thousands of nodes cost little more than a
hundred masks; of each nested pair of near-duplicates the better one stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from dgl_rsis import features, region_tree
from dgl_rsis.features import DenseFeatures
from dgl_rsis.models import ClipModel
from dgl_rsis.region_tree import RegionTree
from dgl_rsis.types import Floats

Nodes = NDArray[np.int64]  # (n,) numbers of nodes


@dataclass(frozen=True)
class NodeParameters:
    """Which nodes are candidates.

    Attributes:
        count: candidates for the noun.
        anchors: further ones for each anchor.
        min_area: pixels; smaller nodes are none.
        max_share: of the image; larger nodes are none.
        outline: exponent of a node's outline against its class probability; measured on generated
            scenes: 0.25 to 0.5 are alike, without it small pure pieces of things win.
        overlap: of two nested nodes whose IoU is greater only the better one is a candidate.
    """

    count: int = 250
    anchors: int = 30
    min_area: int = 24
    max_share: float = 0.4
    outline: float = 0.5
    overlap: float = 0.8


def node_features(clip: ClipModel, dense: DenseFeatures, tree: RegionTree) -> Tensor:
    """`features.mask_features` of every node of a tree.

    Args:
        clip: the model.
        dense: of the image.
        tree: of the same image.

    Returns:
        (N, D) float32, L2 norm 1. A pixel counts for the patch that its middle lies in.
    """
    rows, columns, width = dense.values.shape
    height, breadth = tree.leaves.shape
    down = _cells(height, dense.height / dense.patch)
    across = _cells(breadth, dense.width / dense.patch)
    cells = down[:, None] * columns + across  # (h, w)
    ones = np.ones(cells.size, dtype=np.float32)
    shares = sparse.coo_matrix(
        (ones, (tree.leaves.reshape(-1), cells.reshape(-1))),
        shape=(tree.leaf_count, rows * columns),
    ).tocsr()  # (L, h · w) pixels of a leaf in a patch
    sums = shares @ dense.values.cpu().numpy().reshape(rows * columns, width)  # (L, E)
    before = np.concatenate([np.zeros((1, width)), np.cumsum(sums, axis=0, dtype=np.float64)])
    means = (before[tree.last] - before[tree.first]) / tree.area[:, None]
    values = torch.from_numpy(means.astype(np.float32)).to(clip.device)[:, None]  # (N, 1, E)
    with torch.inference_mode():
        return features.pool(clip, values, values.new_ones(len(values), 1, 1))[:, 0]


def candidates(tree: RegionTree, likely: Floats, parameters: NodeParameters | None = None) -> Nodes:
    """Nodes that may be the noun or one of its anchors.

    Args:
        tree: N nodes.
        likely: (N, C) float32 in [0, 1], how probably each is of the noun's class, then of those
            of its anchors.
        parameters: default `NodeParameters()`.

    Returns:
        Each node once, those for the noun first, best first.
    """
    parameters = parameters or NodeParameters()
    strength = region_tree.outlines(tree) ** parameters.outline
    largest = parameters.max_share * tree.leaves.size
    eligible = (tree.area >= parameters.min_area) & (tree.area <= largest)
    found: dict[int, None] = {}
    for index, of_class in enumerate(likely.T):
        most = parameters.anchors if index else parameters.count
        scores = np.where(eligible, of_class * strength, -1.0)
        found.update(dict.fromkeys(_best(tree, scores, most, parameters.overlap)))
    return np.fromiter(found, dtype=np.int64, count=len(found))


def _cells(pixels: int, patches: float) -> NDArray[np.int64]:
    """(pixels,) the patch that the middle of each pixel lies in, along one axis."""
    cells: NDArray[np.int64] = ((np.arange(pixels) + 0.5) * (patches / pixels)).astype(np.int64)
    return cells


def _best(tree: RegionTree, scores: Floats, most: int, overlap: float) -> Sequence[int]:
    """The highest scores of at least 0 among nodes that are no near-duplicates of better ones.

    Nodes overlap only where one holds the other: their IoU is the ratio of their areas.
    """
    kept = np.empty(most, dtype=np.int64)
    count = 0
    for node in np.argsort(-scores, kind="stable").tolist():
        if count == most or scores[node] < 0:
            break
        others = kept[:count]
        common = np.minimum(tree.last[others], tree.last[node]) > np.maximum(
            tree.first[others], tree.first[node]
        )
        small = np.minimum(tree.area[others], tree.area[node])
        large = np.maximum(tree.area[others], tree.area[node])
        if not (common & (small > overlap * large)).any():
            kept[count] = node
            count += 1
    chosen: list[int] = kept[:count].tolist()
    return chosen
