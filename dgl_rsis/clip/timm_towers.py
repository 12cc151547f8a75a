"""Image towers of timm opened up, as open_clip wraps them: SigLIP, PE, EVA, MobileCLIP, ConvNeXt.

They differ in how the last tokens become one embedding, and so does what a mask is pooled from:

    an attention pool      SigLIP, PE-Core: the values that it mixes;
    a class token          EVA, MobileCLIP-B: what each patch adds by attention to itself alone in
                           the last block, as for open_clip's own transformers;
    the mean of a map      MobileCLIP-S, ConvNeXt, ViTamin: the map.

They run at the size that they were trained at: their positions belong to it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from open_clip.timm_model import TimmModel
from timm.layers.attention_pool import AttentionPoolLatent
from timm.models.eva import EvaBlock, EvaBlockPostNorm
from torch import Tensor
from torch.nn import functional as F

from dgl_rsis.clip.towers import Tower, squared


def open_timm(visual: TimmModel) -> Tower:
    """A tower of timm, by the way it pools."""
    trunk: Any = visual.trunk
    if isinstance(getattr(trunk, "attn_pool", None), AttentionPoolLatent):
        return PooledByAttention(visual)
    if getattr(trunk, "global_pool", "") == "token":
        return PooledByToken(visual)
    return PooledByMean(visual)


class _TimmTower:
    """What all of them have."""

    stretches = False

    def __init__(self, visual: TimmModel) -> None:
        self._visual = visual
        self._trunk: Any = visual.trunk
        self.side = int(visual.image_size[0])
        self.patch = self.side // self._cells

    @property
    def _cells(self) -> int:
        """Patches, or cells of the last map, along a side of a tile."""
        if self._has_tokens:
            return int(self._trunk.patch_embed.grid_size[0])
        return self.side // int(self._trunk.feature_info[-1]["reduction"])

    @property
    def _has_tokens(self) -> bool:
        """Whether it is a transformer whose patches stay what they are, and no pyramid of maps."""
        return hasattr(self._trunk, "num_prefix_tokens")

    def _projected(self, pooled: Tensor) -> Tensor:
        """What comes after the pooling of a transformer: (..., E) → (..., D)."""
        after: Tensor = self._visual.head(self._trunk.head(self._trunk.fc_norm(pooled)))
        return after


class PooledByAttention(_TimmTower):
    """A transformer whose tokens a latent query pools."""

    def before_last(self, tiles: Tensor) -> Tensor:
        """What the attention pool is given: (B, prefix + K, E)."""
        tokens: Tensor = self._trunk.forward_features(tiles)
        return tokens

    def values(self, states: Tensor) -> Tensor:
        """The values that the attention pool mixes: (B, h, w, E)."""
        pool = self._trunk.attn_pool
        tokens = states
        if pool.pos_embed is not None:
            tokens = tokens + pool.pos_embed
        values: Tensor = pool.kv(tokens[:, self._trunk.num_prefix_tokens :]).chunk(2, dim=-1)[1]
        return squared(values)

    def pooled(self, means: Tensor) -> Tensor:
        """What comes after the pool's attention: (..., E) → (..., D)."""
        pool = self._trunk.attn_pool
        x = pool.proj(means)
        if pool.mlp is not None:
            x = x + pool.mlp(pool.norm(x))
        return self._projected(x)

    def split(self, states: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The patches, and the rest of the tower for what is added to them."""
        prefix = self._trunk.num_prefix_tokens
        return states[:, prefix:], partial(self._finished, states, prefix)

    def _finished(self, states: Tensor, prefix: int, added: Tensor) -> Tensor:
        tokens = torch.cat([states[:, :prefix], states[:, prefix:] + added], dim=1)
        return self._projected(self._trunk.pool(tokens))


class PooledByToken(_TimmTower):
    """A transformer whose class token is read."""

    def before_last(self, tiles: Tensor) -> Tensor:
        """What the last block is given: (B, prefix + K, E)."""
        second_last = len(self._trunk.blocks) - 2
        ((patches, prefix),) = self._trunk.forward_intermediates(
            tiles, indices=[second_last], return_prefix_tokens=True, stop_early=True,
            output_fmt="NLC", intermediates_only=True,
        )  # fmt: skip
        return torch.cat([prefix, patches], dim=1)

    def values(self, states: Tensor) -> Tensor:
        """What each patch adds by attention to itself alone, in the last block: (B, h, w, E)."""
        last = self._trunk.blocks[-1]
        patches = states[:, self._trunk.num_prefix_tokens :]
        # Each is a sequence of its own: all weight is on itself, wherever it lies.
        alone = self._normed(last, patches).reshape(-1, 1, states.shape[-1])
        return squared(last.attn(alone).reshape(patches.shape))

    def pooled(self, means: Tensor) -> Tensor:
        """The rest of the last block and of the tower, for that alone: (..., E) → (..., D)."""
        last = self._trunk.blocks[-1]
        x = self._fed_forward(last, self._added(last, means))
        return self._projected(self._trunk.norm(x))

    def split(self, states: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The normed patches, and the rest of the tower for what is added to them."""
        active = self._normed(self._trunk.blocks[-1], states)
        prefix = self._trunk.num_prefix_tokens
        return active[:, prefix:], partial(self._finished, states, active, prefix)

    def _finished(self, states: Tensor, active: Tensor, prefix: int, added: Tensor) -> Tensor:
        last = self._trunk.blocks[-1]
        normed = torch.cat([active[:, :prefix], active[:, prefix:] + added], dim=1)
        x = states + self._added(last, self._attention(last, normed))
        return self._projected(self._trunk.norm(self._fed_forward(last, x)[:, 0]))

    def _attention(self, block: Any, normed: Tensor) -> Tensor:
        rope = getattr(self._trunk, "rope", None)
        if rope is None:
            attended: Tensor = block.attn(normed)
        else:
            attended = block.attn(normed, rope=rope.get_embed([self._cells, self._cells]))
        return attended

    @staticmethod
    def _normed(block: Any, x: Tensor) -> Tensor:
        """What attention sees of a block's input."""
        normed: Tensor = x if isinstance(block, EvaBlockPostNorm) else block.norm1(x)
        return normed

    @staticmethod
    def _added(block: Any, attended: Tensor) -> Tensor:
        """What a block adds of what its attention gave."""
        if isinstance(block, EvaBlockPostNorm):
            added: Tensor = block.norm1(attended)
        else:
            added = _scaled(block, 1, attended)
        return added

    @staticmethod
    def _fed_forward(block: Any, x: Tensor) -> Tensor:
        """The second half of a block: (..., E) → (..., E)."""
        if isinstance(block, EvaBlockPostNorm):
            more: Tensor = block.norm2(block.mlp(x))
        else:
            more = _scaled(block, 2, block.mlp(block.norm2(x)))
        return x + more


class PooledByMean(_TimmTower):
    """A tower whose last map, or whose patches are averaged."""

    def before_last(self, tiles: Tensor) -> Tensor:
        """The last map, as tokens: (B, K, E)."""
        shown: Tensor = self._trunk.forward_features(tiles)
        if self._has_tokens:
            return shown[:, self._trunk.num_prefix_tokens :]
        return shown.flatten(1, 2) if self._ends_on_features else shown.flatten(2).transpose(1, 2)

    def values(self, states: Tensor) -> Tensor:
        """The map: (B, h, w, E)."""
        return squared(states)

    def pooled(self, means: Tensor) -> Tensor:
        """What comes after the mean: (..., E) → (..., D)."""
        alone = means.reshape(-1, 1, means.shape[-1])
        return self._finished(alone).reshape(*means.shape[:-1], -1)

    def split(self, states: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The map, and the rest of the tower for what is added to it."""
        return states, lambda added: self._finished(states + added)

    def _finished(self, cells: Tensor) -> Tensor:
        """The mean of some cells and what follows: (B, K, E) → (B, D)."""
        if self._has_tokens:  # the first of them do not count
            shown = F.pad(cells, (0, 0, self._trunk.num_prefix_tokens, 0))
        else:
            shown = cells[:, :, None]  # (B, K, 1, E)
            shown = shown if self._ends_on_features else shown.permute(0, 3, 1, 2)
        embedding: Tensor = self._visual.head(self._trunk.forward_head(shown))
        return embedding

    @property
    def _ends_on_features(self) -> bool:
        """Whether its maps are (B, h, w, E), and not (B, E, h, w)."""
        return getattr(self._trunk, "output_fmt", "NCHW") == "NHWC"


def _scaled(block: Any, half: int, x: Tensor) -> Tensor:
    """By the learnt factors of a block's first or second half, if it has some."""
    if isinstance(block, EvaBlock):
        factor = block.gamma_1 if half == 1 else block.gamma_2
        return x if factor is None else factor * x
    scaled: Tensor = (block.ls1 if half == 1 else block.ls2)(x)
    return scaled
