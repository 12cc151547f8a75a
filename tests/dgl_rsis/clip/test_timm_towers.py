"""Towers of timm, held against open_clip's own pass over the same random weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.timm_model import TimmModel
from timm.models.eva import Eva
from torch.nn import functional as F

from dgl_rsis.classes import pipeline
from dgl_rsis.clip import features, gradcam
from dgl_rsis.clip.gradcam import CamParameters
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.clip.timm_towers import PooledByAttention, PooledByMean, PooledByToken, open_timm
from dgl_rsis.clip.towers import Tower
from dgl_rsis.types import Label
from dgl_rsis.weights import architectures
from tests.dgl_rsis.clip.small_towers import build_model

# As SigLIP, PE-Core, MobileCLIP-B, EVA02, MobileCLIP-S, ConvNeXt, ViTamin and Swin are, but small.
# What SigLIP pools is projected no further: it is as wide as the model's space.
SIGLIP = {
    "timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none", "image_size": 160,
    "embed_dim": 64,
}  # fmt: skip
TOKEN = {"timm_model_name": "test_vit", "timm_pool": "token", "image_size": 160}
CONVNEXT = {
    "timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear", "image_size": 160
}  # fmt: skip
TOWERS: dict[str, tuple[dict[str, Any], type, int]] = {
    "siglip": (SIGLIP, PooledByAttention, 16),
    "pe": (
        {"timm_model_name": "vit_pe_core_tiny_patch16_384", "timm_pool": "map", "image_size": 384},
        PooledByAttention, 16,
    ),
    "class token": (TOKEN, PooledByToken, 16),
    "eva02": (
        {"timm_model_name": "eva02_tiny_patch14_224", "timm_pool": "token", "image_size": 224},
        PooledByToken, 14,
    ),
    "fastvit": (
        {"timm_model_name": "fastvit_mci0", "timm_pool": "avg", "image_size": 256},
        PooledByMean, 32,
    ),
    "convnext": (CONVNEXT, PooledByMean, 32),
    "mean of patches": (
        {
            "timm_model_name": "test_vit2", "timm_pool": "avg", "timm_proj": "mlp",
            "image_size": 160,
        },
        PooledByMean, 16,
    ),
    "swin": (
        {
            "timm_model_name": "swin_s3_tiny_224", "timm_pool": "", "timm_proj": "linear",
            "image_size": 224,
        },
        PooledByMean, 32,
    ),
}  # fmt: skip


def built(folder: Path, vision: dict[str, Any]) -> ClipModel:
    return build_model(folder, **({"timm_proj": None} | vision))


def images(clip: ClipModel, count: int = 2) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(count, 3, clip.crop_side, clip.crop_side)


@pytest.mark.parametrize("kind", TOWERS)
def test_a_tower_taken_apart_is_itself(tmp_path: Path, kind: str) -> None:
    vision, make, patch = TOWERS[kind]
    clip = built(tmp_path, vision)
    assert isinstance(clip.tower, make)
    assert (clip.patch, clip.crop_side, clip.dense_side) == (patch, *2 * [vision["image_size"]])
    shown = images(clip)
    with torch.inference_mode():
        whole = clip.model.encode_image(shown)
        states = clip.tower.before_last(shown)
        active, finish = clip.tower.split(states)
        torch.testing.assert_close(finish(active.new_zeros(2, 1, active.shape[-1])), whole)
        values = clip.tower.values(states)
    assert values.shape[:3] == (2, clip.crop_side // patch, clip.crop_side // patch)
    assert active.shape[:2] == (2, (clip.crop_side // patch) ** 2)
    assert (whole[0] - whole[1]).norm() > 1e-3


@pytest.mark.parametrize("kind", ["fastvit", "convnext", "mean of patches", "swin"])
def test_a_mask_of_everything_is_the_image_where_a_map_is_averaged(
    tmp_path: Path, kind: str
) -> None:
    clip = built(tmp_path, TOWERS[kind][0])
    shown = images(clip)
    with torch.inference_mode():
        values = clip.tower.values(clip.tower.before_last(shown)).flatten(1, 2)
        pooled = features.pool(clip, values, values.new_ones(2, 1, values.shape[1]))[:, 0]
        torch.testing.assert_close(pooled, F.normalize(clip.model.encode_image(shown), dim=-1))


@pytest.mark.parametrize("kind", ["siglip", "pe"])
def test_what_an_attention_pool_mixes_are_its_values(tmp_path: Path, kind: str) -> None:
    """Where all patches have the same value, attention gives that, whatever its weights are."""
    clip = built(tmp_path, TOWERS[kind][0])
    trunk = clip.visual.trunk
    with torch.inference_mode():
        states = clip.tower.before_last(images(clip, 1))
        alike = states[:, -1:].expand(-1, states.shape[1], -1)
        expected = clip.visual.head(trunk.forward_head(alike))
        means = clip.tower.values(alike).mean(dim=(1, 2))
        torch.testing.assert_close(clip.tower.pooled(means), expected, atol=1e-5, rtol=1e-4)


def post_norm() -> TimmModel:
    """As EVA02-E, which normalises behind attention."""
    visual = TimmModel("test_vit", 8, 64, pool="token", proj=None)
    visual.trunk = Eva(
        img_size=64, patch_size=16, embed_dim=48, depth=3, num_heads=2, num_classes=8,
        global_pool="token", use_post_norm=True,
    )  # fmt: skip
    return visual


@pytest.mark.parametrize("kind", ["class token", "eva02", "post-norm"])
def test_a_patch_that_sees_itself_alone_gives_its_value(tmp_path: Path, kind: str) -> None:
    """Held against timm's own block, with all other tokens masked out and nothing there before."""
    torch.manual_seed(0)
    visual = post_norm() if kind == "post-norm" else built(tmp_path, TOWERS[kind][0]).visual
    visual.eval()
    tower: Tower = open_timm(visual)
    trunk, side = visual.trunk, visual.image_size[0]
    last = trunk.blocks[-1]
    with torch.inference_mode():
        states = tower.before_last(torch.randn(2, 3, side, side))
        values = tower.values(states).flatten(1, 2)
        length = states.shape[1]
        alone = torch.full((length, length), -torch.inf).fill_diagonal_(0)
        normed = states if kind == "post-norm" else last.norm1(states)
        expected = last.attn(normed, attn_mask=alone)[:, trunk.num_prefix_tokens :]
        torch.testing.assert_close(values, expected, atol=1e-5, rtol=1e-4)
        active, finish = tower.split(states)
        torch.testing.assert_close(
            finish(active.new_zeros(2, 1, active.shape[-1])),
            visual.head(trunk.forward_head(trunk.norm(last(states, **rope_of(tower, trunk))))),
        )


