"""The instances of a noun: regions like the parts of its own map, candidates beside proposals.

[ours] An object that no proposal holds whole is often whole in the map of its class, though with a
soft outline. A region of the tree that is built on the learnt borders has the object's own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from dgl_rsis import masks
from dgl_rsis.classes import matching, scales
from dgl_rsis.classes.scales import Phrases, Weighting
from dgl_rsis.clip.features import DenseFeatures
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.clip.pixel_features import PixelFeatures, pooled_runs
from dgl_rsis.regions.tree import RegionTree, TreeParameters, best_match, build_tree
from dgl_rsis.types import RGB, Floats, Mask


@dataclass(frozen=True)
class InstanceParameters:
    """Which parts of a noun's map are instances. Measured on generated scenes (docs/LOG.md).

    Attributes:
        least: probability of the noun that an instance's pixels have, [0, 1].
        outline: what is likelier to be the border of an object parts instances, too, [0, 1].
        reach: pixels; how far instances that such borders part grow back into them.
        smallest: pixels; smaller parts are none.
        most: parts, the largest, before borders part them and after.
        tree: of the regions.
        margin: pixels around each part that regions may reach into.
    """

    least: float = 0.3
    outline: float = 0.6
    reach: float = 3.0
    smallest: int = 24
    most: int = 400
    tree: TreeParameters = field(default_factory=TreeParameters)
    margin: int = 8


@dataclass(frozen=True)
class NounInstances:
    """What a noun's map shows.

    Attributes:
        masks: (H, W) bool each, none empty: the region most like each part.
        classes: (M, C) float32, probabilities of each, rows sum to 1.
        ious: (M,) float32 in [0, 1], of each with that part.
    """

    masks: tuple[Mask, ...]
    classes: Floats
    ious: Floats


def of_noun(
    clip: ClipModel,
    image: RGB,
    dense: DenseFeatures,
    phrases: Phrases,
    weighting: Weighting,
    temperature: float,
    shape: tuple[int, int],
    parameters: InstanceParameters,
) -> NounInstances:
    """The instances of a noun in an image.

    Args:
        clip: a model with a pixel tower.
        image: (H, W, 3) uint8.
        dense: of the image, with the pixel tower's features.
        phrases: of the noun, which is class 0, and of everything else.
        weighting: of the phrases in this image.
        temperature: τ of the softmax.
        shape: height and width of the masks.
        parameters: see there.
    """
    assert clip.pixels is not None
    assert dense.pixels is not None
    texts, owners = phrases.texts, phrases.owners
    levels = dense.pixel_levels
    directions = texts @ clip.pixels.basis.T  # (P, R)
    probability = likely(levels, directions, owners, weighting, temperature, shape)
    border = borders(dense.pixels, shape)
    by_numbers = numbered(probability, border, parameters)
    kept = [largest(labels, parameters) for labels in by_numbers]
    if not any(kept):
        nothing = np.zeros((0, max(owners) + 1), dtype=np.float32)
        return NounInstances((), nothing, nothing[:, 0])
    reach = 2 * parameters.margin + 1
    near = cv2.dilate((by_numbers[0] > 0).astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
    window = _around(near)
    small = cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8)
    cutting = replace(parameters.tree, max_side=max(shape))
    tree = build_tree(small[window], cutting, border[window], near[window])
    nodes: dict[int, float] = {}
    for labels, numbers in zip(by_numbers, kept, strict=True):
        best, overlaps = best_match(tree, labels[window], numbers)
        for node, iou in zip(best.tolist(), overlaps.tolist(), strict=True):
            nodes[node] = max(iou, nodes.get(node, 0.0))
    chosen = list(nodes)
    leaves = np.zeros(shape, dtype=np.int32)  # 0 outside of the window
    leaves[window] = tree.leaves + 1
    first, last = tree.first[chosen] + 1, tree.last[chosen] + 1
    pooled = [pooled_runs(clip, pixels, leaves, first, last) for pixels in levels]  # K of (M, D)
    fused = scales.cosines(torch.stack(pooled), texts, weighting)
    classes = matching.best_phrase(fused, owners, temperature)
    ious = np.array(list(nodes.values()), dtype=np.float32)
    return NounInstances(tuple(_placed(tree, chosen, shape, window)), classes, ious)


def _around(seen: Mask) -> tuple[slice, slice]:
    """The box around a mask that is not empty."""
    left, top, right, bottom = masks.box(seen)
    return slice(top, bottom), slice(left, right)


def _placed(
    tree: RegionTree, nodes: Sequence[int], shape: tuple[int, int], window: tuple[slice, slice]
) -> Iterator[Mask]:
    """The masks of a window's nodes in the image."""
    for node in nodes:
        mask = np.zeros(shape, dtype=np.bool_)
        tree.draw(node, mask[window])
        yield mask


def likely(
    levels: Sequence[PixelFeatures],
    directions: Tensor,
    owners: Sequence[int],
    weighting: Weighting,
    temperature: float,
    shape: tuple[int, int],
) -> Floats:
    """How likely each pixel shows the noun: (H, W) float32 in [0, 1].

    Args:
        levels: K, of the image at each size that it was seen at, the largest first.
        directions: (P, R) float32, the phrases in the coordinates of the pixels.
        owners: P class indices; 0 is the noun.
        weighting: of the phrases, at K levels.
        temperature: τ of the softmax.
        shape: H and W.
    """
    best = scales.pixel_cosines(levels, directions, owners, weighting)  # (C, h, w)
    # As `matching.best_phrase`, whose arrays of all phrases would take most of the time.
    probabilities = (temperature * best).softmax(dim=0)
    return _resized(probabilities[0].cpu(), shape)


def borders(pixels: PixelFeatures, shape: tuple[int, int]) -> Floats:
    """How likely the border of an object runs through each pixel: (H, W) float32 in [0, 1]."""
    return _resized(pixels.outline.cpu(), shape)


def numbered(
    probability: Floats, border: Floats, parameters: InstanceParameters
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The instances that a map shows, twice: its connected parts, and those that borders part.

    Args:
        probability: (H, W) float32 in [0, 1], of the noun.
        border: (H, W) float32 in [0, 1], of the border of an object.
        parameters: see there.

    Returns:
        (H, W) int32 each, the number of each pixel's instance from 1, 0 for none.
    """
    seen = probability >= parameters.least
    connected, _ = ndimage.label(seen, structure=np.ones((3, 3)))
    return np.asarray(connected, dtype=np.int32), parted(
        seen, border < parameters.outline, parameters.reach
    )


def largest(labels: NDArray[np.int32], parameters: InstanceParameters) -> list[int]:
    """The numbers of the parts that are instances, largest first."""
    return masks.largest(labels, parameters.smallest)[: parameters.most]


def parted(seen: Mask, inner: Mask, reach: float) -> NDArray[np.int32]:
    """Parts of a mask that thin borders separate, grown back into these.

    Args:
        seen: (H, W) bool.
        inner: (H, W) bool, what is no border.
        reach: pixels.

    Returns:
        (H, W) int32, the number of the part from 1, 0 for none.
    """
    cores, _ = ndimage.label(seen & inner)
    far, nearest = ndimage.distance_transform_edt(cores == 0, return_indices=True)
    grown = np.where(seen & (far <= reach), cores[tuple(nearest)], 0)
    return np.asarray(grown, dtype=np.int32)


def _resized(values: Tensor, shape: tuple[int, int]) -> Floats:
    # (h, w) → (1, 1, h, w) → (H, W)
    resized: Floats = F.interpolate(values[None, None], size=shape, mode="bilinear")[0, 0].numpy()
    return resized
