from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from dgl_rsis.classes import pipeline
from dgl_rsis.classes.pipeline import OvssParameters
from dgl_rsis.clip import features, towers
from dgl_rsis.clip.model import ClipModel
from dgl_rsis.clip.tiling import tiled
from tests.dgl_rsis.clip.small_towers import untrained_pixels

RNG = np.random.default_rng(0)


def image(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_phrase_is_the_mean_of_its_prompts(clip: ClipModel):
    groups = [("a road", "the road"), ("water",)]
    texts = features.text_features(clip, groups)
    with torch.inference_mode():
        alone = F.normalize(clip.model.encode_text(clip.tokenizer(["a road", "the road"])), dim=-1)
    assert texts.shape == (2, 32)
    torch.testing.assert_close(texts[0], F.normalize(alone.mean(dim=0), dim=-1))


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_batch_does_not_change_crops(clip: ClipModel, batch: int):
    crops = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    whole = features.crop_features(clip, crops, 5)
    torch.testing.assert_close(features.crop_features(clip, crops, batch), whole)


def test_crop_features_are_open_clips(clip: ClipModel):
    crops = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        expected = clip.model.encode_image((crops - 0.5) / 0.25, normalize=True)
    torch.testing.assert_close(features.crop_features(clip, crops, 2), expected)


def slow_mask_feature(clip: ClipModel, tile: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mask-weighted pooling one mask at a time: attention replaced by the mask's weights."""
    visual, grid = clip.visual, tile.shape[-1] // clip.patch
    captured = []
    last = visual.transformer.resblocks[-1]
    hook = last.register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0]))
    with torch.inference_mode():
        positions = towers._positions(visual.positional_embedding, grid)
        x = visual.conv1(tile[None]).flatten(2).transpose(1, 2)
        x = torch.cat([visual.class_embedding.expand(1, 1, -1), x], dim=1) + positions
        visual.transformer(visual.ln_pre(x))
        hook.remove()
        normed = last.ln_1(captured[0])[0, 1:]
        width = normed.shape[-1]
        value = normed @ last.attn.in_proj_weight[2 * width :].T
        value = value + last.attn.in_proj_bias[2 * width :]
        pooled = (weights.reshape(-1, 1) * value).sum(dim=0) / weights.sum()
        out = last.attn.out_proj(pooled)
        out = out + last.mlp(last.ln_2(out))
        return F.normalize(visual.ln_post(out) @ visual.proj, dim=-1)


def test_mask_features_equal_a_slow_reference(clip: ClipModel):
    picture = image(64, 64)
    masks = np.zeros((3, 64, 64), dtype=bool)
    masks[0, 5:30, 7:50], masks[1, 40:, 40:], masks[2] = True, True, True
    dense = features.dense_features(clip, picture, 8)
    pooled = features.mask_features(clip, dense, masks)
    tile = (torch.tensor(picture).permute(2, 0, 1) / 255 - 0.5) / 0.25
    for vector, mask in zip(pooled, masks, strict=True):
        share = torch.tensor(mask.reshape(8, 8, 8, 8).mean(axis=(1, 3)), dtype=torch.float32)
        expected = slow_mask_feature(clip, tile, share)
        torch.testing.assert_close(vector, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (10, 200), (64, 64), (65, 63), (130, 70)])
def test_the_grid_covers_any_image(clip: ClipModel, height: int, width: int):
    dense = features.dense_features(clip, image(height, width), 4)
    assert dense.values.shape[:2] == (-(-height // 8), -(-width // 8))
    assert torch.isfinite(dense.values).all()
    masks = np.ones((1, height, width), dtype=bool)
    assert features.mask_features(clip, dense, masks).norm() == pytest.approx(1, abs=1e-4)


def test_the_batch_does_not_change_the_dense_pass(clip: ClipModel):
    picture = image(130, 170)
    one, many = (features.dense_features(clip, picture, batch) for batch in (1, 64))
    torch.testing.assert_close(one.values, many.values, atol=1e-5, rtol=1e-4)


def test_a_patch_alone_is_a_mask_of_one_patch(clip: ClipModel):
    dense = features.dense_features(clip, image(64, 64), 8)
    mask = np.zeros((1, 64, 64), dtype=bool)
    mask[0, 8:16, 16:24] = True
    expected = features.mask_features(clip, dense, mask)[0]
    torch.testing.assert_close(features.patch_features(clip, dense)[1, 2], expected)


def test_patch_weights_are_shares_of_patches():
    mask = np.zeros((1, 10, 10), dtype=bool)
    mask[0, :4, :8], mask[0, 8:, 8:] = True, True
    weights = features.patch_weights(mask, 10 / 8, 10 / 8)
    assert weights.shape == (1, 2, 2)
    pixel = (1 / 8) ** 2
    assert weights[0].numpy() == pytest.approx(np.array([[32, 0], [0, 4]]) * pixel, abs=1e-6)


@settings(deadline=None)
@given(st.integers(5, 40), st.floats(1, 9), st.integers(0, 9))
def test_weights_hold_the_whole_mask_whatever_its_scale(size, cells, seed):
    mask = np.random.default_rng(seed).random((1, size, size)) < 0.5
    weights = features.patch_weights(mask, cells, cells)
    share = mask.sum() * (cells / size) ** 2
    assert float(weights.sum()) == pytest.approx(share, rel=1e-3)


def test_a_mask_at_half_size_has_the_same_feature(clip: ClipModel):
    picture = image(64, 96)
    dense = features.dense_features(clip, picture, 8)
    small = np.zeros((1, 32, 48), dtype=bool)
    small[0, 4:20, 10:33] = True
    large = small.repeat(2, axis=1).repeat(2, axis=2)
    torch.testing.assert_close(
        features.mask_features(clip, dense, small), features.mask_features(clip, dense, large)
    )


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 5), st.floats(0, 0.9))
def test_tiles_share_out_every_patch(rows, columns, cells, overlap):
    tiling = tiled(image(8 * rows, 8 * columns), 8 * cells, 8, overlap)
    owners = tiling.owners()
    assert owners.shape == (rows, columns)
    tops, lefts = torch.tensor(tiling.starts)[owners].unbind(-1)  # (h, w)
    down, across = torch.arange(rows)[:, None] - tops, torch.arange(columns) - lefts
    assert 0 <= down.min() <= down.max() < cells
    assert 0 <= across.min() <= across.max() < cells