def rope_of(tower: Tower, trunk: Any) -> dict[str, torch.Tensor]:
    if getattr(trunk, "rope", None) is None:
        return {}
    return {"rope": trunk.rope.get_embed([tower.side // tower.patch] * 2)}


@pytest.mark.parametrize("vision", [SIGLIP, TOKEN, CONVNEXT], ids=["siglip", "token", "convnext"])
def test_classes_and_maps_of_an_image_larger_than_a_tile(
    tmp_path: Path, vision: dict[str, Any]
) -> None:
    clip = built(tmp_path, vision)
    image = np.random.default_rng(0).integers(0, 255, (170, 210, 3)).astype(np.uint8)
    segmentation = pipeline.segment_classes(image, [Label("building"), Label("road")], clip)
    assert segmentation.class_map.shape == image.shape[:2]
    assert set(np.unique(segmentation.class_map)) <= {0, 1, 2}
    texts = features.text_features(clip, [["a building"], ["a road"]])
    maps = gradcam.activations(clip, image, texts[:1], texts[1:], CamParameters())
    assert maps.shape == (1, 170, 210)
    assert maps.isfinite().all()
    assert maps.max() > 0


def test_a_map_lights_where_the_embedding_changes(tmp_path: Path) -> None:
    """Grad-CAM of a tower that averages its map is what pytorch's own gradient says."""
    clip = built(tmp_path, CONVNEXT)
    shown = images(clip, 1)
    target = F.normalize(torch.randn(32), dim=0)
    states = clip.tower.before_last(shown).detach()
    cells = states.clone().requires_grad_()
    embedding = clip.visual.head(clip.visual.trunk.forward_head(cells.transpose(1, 2)[..., None]))
    (F.normalize(embedding, dim=-1) @ target).sum().backward()
    active, finish = clip.tower.split(states)
    added = active.new_zeros(1, 1, active.shape[-1], requires_grad=True)
    score = (F.normalize(finish(added), dim=-1) @ target).sum()
    (gradient,) = torch.autograd.grad(score, added)
    torch.testing.assert_close(gradient[0, 0], cells.grad[0].sum(dim=0), atol=1e-6, rtol=1e-4)


def test_a_folder_with_its_own_words_is_loaded(tmp_path: Path) -> None:
    """As SigLIP 2 is published: an attention pool, a tokenizer of transformers, no causal mask."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {w: i for i, w in enumerate(["<pad>", "<eos>", "<unk>", "a", "photo", "road"])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(tmp_path)
    text = {
        "context_length": 64, "vocab_size": 6, "width": 64, "heads": 2, "layers": 2,
        "hf_tokenizer_name": "timm/ViT-B-16-SigLIP2-256",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "no_causal_mask": True, "proj_bias": True, "pool_type": "last",
    }  # fmt: skip
    clip = build_model(tmp_path, text_cfg=text, custom_text=True, init_logit_bias=-10, **SIGLIP)
    architectures.check_folder(tmp_path)
    assert clip.tokenizer(["A road!"])[0].tolist()[:2] == [3, 5]
    texts = features.text_features(clip, [["a road"], ["a photo"]])
    expected = clip.model.encode_text(clip.tokenizer(["a road", "a photo"]), normalize=True)
    torch.testing.assert_close(texts, expected)
