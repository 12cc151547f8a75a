"""What proposals and clicks need of a model of the Segment Anything family, whichever it is."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dgl_rsis.types import RGB, Prompt, Refined

Size = tuple[int, int]  # height, width
Arrays = Mapping[str, NDArray[Any]]


class Embedding(Protocol):
    """What one pass of the encoder makes of an image: all that prompts on it need."""

    @property
    def height(self) -> int:
        """H of the image, pixels."""

    @property
    def width(self) -> int:
        """W of the image, pixels."""

    def to_arrays(self) -> Arrays:
        """The same on the CPU, to be kept; see `Promptable.from_arrays`."""


class Promptable(Protocol):
    """A model that makes masks of points, boxes and masks, over an image that it encoded once."""

    @property
    def name(self) -> str:
        """As the user asked for it."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the weights, hexadecimal."""

    @property
    def device(self) -> str:
        """Where it lives: "cpu", "cuda:0"."""

    @property
    def side(self) -> int:
        """Pixels of the longer side of what the encoder sees."""

    @property
    def threshold(self) -> float:
        """Logit above which a pixel belongs to the mask."""

    def encode(self, image: RGB) -> Embedding:
        """One pass of the encoder over (H, W, 3) uint8."""

    def from_arrays(self, arrays: Arrays) -> Embedding:
        """What `Embedding.to_arrays` gave, on the model's device."""

    def decode(
        self, embedding: Embedding, points: NDArray[np.float64], pred_iou: float
    ) -> tuple[Tensor, Tensor]:
        """Masks for single points that promise more than an IoU.

        Args:
            embedding: of the image, by this model.
            points: (n, 2) float64, x and y, pixels of the image.
            pred_iou: masks stay that are predicted to have a greater one.

        Returns:
            (m, low, low) float32 logits and (m,) float32 predicted IoU, point after point.
        """

    def enlarged(self, low: Tensor, embedding: Embedding, size: Size) -> Tensor:
        """Logits of the decoder, (n, low, low), at another size of the image: (n, *size)."""

    def refine(self, embedding: Embedding, prompt: Prompt) -> Refined:
        """The mask that a prompt means.

        Raises:
            InputError: the prompt says nothing, or not of this image.
        """
