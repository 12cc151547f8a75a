"""Regions against phrases: class probabilities, and the semantic map of overlapping masks.

[paper] local visual-textual alignment. [ours] the temperature (SegEarth-OV and TextRegion at region
scale), the merging of synonyms by maximum after the softmax, and the order-free map.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dgl_rsis.masks import Boxes, cover
from dgl_rsis.types import Floats, Mask

PIXEL_AREA = 512.0  # pixels; measured on validation places (docs/LOG.md)
Positions = NDArray[np.floating[Any]]  # (n,)


@dataclass(frozen=True)
class MapParameters:
    """How the semantic map is put together.

    Attributes:
        temperature: τ of the softmax over cosines (SegEarth-OV, TextRegion: 50; CLIP's own: 100).
        rows, columns: patches of the dense map that the masks' height and width span.
        area_exponent: γ; a mask's vote weighs area^−γ, so that what is smaller and more particular
            is heard before the ground that it stands on. 0: all votes are equal.
        pixel_area: pixels; where a pixel has a say of its own, it is that of a mask so large.
    """

    temperature: float
    rows: float
    columns: float
    area_exponent: float = 0.0
    pixel_area: float = PIXEL_AREA


def match(features: Tensor, texts: Tensor, owners: Sequence[int], temperature: float) -> Floats:
    """Class probabilities of regions.

    p_ip = softmax_p(τ · v_i · t_p) over all phrases; a class has its best phrase's probability;
    rows are normalised again.

    Args:
        features: (N, D) float32, L2 norm 1.
        texts: (P, D) float32, L2 norm 1.
        owners: P class indices, 0 … C−1, each class at least once.
        temperature: τ.

    Returns:
        (N, C) float32, rows sum to 1.
    """
    cosines = features @ texts.T  # (N, P)
    return best_phrase(cosines.cpu().numpy(), owners, temperature)


def best_phrase(cosines: Floats, owners: Sequence[int], temperature: float) -> Floats:
    """`match` from cosines: (..., P) → (..., C), the last axis sums to 1."""
    logits = temperature * cosines
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))  # (..., P)
    shape = (*cosines.shape[:-1], max(owners) + 1)
    classes = np.zeros(shape, dtype=np.float32)  # (..., C)
    for phrase, owner in enumerate(owners):
        np.maximum(classes[..., owner], exponentials[..., phrase], out=classes[..., owner])
    rows: Floats = classes / classes.sum(axis=-1, keepdims=True)
    return rows


@dataclass(frozen=True)
class SemanticMap:
    """Class probabilities of every pixel, told once for all pixels that share them.

    Attributes:
        cell: (H, W) of int32 or int64, the row of each pixel.
        classes: (U, C) float32, rows sum to 1.
    """

    cell: NDArray[np.integer[Any]]
    classes: Floats

    @property
    def best(self) -> NDArray[np.uint16]:
        """(H, W), the class index of every pixel."""
        indices: NDArray[np.uint16] = self.classes.argmax(axis=1).astype(np.uint16)[self.cell]
        return indices

    @property
    def probability(self) -> Floats:
        """(H, W) float32 in [0, 1], of the best class."""
        probability: Floats = self.classes.max(axis=1)[self.cell]
        return probability

    def without(self, numbers: Collection[int]) -> "SemanticMap":
        """The same map where these classes are nowhere; the others share their probability."""
        if not numbers:
            return self
        classes = self.classes.copy()
        classes[:, list(numbers)] = 0
        classes /= np.maximum(classes.sum(axis=1, keepdims=True), 1e-9)
        return SemanticMap(self.cell, classes)

    @property
    def margin(self) -> float:
        """How far the second class is behind the best, [0, 1]: the mean over the pixels."""
        best, second = np.zeros((2, len(self.classes)), dtype=np.float32)
        for likely in self.classes.T:
            second = np.maximum(second, np.minimum(best, likely))
            best = np.maximum(best, likely)
        return float(np.average(best - second, weights=self._pixels))

    @property
    def expected_ious(self) -> Floats:
        """The IoU that the mask of each class is expected to have with the truth: (C,) in [0, 1].

        E[|M ∩ T|] / E[|M ∪ T|], where each pixel is of the class with its probability: what was
        left out counts as well as what is wrong. 0 for a class without pixels.
        """
        best, count = self.classes.argmax(axis=1), self.classes.shape[1]
        shown = self._pixels.astype(np.float64)
        own = np.bincount(best, shown, count)  # (C,) pixels
        inside = np.bincount(best, self.classes.max(axis=1) * shown, count)
        union = own + shown @ self.classes - inside
        expected: Floats = (inside / np.maximum(union, 1e-9)).astype(np.float32)
        return expected

    @property
    def _pixels(self) -> NDArray[np.int64]:
        """(U,), how many pixels each row is of."""
        return np.bincount(self.cell.reshape(-1), minlength=len(self.classes))


def semantic_map(
    masks: Mask,
    region_cosines: Floats,
    patch_cosines: Tensor,
    owners: Sequence[int],
    parameters: MapParameters,
) -> tuple[NDArray[np.uint16], Floats]:
    """`class_probabilities` in brief: the best class of every pixel and its probability.

    Returns:
        The class index, (H, W) uint16, and its probability, (H, W) float32 in [0, 1].
    """
    semantic = class_probabilities(masks, region_cosines, patch_cosines, owners, parameters)
    return semantic.best, semantic.probability


def class_probabilities(
    masks: Mask,
    region_cosines: Floats,
    patch_cosines: Tensor,
    owners: Sequence[int],
    parameters: MapParameters,
) -> SemanticMap:
    """The classes of every pixel from overlapping masks, independent of their order.

    L(x, p) = Σ_i w_i · M_i(x) · cos(v_i, t_p) / Σ_i w_i · M_i(x) with w_i = area_i^−γ [ours], then
    softmax and the best phrase of each class. Where no mask lies, the patch map alone decides.

    Args:
        masks: (N, H, W) bool.
        region_cosines: (N, P) float32.
        patch_cosines: (h, w, P) float32.
        owners: P class indices, 0 … C−1.
        parameters: temperature, grid and blending.
    """
    votes = _votes(masks, parameters)
    cell = votes.cell
    classes = best_phrase(votes.mean(region_cosines), owners, parameters.temperature)  # (U, C)
    bare = (votes.covered == 0)[cell]
    if bare.any():
        rows, columns = np.nonzero(bare)
        height, width = cell.shape
        cosines = _at(
            patch_cosines,
            (rows + 0.5) * (parameters.rows / height),
            (columns + 0.5) * (parameters.columns / width),
        )
        alone = best_phrase(cosines, owners, parameters.temperature)
        cell = cell.copy()
        cell[bare] = len(classes) + np.arange(len(alone))
        classes = np.concatenate([classes, alone])
    return SemanticMap(cell, classes)


def pixel_probabilities(
    masks: Mask,
    region_cosines: Floats,
    pixel_cosines: Tensor,
    owners: Sequence[int],
    parameters: MapParameters,
    taught: Floats | None = None,
    boxes: Boxes | None = None,
) -> SemanticMap:
    """`class_probabilities` where every pixel has a say of its own, beside the masks on it.

    A pixel votes as a mask of `pixel_area` pixels would: where the masks are small they decide,
    and what is smaller than any mask is not lost in its surroundings.

    Args:
        masks: (N, H, W) bool.
        region_cosines: (N, P) float32.
        pixel_cosines: (C, h, w) float32, of the image's proportions, of the best phrases.
        owners: P class indices, 0 … C−1.
        parameters: temperature, weights.
        taught: (N, P) float32, what is added to the cosines of the masks and counts in full; None
            for nothing.
        boxes: (N, 4) XYXY pixels that nothing of a mask lies outside of: saves time.
    """
    votes = _votes(masks, parameters, boxes)
    cell = votes.cell
    of_masks = _best(votes.mean(region_cosines), owners)  # (U, C)
    weight = (parameters.pixel_area / votes.largest) ** -parameters.area_exponent
    shares = votes.covered / (votes.covered + weight)  # (U,)
    from_masks = shares[:, None] * of_masks  # (U, C)
    if taught is not None:
        from_masks += _best(votes.mean(region_cosines + taught), owners) - of_masks
    # Class by class, (C, H, W), as PyTorch then takes whole rows of pixels at a time.
    blended = F.interpolate(pixel_cosines[None].cpu(), size=cell.shape, mode="bilinear")[0]
    blended *= torch.from_numpy((1 - shares).astype(np.float32)[cell])
    for plane, of_class in zip(blended, from_masks.T.astype(np.float32), strict=True):
        plane += torch.from_numpy(of_class[cell])
    classes = torch.softmax(blended.mul_(parameters.temperature), dim=0)  # (C, H, W)
    return SemanticMap(np.arange(cell.size).reshape(cell.shape), classes.flatten(1).T.numpy())


@dataclass(frozen=True)
class _Votes:
    """Which masks lie on each pixel, told once for all pixels under the same masks.

    Attributes:
        cell: (H, W), the row of each pixel.
        members: (U, N) float32, weight of each mask, 0 where it does not lie.
        largest: pixels of the largest mask, whose weight is 1.
    """

    cell: NDArray[np.integer[Any]]
    members: Floats
    largest: int

    @cached_property
    def covered(self) -> Floats:
        """(U,), the sum of the weights, 0 under no mask."""
        covered: Floats = self.members.sum(axis=1)
        return covered

    def mean(self, cosines: Floats) -> Floats:
        """What masks say, (N, P), as the weighted mean over those on each cell: (U, P)."""
        weights = np.where(self.covered > 0, self.covered, 1)
        mean: Floats = self.members @ cosines / weights[:, None]
        return mean


def _votes(masks: Mask, parameters: MapParameters, boxes: Boxes | None = None) -> _Votes:
    # Pixels under the same masks have the same mean: there are far fewer such cells than pixels.
    cell, known = cover(masks, boxes)  # (H, W), (N, U)
    members = known.T.astype(np.float32)  # (U, N)
    sizes = np.bincount(cell.reshape(-1), minlength=len(members))  # (U,)
    areas = np.maximum(sizes @ (members > 0), 1)  # (N,)
    largest = int(areas.max(initial=1))
    members *= ((areas / largest) ** -parameters.area_exponent).astype(np.float32)
    return _Votes(cell, members, largest)


def _best(cosines: Floats, owners: Sequence[int]) -> Floats:
    """(U, P) → (U, C), the best phrase of each class."""
    of_phrase = np.asarray(owners)
    return np.stack(
        [cosines[:, of_phrase == owner].max(axis=1) for owner in range(max(owners) + 1)], axis=1
    )


def _at(cells: Tensor, down: Positions, across: Positions) -> Floats:
    """Patch cosines interpolated between the patches' centres: (n, P).

    Args:
        cells: (h, w, P) float32.
        down: (n,) rows wanted, in patches.
        across: (n,) columns wanted, in patches.
    """
    y = torch.from_numpy(down / cells.shape[0] * 2 - 1).float()
    x = torch.from_numpy(across / cells.shape[1] * 2 - 1).float()
    planes = cells.permute(2, 0, 1)[None].cpu()  # (1, P, h, w)
    grid = torch.stack([x, y], dim=-1)[None, None]  # (1, 1, n, 2)
    sampled = F.grid_sample(
        planes, grid, padding_mode="border", align_corners=False
    )  # (1, P, 1, n)
    values: Floats = sampled[0, :, 0].T.contiguous().numpy()
    return values
