"""Mask-guided features: what the image tower says of a mask when it looks at nothing else.

[paper] "mask-guided visual features". [ours] readings of it, from prior work:
    pooling        means of the last block's values over the mask (TextRegion), `features`;
    class-tokens   a copy of the class token for each mask, which sees itself and the mask's
                   patches (MaskCLIP of Ding et al., arXiv 2208.08984);
    late-masking   the class token stops seeing what lies outside the mask from a late block on
                   (Zero-shot-RIS, arXiv 2303.17811).
    query-query, key-key, value-value
                   as pooling, of values that attention has mixed among patches whose queries
                   (ClearCLIP, SCLIP), keys or values (CLIP Surgery) are alike.
Those of the class token run at the size of tile that it was trained at.
"""

from collections.abc import Callable
from typing import Literal

import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional as F

from dgl_rsis.clip import features, towers
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.clip.tiling import Tiling, tiled
from dgl_rsis.clip.towers import TransformerTower
from dgl_rsis.types import RGB, InputError, Mask

MaskFeature = Literal[
    "pooling", "class-tokens", "late-masking", "query-query", "key-key", "value-value"
]
SELF_ATTENTION: tuple[MaskFeature, ...] = ("query-query", "key-key", "value-value")
OVERLAP = 0.25  # share of a tile that its neighbour covers again
LATE = 0.75  # share of the blocks before the masking: 9 of 12 (Zero-shot-RIS)
MOST_WEIGHTS = 2**25  # of attention, held at a time: 128 MiB


def mask_guided(
    clip: ClipModel,
    image: RGB,
    masks: Mask,
    kind: MaskFeature = "pooling",
    batch: int = 64,
) -> Tensor:
    """One feature for each mask.

    A patch counts as much as the mask covers of it, relative to the patch that it covers most: in
    attention as a factor on the exponential [ours; Ding et al. show every patch that the mask
    touches], which for masks of whole patches is the plain "sees it or not".

    Images larger than a tile [ours]: each patch belongs to the tile that has it nearest to its
    middle. A mask is encoded in every tile that owns some of it, there with all of it that the
    tile shows, and the features are averaged by the area that each tile owns. So a small mask is
    encoded once, by the tile that shows the most around it, and a large one by all it lies in.

    Args:
        clip: the model.
        image: (H, W, 3) uint8.
        masks: (N, H, W) bool, or smaller ones of the same proportions; an empty one of the masked
            kinds gets zeros.
        kind: see the module.
        batch: crops, or masks, encoded at a time; does not change the answer.

    Returns:
        (N, D) float32, L2 norm 1.

    Raises:
        InputError: the model's image tower is no transformer of open_clip's own, for that kind.
    """
    if kind == "pooling":
        dense = features.dense_features(clip, image, batch)
        return features.mask_features(clip, dense, masks)
    tower, height, width = clip.tower, *image.shape[:2]
    if not isinstance(tower, TransformerTower):
        raise InputError(
            f"the mask feature {kind!r} needs open_clip's own vision transformer, and "
            f"the model {clip.name!r} has another image tower "
            f"({type(clip.visual).__name__}): choose 'pooling', or a model like ViT-B-32"
        )
    weights = features.patch_weights(masks, height / clip.patch, width / clip.patch)  # (N, h, w)
    if kind in SELF_ATTENTION:
        tiling = tiled(image, clip.dense_side, clip.patch, OVERLAP)
        return _by_self_attention(clip, tower, tiling, weights, SELF_ATTENTION.index(kind), batch)
    tiling = tiled(image, clip.crop_side, clip.patch, OVERLAP)
    encode = _by_class_tokens if kind == "class-tokens" else _by_late_masking
    return _over_tiles(clip, tower.visual, tiling, weights, encode, batch)


def _by_self_attention(
    clip: ClipModel, tower: TransformerTower, tiling: Tiling, weights: Tensor, part: int, batch: int
) -> Tensor:
    """Pooling of values that were mixed within each tile: (N, h, w) → (N, D)."""
    with torch.inference_mode():
        tiles = (tower.attended(x, part) for x in features.states_of(clip, tiling, batch))
        values = features.blended(clip, tiling, tiles)  # (h, w, E)
        return features.pool(clip, values.flatten(0, 1), weights.to(clip.device).flatten(1))


_Encode = Callable[[VisionTransformer, Tensor, Tensor, int], Tensor]


