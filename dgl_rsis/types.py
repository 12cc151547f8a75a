"""The nouns that stages exchange."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RGB = NDArray[np.uint8]  # (H, W, 3), 0-255
Mask = NDArray[np.bool_]  # (H, W)
Floats = NDArray[np.float32]


class InputError(ValueError):
    """What was asked cannot be answered as it is. The message is fit for users."""


@dataclass(frozen=True)
class Proposals:
    """Class-agnostic mask proposals; they may overlap.

    Attributes:
        masks: (N, h, w) bool, at the size that the provider worked at: at most (H, W).
        boxes: (N, 4) int32, XYXY pixels of the image, right and bottom edge excluded.
        quality: (N,) float32 in [0, 1].
        height, width: H and W of the image, pixels.
    """

    masks: NDArray[np.bool_]
    boxes: NDArray[np.int32]
    quality: Floats
    height: int
    width: int

    @property
    def areas(self) -> Floats:
        """(N,) float32, pixels of the image."""
        h, w = self.masks.shape[1:]
        pixels = self.masks.sum(axis=(1, 2), dtype=np.int64)
        found: Floats = (pixels * (self.height * self.width / (h * w))).astype(np.float32)
        return found

    def __len__(self) -> int:
        return len(self.masks)


@dataclass(frozen=True)
class Label:
    """One class of the vocabulary.

    Attributes:
        name: as the user spells it.
        synonyms: the user's further names for it; the project's own knowledge adds more.
        threshold: smallest probability in [0, 1] at which a pixel takes this label; None for the
            pipeline's own.
        background: pixels won by this label stay unlabelled.
    """

    name: str
    synonyms: tuple[str, ...] = ()
    threshold: float | None = None
    background: bool = False


@dataclass(frozen=True)
class Segment:
    """One labelled mask.

    Attributes:
        label: name of the class.
        score: mean probability of the class inside the mask, [0, 1].
        mask: (H, W) bool at the original size.
    """

    label: str
    score: float
    mask: Mask


Json = dict[str, Any]
