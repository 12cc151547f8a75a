"""Image towers opened up: what goes in, what comes out, piece by piece.

Of open_clip's own vision transformer and its own ResNet; these follow its forward passes, at any
size of tile, so that stages can step in between. `dgl_rsis.clip.timm_towers` has those of timm.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.transformer import (
    AttentionalPooler,
    ResidualAttentionBlock,
    VisionTransformer,
)
from torch import Tensor
from torch.nn import functional as F

RESNET_STRIDE = 32  # pixels between the cells of a ResNet's last feature map


class Tower(Protocol):
    """An image tower that stages can step into.

    Attributes:
        patch: side of a patch, or of a cell of the last feature map, pixels.
        side: of the images that it was trained on, pixels.
        stretches: whether it takes tiles of other sizes, too.
    """

    patch: int
    side: int
    stretches: bool

    def before_last(self, tiles: Tensor) -> Tensor:
        """What the last block, or the pooling is given; no text has had a say so far.

        Args:
            tiles: (B, 3, S, S) float32, standardised; S a multiple of the patch.

        Returns:
            (B, …) float32, for the other methods.
        """
        ...

    def values(self, states: Tensor) -> Tensor:
        """What masks are pooled from.

        Args:
            states: as `before_last` gave them.

        Returns:
            (B, h, w, E) float32, one for each patch.
        """
        ...

    def pooled(self, means: Tensor) -> Tensor:
        """The embedding of means of values: (..., E) → (..., D) float32."""
        ...

    def split(self, states: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The activations of the patches, (B, K, E), and the rest of the tower.

        The rest takes what is added to all patches, (B, 1, E), and gives the embedding, (B, D).
        """
        ...


