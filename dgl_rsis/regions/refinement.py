"""From clicks, a box, a stroke or a rough outline to one mask, by the region tree. No weights.

[ours] The nodes of the tree take one of two labels, inside or outside, and the root is outside. A
node that differs from its parent costs, the more the weaker and the more ragged its outline is;
points and shapes add costs at the leaves. The cheapest labelling is found exactly, from the leaves
up and down again, as in any Markov field on a tree. So the first click takes the best outlined node
around it, and each further one takes in, or cuts out, whatever explains all of them best.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dgl_rsis import masks
from dgl_rsis.prompts import SHAPES, Box, checked, has_shape
from dgl_rsis.regions.labelling import Costs, Ranks, labelled
from dgl_rsis.regions.points import Points, at_full_size, at_leaf_size, at_pixels, located
from dgl_rsis.regions.tree import RegionTree
from dgl_rsis.types import RGB, Mask, Prompt, Refined

NO_LEAVES: Ranks = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class RefinementParameters:
    """What a mask looks like that was asked for by pointing.

    Attributes:
        turn: cost of a node that differs from its parent; what its outline is worth comes off.
        contrast: weight of the logarithm of the gradient along the outline.
        compactness: weight of the logarithm of area / perimeter².
        min_area: pixels; smaller nodes cost more.
        max_share: of the image; larger nodes cost more.
        size_weight: how much more, for each factor of e.
        shape_weight: cost of a mask that shares nothing with the shape it was asked for by.
        box_filling: cost of a pixel inside the box that is left out, against one outside it that is
            taken in: objects seldom fill their boxes.
        start_weight: cost of a mask that shares nothing with what the positive points alone give.
        prior_weight: cost of adding or removing as much as the prior mask holds.
        prior_trust: cost of a mask that shares nothing with a prior of one part, before any click
            contradicted it; n clicks that do leave 1 / (1 + n) of it.
        prior_part: share of a prior that its largest connected part has to hold for that: one of
            many parts is no object, and clicks on one of them say nothing of the others.
        anew: share of the image that labelling everything anew may change of a prior, or
            `anew_pixels` of a small image: what would change more is no one thing, as a road with
            all its side streets, and is changed around the points alone.
        anew_pixels: see `anew`.
        snap: pixels by which GrabCut may move the edge; 0 for not at all.
        snap_pixels: the largest window that GrabCut is used in; it takes time.
    """

    turn: float = 1.0
    contrast: float = 1.0
    compactness: float = 0.75
    min_area: int = 30
    max_share: float = 0.15
    size_weight: float = 4.0
    shape_weight: float = 10.0
    box_filling: float = 0.8
    start_weight: float = 1.0
    prior_weight: float = 8.0
    prior_trust: float = 8.0
    prior_part: float = 0.8
    anew: float = 0.02
    anew_pixels: int = 4096
    snap: int = 4
    snap_pixels: int = 200_000


def refine(
    image: RGB, tree: RegionTree, prompt: Prompt, parameters: RefinementParameters
) -> Refined:
    """The mask that a prompt means.

    It holds all positive points and none of the negative ones. A prior mask that comes with points
    alone is corrected at those that contradict it; together with a box, a stroke or an outline it
    is one more shape to agree with.

    Args:
        image: (H, W, 3) uint8.
        tree: of that image.
        prompt: see there.
        parameters: see there.

    Returns:
        The mask and a score: the gradient along its outline against that inside of it.

    Raises:
        InputError: the prompt says nothing, contradicts itself, or does not lie in the image.
    """
    prompt = checked(prompt, tree.height, tree.width)
    points = located(prompt, tree)
    pairwise = _pairwise(tree, parameters)
    if has_shape(prompt):
        mask = _like_shapes(prompt, points, tree, pairwise, parameters)
    elif prompt.prior is not None:
        mask = _corrected(prompt.prior, points, tree, pairwise, parameters)
    else:
        mask = _around(points, tree, pairwise, parameters)
    mask = _held(mask, points, tree)
    if parameters.snap:
        mask = _held(_snapped(image, mask, points, parameters), points, tree)
    return Refined(mask, _score(mask, tree))


def _pairwise(tree: RegionTree, parameters: RefinementParameters) -> Costs:
    """(N,) what it costs that a node differs from its parent."""
    length, gradient = tree.outline.astype(np.float64).T
    area = tree.area.astype(np.float64)
    strength = parameters.contrast * np.log(gradient + 0.1)
    strength += parameters.compactness * np.log(area / np.maximum(length, 1.0) ** 2)
    small = np.log(np.maximum(parameters.min_area / area, 1.0))
    large = np.log(np.maximum(area / (parameters.max_share * tree.leaves.size), 1.0))
    costs = parameters.turn - strength + parameters.size_weight * (small + large)
    # An outline that runs along the edge of the image alone has no strength at all.
    costs[tree.parent < 0] = parameters.turn + parameters.shape_weight
    positive: Costs = np.maximum(costs, 0.05)
    return positive


# ---- the three questions ------------------------------------------------------------------------


def _around(
    points: Points, tree: RegionTree, pairwise: Costs, parameters: RefinementParameters
) -> Mask:
    """What the clicks point at."""
    unary = np.zeros((tree.leaf_count, 2))
    return at_full_size(tree, _explained(points, tree, pairwise, unary, NO_LEAVES, parameters))


def _explained(
    points: Points,
    tree: RegionTree,
    pairwise: Costs,
    unary: Costs,
    free: Ranks,
    parameters: RefinementParameters,
) -> Mask:
    """(L,) the leaves inside. Negative points change what the positive ones alone would give.

    Args:
        points: the clicks.
        tree: of the image.
        pairwise: see `_pairwise`.
        unary: (L, 2) cost of each leaf outside and inside, for the positive points alone.
        free: leaves that may differ from what is around them, likewise.
        parameters: see there.
    """
    wanted, unwanted = points.leaves[points.positive], points.leaves[~points.positive]
    start = labelled(tree, pairwise, unary, wanted, NO_LEAVES, free)
    if not start[unwanted].any():
        return start
    area = np.bincount(tree.leaves.reshape(-1), minlength=tree.leaf_count)
    share = parameters.start_weight * area / area[start].sum()
    again = np.zeros_like(unary)  # (L, 2)
    again[start, 0], again[~start, 1] = share[start], share[~start]
    return labelled(tree, pairwise, again, wanted, unwanted, np.flatnonzero(start))


def _corrected(
    prior: Mask,
    points: Points,
    tree: RegionTree,
    pairwise: Costs,
    parameters: RefinementParameters,
) -> Mask:
    """The prior mask as far as the points leave it standing.

    It is changed around the points that contradict it. If it is one thing, that only tells where
    its middle is, and everything is labelled anew: each contradiction makes the prior less likely
    to be the thing that is meant, and the outlines of the tree more.
    """
    wrong = int((points.inside(prior) != points.positive).sum())
    mask = _patched(prior, points, tree, pairwise, parameters)
    if not wrong or masks.largest_share(prior) < parameters.prior_part:
        return mask
    points = _with_middle(mask, points, tree)
    if not points.positive.any():
        return mask
    share = at_leaf_size(tree, prior)
    held, area = _count(tree, share), np.bincount(tree.leaves.reshape(-1))
    scale = parameters.prior_trust / (1 + wrong) / max(1, int(share.sum()))
    unary = scale * np.stack([held, area - held], axis=1)  # (L, 2)
    inside = _explained(points, tree, pairwise, unary, np.flatnonzero(held), parameters)
    # Leaves on the side that most of them had keep their pixels: a line drawn by hand stays.
    changed = at_full_size(tree, inside != (2 * held > area))
    corrected: Mask = np.where(changed, at_full_size(tree, inside), prior)
    most = max(parameters.anew * prior.size, parameters.anew_pixels)
    return corrected if int((corrected ^ prior).sum()) <= most else mask


def _with_middle(mask: Mask, points: Points, tree: RegionTree) -> Points:
    """The points, and as a positive one the deepest pixel of the mask but for the negative ones."""
    left = mask.copy()
    left[tuple(points.pixels[~points.positive].T)] = False
    depth = masks.depth(left)
    if depth.max() <= 1:
        return points
    middle = np.array(np.unravel_index([int(depth.argmax())], depth.shape)).T  # (1, 2)
    return points.joined(at_pixels(middle, np.ones(1, dtype=np.bool_), tree))


def _patched(
    prior: Mask,
    points: Points,
    tree: RegionTree,
    pairwise: Costs,
    parameters: RefinementParameters,
) -> Mask:
    """The prior mask, changed around the points that contradict it; first added to, then cut."""
    mask = prior.copy()
    share = at_leaf_size(tree, prior)
    unary = np.zeros((tree.leaf_count, 2))
    scale = parameters.prior_weight / max(1, int(share.sum()))
    for adding in (True, False):
        wrong = (points.positive == adding) & (points.inside(mask) != adding)
        if not wrong.any():
            continue
        # Points of the other kind stay as they are, whatever the mask says of them now.
        changed, kept = points.leaves[wrong], points.leaves[points.positive != adding]
        unary[:, 1] = scale * _count(tree, ~share if adding else share)
        change = at_full_size(tree, labelled(tree, pairwise, unary, changed, kept, NO_LEAVES))
        mask = mask | change if adding else mask & ~change
    return mask


def _like_shapes(
    prompt: Prompt,
    points: Points,
    tree: RegionTree,
    pairwise: Costs,
    parameters: RefinementParameters,
) -> Mask:
    """What lies in the box, under the stroke or in the outline: their union."""
    unary = _shape_costs(prompt, tree, parameters)
    wanted, unwanted = points.leaves[points.positive], points.leaves[~points.positive]
    inside = labelled(tree, pairwise, unary, wanted, unwanted, _window(prompt, tree))
    if not inside.any():  # no node is worth its outline: the leaves themselves
        inside = unary[:, 0] > unary[:, 1]
    return at_full_size(tree, inside)


def _shape_costs(prompt: Prompt, tree: RegionTree, parameters: RefinementParameters) -> Costs:
    """(L, 2) cost of each leaf outside and inside the mask, from the shapes of the prompt."""
    unary = np.zeros((tree.leaf_count, 2))
    for name in SHAPES:
        shape = getattr(prompt, name)
        if shape is not None:
            painted = at_leaf_size(tree, shape)
            scale = parameters.shape_weight / max(1, int(painted.sum()))
            unary[:, 0] += scale * _count(tree, painted)
            if name != "stroke":
                unary[:, 1] += scale * _count(tree, ~painted)
    if prompt.box is not None:
        painted = _painted(prompt.box, tree)
        scale = parameters.shape_weight / max(1, int(painted.sum()))
        unary[:, 0] += scale * parameters.box_filling * _count(tree, painted)
        unary[:, 1] += scale * _count(tree, ~painted)
    return unary


def _painted(box: Box, tree: RegionTree) -> Mask:
    height, width = tree.leaves.shape
    painted = np.zeros((height, width), dtype=np.bool_)
    left, right = (round(x * width / tree.width) for x in (box[0], box[2]))
    top, bottom = (round(y * height / tree.height) for y in (box[1], box[3]))
    painted[top : max(bottom, top + 1), left : max(right, left + 1)] = True
    return painted


def _count(tree: RegionTree, chosen: Mask) -> NDArray[np.int64]:
    """(L,) pixels of each leaf that are chosen."""
    return np.bincount(tree.leaves[chosen], minlength=tree.leaf_count)


def _window(prompt: Prompt, tree: RegionTree) -> Ranks:
    """Ranks of the leaves that a shape touches or comes near to: those that it has a say in."""
    near = np.zeros(tree.leaves.shape, dtype=np.bool_)
    for name in SHAPES:
        shape = getattr(prompt, name)
        if shape is not None:
            near |= at_leaf_size(tree, shape)
    if prompt.box is not None:
        near |= _painted(prompt.box, tree)
    if not near.any():
        return np.zeros(0, dtype=np.int64)
    left, top, width, height = cv2.boundingRect(near.astype(np.uint8))
    across, down = 4 + width // 4, 4 + height // 4
    part = tree.leaves[
        max(0, top - down) : top + height + down, max(0, left - across) : left + width + across
    ]
    return np.unique(part).astype(np.int64)


# ---- from leaves to pixels -----------------------------------------------------------------------


def _held(mask: Mask, points: Points, tree: RegionTree) -> Mask:
    """The mask with every point on its side.

    A leaf with a point on the wrong side is given to that point, or shared among its points: every
    pixel goes with the nearest.
    """
    wrong = points.inside(mask) != points.positive
    if not wrong.any():
        return mask
    disputed = np.zeros(tree.leaf_count, dtype=np.bool_)
    disputed[points.leaves[wrong]] = True
    pixels = np.argwhere(at_full_size(tree, disputed))
    among = points.where(disputed[points.leaves])
    nearest = cKDTree(among.pixels).query(pixels)[1]
    mask = mask.copy()
    mask[pixels[:, 0], pixels[:, 1]] = among.positive[nearest]
    return mask


def _snapped(image: RGB, mask: Mask, points: Points, parameters: RefinementParameters) -> Mask:
    """The mask with its edge moved to where the colours change: GrabCut in a band along it."""
    if not mask.any():
        return mask
    margin = 3 * parameters.snap
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    rows = slice(max(0, top - margin), top + height + margin)
    columns = slice(max(0, left - margin), left + width + margin)
    part = mask[rows, columns].astype(np.uint8)
    if part.size > parameters.snap_pixels or part.all():
        return mask
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * parameters.snap + 1,) * 2)
    state = np.where(part > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    state[cv2.erode(part, kernel) > 0] = cv2.GC_FGD
    state[cv2.dilate(part, kernel) == 0] = cv2.GC_BGD
    cv2.setRNGSeed(0)  # its mixtures start at random
    foreground, background = np.zeros((1, 65)), np.zeros((1, 65))
    window = np.ascontiguousarray(image[rows, columns])
    cv2.grabCut(window, state, (0, 0, 0, 0), background, foreground, 1, cv2.GC_INIT_WITH_MASK)
    snapped = mask.copy()
    snapped[rows, columns] = (state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)
    return snapped


def _score(mask: Mask, tree: RegionTree) -> float:
    """Mean gradient along the borders that the mask follows, as a share of it and that inside."""
    share = _count(tree, at_leaf_size(tree, mask)) / np.bincount(tree.leaves.reshape(-1))
    held = share[tree.pairs] >= 0.5  # (M, 2)
    along, within = held[:, 0] != held[:, 1], held.all(axis=1)
    outer = float(tree.contrast[along].mean()) if along.any() else 0.0
    inner = float(tree.contrast[within].mean()) if within.any() else 0.0
    return outer / (outer + inner) if outer + inner > 0 else 0.5
