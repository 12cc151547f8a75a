"""The image tower opened up: what goes in, what comes out, piece by piece.

These follow open_clip's forward passes of its own vision transformer and its own ResNet, at any
size of tile, so that stages can step in between.
"""

from typing import Any

import torch
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.transformer import (
    AttentionalPooler,
    ResidualAttentionBlock,
    VisionTransformer,
)
from torch import Tensor
from torch.nn import functional as F


def embedded(visual: VisionTransformer, tiles: Tensor) -> Tensor:
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


def before_last(visual: VisionTransformer | ModifiedResNet, tiles: Tensor) -> Tensor:
    """What the last block of a tower is given; no text has had a say so far.

    Args:
        visual: the tower.
        tiles: (B, 3, S, S) float32, standardised; S a multiple of the patch.

    Returns:
        (B, 1 + K, E) float32, the class token first; of a ResNet, whose last block is the attention
        pool, its feature map, (B, E, h, w).
    """
    if isinstance(visual, ModifiedResNet):
        return feature_map(visual, tiles)
    x = embedded(visual, tiles)
    for block in visual.transformer.resblocks[:-1]:
        x = block(x)
    return x


def attended(block: Any, normed: Tensor, count: int | None = None) -> Tensor:
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


def reads_token(visual: VisionTransformer) -> bool:
    """Whether `read_all` reads the class token alone."""
    return visual.attn_pool is None and visual.pool_type != "avg"


def mixed(block: Any, values: Tensor) -> Tensor:
    """What a block adds to its input when attention has come to these means of values.

    Args:
        block: of a vision transformer.
        values: (..., E) float32, after the value projection.

    Returns:
        (..., E) float32.
    """
    attention = block.attn
    if isinstance(block, ResidualAttentionBlock):
        return _scaled(block, attention.out_proj(values))
    if attention.head_scale is not None:
        by_head = values.unflatten(-1, (attention.num_heads, -1))  # (..., heads, E / heads)
        values = (by_head * attention.head_scale[:, 0]).flatten(-2)
    return _scaled(block, block.ln_attn(attention.out_proj(attention.ln_inner(values))))


def _scaled(block: Any, x: Tensor) -> Tensor:
    scaled: Tensor = block.ls_1(x)
    return scaled


def fed_forward(block: Any, x: Tensor) -> Tensor:
    """The second half of a block: (..., E) → (..., E)."""
    added: Tensor = block.ls_2(block.mlp(block.ln_2(x)))
    return x + added


def read(visual: VisionTransformer, tokens: Tensor) -> Tensor:
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
    found: Tensor = visual.ln_post(tokens) @ visual.proj  # (..., D)
    return found


def read_all(
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
    found: Tensor = pooled @ visual.proj  # (B, D)
    return found


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
    found: Tensor = pool.c_proj(answer.flatten(1))  # (B, D)
    return found


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
