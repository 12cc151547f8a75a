from pathlib import Path
from typing import Any

import pytest
import torch

from dgl_rsis.clip import towers
from dgl_rsis.clip.model import ClipModel
from tests.dgl_rsis.clip.small_towers import RESNET, build_model


def test_a_resnet_taken_apart_is_itself(tmp_path: Path):
    visual = build_model(tmp_path, **RESNET).visual
    images = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        maps = towers.feature_map(visual, images)
        pooled = towers.attention_pooled(visual.attnpool, maps)
        torch.testing.assert_close(pooled, visual(images))
    assert maps.shape == (3, 256, 2, 2)
    assert (pooled[0] - pooled[1]).norm() > 1e-3


@pytest.mark.parametrize(
    "vision",
    [
        {},
        {"ls_init_value": 0.5},
        {"qk_norm": True, "scale_heads": True, "scale_attn_inner": True, "scale_attn": True},
        {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
        {"pool_type": "avg"},
        {"attentional_pool": True, "attn_pooler_queries": 3, "attn_pooler_heads": 2},
    ],
)
def test_a_transformer_taken_apart_is_itself(tmp_path: Path, vision: dict[str, Any]):
    visual = build_model(
        tmp_path, patch_size=16, layers=2, width=64, head_width=32, **vision
    ).visual
    images = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        x = towers.embed(visual, images)
        for block in visual.transformer.resblocks:
            x = towers.feed_forward(block, x + towers.attention(block, block.ln_1(x)))
        embedding = towers.pool_and_project(visual, x[:, 0], x[:, 1:])
        torch.testing.assert_close(embedding, visual(images), atol=1e-5, rtol=1e-4)


def test_other_sizes_of_tile_stretch_the_positions(clip: ClipModel, tmp_path: Path):
    resnet = build_model(tmp_path, **RESNET)
    with torch.inference_mode():
        assert towers.embed(clip.visual, torch.randn(1, 3, 64, 64)).shape == (1, 65, 64)
        maps = towers.feature_map(resnet.visual, torch.randn(1, 3, 128, 128))
        values = towers.pool_values(resnet.visual.attnpool, maps)
        assert values.shape == (1, 4, 4, 256)
        assert towers.attention_pooled(resnet.visual.attnpool, maps).shape == (1, 32)


def test_a_resnets_cell_alone_is_its_value(tmp_path: Path):
    """Where all cells have the same value, attention gives that value, whatever its weights."""
    pool = build_model(tmp_path, **RESNET).visual.attnpool
    pool.positional_embedding.copy_(pool.positional_embedding[:1].expand(5, -1).clone())
    maps = torch.randn(2, 256, 1, 1).expand(-1, -1, 2, 2)
    values = towers.pool_values(pool, maps)
    expected = towers.attention_pooled(pool, maps)
    torch.testing.assert_close(pool.c_proj(values[:, 1, 0]), expected)
