"""Stochastic depth: blocks of the image tower that some samples of a training batch skip."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from dgl_rsis.models import ClipModel


@contextmanager
def stochastic_depth(clip: ClipModel, kept: Tensor) -> Iterator[None]:
    """Within it, every sample skips blocks at random; what a block adds is scaled up for it.

    Few images teach the deep blocks their own textures by heart: the later the block, the better
    its tokens tell the classes of the training tiles, and the worse those of other tiles
    (docs/LOG.md). A head that cannot count on the deep blocks reads what all of them pass on.
    Source: Huang et al., Deep Networks with Stochastic Depth, 2016, by sample.

    Args:
        clip: the model; its image tower encodes as many samples as `kept` has.
        kept: (B,) float32 in (0, 1], probability that a sample keeps a block.
    """

    def skip(_: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        scale = (torch.rand_like(kept) < kept) / kept  # (B,)
        before = inputs[0]
        return before + (output - before) * scale[:, None, None].to(output.dtype)

    blocks = clip.model.visual.transformer.resblocks
    handles = [block.register_forward_hook(skip) for block in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
