"""Context-aware crops: how much of its surroundings each proposal is shown with.

[paper] "patches with proper boundaries", "adaptively". [ours] the formula; the constant 1.2 for
large objects is InstructSAM's.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import roi_align

from dgl_rsis.types import RGB, Floats, Proposals


@dataclass(frozen=True)
class CropParameters:
    """How far a crop reaches.

    Attributes:
        min_scale: scale of the box for objects of `reference_area` and larger (InstructSAM: 1.2).
        max_scale: scale of the box for the smallest objects.
        reference_area: pixels; smaller objects get more context.
        exponent: how fast the scale grows with reference_area / area.
        min_side: pixels; no crop is smaller.
    """

    min_scale: float = 1.2
    max_scale: float = 3.0
    reference_area: float = 64.0 * 64.0
    exponent: float = 0.25
    min_side: int = 32


def boxes(proposals: Proposals, parameters: CropParameters) -> Floats:
    """Square box with context for each proposal.

    The box of the mask is scaled about its centre by
    λ_i = clip(λ_min · (A_ref / area_i)^γ, λ_min, λ_max), made square with the longer side, and
    moved into the image where it fits; where it does not fit it reaches over the edge.

    Returns:
        (N, 4) float32, XYXY pixels.
    """
    height, width = proposals.height, proposals.width
    areas = np.maximum(proposals.areas, 1)
    scale = parameters.min_scale * (parameters.reference_area / areas) ** parameters.exponent
    scale = np.clip(scale, parameters.min_scale, parameters.max_scale)  # (N,)
    corners = proposals.boxes.astype(np.float64)
    sides = (corners[:, 2:] - corners[:, :2]).max(axis=1) * scale
    sides = np.clip(sides, parameters.min_side, max(height, width))  # (N,)
    centres = (corners[:, :2] + corners[:, 2:]) / 2  # (N, 2)
    size = np.array([width, height], dtype=np.float64)
    starts = centres - sides[:, None] / 2
    last = np.maximum(size - sides[:, None], 0)
    fitting = np.clip(starts, 0, last)
    overhang = (size - sides[:, None]) / 2  # centred where the crop is wider than the image
    starts = np.where(sides[:, None] <= size, fitting, overhang)
    corners = np.concatenate([starts, starts + sides[:, None]], axis=1)
    return corners.astype(np.float32)


def crop(image: RGB, crop_boxes: Floats, side: int, device: str = "cpu") -> Tensor:
    """Cut and resize all boxes in one call.

    Each output pixel averages bilinear samples of its whole cell, so shrinking does not alias;
    parts beyond the image show its mean colour.

    Args:
        image: (H, W, 3) uint8.
        crop_boxes: (N, 4) float32, XYXY pixels.
        side: S, pixels of the result.
        device: where the result lives.

    Returns:
        (N, 3, S, S) float32 in [0, 1].
    """
    pixels = torch.tensor(image, device=device).permute(2, 0, 1)
    pixels = pixels.float() / 255  # (3, H, W)
    mean = pixels.mean(dim=(1, 2), keepdim=True)
    regions = torch.from_numpy(crop_boxes).to(device)
    rois = torch.cat([torch.zeros(len(regions), 1, device=device), regions], dim=1)  # (N, 5)
    # roi_align reads zeros beyond the edge: centring on the mean makes them the mean colour.
    cut: Tensor = roi_align((pixels - mean)[None], rois, side, sampling_ratio=-1, aligned=True)
    return (cut + mean).clamp(0, 1)  # (N, 3, S, S)
