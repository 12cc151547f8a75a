"""A small Segment Anything: its own modules, a tiny encoder, 128² input, no training.

Untrained masks are spread all over the image, where generators drop them. So each mask token is
told the place of its point, and its mask is a disc there, frayed by what the random weights say.
"""

import numpy as np
import torch
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from torch import Tensor, nn

from dgl_rsis.sam.model import SamModel, ready
from dgl_rsis.types import RGB

SIDE = 128
RADII = (0.15, 0.08, 0.15, 0.25)  # of each mask token, as shares of the side
STEEPNESS = 400.0


class _Placed(nn.Module):
    """A transformer that also writes x and y of the first point into its mask tokens."""

    def __init__(self, inner: nn.Module, prompts: PromptEncoder) -> None:
        super().__init__()
        self.inner, self.prompts = inner, [prompts]  # in a list: no part of the state

    def forward(self, image: Tensor, pe: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        queries, keys = self.inner(image, pe, tokens)
        codes = self.prompts[0].pe_layer((SIDE // 2, SIDE // 2)).flatten(1)  # (256, cells)
        own = tokens[:, 5] - self.prompts[0].point_embeddings[1].weight
        cell = (own @ codes).argmax(dim=1)
        place = torch.stack([cell % (SIDE // 2), cell // (SIDE // 2)], dim=1) * 2 / SIDE
        queries = queries.clone()
        queries[:, 1:5, :2] = place[:, None]
        return queries, keys


class _Coordinates(nn.Module):
    """Upscaling whose first channels are x², y², x, y and 1."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image: Tensor) -> Tensor:
        fine = self.inner(image).clone()
        cells = fine.shape[-1]
        at = (torch.arange(cells, device=fine.device) + 0.5) / cells
        fine[:, 0], fine[:, 2] = at[None] ** 2, at[None]
        fine[:, 1], fine[:, 3] = at[:, None] ** 2, at[:, None]
        fine[:, 4] = 1
        return fine


class _Disc(nn.Module):
    """Weights that make those channels a disc: steepness · (radius² − distance²)."""

    def __init__(self, inner: nn.Module, radius: float) -> None:
        super().__init__()
        self.inner, self.radius = inner, radius

    def forward(self, token: Tensor) -> Tensor:
        place = token[:, :2]
        weights = self.inner(token).clone()
        weights[:, :2] = -STEEPNESS
        weights[:, 2:4] = 2 * STEEPNESS * place
        weights[:, 4] = STEEPNESS * (self.radius**2 - place.square().sum(dim=1))
        return weights


def small_sam(device: str = "cpu") -> SamModel:
    """Random weights, scaled until predictions differ from point to point as trained ones do."""
    torch.manual_seed(0)
    cells = SIDE // 16
    encoder = ImageEncoderViT(
        img_size=SIDE,
        embed_dim=32,
        depth=2,
        num_heads=2,
        window_size=4,
        out_chans=256,
        global_attn_indexes=(1,),
        use_rel_pos=True,
    )
    prompts = PromptEncoder(256, (cells, cells), (SIDE, SIDE), mask_in_chans=16)
    transformer = TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=64, num_heads=8)
    decoder = MaskDecoder(transformer_dim=256, transformer=transformer)
    with torch.no_grad():
        for network in decoder.output_hypernetworks_mlps:
            network.layers[-1].weight *= 20
        decoder.iou_prediction_head.layers[-1].weight *= 3
        decoder.iou_prediction_head.layers[-1].bias += 0.5
    decoder.transformer = _Placed(transformer, prompts)
    decoder.output_upscaling = _Coordinates(decoder.output_upscaling)
    networks = zip(decoder.output_hypernetworks_mlps, RADII, strict=True)
    decoder.output_hypernetworks_mlps = nn.ModuleList(_Disc(*network) for network in networks)
    return ready(Sam(encoder, prompts, decoder), "small", "0" * 64, device)


def noise(height: int, width: int, seed: int = 0) -> RGB:
    """Blots of colour."""
    coarse = np.random.default_rng(seed).integers(
        0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8
    )
    return coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
