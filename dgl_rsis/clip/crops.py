"""Context-aware crops: how much of its surroundings each proposal is shown with, and how plainly.

[paper] "patches with proper boundaries", "adaptively". [ours] the formula; the constant 1.2 for
large objects is InstructSAM's; what lies outside the mask may be painted over or blurred.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import roi_align

from dgl_rsis.types import RGB, Floats, Mask, Proposals

Background = Literal["keep", "mean", "blur"]
BLUR = 0.08  # σ of the blur, share of the crop's side
MOST_PIXELS = 2**24  # of masks, held as numbers at a time: 64 MiB


@dataclass(frozen=True)
class CropParameters:
    """How far a crop reaches.

    Attributes:
        min_scale: scale of the box for objects of `reference_area` and larger (InstructSAM: 1.2).
        max_scale: scale of the box for the smallest objects.
        reference_area: pixels; smaller objects get more context.
        exponent: how fast the scale grows with reference_area / area.
        min_side: pixels; no crop is smaller.
        background: what the crop shows outside the mask: the image as it is, its mean colour, or
            the image blurred.
    """

    min_scale: float = 1.2
    max_scale: float = 3.0
    reference_area: float = 64.0 * 64.0
    exponent: float = 0.25
    min_side: int = 32
    background: Background = "keep"


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
    squares: Floats = np.concatenate([starts, starts + sides[:, None]], axis=1).astype(np.float32)
    return squares


def crop(
    image: RGB,
    crop_boxes: Floats,
    side: int,
    device: str = "cpu",
    background: Background = "keep",
    masks: Mask | None = None,
) -> Tensor:
    """Cut and resize all boxes in one call.

    Each output pixel averages bilinear samples of its whole cell, so shrinking does not alias;
    parts beyond the image show its mean colour.

    Args:
        image: (H, W, 3) uint8.
        crop_boxes: (N, 4) float32, XYXY pixels.
        side: S, pixels of the result.
        device: where the result lives.
        background: what to show outside the masks.
        masks: (N, H, W) bool, or smaller ones of the same proportions; not needed for "keep".

    Returns:
        (N, 3, S, S) float32 in [0, 1].

    Raises:
        ValueError: no mask for each box, and another background than "keep".
    """
    if background != "keep" and (masks is None or len(masks) != len(crop_boxes)):
        given = "no masks" if masks is None else f"{len(masks)} masks"
        raise ValueError(
            f"background {background!r} needs a mask for each of the {len(crop_boxes)} boxes, not "
            f"{given}: pass `masks`, or background='keep'"
        )
    pixels = torch.tensor(image, device=device).permute(2, 0, 1)
    pixels = pixels.float() / 255  # (3, H, W)
    mean = pixels.mean(dim=(1, 2), keepdim=True)
    regions = torch.from_numpy(crop_boxes).to(device)
    rois = torch.cat([torch.zeros(len(regions), 1, device=device), regions], dim=1)  # (N, 5)
    # roi_align reads zeros beyond the edge: centring on the mean makes them the mean colour.
    cut: Tensor = roi_align((pixels - mean)[None], rois, side, sampling_ratio=-1, aligned=True)
    cut = (cut + mean).clamp(0, 1)  # (N, 3, S, S)
    if background == "keep" or masks is None:
        return cut
    return _isolated(cut, masks, regions / _ratio(image, masks).to(device), mean, background)


def _ratio(image: RGB, masks: Mask) -> Tensor:
    """(4,) float32, pixels of the image to one of the masks, for each corner's coordinate."""
    down, across = (image.shape[axis] / masks.shape[axis + 1] for axis in (0, 1))
    return torch.tensor([across, down, across, down])


def _isolated(
    cut: Tensor, masks: Mask, regions: Tensor, mean: Tensor, background: Background
) -> Tensor:
    """Crops with another background.

    A pixel of the crop that the mask covers in part shows as much of the background as is not
    covered.

    Args:
        cut: (N, 3, S, S) float32; is overwritten.
        masks: (N, h, w) bool.
        regions: (N, 4) float32, XYXY pixels of the masks.
        mean: (3, 1, 1) float32, the image's mean colour.
        background: "mean" or "blur".

    Returns:
        (N, 3, S, S) float32 in [0, 1].
    """
    step = max(1, MOST_PIXELS // math.prod(masks.shape[1:]))
    for first in range(0, len(cut), step):
        part = slice(first, first + step)
        planes = torch.tensor(masks[part, None], device=cut.device).float()  # (n, 1, h, w)
        shown: Tensor = roi_align(
            planes, list(regions[part, None]), cut.shape[-1], sampling_ratio=-1, aligned=True
        )  # (n, 1, S, S)
        behind = mean if background == "mean" else _blurred(cut[part])
        cut[part] = torch.lerp(behind.expand_as(cut[part]), cut[part], shown).clamp(0, 1)
    return cut


def _blurred(images: Tensor) -> Tensor:
    """A Gaussian blur, first along rows and then along columns: (n, 3, S, S) → (n, 3, S, S)."""
    side = images.shape[-1]
    sigma = BLUR * side
    reach = min(math.ceil(3 * sigma), side - 1)
    steps = torch.arange(-reach, reach + 1, device=images.device)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel = (kernel / kernel.sum()).reshape(1, 1, 1, -1)
    planes = images.reshape(-1, 1, side, side)  # (3 · n, 1, S, S)
    for weights, around in (
        (kernel, (reach, reach, 0, 0)),
        (kernel.transpose(2, 3), (0, 0, reach, reach)),
    ):
        planes = F.conv2d(F.pad(planes, around, mode="reflect"), weights)
    return planes.reshape(images.shape)
