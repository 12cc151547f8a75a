"""Random augmented windows of the training images, cut on the device."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Bank:
    """Images of one source on one canvas size.

    Attributes:
        images: (M, H, W, 3) uint8; what lies beyond an image's own size is never read.
        labels: (M, H, W) uint8, 0 = unlabelled, else 1 + index into `vocabularies.SOURCES`.
        sizes: (M, 2) int64, rows and columns of each image.
        anchors: for each class that occurs, (n, 3) int64 image, row, column of some of its pixels.
    """

    images: Tensor
    labels: Tensor
    sizes: Tensor
    anchors: tuple[Tensor, ...]

    def to(self, device: str) -> "Bank":
        """The same on a device."""
        images, labels, sizes = (x.to(device) for x in (self.images, self.labels, self.sizes))
        return Bank(images, labels, sizes, tuple(x.to(device) for x in self.anchors))


def bank(images: list[Tensor], labels: list[Tensor], per_class: int = 20000) -> Bank:
    """Put images of any size, (H, W, 3) and (H, W) uint8, onto one canvas."""
    height, width = max(len(x) for x in images), max(x.shape[1] for x in images)
    canvas = torch.zeros(len(images), height, width, 3, dtype=torch.uint8)
    truth = torch.zeros(len(images), height, width, dtype=torch.uint8)
    of_class: dict[int, list[Tensor]] = {}
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        canvas[i, : image.shape[0], : image.shape[1]] = image
        truth[i, : label.shape[0], : label.shape[1]] = label
        for number in label.unique().tolist():
            if number:
                pixels = (label == number).nonzero()
                some = pixels[torch.randperm(len(pixels))[: max(1, per_class // len(images))]]
                with_image = torch.cat([torch.full((len(some), 1), i), some], dim=1)
                of_class.setdefault(number, []).append(with_image)
    sizes = torch.tensor([x.shape[:2] for x in images])
    anchors = tuple(torch.cat(of_class[number]) for number in sorted(of_class))
    return Bank(canvas, truth, sizes, anchors)


def sample(
    source: Bank, count: int, side: int, balanced: float, reach: float = 2.0
) -> tuple[Tensor, Tensor]:
    """Random windows: any rotation, mirrored, at up to `reach` times the resolution or less.

    Args:
        source: where to cut.
        count: B.
        side: S, pixels.
        balanced: share of windows centred on a pixel of a class drawn uniformly; the others are
            centred anywhere.
        reach: 1 keeps the resolution; 2 draws one from half to twice of it.

    Returns:
        (B, 3, S, S) float32 in [0, 1] and (B, S, S) int64 labels. Beyond its edge an image is
        mirrored.
    """
    device = source.images.device
    index, centre = _centres(source, count, balanced)
    spread = math.log(reach)
    scale = torch.exp(torch.empty(count, device=device).uniform_(-spread, spread))
    angle = torch.empty(count, device=device).uniform_(0, 2 * math.pi)
    mirror = (torch.rand(count, device=device) < 0.5).float() * 2 - 1
    fine = 2 * side  # four samples a pixel, averaged: shrinking must not alias
    ramp = (torch.arange(fine, device=device) + 0.5 - side) / 2  # (2S,)
    down, across = torch.meshgrid(ramp, ramp, indexing="ij")
    cos, sin = (scale * angle.cos())[:, None, None], (scale * angle.sin())[:, None, None]
    flipped = across * mirror[:, None, None]  # (B, 2S, 2S)
    rows = centre[:, 0, None, None] + cos * down + sin * flipped
    columns = centre[:, 1, None, None] - sin * down + cos * flipped
    size = source.sizes[index]
    rows, columns = (
        _mirrored(rows, size[:, 0, None, None]),
        _mirrored(columns, size[:, 1, None, None]),
    )
    which = index[:, None, None]
    pixels = source.images[which, rows, columns].permute(0, 3, 1, 2)  # (B, 3, 2S, 2S)
    labels = source.labels[which, rows[:, 1::2, 1::2], columns[:, 1::2, 1::2]]
    return F.avg_pool2d(pixels.float() / 255, 2), labels.long()


def jitter(images: Tensor) -> Tensor:
    """Another sensor, season and sun: gains, gamma, saturation, cast, blur and noise.

    Seven in eight hardly at all: colours tell asphalt from mangroves, and shallow water from
    lawns, on tiles that training has not seen, too (docs/LOG.md).

    Args:
        images: (B, 3, S, S) float32 in [0, 1].
    """
    mild = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.875
    strength = torch.where(mild, 0.08, 1.0)
    return softened(recoloured(images, strength, JITTER), strength)


@dataclass(frozen=True)
class Recolouring:
    """How far colours may change at full strength: logarithms of factors, and shares of white.

    Attributes:
        gamma, saturation, contrast, gain: of an image; `saturation` is no logarithm.
        cast: gain of each channel beside.
        offset, tint: added to an image, and to each channel.
    """

    gamma: float
    saturation: float
    contrast: float
    gain: float
    cast: float
    offset: float
    tint: float


JITTER = Recolouring(0.5, 0.7, 0.45, 0.4, 0.1, 0.1, 0.04)


def recoloured(images: Tensor, strength: Tensor, reach: Recolouring) -> Tensor:
    """Random changes of colours and light.

    Args:
        images: (B, 3, S, S) float32 in [0, 1].
        strength: (B, 1, 1, 1) float32 in [0, 1].
        reach: how far.

    Returns:
        (B, 3, S, S) float32, not bound to [0, 1].
    """
    x = images.clamp_min(1e-3) ** torch.exp(_drawn(strength, reach.gamma))
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * (1 + _drawn(strength, reach.saturation))
    centre = x.mean(dim=(1, 2, 3), keepdim=True)
    x = centre + (x - centre) * torch.exp(_drawn(strength, reach.contrast))
    x = x * torch.exp(_drawn(strength, reach.gain) + _drawn(strength, reach.cast, 3))
    return x + _drawn(strength, reach.offset) + _drawn(strength, reach.tint, 3)


def softened(images: Tensor, strength: Tensor) -> Tensor:
    """A quarter of the images blurred, all of them with noise: (B, 3, S, S) float32 in [0, 1]."""
    soft = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    x = torch.where(torch.rand_like(strength) < 0.25, soft, images)
    return (x + torch.randn_like(x) * _drawn(strength, 0.04).abs()).clamp(0, 1)


def _drawn(strength: Tensor, reach: float, channels: int = 1) -> Tensor:
    """(B, channels, 1, 1), uniform in ± reach times the strength."""
    shape = (len(strength), channels, 1, 1)
    return torch.empty(shape, device=strength.device).uniform_(-reach, reach) * strength


def _centres(source: Bank, count: int, balanced: float) -> tuple[Tensor, Tensor]:
    device = source.images.device
    index = torch.randint(len(source.images), (count,), device=device)
    centre = torch.rand(count, 2, device=device) * source.sizes[index]
    for i in range(round(count * balanced)):
        pixels = source.anchors[int(torch.randint(len(source.anchors), (1,)))]
        image, row, column = pixels[int(torch.randint(len(pixels), (1,)))]
        index[i] = image
        centre[i, 0], centre[i, 1] = row, column
    return index, centre


def _mirrored(position: Tensor, size: Tensor) -> Tensor:
    """Real positions → indices into 0 … size−1, mirrored at both ends."""
    period = 2 * size
    folded = torch.remainder(position.floor(), period)
    return torch.minimum(folded, period - 1 - folded).clamp_min(0).long()