def test_a_patch_belongs_to_the_tile_that_shows_the_most_around_it():
    tiling = tiled(image(8, 56), 32, 8, 0.25)  # tiles of four patches, from 0 and 3
    assert tiling.starts == ((0, 0), (0, 3))
    assert tiling.owners()[0].tolist() == [0, 0, 0, 0, 1, 1, 1]
    tiling = tiled(image(8, 64), 40, 8, 0.4)  # of five, from 0 and 3
    assert tiling.owners()[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_tiles_show_the_image():
    picture = image(20, 70)
    tiling = tiled(picture, 16, 8, 0)
    tiles = tiling.cut(tiling.starts)
    assert len(tiling.starts) == 2 * 5
    shown = torch.tensor(picture).permute(2, 0, 1)
    for (top, left), tile in zip(tiling.starts, tiles, strict=True):
        part = shown[:, 8 * top : 8 * top + 16, 8 * left : 8 * left + 16]
        assert torch.equal(tile[:, : part.shape[1], : part.shape[2]], part)


def test_an_image_that_is_blended_from_its_tiles_is_itself(clip: ClipModel):
    picture = image(130, 170)
    tiling = tiled(picture, 64, 8, 0.5)
    tiles = tiling.cut(tiling.starts)
    shown = features.standardised(clip, tiles / 255)[:, :, ::8, ::8].movedim(1, -1)
    blended = features.blended(clip, tiling, shown.split(4))
    expected = (picture[::8, ::8] / 255 - clip.mean) / clip.std
    np.testing.assert_allclose(blended.numpy(), expected, atol=1e-5)


def test_states_of_a_large_image_are_not_kept(clip: ClipModel, monkeypatch: pytest.MonkeyPatch):
    picture = image(100, 130)
    kept = features.dense_features(clip, picture, 1)
    assert kept.states is not None
    tiling = tiled(picture, clip.dense_side, clip.patch, features.OVERLAP)
    assert len(kept.states) == len(tiling.starts)
    monkeypatch.setattr(features, "MOST_KEPT", kept.states.nbytes - 1)
    fresh = features.dense_features(clip, picture, 1)
    assert fresh.states is None
    assert torch.equal(fresh.values, kept.values)
    assert features.kept_states(clip, picture, 1) is None
    monkeypatch.undo()
    later = features.kept_states(clip, picture, 1)
    assert later is not None
    assert torch.equal(later, kept.states)


def test_an_empty_mask_weighs_nothing():
    weights = features.patch_weights(np.zeros((2, 9, 9), dtype=bool), 3, 3)
    assert weights.shape == (2, 3, 3)
    assert not weights.any()


def test_passes_in_bfloat16_say_nearly_the_same_in_float32(clip: ClipModel):
    seeing = replace(clip, pixels=untrained_pixels())
    half = replace(seeing, precision="bfloat16")
    picture, masks = image(96, 128), np.zeros((2, 96, 128), dtype=bool)
    masks[0, :40], masks[1, 40:, 30:] = True, True
    crops = torch.rand(2, 3, clip.crop_side, clip.crop_side)
    found = []
    for each in (seeing, half):
        dense = features.dense_features(each, picture, 8, factors=())
        found.append(
            [
                features.crop_features(each, crops, 2),
                features.mask_features(each, dense, masks, 0.0),
                features.mask_features(each, dense, masks, 1.0),
                dense.pixels.outline,
            ]
        )
    for exact, rounded in zip(*found, strict=True):
        assert rounded.dtype == torch.float32
        assert not torch.equal(exact, rounded)
        assert (rounded - exact).abs().mean() < 0.02


def test_another_precision_is_another_version(clip: ClipModel):
    versions = [
        pipeline.model_version(replace(clip, precision=precision), OvssParameters())
        for precision in ("float32", "bfloat16")
    ]
    assert len(set(versions)) == 2
