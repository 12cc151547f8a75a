"""The things of a noun: connected parts of its own map, as candidates beside the proposals.

[ours] An object that no proposal holds whole is often whole in the map of its class.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from dgl_rsis import masks, matching
from dgl_rsis.features import PixelFeatures, pooled_parts
from dgl_rsis.models import ClipModel
from dgl_rsis.types import Floats, Mask


@dataclass(frozen=True)
class ThingParameters:
    """Which parts of a noun's map are things. Measured on generated scenes (docs/LOG.md).

    Attributes:
        least: probability of the noun that a thing's pixels have, [0, 1].
        outline: what is likelier to be the border of an object parts things, too, [0, 1].
        reach: pixels; how far things that such borders part grow back into them.
        smallest: pixels; smaller parts are none.
        most: things, the largest, before borders part them and after.
    """

    least: float = 0.3
    outline: float = 0.5
    reach: float = 3.0
    smallest: int = 16
    most: int = 100


@dataclass(frozen=True)
class Things:
    """What a noun's map shows, twice: its connected parts, and those that borders part.

    Attributes:
        masks: (H, W) bool each, none empty.
        classes: (M, C) float32, probabilities of each, rows sum to 1.
        numbers: (H, W) int32 each, the number of each pixel's thing from 1, 0 for none.
    """

    masks: tuple[Mask, ...]
    classes: Floats
    numbers: tuple[NDArray[np.int32], ...]


def of_noun(
    clip: ClipModel,
    pixels: PixelFeatures,
    texts: Tensor,
    owners: Sequence[int],
    temperature: float,
    shape: tuple[int, int],
    parameters: ThingParameters,
) -> Things:
    """The things of a noun in an image.

    Args:
        clip: a model with a pixel tower.
        pixels: of the image.
        texts: (P, D) float32, phrases of the noun and of everything else.
        owners: P class indices, 0 … C − 1; 0 is the noun.
        temperature: τ of the softmax.
        shape: H and W of the masks.
        parameters: see there.
    """
    assert clip.pixels is not None
    plane = likely(pixels, texts @ clip.pixels.basis.T, owners, temperature, shape)
    seen: list[Mask] = []
    classes: list[Floats] = []
    by_numbers = numbered(plane, borders(pixels, shape), parameters)
    for labels in by_numbers:
        parts = list(found(labels, parameters))
        seen += [mask for _, mask in parts]
        pooled = pooled_parts(clip, pixels, labels)[[number for number, _ in parts]]
        classes.append(matching.match(pooled, texts, owners, temperature))
    return Things(tuple(seen), np.concatenate(classes), by_numbers)


def likely(
    pixels: PixelFeatures,
    directions: Tensor,
    owners: Sequence[int],
    temperature: float,
    shape: tuple[int, int],
) -> Floats:
    """How likely each pixel shows the noun: (H, W) float32 in [0, 1].

    Args:
        pixels: of the image.
        directions: (P, R) float32, the phrases in the coordinates of the pixels.
        owners: P class indices; 0 is the noun.
        temperature: τ of the softmax.
        shape: H and W.
    """
    of_phrase = torch.tensor(owners, device=directions.device)
    best = [
        (pixels.coordinates @ directions[of_phrase == owner].T).amax(dim=-1)
        for owner in range(max(owners) + 1)
    ]
    # As `matching.best_phrase`, whose arrays of all phrases would take most of the time.
    probabilities = (temperature * torch.stack(best)).softmax(dim=0)  # (C, h, w)
    return _resized(probabilities[0].cpu(), shape)


def borders(pixels: PixelFeatures, shape: tuple[int, int]) -> Floats:
    """How likely the border of an object runs through each pixel: (H, W) float32 in [0, 1]."""
    return _resized(pixels.outline.cpu(), shape)


def numbered(
    plane: Floats, border: Floats, parameters: ThingParameters
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The things that a map shows, twice: its connected parts, and those that borders part.

    Args:
        plane: (H, W) float32 in [0, 1], probability of the noun.
        border: (H, W) float32 in [0, 1], of the border of an object.
        parameters: see there.

    Returns:
        (H, W) int32 each, the number of each pixel's thing from 1, 0 for none.
    """
    seen = plane >= parameters.least
    connected, _ = ndimage.label(seen, structure=np.ones((3, 3)))
    return np.asarray(connected, dtype=np.int32), parted(
        seen, border < parameters.outline, parameters.reach
    )


def found(labels: NDArray[np.int32], parameters: ThingParameters) -> Iterator[tuple[int, Mask]]:
    """Numbered things, largest first: the number of each and its mask, (H, W) bool."""
    return islice(masks.parts(labels, parameters.smallest), parameters.most)


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


def _resized(plane: Tensor, shape: tuple[int, int]) -> Floats:
    sized: Floats = F.interpolate(plane[None, None], size=shape, mode="bilinear")[0, 0].numpy()
    return sized
