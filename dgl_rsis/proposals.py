"""Class-agnostic mask proposals from a hierarchy of regions: no weights, CPU only.

[paper] mask proposals. [ours] the provider `regions`: a watershed over-segmentation in CIELAB,
merged bottom-up by Ward's criterion on colour, texture and the strength of the shared border, and
cut at several levels. Every proposal is a node of the tree.
"""

import heapq
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.segmentation import watershed

from dgl_rsis.types import RGB, Floats, Proposals

Labels = NDArray[np.int32]


@dataclass(frozen=True)
class RegionParameters:
    """How the tree is built and cut.

    Attributes:
        levels: regions that each cut leaves in an image of 1024²; scaled with the area.
        min_regions: no cut leaves fewer.
        objects: further nodes, those with the strongest outlines; 0 for none. Small things of a
            class that nobody asked for disappear in the cuts, and these keep them.
        min_area: pixels; smaller nodes are none of them.
        max_side: longer images are segmented at this size, pixels, and so are their masks.
        texture_weight: weight of the difference of texture against that of colour.
        edge_weight: weight of the gradient along the shared border.
        smoothing: standard deviation of the Gaussian before the watershed, pixels.
        seed_distance: least distance of two seeds, pixels.
    """

    levels: tuple[int, ...] = (384, 128, 32)
    min_regions: int = 8
    objects: int = 0
    min_area: int = 32
    max_side: int = 1024
    texture_weight: float = 1.0
    edge_weight: float = 4.0
    smoothing: float = 1.0
    seed_distance: int = 5


@dataclass
class _Tree:
    """Nodes 0 … n−1 are the leaves; each merge appends one."""

    area: list[float]
    colour: list[tuple[float, ...]]  # CIELAB and texture, weighted
    borders: list[dict[int, tuple[float, float]]]  # neighbour → (length, sum of gradients)
    parent: list[int]


def propose(image: RGB, parameters: RegionParameters) -> Proposals:
    """Masks of the regions at every level of the hierarchy, and of its strongest nodes.

    Each level partitions the image, so every pixel lies in at least one mask. A region that two
    cuts share is returned once.

    Args:
        image: (H, W, 3) uint8.
        parameters: see there.

    Returns:
        Proposals, fine to coarse, then the further nodes; `quality` is the strength of a region's
        outline: the cost of merging it into its parent, as a share of the greatest such cost.
    """
    height, width = image.shape[:2]
    scale = min(1.0, parameters.max_side / max(height, width))
    small = _shrunk(image, scale)
    leaves, channels, gradient = _oversegment(small, parameters)
    tree = _leaves(leaves, channels, gradient)
    costs = _merge(tree, parameters.edge_weight)
    nodes = _cuts(tree, costs, small.shape[0] * small.shape[1], parameters)
    nodes += _strongest(tree, costs, set(nodes), parameters)
    return _proposals(leaves, tree, costs, nodes, height, width)


def _shrunk(image: RGB, scale: float) -> RGB:
    if scale == 1.0:
        return image
    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def _oversegment(image: RGB, parameters: RegionParameters) -> tuple[Labels, Floats, Floats]:
    """Watershed basins, the four channels that merging compares, and the gradient."""
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)  # (H, W, 3)
    smooth = cv2.GaussianBlur(lab, (0, 0), parameters.smoothing)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, *axes, scale=1 / 8) for axes in ((1, 0), (0, 1)))
    gradient = np.hypot(across, down).max(axis=2)  # CIELAB units a pixel
    detail = np.abs(lab[..., 0] - cv2.GaussianBlur(lab[..., 0], (0, 0), 3.0))
    texture = cv2.GaussianBlur(detail, (0, 0), 3.0)
    relief = cv2.GaussianBlur(gradient, (0, 0), parameters.smoothing)
    window = np.ones((parameters.seed_distance, parameters.seed_distance), dtype=np.uint8)
    minima = cv2.erode(relief, window) == relief
    seeds = ndimage.label(minima, structure=np.ones((3, 3)))[0]
    basins = watershed(relief, seeds).astype(np.int32) - 1
    weighted = texture * np.float32(np.sqrt(parameters.texture_weight))
    return basins, np.dstack([smooth, weighted]), gradient


def _leaves(labels: Labels, channels: Floats, gradient: Floats) -> _Tree:
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
    return _Tree(area.tolist(), colour, borders, [-1] * count)


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


def _merge(tree: _Tree, edge_weight: float) -> list[float]:
    """Merge the cheapest pair until one region is left; the cost of making each node."""
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


