"""Many points at once through Segment Anything's mask decoder, in as large batches as memory takes.

[ours] The modules of `segment_anything`, called in an order that spares work and changes no result.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dgl_rsis.sam.model import SamEmbedding, SamModel, framed

log = logging.getLogger(__name__)

Made = TypeVar("Made")


@dataclass
class Batches:
    """Work done in batches that halve when memory runs out.

    Attributes:
        size: of the next batch; stays halved.
    """

    size: int

    def over(
        self, points: NDArray[np.float64], work: Callable[[NDArray[np.float64]], Made]
    ) -> list[Made]:
        """What `work` makes of all points, batch by batch, in their order.

        Raises:
            torch.OutOfMemoryError: not even one point fits.
        """
        done: list[Made] = []
        start = 0
        while start < len(points):
            tried = self._tried(points[start : start + self.size], work)
            if tried is None:
                # Only now has the frame that held the tensors gone.
                torch.cuda.empty_cache()
                continue
            done.append(tried[0])
            start += len(tried[1])
        return done

    def _tried(
        self, part: NDArray[np.float64], work: Callable[[NDArray[np.float64]], Made]
    ) -> tuple[Made, NDArray[np.float64]] | None:
        try:
            return work(part), part
        except torch.OutOfMemoryError:
            if len(part) == 1:
                raise
            self.size = math.ceil(len(part) / 2)
            log.warning("out of memory with %d points: trying %d", len(part), self.size)
            return None


def decode(
    sam: SamModel, embedding: SamEmbedding, points: NDArray[np.float64], pred_iou: float
) -> tuple[Tensor, Tensor]:
    """Masks for single points that promise more than an IoU: what the mask decoder finds.

    The order of its steps is changed: the image's features are given once instead of once a point,
    so that what the first layer computes from them alone is computed once; and IoU is predicted
    before any mask is made.

    Args:
        sam: the model.
        embedding: of the image.
        points: (n, 2) float64, x and y, pixels of the image.
        pred_iou: masks stay that are predicted to have a greater one.

    Returns:
        (m, 256, 256) float32 logits and (m,) float32 predicted IoU, point after point.
    """
    prompts, decoder = sam.model.prompt_encoder, sam.model.mask_decoder
    coordinates = torch.from_numpy(framed(points, embedding)).to(sam.device)[:, None]
    labels = torch.ones(len(points), 1, dtype=torch.int32, device=sam.device)
    # In float32: bfloat16 would put points up to 2 pixels in 1024 elsewhere.
    sparse, _ = prompts(points=(coordinates, labels), boxes=None, masks=None)  # (n, 2, 256)
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])  # (1 + 4, 256)
    tokens = torch.cat([own.expand(len(points), -1, -1), sparse], dim=1)
    image = embedding.features + prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)
    places = prompts.get_dense_pe()
    with sam.precision():
        tokens, image = decoder.transformer(image, places, tokens)
    # Not in bfloat16, whose steps near 1 are 0.004.
    iou = decoder.iou_prediction_head(tokens[:, 0].float())[:, 1:]  # (n, 3)
    good = iou > pred_iou
    rows = good.any(dim=1)
    with sam.precision():
        low = _masks_of(decoder, tokens[rows], image[rows], embedding.features.shape[-1])
    return low[good[rows]].float(), iou[good]


def _masks_of(decoder: Any, tokens: Tensor, image: Tensor, side: int) -> Tensor:
    """Logits of the three masks of each point.

    Args:
        decoder: of the model.
        tokens: (n, 7, 256), after the transformer.
        image: (n, side², 256), likewise.
        side: of the feature map.

    Returns:
        (n, 3, 4 · side, 4 · side).
    """
    plane = image.transpose(1, 2).unflatten(2, (side, side))  # (n, 256, side, side)
    fine = decoder.output_upscaling(plane)  # (n, 32, 4 side, 4 side)
    weights = torch.stack(
        [decoder.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in (1, 2, 3)], dim=1
    )  # (n, 3, 32)
    return torch.einsum("nmc,nchw->nmhw", weights, fine)
