"""How regions merge into a tree, in plain Python: what the compiled loops have to agree with."""

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dgl_rsis.types import Floats

Labels = NDArray[np.int32]


@dataclass
class Growing:
    """A tree while it grows: nodes 0 … n−1 are the leaves; each merge appends one.

    Attributes:
        area: pixels of each node.
        colour: its mean CIELAB and texture, weighted.
        borders: of each node that is no child yet, neighbour → (length, sum of gradients).
        parent: −1 for none.
        seams: of each merge, the border that it removed, as in `borders`.
    """

    area: list[float]
    colour: list[tuple[float, ...]]
    borders: list[dict[int, tuple[float, float]]]
    parent: list[int]
    seams: list[tuple[float, float]]


def leaves_of(labels: Labels, channels: Floats, gradient: Floats) -> Growing:
    """A tree of leaves, none of them merged.

    Args:
        labels: (h, w) int32, the leaf of each pixel, from 0.
        channels: (h, w, 4) float32, what their means compare.
        gradient: (h, w) float32, at least 0: how likely a border runs through each pixel.
    """
    count = int(labels.max()) + 1
    flat = labels.reshape(-1)
    area = np.bincount(flat, minlength=count).astype(float)
    sums = [np.bincount(flat, channels[..., c].reshape(-1), count) for c in range(4)]
    borders: list[dict[int, tuple[float, float]]] = [{} for _ in range(count)]
    for first, second, strength in (
        (labels[:, :-1], labels[:, 1:], np.maximum(gradient[:, :-1], gradient[:, 1:])),
        (labels[:-1], labels[1:], np.maximum(gradient[:-1], gradient[1:])),
    ):
        _add_borders(borders, first, second, strength)
    colour = list(zip(*((s / area).tolist() for s in sums), strict=True))
    return Growing(area.tolist(), colour, borders, [-1] * count, [])


def set_apart(tree: Growing, leaf: int) -> None:
    """Take away a leaf's borders, so that it stays a root of its own."""
    for other in tree.borders[leaf]:
        del tree.borders[other][leaf]
    tree.borders[leaf] = {}


def _add_borders(
    borders: list[dict[int, tuple[float, float]]], first: Labels, second: Labels, strength: Floats
) -> None:
    """Count border pixels and sum their gradients for every pair of touching regions."""
    touching = first != second
    low = np.minimum(first, second)[touching].astype(np.int64)
    high = np.maximum(first, second)[touching].astype(np.int64)
    pairs, inverse = np.unique(low * len(borders) + high, return_inverse=True)
    lengths = np.bincount(inverse).tolist()
    sums = np.bincount(inverse, strength[touching]).tolist()
    for pair, length, total in zip(pairs.tolist(), lengths, sums, strict=True):
        a, b = divmod(pair, len(borders))
        before = borders[a].get(b, (0.0, 0.0))
        borders[a][b] = borders[b][a] = (before[0] + length, before[1] + total)


def merge(tree: Growing, edge_weight: float) -> list[float]:
    """Merge the cheapest pair until none touch: the cost of making each node, of leaves 0.

    Args:
        tree: its leaves; merges are appended.
        edge_weight: of the squared mean gradient along a border, against squared differences.
    """
    heap = [
        (_cost(tree, a, b, edge_weight), a, b)
        for a, neighbours in enumerate(tree.borders)
        for b in neighbours
        if a < b
    ]
    heapq.heapify(heap)
    costs = [0.0] * len(tree.area)
    while heap:
        cost, a, b = heapq.heappop(heap)
        if tree.parent[a] >= 0 or tree.parent[b] >= 0:
            continue  # one of them has been merged since
        node = _join(tree, a, b)
        costs.append(max(cost, costs[a], costs[b]))  # monotone, so that a cut is a threshold
        for other in tree.borders[node]:
            heapq.heappush(heap, (_cost(tree, node, other, edge_weight), node, other))
    return costs


def _cost(tree: Growing, a: int, b: int, edge_weight: float) -> float:
    """Ward: the rise of the squared error if a and b become one, border strength added."""
    difference = sum((x - y) ** 2 for x, y in zip(tree.colour[a], tree.colour[b], strict=True))
    length, total = tree.borders[a][b]
    edge = edge_weight * (total / length) ** 2
    return tree.area[a] * tree.area[b] / (tree.area[a] + tree.area[b]) * (difference + edge)


def _join(tree: Growing, a: int, b: int) -> int:
    node, area = len(tree.area), tree.area[a] + tree.area[b]
    tree.seams.append(tree.borders[a][b])
    share = tree.area[a] / area
    tree.colour.append(
        tuple(
            share * x + (1 - share) * y for x, y in zip(tree.colour[a], tree.colour[b], strict=True)
        )
    )
    tree.area.append(area)
    tree.parent[a] = tree.parent[b] = node
    tree.parent.append(-1)
    joined: dict[int, tuple[float, float]] = {}
    for part in (a, b):
        for other, (length, total) in tree.borders[part].items():
            if other in (a, b):
                continue
            before = joined.get(other, (0.0, 0.0))
            joined[other] = (before[0] + length, before[1] + total)
            del tree.borders[other][part]
        tree.borders[part] = {}
    for other, border in joined.items():
        tree.borders[other][node] = border
    tree.borders.append(joined)
    return node


def touching(borders: list[dict[int, tuple[float, float]]]) -> NDArray[np.float64]:
    """(M, 4): two leaves, the smaller first, length and sum of gradients of their border."""
    rows = [
        (leaf, other, *border)
        for leaf, neighbours in enumerate(borders)
        for other, border in neighbours.items()
        if leaf < other
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def outlines(tree: Growing, pairs: NDArray[np.float64]) -> Floats:
    """(N, 2) length and mean gradient: what the children have, without the seam between them.

    Args:
        tree: grown.
        pairs: `touching` of its leaves, before they were merged.
    """
    total = np.zeros((len(tree.parent), 2))  # (N, 2)
    for end in (0, 1):
        np.add.at(total, pairs[:, end].astype(np.int32), pairs[:, 2:])
    leaves = len(tree.parent) - len(tree.seams)
    for node, parent in enumerate(tree.parent):
        if node >= leaves:
            total[node] -= 2 * np.array(tree.seams[node - leaves])
        if parent >= 0:
            total[parent] += total[node]
    total[:, 1] /= np.maximum(total[:, 0], 1)
    return total.astype(np.float32)
