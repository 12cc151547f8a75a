"""What a model's pixel tower says of an image, and of masks in it.

A feature for every other pixel, in the space of the texts; borders of objects, the size of a pixel
and the presence of things beside. Models without a tower have none of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F

from dgl_rsis.clip import pixel_tower
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.clip.tiling import padded
from dgl_rsis.masks import Cover, cover
from dgl_rsis.types import RGB, Floats, Mask

BAND = 1536**2  # pixels that the pixel tower sees at a time, beside what lies around them
ROWS = 16  # of features that are rounded at a time: a cache holds them


@dataclass(frozen=True)
class PixelFeatures:
    """What the pixel tower says of an image, where a model has one.

    Attributes:
        coordinates: (h, w, R) float32, L2 norm 1, one for `pixel_tower.STRIDE` × STRIDE pixels.
        outline: (H, W) float32 in [0, 1], how likely the border of an object lies at a pixel.
        presence: (R, h', w') float32, what is seen in each part of the image; see
            `PixelTower.presence_logits`.
        scale: (2,) float32, ln(metres a pixel) as the picture looks, and the logarithm of the
            standard deviation of that.
    """

    coordinates: Tensor
    outline: Tensor
    presence: Tensor
    scale: Tensor


def pixel_features(clip: ClipModel, image: RGB) -> PixelFeatures | None:
    """Run an image through the model's pixel tower; None where it has none.

    Args:
        clip: the model.
        image: (H, W, 3) uint8.
    """
    if clip.pixels is None:
        return None
    cell, stride = pixel_tower.COARSEST, pixel_tower.STRIDE
    pixels = padded(image, cell, cell)  # (3, H', W') uint8
    rows = pixels.shape[1] // cell
    # A whole large image's layers would not fit in memory.
    band = max(1, BAND // (cell * pixels.shape[2]))
    halo = -(-pixel_tower.REACH // cell)
    coordinates, outline, presence, scales = [], [], [], []
    for top in range(0, rows, band):
        first, last = max(0, top - halo), min(rows, top + band + halo)
        shown = pixels[None, :, first * cell : last * cell].to(clip.device) / 255
        begin, end = top - first, min(top + band, rows) - first  # cells
        fine = slice(begin * cell // stride, end * cell // stride)
        with torch.no_grad():
            with clip.in_precision():
                said = clip.pixels(shown.to(memory_format=torch.channels_last)).float()
            unit = said.coordinates[0, :, fine].permute(1, 2, 0)  # (h, w, R)
            for some in unit.split(ROWS):
                some /= torch.linalg.vector_norm(some, dim=-1, keepdim=True).clamp_min(1e-12)
                _halved(some)
            coordinates.append(unit)
            border = said.outline[0, 0, begin * cell : end * cell]
            outline.append(_halved(border.sigmoid_()))
            presence.append(_halved(said.presence[0, :, begin:end]))
        scales.append(said.scale[0])
    height, width = image.shape[:2]
    half = slice(-(-height // stride)), slice(-(-width // stride))
    return PixelFeatures(
        _joined(coordinates)[half],
        _joined(outline)[:height, :width],
        _joined(presence, dim=1),
        torch.stack(scales).mean(dim=0),
    )


def _joined(bands: list[Tensor], dim: int = 0) -> Tensor:
    """One is not copied: it is large."""
    return bands[0] if len(bands) == 1 else torch.cat(bands, dim)


def _halved(values: Tensor) -> Tensor:
    """Rounded in place, so that a cache of halves changes nothing."""
    return values.copy_(values.half())


def presence(
    clip: ClipModel, levels: Sequence[PixelFeatures], texts: Tensor, weights: Floats
) -> Floats | None:
    """How likely an image shows what phrases name: (P,) float32 in [0, 1].

    Args:
        clip: the model.
        levels: K, of the image at each size that it was seen at; none where the model has no tower.
        texts: (P, D) float32, L2 norm 1.
        weights: (K, P), of the sizes that the image was seen at.

    Returns:
        None where the model cannot tell.
    """
    if clip.pixels is None:
        return None
    pixels = clip.pixels
    logits = [pixels.presence_logits(x.presence[None], texts)[0] for x in levels]
    shares = torch.from_numpy(weights).to(texts)  # (K, P)
    likely: Floats = (torch.stack(logits) * shares).sum(dim=0).sigmoid().cpu().numpy()
    return likely


def pooled_pixels(
    clip: ClipModel, pixels: PixelFeatures, masks: Mask, known: Cover | None = None
) -> Tensor:
    """Means of the pixel tower's features over masks: (N, D) float32, L2 norm 1.

    Args:
        clip: a model with a pixel tower.
        pixels: of the image.
        masks: (N, H, W) bool, none empty, of the image's proportions.
        known: which masks lie on each pixel; None to find out.
    """
    cell, members = known or cover(masks)  # (H, W), (N, U)
    sums = _pixel_sums(pixels, cell, members.shape[1])  # (U, R)
    return _placed(clip, members.astype(np.float32) @ sums)


def pooled_runs(
    clip: ClipModel,
    pixels: PixelFeatures,
    labels: NDArray[np.int32],
    first: NDArray[np.integer[Any]],
    last: NDArray[np.integer[Any]],
) -> Tensor:
    """Means of the pixel tower's features over runs of numbered parts: (N, D) float32, L2 norm 1.

    Args:
        clip: a model with a pixel tower.
        pixels: of the image.
        labels: (H, W) of the image's proportions, number of each pixel's part, from 0.
        first: (N,) the first number of each run; one that no pixel has gets zeros.
        last: (N,) one more than the last.
    """
    sums = _pixel_sums(pixels, labels, int(labels.max()) + 1).astype(np.float64)
    upto = np.concatenate([np.zeros((1, sums.shape[1])), sums.cumsum(axis=0)])  # (parts + 1, R)
    return _placed(clip, (upto[last] - upto[first]).astype(np.float32))


def _pixel_sums(pixels: PixelFeatures, cell: NDArray[np.integer[Any]], count: int) -> Floats:
    """Sums of coordinates over numbered cells: (H, W) → (count, R) float32."""
    height, width = cell.shape
    rows, columns = pixels.coordinates.shape[:2]
    down = (np.arange(height) * rows) // height
    across = (np.arange(width) * columns) // width
    place = (down[:, None] * columns + across).astype(np.int32)  # (H, W), each pixel's feature
    seen = sparse.csr_array(
        (np.ones(cell.size, np.float32), (cell.reshape(-1), place.reshape(-1))),
        shape=(count, rows * columns),
    )
    sums: Floats = seen @ pixels.coordinates.flatten(0, 1).cpu().numpy()
    return sums


def _placed(clip: ClipModel, coordinates: Floats) -> Tensor:
    assert clip.pixels is not None
    directions = F.normalize(torch.from_numpy(coordinates).to(clip.device), dim=-1)  # (N, R)
    return directions @ clip.pixels.basis  # (N, D)