def _cost(tree: _Tree, a: int, b: int, edge_weight: float) -> float:
    """Ward: the rise of the squared error if a and b become one, border strength added."""
    difference = sum((x - y) ** 2 for x, y in zip(tree.colour[a], tree.colour[b], strict=True))
    length, total = tree.borders[a][b]
    edge = edge_weight * (total / length) ** 2
    return tree.area[a] * tree.area[b] / (tree.area[a] + tree.area[b]) * (difference + edge)


def _join(tree: _Tree, a: int, b: int) -> int:
    node, area = len(tree.area), tree.area[a] + tree.area[b]
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


def _cuts(tree: _Tree, costs: list[float], pixels: int, parameters: RegionParameters) -> list[int]:
    """Nodes that some cut leaves, each once, fine to coarse."""
    ascending = sorted(costs)
    found: dict[int, None] = {}
    for level in parameters.levels:
        regions = max(parameters.min_regions, round(level * pixels / 1024**2))
        limit = ascending[-regions] if regions <= len(ascending) else -1.0
        # A cut keeps the nodes made below the limit whose parents are made at or above it.
        kept = [
            node
            for node, parent in enumerate(tree.parent)
            if (costs[node] < limit or costs[node] == 0.0)
            and (parent < 0 or costs[parent] >= limit)
        ]
        found.update(dict.fromkeys(kept))
    return list(found)


def _strongest(
    tree: _Tree, costs: list[float], known: set[int], parameters: RegionParameters
) -> list[int]:
    """The nodes that it costs most to merge away, without those that are known."""
    largest = 0.5 * max(tree.area)
    eligible = [
        node
        for node, area in enumerate(tree.area)
        if parameters.min_area <= area <= largest and node not in known
    ]
    eligible.sort(key=lambda node: costs[tree.parent[node]], reverse=True)
    return eligible[: parameters.objects]


def _proposals(
    leaves: Labels, tree: _Tree, costs: list[float], nodes: list[int], height: int, width: int
) -> Proposals:
    # Leaves renumbered in the order of the tree make every node a range of numbers.
    first, last, rank = _ranges(tree)
    ranks = rank[leaves]  # (h, w)
    inside = _boxes(leaves, tree)[nodes]  # (N, 4)
    masks = np.zeros((len(nodes), *ranks.shape), dtype=bool)
    for mask, node, (left, top, right, bottom) in zip(masks, nodes, inside, strict=True):
        part = ranks[top:bottom, left:right]
        mask[top:bottom, left:right] = (part >= first[node]) & (part < last[node])
    scale = np.array([width / ranks.shape[1], height / ranks.shape[0]] * 2)
    boxes = inside * scale
    boxes = np.hstack([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])]).astype(np.int32)
    merged = [costs[tree.parent[node]] if tree.parent[node] >= 0 else max(costs) for node in nodes]
    quality = np.array(merged, dtype=np.float32) / max(*costs, 1e-9)
    return Proposals(masks, boxes, quality, height, width)


def _boxes(leaves: Labels, tree: _Tree) -> Labels:
    """(nodes, 4) int32 XYXY of every node, at the size of the leaves."""
    boxes = np.empty((len(tree.parent), 4), dtype=np.int32)
    boxes[:, :2], boxes[:, 2:] = max(leaves.shape), 0
    for leaf, (rows, columns) in enumerate(ndimage.find_objects(leaves + 1)):
        boxes[leaf] = columns.start, rows.start, columns.stop, rows.stop
    for node, parent in enumerate(tree.parent):  # a parent's number is above its children's
        if parent >= 0:
            boxes[parent, :2] = np.minimum(boxes[parent, :2], boxes[node, :2])
            boxes[parent, 2:] = np.maximum(boxes[parent, 2:], boxes[node, 2:])
    return boxes


def _ranges(tree: _Tree) -> tuple[list[int], list[int], Labels]:
    """Depth-first numbers: the leaves of node n have the ranks first[n] … last[n] − 1."""
    count = len(tree.parent)
    children: list[list[int]] = [[] for _ in range(count)]
    roots: list[int] = []
    for node, parent in enumerate(tree.parent):
        (children[parent] if parent >= 0 else roots).append(node)
    first, last = [0] * count, [0] * count
    rank = np.zeros(count, dtype=np.int32)
    size = [1 if not c else 0 for c in children]
    for node, parent in enumerate(tree.parent):
        if parent >= 0:
            size[parent] += size[node]
    position = 0
    for root in roots:
        first[root], position = position, position + size[root]
    for node in range(count - 1, -1, -1):
        last[node] = first[node] + size[node]
        start = first[node]
        for child in children[node]:
            first[child], start = start, start + size[child]
        rank[node] = first[node]
    leaves = [node for node in range(count) if not children[node]]
    return first, last, rank[: len(leaves)]