def _over_tiles(
    clip: ClipModel,
    visual: VisionTransformer,
    tiling: Tiling,
    weights: Tensor,
    encode: _Encode,
    batch: int,
) -> Tensor:
    """Encode every mask where it lies: (N, h, w) → (N, D)."""
    owners = tiling.owners()  # (h, w)
    total = torch.zeros(len(weights), visual.output_dim, device=clip.device)
    for index, (top, left) in enumerate(tiling.starts):
        area = (..., slice(top, top + tiling.cells), slice(left, left + tiling.cells))
        shown = weights[area]  # (N, ≤ t, ≤ t)
        shares = (shown * (owners[area] == index)).sum(dim=(1, 2))  # (N,)
        here = shares.nonzero()[:, 0]
        if len(here) == 0:
            continue
        beyond = (0, tiling.cells - shown.shape[2], 0, tiling.cells - shown.shape[1])
        seen = F.pad(shown[here], beyond).flatten(1)  # (n, K)
        seen = (seen / seen.amax(dim=1, keepdim=True)).to(clip.device)
        tile = features.standardised(clip, tiling.cut([(top, left)]).to(clip.device) / 255)
        with torch.inference_mode():
            encoded = F.normalize(encode(visual, tile, seen, batch), dim=-1)  # (n, D)
        total[here.to(clip.device)] += shares[here, None].to(clip.device) * encoded
    return F.normalize(total, dim=-1)


def _by_class_tokens(visual: VisionTransformer, tile: Tensor, seen: Tensor, batch: int) -> Tensor:
    """Mask class tokens: everything computed once.

    The sequence is the class token, the patches, and a copy of the class token for each mask.
    Class token and patches see each other as ever, and no copy. A copy sees itself and its patches.

    Args:
        visual: the tower.
        tile: (1, 3, S, S) float32, standardised.
        seen: (n, K) float32 in [0, 1], 1 at the most: how much of a patch each mask shows.
        batch: masks read out at a time.

    Returns:
        (n, D) float32.
    """
    x = towers.embed(visual, tile)  # (1, 1 + K, E)
    count, own = len(seen), x.shape[1]
    hidden = x.new_full((own + count, own + count), -torch.inf)  # added to the logits
    hidden[:own, :own] = 0
    hidden[own:, 1:own] = seen.log()
    hidden[own:, own:].fill_diagonal_(0)
    x = torch.cat([x, x[:, :1].expand(-1, count, -1)], dim=1)  # (1, 1 + K + n, E)
    for block in visual.transformer.resblocks:
        x = block(x, attn_mask=hidden)
    patches, copies = x[:, 1:own], x[0, own:]  # (1, K, E), (n, E)
    embeddings = [
        towers.pool_and_project(visual, token, patches, part)
        for token, part in zip(copies.split(batch), seen.split(batch), strict=True)
    ]
    return torch.cat(embeddings)  # (n, D)


def _by_late_masking(visual: VisionTransformer, tile: Tensor, seen: Tensor, batch: int) -> Tensor:
    """Late token masking: the first blocks once, the others once a mask.

    From block ⌊3/4 of all⌉ on, what lies outside the mask is hidden from the class token. The
    patches still see each other, and the class token that this makes.

    Args:
        visual: the tower.
        tile: (1, 3, S, S) float32, standardised.
        seen: (n, K) float32 in [0, 1], 1 at the most: how much of a patch each mask shows.
        batch: masks encoded at a time.

    Returns:
        (n, D) float32.
    """
    blocks = list(visual.transformer.resblocks)
    first = min(round(LATE * len(blocks)), len(blocks) - 1)
    x = towers.embed(visual, tile)  # (1, L, E)
    for block in blocks[:first]:
        x = block(x)
    length, heads = x.shape[1], blocks[0].attn.num_heads
    embeddings = []
    for part in seen.split(max(1, min(batch, MOST_WEIGHTS // (heads * length**2)))):
        hidden = x.new_zeros(len(part), length, length)
        hidden[:, 0, 1:] = part.log()
        hidden = hidden.repeat_interleave(heads, dim=0)  # (n · heads, L, L)
        y = x.expand(len(part), -1, -1)
        for block in blocks[first:]:
            y = block(y, attn_mask=hidden)
        embeddings.append(towers.pool_and_project(visual, y[:, 0], y[:, 1:], part))
    return torch.cat(embeddings)  # (n, D)