class TransformerTower:
    """A vision transformer of open_clip's own.

    Attributes:
        visual: as open_clip has it.
    """

    stretches = True

    def __init__(self, visual: VisionTransformer) -> None:
        self.visual = visual
        self._last: Any = visual.transformer.resblocks[-1]
        self.patch, self.side = int(visual.patch_size[0]), int(visual.image_size[0])

    def before_last(self, tiles: Tensor) -> Tensor:
        """What the last block is given: (B, 1 + K, E), the class token first."""
        x = embed(self.visual, tiles)
        for block in self.visual.transformer.resblocks[:-1]:
            x = block(x)
        return x

    def values(self, states: Tensor) -> Tensor:
        """Value projections of the last block: (B, h, w, E)."""
        # Only the value third of the packed projection is needed: no attention in the last block.
        layer, width = self._last.attn, states.shape[-1]
        weight, bias = layer.in_proj_weight[2 * width :], layer.in_proj_bias[2 * width :]
        return squared(F.linear(self._last.ln_1(states[:, 1:]), weight, bias))

    def attended(self, states: Tensor, part: int) -> Tensor:
        """Values after `self_attention` of the patches: (B, h, w, E)."""
        return squared(self_attention(self._last, self._last.ln_1(states[:, 1:]), part))

    def pooled(self, means: Tensor) -> Tensor:
        """The rest of the last block and of the tower: (..., E) → (..., D)."""
        x = feed_forward(self._last, attention_output(self._last, means))
        return project(self.visual, x)

    def split(self, states: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """What the last block's first norm gives, and what comes after it."""
        active = self._last.ln_1(states)
        return active[:, 1:], partial(self._finished, states, active)

    def _finished(self, states: Tensor, active: Tensor, added: Tensor) -> Tensor:
        """The last block and what follows, for no more tokens than are read."""
        count = 1 if pools_class_token(self.visual) else None
        normed = torch.cat([active[:, :1], active[:, 1:] + added], dim=1)  # (B, 1 + K, E)
        x = feed_forward(self._last, states[:, :count] + attention(self._last, normed, count))
        return pool_and_project(self.visual, x[:, 0], x[:, 1:])


class ResNetTower:
    """A ResNet of open_clip's own: its last block is the attention pool."""

    stretches = True

    def __init__(self, visual: ModifiedResNet) -> None:
        self._visual = visual
        self._pool: AttentionPool2d = visual.attnpool
        self.patch, self.side = RESNET_STRIDE, int(visual.image_size)

    def before_last(self, tiles: Tensor) -> Tensor:
        """The last feature map: (B, E, h, w)."""
        return feature_map(self._visual, tiles)

    def values(self, states: Tensor) -> Tensor:
        """The values that the attention pool mixes: (B, h, w, E)."""
        return pool_values(self._pool, states)

    def pooled(self, means: Tensor) -> Tensor:
        """What comes after the pool's attention: (..., E) → (..., D)."""
        embedding: Tensor = self._pool.c_proj(means)
        return embedding

    def split(self, states: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The feature map, and its pooling."""
        return states.flatten(2).transpose(1, 2), partial(self._finished, states)

    def _finished(self, maps: Tensor, added: Tensor) -> Tensor:
        return attention_pooled(self._pool, maps + added.transpose(1, 2)[..., None])


def squared(cells: Tensor) -> Tensor:
    """Patches or cells of a square, line by line: (B, K, E) → (B, h, w, E)."""
    side = round(cells.shape[1] ** 0.5)
    return cells.reshape(len(cells), side, side, -1)


def embed(visual: VisionTransformer, tiles: Tensor) -> Tensor:
    """What the first block of a vision transformer sees.

    Args:
        visual: the tower.
        tiles: (B, 3, S, S) float32, standardised; S a multiple of the patch.

    Returns:
        (B, 1 + K, E) float32, the class token first.
    """
    x = visual.conv1(tiles)  # (B, E, h, w)
    grid = x.shape[-1]
    x = x.flatten(2).transpose(1, 2)  # (B, K, E)
    token = visual.class_embedding.to(x.dtype).expand(len(x), 1, -1)
    x = torch.cat([token, x], dim=1) + _positions(visual.positional_embedding, grid)
    first: Tensor = visual.ln_pre(x)  # (B, 1 + K, E)
    return first


def attention(block: Any, normed: Tensor, count: int | None = None) -> Tensor:
    """What a block adds to its input by attention.

    Args:
        block: of a vision transformer.
        normed: (B, L, E) float32, its normalised input.
        count: only the first so many tokens ask, all are seen; None for all.

    Returns:
        (B, L or count, E) float32.
    """
    if isinstance(block, ResidualAttentionBlock):
        return _scaled(block, block.attention(normed[:, :count], normed, normed))
    return _scaled(block, block.ln_attn(block.attn(normed))[:, :count])


def pools_class_token(visual: VisionTransformer) -> bool:
    """Whether `pool_and_project` reads the class token alone."""
    return visual.attn_pool is None and visual.pool_type != "avg"


def attention_output(block: Any, values: Tensor) -> Tensor:
    """What a block adds to its input when attention has come to these means of values.

    Args:
        block: of a vision transformer.
        values: (..., E) float32, after the value projection.

    Returns:
        (..., E) float32.
    """
    layer = block.attn
    if isinstance(block, ResidualAttentionBlock):
        return _scaled(block, layer.out_proj(values))
    if layer.head_scale is not None:
        by_head = values.unflatten(-1, (layer.num_heads, -1))  # (..., heads, E / heads)
        values = (by_head * layer.head_scale[:, 0]).flatten(-2)
    return _scaled(block, block.ln_attn(layer.out_proj(layer.ln_inner(values))))


def _scaled(block: Any, x: Tensor) -> Tensor:
    scaled: Tensor = block.ls_1(x)
    return scaled


def self_attention(block: Any, normed: Tensor, part: int) -> Tensor:
    """Means of values, where tokens attend to what is like themselves.

    Args:
        block: of a vision transformer.
        normed: (B, K, E) float32, its normalised input.
        part: whose likeness decides: 0 of the queries, 1 of the keys, 2 of the values.

    Returns:
        (B, K, E) float32, for `attention_output`.
    """
    layer = block.attn
    projected = F.linear(normed, layer.in_proj_weight, layer.in_proj_bias)
    heads = [x.unflatten(-1, (layer.num_heads, -1)).transpose(1, 2) for x in projected.chunk(3, -1)]
    asked, values = heads[part], heads[2]  # (B, heads, K, E / heads)
    norms = (getattr(layer, "ln_q", None), getattr(layer, "ln_k", None), None)
    if (norm := norms[part]) is not None:
        asked = norm(asked)
    means = F.scaled_dot_product_attention(asked, asked, values)
    return means.transpose(1, 2).flatten(2)


def feed_forward(block: Any, x: Tensor) -> Tensor:
    """The second half of a block: (..., E) → (..., E)."""
    added: Tensor = block.ls_2(block.mlp(block.ln_2(x)))
    return x + added


def project(visual: VisionTransformer, tokens: Tensor) -> Tensor:
    """The embedding of tokens of the last block, each as if the tower saw nothing else.

    Args:
        visual: the tower.
        tokens: (..., E) float32.

    Returns:
        (..., D) float32.
    """
    if visual.attn_pool is not None:
        alone = tokens.reshape(-1, 1, tokens.shape[-1])
        tokens = _queried(visual.attn_pool, alone).reshape(*tokens.shape[:-1], -1)
    embedding: Tensor = visual.ln_post(tokens) @ visual.proj  # (..., D)
    return embedding


def pool_and_project(
    visual: VisionTransformer, token: Tensor, patches: Tensor, seen: Tensor | None = None
) -> Tensor:
    """The embedding of all tokens of the last block together, pooled as the tower pools.

    Args:
        visual: the tower.
        token: (B, E) float32, class tokens; most towers read these alone.
        patches: (B, K, E) float32, or (1, K, E) for all the same.
        seen: (B, K) float32 in [0, 1], how much of each patch to pool, where the tower pools
            patches; None for all of them.

    Returns:
        (B, D) float32.
    """
    if visual.attn_pool is not None:
        tokens = torch.cat([token[:, None], patches.expand(len(token), -1, -1)], dim=1)
        weights = None if seen is None else F.pad(seen, (1, 0), value=1.0)  # (B, 1 + K)
        pooled = visual.ln_post(_queried(visual.attn_pool, tokens, weights))
    elif visual.pool_type == "avg":
        pooled = _averaged(visual, patches, seen)
    else:
        pooled = visual.ln_post(token)
    embedding: Tensor = pooled @ visual.proj  # (B, D)
    return embedding


def _averaged(visual: VisionTransformer, patches: Tensor, seen: Tensor | None) -> Tensor:
    """(B, K, E) and (B, K) → (B, E): the mean before or after the last norm."""
    if not visual.final_ln_after_pool:
        patches = visual.ln_post(patches)
    weights = patches.new_ones(patches.shape[:2]) if seen is None else seen
    mean: Tensor = (weights[:, None] @ patches)[:, 0] / weights.sum(dim=1, keepdim=True)
    if visual.final_ln_after_pool:
        mean = visual.ln_post(mean)
    return mean


def _queried(pooler: AttentionalPooler, tokens: Tensor, weights: Tensor | None = None) -> Tensor:
    """An attentional pooler's first query, the only one that an embedding is read from.

    Args:
        pooler: CoCa's.
        tokens: (B, L, E) float32.
        weights: (B, L) float32 in [0, 1]; None for all alike.

    Returns:
        (B, E') float32.
    """
    query = pooler.ln_q(pooler.query[:1]).expand(len(tokens), -1, -1)  # (B, 1, E')
    keys = pooler.ln_k(tokens)
    hidden = None if weights is None else weights.log()
    answers, _ = pooler.attn(query, keys, keys, key_padding_mask=hidden, need_weights=False)
    first: Tensor = answers[:, 0]
    return first


def feature_map(visual: ModifiedResNet, tiles: Tensor) -> Tensor:
    """What a ResNet's attention pool sees: (B, 3, S, S) → (B, E, h, w)."""
    x: Tensor = visual.stem(tiles)
    for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        x = layer(x)
    return x


def attention_pooled(pool: AttentionPool2d, maps: Tensor) -> Tensor:
    """A ResNet's attention pool: (B, E, h, w) → (B, D); its query is the mean cell."""
    cells = maps.flatten(2).transpose(1, 2)  # (B, K, E)
    x = torch.cat([cells.mean(dim=1, keepdim=True), cells], dim=1)
    x = x + _positions(pool.positional_embedding, maps.shape[-1])  # (B, 1 + K, E)
    query, key, value = (
        project(y).unflatten(-1, (pool.num_heads, -1)).transpose(1, 2)  # (B, heads, ·, E / heads)
        for project, y in ((pool.q_proj, x[:, :1]), (pool.k_proj, x), (pool.v_proj, x))
    )
    answer = F.scaled_dot_product_attention(query, key, value)  # (B, heads, 1, E / heads)
    embedding: Tensor = pool.c_proj(answer.flatten(1))  # (B, D)
    return embedding


def pool_values(pool: AttentionPool2d, maps: Tensor) -> Tensor:
    """The values that a ResNet's attention pool mixes: (B, E, h, w) → (B, h, w, E)."""
    height, width = maps.shape[-2:]
    cells = maps.flatten(2).transpose(1, 2)  # (B, K, E)
    placed = cells + _positions(pool.positional_embedding, width)[1:]
    values: Tensor = pool.v_proj(placed)
    return values.reshape(len(values), height, width, -1)


def _positions(embedding: Tensor, grid: int) -> Tensor:
    """Positional embedding of a square grid, resized as CLIP's are: (1 + grid², E)."""
    token, patches = embedding[:1], embedding[1:]
    trained = round(len(patches) ** 0.5)
    if trained == grid:
        return embedding
    square = patches.reshape(1, trained, trained, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(square, size=(grid, grid), mode="bicubic", antialias=True)
    return torch.cat([token, resized.permute(0, 2, 3, 1).reshape(grid * grid, -1)])
