"""Regions against phrases: class probabilities, and the semantic map of overlapping masks.

[paper] local visual-textual alignment. [ours] the temperature (SegEarth-OV and TextRegion at region
scale), the merging of synonyms by maximum after the softmax, and the order-free map.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dgl_rsis.types import Floats, Mask

Positions = NDArray[np.floating[Any]]  # (n,)


@dataclass(frozen=True)
class MapParameters:
    """How the semantic map is put together.

    Attributes:
        temperature: τ of the softmax over cosines (SegEarth-OV, TextRegion: 50; CLIP's own: 100).
        rows, columns: patches of the dense map that the masks' height and width span.
        patch_share: weight of the dense patch map where masks lie, [0, 1].
        strip: rows computed at a time.
    """

    temperature: float
    rows: float
    columns: float
    patch_share: float
    strip: int = 64


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
    return best_phrase((features @ texts.T).cpu().numpy(), owners, temperature)


def best_phrase(cosines: Floats, owners: Sequence[int], temperature: float) -> Floats:
    """`match` from cosines: (..., P) → (..., C), the last axis sums to 1."""
    logits = temperature * cosines
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))  # (..., P)
    shape = (*cosines.shape[:-1], max(owners) + 1)
    classes = np.zeros(shape, dtype=np.float32)
    for phrase, owner in enumerate(owners):
        np.maximum(classes[..., owner], exponentials[..., phrase], out=classes[..., owner])
    rows: Floats = classes / classes.sum(axis=-1, keepdims=True)
    return rows


def semantic_map(
    masks: Mask,
    region_cosines: Floats,
    patch_cosines: Tensor,
    owners: Sequence[int],
    parameters: MapParameters,
) -> tuple[NDArray[np.uint16], Floats]:
    """The best class of every pixel from overlapping masks, independent of their order.

    L(x, p) = Σ_i M_i(x) · cos(v_i, t_p) / Σ_i M_i(x), then softmax and the best phrase of each
    class. Where no mask lies, the patch map alone decides.

    Args:
        masks: (N, H, W) bool.
        region_cosines: (N, P) float32.
        patch_cosines: (h, w, P) float32.
        owners: P class indices, 0 … C−1.
        parameters: temperature, grid and blending.

    Returns:
        The class index, (H, W) uint16, and its probability, (H, W) float32 in [0, 1].
    """
    count, height, width = masks.shape
    best = np.empty((height, width), dtype=np.uint16)
    probability = np.empty((height, width), dtype=np.float32)
    # In strips: neither (N, H, W) nor (H, W, P) floats fit in memory.
    for top in range(0, height, parameters.strip):
        rows = slice(top, min(top + parameters.strip, height))
        strip = masks[:, rows].reshape(count, -1).T.astype(np.float32)  # (px, N)
        covered = strip.sum(axis=1, keepdims=True)  # (px, 1)
        down = np.arange(rows.start, rows.stop) + 0.5
        patches = _patch_rows(
            patch_cosines,
            down * (parameters.rows / height),
            (np.arange(width) + 0.5) * (parameters.columns / width),
        )  # (px, P)
        mean = strip @ region_cosines / np.maximum(covered, 1)  # (px, P)
        share = np.where(covered > 0, parameters.patch_share, 1).astype(np.float32)
        classes = best_phrase((1 - share) * mean + share * patches, owners, parameters.temperature)
        best[rows] = classes.argmax(axis=1).reshape(-1, width)
        probability[rows] = classes.max(axis=1).reshape(-1, width)
    return best, probability


def _patch_rows(cells: Tensor, down: Positions, across: Positions) -> Floats:
    """Patch cosines interpolated between the patches' centres: (rows · W, P).

    Args:
        cells: (h, w, P) float32.
        down: positions of the rows wanted, in patches.
        across: the same of the columns.
    """
    y = torch.from_numpy(down / cells.shape[0] * 2 - 1).float()
    x = torch.from_numpy(across / cells.shape[1] * 2 - 1).float()
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (rows, W, 2)
    planes = cells.permute(2, 0, 1)[None].cpu()  # (1, P, h, w)
    found = F.grid_sample(planes, grid[None], padding_mode="border", align_corners=False)
    values: Floats = found[0].flatten(1).T.contiguous().numpy()
    return values
