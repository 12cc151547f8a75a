"""The cheapest labelling of a tree: which leaves are inside, if it costs to differ from a parent.

[ours] A Markov field of two labels on a tree; its minimum is found exactly, from the leaves up and
down again.
"""

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.regions.tree import RegionTree
from dgl_rsis.types import Mask

Costs = NDArray[np.float64]
Ranks = NDArray[np.int64]
SURE = 1e6  # cost of a leaf on the wrong side; far above all others together


def labelled(
    tree: RegionTree, pairwise: Costs, unary: Costs, inside: Ranks, outside: Ranks, free: Ranks
) -> Mask:
    """(L,) whether each leaf is inside, at the least cost.

    Args:
        tree: the hierarchy.
        pairwise: (N,) cost of differing from the parent.
        unary: (L, 2) cost of each leaf outside and inside.
        inside: ranks of leaves that have to be.
        outside: ranks of leaves that must not be, unless they are among those.
        free: ranks of further leaves that may differ from what is around them; all others follow
            the smallest node around them that holds one of these or those.
    """
    sure = np.zeros_like(unary)
    sure[outside] = 0.0, SURE
    sure[inside] = SURE, 0.0
    nodes = _ancestors(tree, np.concatenate([inside, outside, free]))
    without, within = _own_costs(tree, unary, sure, nodes)
    parent = tree.parent[nodes].tolist()
    place = dict(zip(nodes.tolist(), range(len(nodes)), strict=True))
    above = [place.get(node, -1) for node in parent]
    differing = pairwise[nodes].tolist()
    for i, up in enumerate(above):  # a parent comes after its children
        if up >= 0:
            without[up] += min(without[i], within[i] + differing[i])
            within[up] += min(within[i], without[i] + differing[i])
    return _painted_down(tree, nodes, above, differing, without, within)


def _painted_down(
    tree: RegionTree,
    nodes: Ranks,
    above: list[int],
    differing: list[float],
    without: list[float],
    within: list[float],
) -> Mask:
    labels = [False] * len(nodes)
    inside = np.zeros(tree.leaf_count, dtype=np.bool_)
    first, last = tree.first[nodes].tolist(), tree.last[nodes].tolist()
    for i in range(len(nodes) - 1, -1, -1):
        around = above[i] >= 0 and labels[above[i]]
        same, other = (within[i], without[i]) if around else (without[i], within[i])
        labels[i] = around if same <= other + differing[i] else not around
        if labels[i] != around:
            inside[first[i] : last[i]] = labels[i]
    return inside


def _ancestors(tree: RegionTree, ranks: Ranks) -> Ranks:
    """Nodes that hold one of the leaves, children before parents."""
    seen = np.zeros(tree.leaf_count + 1, dtype=np.int64)
    seen[1:][ranks] = 1
    held: Ranks = np.cumsum(seen)
    return np.flatnonzero(held[tree.last] > held[tree.first])


def _own_costs(
    tree: RegionTree, unary: Costs, sure: Costs, nodes: Ranks
) -> tuple[list[float], list[float]]:
    """Of each node outside and inside: of a leaf its own, else of what no child below speaks for.

    Whatever is no ancestor of a free leaf follows its parent, so that its cost is the parent's.
    """
    sums = np.vstack([np.zeros((1, 2)), np.cumsum(unary, axis=0)])  # (L + 1, 2)
    own = np.zeros((len(tree), 2))  # (N, 2)
    own[nodes] = sums[tree.last[nodes]] - sums[tree.first[nodes]]
    whole = own.copy()
    below = nodes[tree.parent[nodes] >= 0]
    np.subtract.at(own, tree.parent[below], whole[below])
    leaves = nodes[nodes < tree.leaf_count]
    own[leaves] += sure[tree.first[leaves]]
    return own[nodes, 0].tolist(), own[nodes, 1].tolist()
