import copy
import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from open_clip.transformer import ResidualAttentionBlock
from safetensors.torch import save_file
from torch.nn import functional as F

from dgl_rsis.clip import features, mask_features, towers
from dgl_rsis.clip.model import ClipModel, load_clip
from dgl_rsis.types import InputError
from tests.small_model import CONFIG

RNG = np.random.default_rng(0)
PLAIN = {"image_size": 32, "patch_size": 8, "layers": 5, "width": 64, "head_width": 32}
RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64}
TOWERS = {
    "plain": {},
    "layer scale": {"ls_init_value": 0.5},
    "normalised queries": {
        "qk_norm": True,
        "scale_heads": True,
        "scale_attn_inner": True,
        "scale_attn": True,
        "scale_fc": True,
    },
    "averages": {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
    "averages before": {"pool_type": "avg", "pos_embed_type": "sin_cos_2d"},
    "attentional": {"attentional_pool": True, "attn_pooler_queries": 3, "attn_pooler_heads": 2},
}


def build(folder: Path, vision: dict) -> ClipModel:
    config = copy.deepcopy(CONFIG)
    config["model_cfg"]["vision_cfg"] = vision
    del config["dgl_rsis"]  # tiles of the trained size
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    for weights in model.visual.parameters():  # some start at 0 or 1, and would hide mistakes
        weights.data += 0.1 * torch.randn_like(weights)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return load_clip(str(folder))


@pytest.fixture(scope="module", params=TOWERS)
def tower(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ClipModel:
    """Vision transformers of every kind that open_clip builds."""
    return build(tmp_path_factory.mktemp("tower"), PLAIN | TOWERS[request.param])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> ClipModel:
    """The commonest one."""
    return build(tmp_path_factory.mktemp("plain"), PLAIN)


def picture(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def tile_of(clip: ClipModel, image: np.ndarray) -> torch.Tensor:
    mean, std = (torch.tensor(x)[:, None, None] for x in (clip.mean, clip.std))
    return ((torch.tensor(image).permute(2, 0, 1) / 255 - mean) / std)[None]


def quarters(cells: np.ndarray) -> np.ndarray:
    """A mask that covers 0 to 4 quarters of each patch of 8 pixels."""
    pixels = np.arange(8)[None, None, :] < 2 * cells[..., None]  # (h, w, 8)
    return pixels.reshape(cells.shape[0], -1).repeat(8, axis=0)


def shown(tokens: torch.Tensor, own: torch.Tensor, cells: np.ndarray) -> torch.Tensor:
    """All that a class token sees: itself, then each patch as often as it counts.

    Softmax over a repeated token is softmax over one of so much more weight, so no attention
    needs to be masked or weighted here.
    """
    counts = torch.tensor(cells.reshape(-1), dtype=torch.int64)
    patches = tokens[0, 1:].repeat_interleave(counts, dim=0)
    return torch.cat([own.expand(int(counts.max()), -1), patches])[None]


def slow_read(
    clip: ClipModel, own: torch.Tensor, tokens: torch.Tensor, cells: np.ndarray
) -> torch.Tensor:
    """The embedding that the tower reads, from what the mask shows alone."""
    visual = clip.visual
    seen = shown(tokens, own, cells)
    if visual.attn_pool is None and visual.pool_type == "avg":
        seen = seen[:, int(cells.max()) - 1 :]  # open_clip drops one class token before the mean
    return F.normalize(visual._pool(seen)[0][0] @ visual.proj, dim=-1)


def slow_class_token(clip: ClipModel, tile: torch.Tensor, cells: np.ndarray) -> torch.Tensor:
    tokens = clip.visual._embeds(tile)
    own = tokens[0, :1]
    for block in clip.visual.transformer.resblocks:
        own = block(shown(tokens, own, cells))[0, :1]
        tokens = block(tokens)
    return slow_read(clip, own, tokens, cells)


def slow_late_masking(clip: ClipModel, tile: torch.Tensor, cells: np.ndarray) -> torch.Tensor:
    tokens = clip.visual._embeds(tile)
    for index, block in enumerate(clip.visual.transformer.resblocks):
        after = block(tokens)
        if index >= 4:  # of five
            masked = block(shown(tokens, tokens[0, :1], cells))[:, :1]
            after = torch.cat([masked, after[:, 1:]], dim=1)
        tokens = after
    return slow_read(clip, tokens[0, :1], tokens, cells)


def slow_pooling(clip: ClipModel, tile: torch.Tensor, cells: np.ndarray) -> torch.Tensor:
    """The last block with queries of zero, so that attention is the plain mean of what it sees."""
    visual, tokens = clip.visual, clip.visual._embeds(tile)
    *early, last = visual.transformer.resblocks
    for block in early:
        tokens = block(tokens)
    blind = copy.deepcopy(last)
    width = tokens.shape[-1]
    queries = [blind.attn.in_proj_weight[:width], blind.attn.in_proj_bias[:width]]
    queries += getattr(blind.attn, "ln_q", torch.nn.Identity()).parameters()
    for weights in queries:
        weights.zero_()
    repeats = torch.tensor(cells.reshape(-1), dtype=torch.int64)
    seen = blind.ln_1(tokens)[0, 1:].repeat_interleave(repeats, dim=0)[None]
    if isinstance(blind, ResidualAttentionBlock):
        x = blind.ls_1(blind.attn(seen, seen, seen, need_weights=False)[0])[0, :1]
    else:
        x = blind.ls_1(blind.ln_attn(blind.attn(seen)))[0, :1]
    x = x + blind.ls_2(blind.mlp(blind.ln_2(x)))
    if visual.attn_pool is None and visual.pool_type == "avg":
        x = x.expand(2, -1)  # open_clip drops one class token before the mean
    return F.normalize(visual._pool(x[None])[0][0] @ visual.proj, dim=-1)


SLOW = {"class-tokens": slow_class_token, "late-masking": slow_late_masking}
EVERY = SLOW | {"pooling": slow_pooling}


@pytest.mark.parametrize("kind", EVERY)
def test_masks_at_once_equal_one_by_one(tower: ClipModel, kind: mask_features.MaskFeature):
    image = picture(32, 32)
    cells = RNG.integers(0, 5, (6, 4, 4))
    cells[0], cells[1] = 4, np.eye(4) * 4  # all, and whole patches
    cells[2] = 0
    cells[2, 3, 1] = 1  # less than a patch
    masks = np.stack([quarters(c) for c in cells])
    encoded = mask_features.mask_guided(tower, image, masks, kind)
    with torch.no_grad():
        expected = [EVERY[kind](tower, tile_of(tower, image), c) for c in cells]
    torch.testing.assert_close(encoded, torch.stack(expected), atol=1e-4, rtol=0)
    assert (encoded[0] - encoded[3]).norm() > 1e-3


@pytest.mark.parametrize("kind", EVERY)
def test_the_batch_does_not_change_the_answer(plain: ClipModel, kind: mask_features.MaskFeature):
    image, masks = picture(40, 50), RNG.random((5, 40, 50)) < 0.2
    one, many = (mask_features.mask_guided(plain, image, masks, kind, batch) for batch in (1, 64))
    torch.testing.assert_close(one, many, atol=1e-5, rtol=0)


def test_pooling_is_what_features_make_of_the_dense_pass(plain: ClipModel):
    image, masks = picture(40, 50), RNG.random((5, 40, 50)) < 0.2
    dense = features.dense_features(plain, image, 64)
    expected = features.mask_features(plain, dense, masks)
    assert torch.equal(mask_features.mask_guided(plain, image, masks), expected)


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("shape", [(10, 12), (32, 32), (33, 100)])
def test_any_image_and_any_number_of_masks(
    plain: ClipModel, kind: mask_features.MaskFeature, shape: tuple[int, int]
):
    image, masks = picture(*shape), np.zeros((2, *shape), dtype=bool)
    masks[0, -1, -1], masks[1] = True, True
    encoded = mask_features.mask_guided(plain, image, masks, kind)
    assert encoded.norm(dim=1) == pytest.approx(1, abs=1e-5)
    assert mask_features.mask_guided(plain, image, masks[:0], kind).shape == (0, 32)


@pytest.mark.parametrize("kind", SLOW)
def test_an_empty_mask_has_no_direction(plain: ClipModel, kind: mask_features.MaskFeature):
    masks = np.zeros((2, 40, 40), dtype=bool)
    masks[1, 5:20, 5:20] = True
    encoded = mask_features.mask_guided(plain, picture(40, 40), masks, kind)
    assert encoded.norm(dim=1).tolist() == pytest.approx([0, 1], abs=1e-5)


@pytest.mark.parametrize("kind", SLOW)
def test_tiles_count_by_the_area_they_own(plain: ClipModel, kind: mask_features.MaskFeature):
    image = picture(32, 56)  # two tiles: columns 0-3 and 3-6 of seven
    cells = np.zeros((4, 7), dtype=int)
    cells[0, 2:7] = 4
    encoded = mask_features.mask_guided(plain, image, quarters(cells)[None], kind)[0]
    with torch.inference_mode():
        left = SLOW[kind](plain, tile_of(plain, image[:, :32]), cells[:, :4])
        right = SLOW[kind](plain, tile_of(plain, image[:, 24:]), cells[:, 3:])
    expected = F.normalize(2 * left + 3 * right, dim=0)  # the middle column is the first tile's
    torch.testing.assert_close(encoded, expected, atol=1e-4, rtol=0)


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.differing_executors])
@given(st.integers(0, 99))
def test_what_a_mask_hides_does_not_matter_to_its_reading(plain: ClipModel, seed: int):
    """Only the reading: patches still see the whole tile, so tokens are changed after them."""
    rng = np.random.default_rng(seed)
    seen = torch.tensor(rng.random((1, 16)) < 0.4).float()
    seen[0, 0] = 1
    patches = torch.randn(1, 16, 64, generator=torch.Generator().manual_seed(seed))
    other = torch.where(seen[..., None] > 0, patches, 7.0)
    token = patches.mean(dim=1)
    averaging = copy.copy(plain.visual)
    averaging.pool_type = "avg"
    torch.testing.assert_close(
        towers.pool_and_project(averaging, token, patches, seen),
        towers.pool_and_project(averaging, token, other, seen),
    )


@pytest.mark.parametrize("kind", SLOW)
def test_a_tower_without_class_token_is_named(tmp_path: Path, kind: mask_features.MaskFeature):
    resnet = build(tmp_path, RESNET)
    masks = np.ones((1, 64, 64), dtype=bool)
    with pytest.raises(InputError, match=r"ModifiedResNet\): choose 'pooling'"):
        mask_features.mask_guided(resnet, picture(64, 64), masks, kind)
    assert mask_features.mask_guided(resnet, picture(64, 64), masks).shape == (1, 32)


@pytest.mark.parametrize("part", range(3))
def test_patches_attend_to_what_is_like_themselves(tower: ClipModel, part: int):
    """Held against open_clip's attention, with one projection in the place of two."""
    last = tower.visual.transformer.resblocks[-1]
    alike, width = copy.deepcopy(last), last.attn.out_proj.in_features
    third = slice(part * width, (part + 1) * width)
    norms = [getattr(last.attn, name, None) for name in ("ln_q", "ln_k")] + [torch.nn.Identity()]
    with torch.no_grad():
        for place in (slice(0, width), slice(width, 2 * width)):
            alike.attn.in_proj_weight[place] = last.attn.in_proj_weight[third]
            alike.attn.in_proj_bias[place] = last.attn.in_proj_bias[third]
    if norms[0] is not None:
        alike.attn.ln_q = alike.attn.ln_k = norms[part]
    tile = tile_of(tower, picture(32, 32))
    with torch.inference_mode():
        normed = last.ln_1(tower.tower.before_last(tile)[:, 1:])
        own = towers.attention_output(last, towers.self_attention(last, normed, part))
        torch.testing.assert_close(own, towers.attention(alike, normed), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", mask_features.SELF_ATTENTION)
def test_a_mask_of_one_tile_pools_what_its_patches_attended_to(
    plain: ClipModel, kind: mask_features.MaskFeature
):
    image, masks = picture(32, 32), np.zeros((2, 32, 32), dtype=bool)
    masks[0, :16], masks[1] = True, True
    found = mask_features.mask_guided(plain, image, masks, kind)
    with torch.inference_mode():
        states = plain.tower.before_last(tile_of(plain, image))
        values = plain.tower.attended(states, mask_features.SELF_ATTENTION.index(kind))[0]
        for row, cells in zip(found, (values[:2], values), strict=True):
            expected = F.normalize(plain.tower.pooled(cells.flatten(0, 1).mean(dim=0)), dim=-1)
            torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-4)
    assert (found - mask_features.mask_guided(plain, image, masks)).abs().max() > 1e-3


@pytest.mark.parametrize("kind", mask_features.SELF_ATTENTION)
def test_another_tower_cannot_attend_so(tmp_path: Path, kind: mask_features.MaskFeature):
    resnet = build(tmp_path, RESNET)
    with pytest.raises(InputError, match="needs open_clip's own vision transformer"):
        mask_features.mask_guided(resnet, picture(64, 64), np.ones((1, 64, 64), bool), kind)
