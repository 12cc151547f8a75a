"""Random regions of labelled windows: what mask and crop features are trained on.

At inference a region follows edges and lies in one class, more or less. Cells of a random weighted
Voronoi diagram, cut by the class that most of the cell belongs to, are such regions, of every size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import roi_align


@dataclass(frozen=True)
class Regions:
    """Regions of a batch of windows.

    Attributes:
        weights: (B, J, K) float32, share of each patch that a region covers.
        labels: (B, J) int64, source number of the region, 0 = none.
        boxes: (B, J, 4) float32, XYXY pixels.
    """

    weights: Tensor
    labels: Tensor
    boxes: Tensor


def regions(labels: Tensor, sources: int, cells: int, patch: int) -> Regions:
    """Cut windows into regions.

    Args:
        labels: (B, S, S) int64, 0 = unlabelled.
        sources: greatest label.
        cells: J, regions a window.
        patch: side, pixels.
    """
    half = labels[:, ::2, ::2]  # (B, s, s): regions at half resolution
    count, side = half.shape[0], half.shape[1]
    cell = _voronoi(count, side, cells, labels.device)  # (B, s, s)
    flat = torch.arange(count, device=labels.device)[:, None, None] * cells + cell
    bins = torch.bincount(
        (flat * (sources + 1) + half).reshape(-1), minlength=count * cells * (sources + 1)
    )
    pixels = bins.reshape(count, cells, sources + 1).clone()
    pixels[:, :, 0] = 0
    most, major = pixels.max(dim=2)  # (B, J)
    numbers = torch.arange(cells, device=labels.device)[None, :, None, None]
    # A quarter of the regions spill over into other classes, as real proposals do.
    loose = torch.rand(count, cells, 1, 1, device=labels.device) < 0.25
    inside = (half[:, None] == major[:, :, None, None]) | loose
    masks = (cell[:, None] == numbers) & inside  # (B, J, s, s)
    pure = most >= 0.7 * masks.sum(dim=(2, 3))
    weights = F.avg_pool2d(masks.float(), patch // 2).flatten(2)  # (B, J, K)
    kept = torch.where((most >= 8) & pure, major, 0)
    return Regions(weights, kept, _boxes(masks) * 2)


def context_crops(
    images: Tensor, regions: Regions, per_window: int, side: int
) -> tuple[Tensor, Tensor]:
    """Square crops around random regions, with the context that inference gives and more or less.

    Args:
        images: (B, 3, S, S) float32.
        regions: regions of them.
        per_window: crops of each window.
        side: pixels of a crop.

    Returns:
        (n, 3, side, side) float32 and (n,) int64 labels, none 0.
    """
    priority = torch.rand_like(regions.labels, dtype=torch.float32) * (regions.labels > 0)
    chosen = priority.topk(per_window, dim=1).indices  # (B, n)
    labels = regions.labels.gather(1, chosen).reshape(-1)
    boxes = regions.boxes.gather(1, chosen[:, :, None].expand(-1, -1, 4)).reshape(-1, 4)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    scale = torch.empty(len(boxes), 1, device=boxes.device).uniform_(1.1, 3.0)
    reach = (boxes[:, 2:] - boxes[:, :2]).max(dim=1, keepdim=True).values * scale / 2
    reach = reach.clamp(16, images.shape[-1] / 2)
    centres = torch.minimum(torch.maximum(centres, reach), images.shape[-1] - reach)
    owner = torch.arange(len(images), device=boxes.device).repeat_interleave(per_window)
    rois = torch.cat([owner[:, None], centres - reach, centres + reach], dim=1)
    usable = labels > 0
    crops: Tensor = roi_align(images, rois[usable], side, sampling_ratio=4, aligned=True)
    return crops, labels[usable]


def patch_labels(labels: Tensor, sources: int, patch: int) -> Tensor:
    """The class of three quarters or more of each patch, else 0: (B, K) int64."""
    one_hot = F.one_hot(labels[:, ::2, ::2], sources + 1).permute(0, 3, 1, 2).float()
    share, major = F.avg_pool2d(one_hot, patch // 2)[:, 1:].max(dim=1)
    return torch.where(share >= 0.75, major + 1, 0).flatten(1)


def _voronoi(count: int, side: int, cells: int, device: torch.device) -> Tensor:
    """(B, s, s) int64, number of the weighted Voronoi cell of every pixel."""
    seeds = torch.rand(count, cells, 2, device=device) * side
    reach = torch.exp(torch.empty(count, cells, device=device).uniform_(-1.2, 1.2))
    ramp = torch.arange(side, device=device) + 0.5
    down = (ramp[None, None, :] - seeds[:, :, 0, None]) ** 2  # (B, J, s)
    across = (ramp[None, None, :] - seeds[:, :, 1, None]) ** 2
    distance = (down[:, :, :, None] + across[:, :, None, :]) / reach[:, :, None, None]
    return distance.argmin(dim=1)


def _boxes(masks: Tensor) -> Tensor:
    """(B, J, 4) float32 XYXY of (B, J, s, s) masks; of an empty one the whole window."""
    side = masks.shape[-1]
    ramp = torch.arange(side, device=masks.device)

    def ends(seen: Tensor) -> tuple[Tensor, Tensor]:
        first = torch.where(seen, ramp, side).amin(dim=-1)
        return first.clamp_max(side - 1), torch.where(seen, ramp + 1, 0).amax(dim=-1)

    top, bottom = ends(masks.any(dim=3))
    left, right = ends(masks.any(dim=2))
    boxes = torch.stack([left, top, right, bottom], dim=-1).float()
    empty = ~masks.any(dim=(2, 3))
    return torch.where(empty[:, :, None], boxes.new_tensor([0, 0, side, side]), boxes)
