import math
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from dgl_rsis.classes import pipeline, vocabulary
from dgl_rsis.classes.pipeline import OvssParameters
from dgl_rsis.clip import features, model, pixel_features, pixel_tower
from dgl_rsis.clip.model import PIXELS, ClipModel
from dgl_rsis.expressions import pipeline as referring
from dgl_rsis.expressions.pipeline import ResParameters
from dgl_rsis.expressions.selection import SelectionParameters
from dgl_rsis.types import Label
from dgl_rsis.weights.checkpoints import ModelError
from tests.dgl_rsis.clip.small_towers import untrained_pixels

RNG = np.random.default_rng(0)
TOWER = untrained_pixels()
FOLDED = pixel_tower.folded(TOWER)


@pytest.fixture
def seeing(clip: ClipModel) -> ClipModel:
    """The small model with a pixel tower."""
    return replace(clip, pixels=FOLDED)


def picture(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_folding_changes_the_basis_and_not_what_is_said():
    images, texts = torch.rand(2, 3, 64, 96), F.normalize(torch.randn(5, 32), dim=1)
    folded = FOLDED
    torch.testing.assert_close(folded.basis @ folded.basis.T, torch.eye(8))
    old, new = TOWER(images), folded(images)
    meant = [
        torch.einsum("brhw,rd->bdhw", said.coordinates, tower.basis)
        for said, tower in ((old, TOWER), (new, folded))
    ]
    torch.testing.assert_close(meant[0], meant[1], rtol=1e-4, atol=1e-4)
    logits = [t.presence_logits(x.presence, texts) for t, x in ((TOWER, old), (folded, new))]
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(old.outline, new.outline)
    torch.testing.assert_close(old.scale, new.scale)
    assert old.coordinates.shape == (2, 8, 32, 48)
    assert old.outline.shape == (2, 1, 64, 96)
    assert old.presence.shape == (2, 8, 2, 3)
    assert old.scale.shape == (2, 2)


def presence_of(cells: torch.Tensor) -> torch.Tensor:
    """Logits of the first two directions of the basis, (2,), of a map of them, (2, h, w)."""
    whole = torch.cat([cells, torch.zeros(6, *cells.shape[1:])])
    return FOLDED.presence_logits(whole[None], FOLDED.basis[:2])[0] - FOLDED.presence_bias


@given(st.floats(-5, 5), st.integers(1, 12), st.integers(1, 20))
def test_what_is_everywhere_alike_is_as_present_as_anywhere(value: float, height: int, width: int):
    logits = presence_of(torch.full((2, height, width), value))
    assert logits.tolist() == pytest.approx([value] * 2, abs=1e-4)


@given(st.integers(0, 7), st.integers(0, 7), st.floats(0, 6))
def test_a_ship_is_no_less_there_in_a_larger_image(row: int, column: int, value: float):
    chip = torch.full((2, 8, 8), -3.0)
    chip[0, row, column] = value
    wide = torch.full((2, 16, 24), -3.0)
    wide[:, :8, :8] = chip
    small, large = presence_of(chip)[0], presence_of(wide)[0]
    mean = (math.exp(4 * value) + 63 * math.exp(-12)) / 64
    assert float(small) == pytest.approx(math.log(mean) / 4, abs=1e-3)
    assert float(large) == pytest.approx(float(small), abs=1e-3)


def test_two_halves_show_what_each_of_them_shows():
    left, right = torch.full((2, 8, 8), -3.0), torch.full((2, 8, 8), -3.0)
    left[0], right[1] = 2.0, 1.0
    both = presence_of(torch.cat([left, right], dim=2))
    assert both.tolist() == pytest.approx([2.0, 1.0], abs=1e-4)


def test_bands_are_the_whole_image(seeing: ClipModel, monkeypatch: pytest.MonkeyPatch):
    image = picture(608, 64)
    whole = pixel_features.pixel_features(seeing, image)
    monkeypatch.setattr(pixel_features, "BAND", 192 * 64)  # three bands and a rest
    near = pixel_features.pixel_features(seeing, image)
    monkeypatch.setattr(pixel_tower, "REACH", 608)
    bands = pixel_features.pixel_features(seeing, image)
    assert whole is not None
    assert near is not None
    assert bands is not None
    for name in ("coordinates", "outline", "presence", "scale"):
        torch.testing.assert_close(getattr(whole, name), getattr(bands, name), rtol=0, atol=4e-3)
    # What lies farther away than the usual reach has hardly a say; without any it is 0.90.
    alike = (whole.coordinates * near.coordinates).sum(dim=-1)
    assert alike.mean() > 0.98


@pytest.mark.parametrize(("height", "width"), [(32, 32), (45, 33), (70, 131)])
def test_there_is_a_feature_for_every_other_pixel(seeing: ClipModel, height: int, width: int):
    shown = pixel_features.pixel_features(seeing, picture(height, width))
    assert shown is not None
    half = ((height + 1) // 2, (width + 1) // 2)
    assert shown.coordinates.shape == (*half, 8)
    lengths = shown.coordinates.norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones(half), rtol=0, atol=2e-3)
    assert shown.outline.shape == (height, width)
    assert shown.outline.min() >= 0
    assert shown.outline.max() <= 1
    assert shown.presence.shape == (8, -(-height // 32), -(-width // 32))


def test_an_image_is_seen_at_several_sizes(seeing: ClipModel):
    image = picture(100, 140)
    dense = features.dense_features(seeing, image, 8)
    assert [(x.height, x.width) for x in dense.levels] == [(100, 140), (50, 70)]  # 25 is too small
    assert dense.factors == (1, 0.5)
    assert len(dense.pixel_levels) == 2
    masks = RNG.random((3, 100, 140)) < 0.3
    every = features.pyramid_features(seeing, dense, masks)
    for level, pooled in zip(dense.levels, every, strict=True):
        torch.testing.assert_close(pooled, features.mask_features(seeing, level, masks))
    assert dense.pixels is not None
    told = dense.resolution
    if told is not None:
        assert math.log(told.metres) == pytest.approx(float(dense.pixels.scale[0]), abs=1e-4)
    known = replace(dense, pixels=replace(dense.pixels, scale=torch.tensor([-1.2, -1.6])))
    assert known.resolution is not None
    assert known.resolution.metres == pytest.approx(math.exp(-1.2))
    assert known.resolution.spread == pytest.approx(math.exp(-1.6))


def test_pooling_equals_a_mean_mask_by_mask(seeing: ClipModel):
    image = picture(64, 48)
    dense = features.dense_features(seeing, image, 8)
    masks = np.zeros((3, 64, 48), dtype=bool)
    masks[0, 5:30, 7:40], masks[1, 20:50, 3:9], masks[2] = True, True, RNG.random((64, 48)) < 0.3
    assert dense.pixels is not None
    assert seeing.pixels is not None
    large = dense.pixels.coordinates.repeat_interleave(2, 0).repeat_interleave(2, 1)
    expected = torch.stack([large[torch.from_numpy(mask)].mean(dim=0) for mask in masks])
    expected = F.normalize(expected, dim=-1) @ seeing.pixels.basis
    pooled = pixel_features.pooled_pixels(seeing, dense.pixels, masks)
    torch.testing.assert_close(pooled, expected, rtol=1e-4, atol=1e-5)
    numbers = np.where(masks[0] & masks[1], 2, np.where(masks[0], 1, 3)).astype(np.int32)
    by_run = pixel_features.pooled_runs(seeing, dense.pixels, numbers, np.array([1]), np.array([3]))
    torch.testing.assert_close(by_run[0], expected[0], rtol=1e-4, atol=1e-5)
    without = features.mask_features(seeing, replace(dense, pixels=None), masks)
    for share in (0.0, 0.4, 1.0):
        both = features.mask_features(seeing, dense, masks, share)
        fused = F.normalize(share * expected + (1 - share) * without, dim=-1)
        torch.testing.assert_close(both, fused, rtol=1e-4, atol=1e-5)


def test_presence_is_weighted_as_the_sizes_are(seeing: ClipModel, clip: ClipModel):
    texts = F.normalize(torch.randn(4, 32), dim=1)
    dense = features.dense_features(seeing, picture(100, 140), 8)
    assert seeing.pixels is not None
    own, half = (
        seeing.pixels.presence_logits(level.presence[None], texts)[0].sigmoid().numpy()
        for level in dense.pixel_levels
    )
    weights = np.array([[1, 0, 1, 0], [0, 1, 0, 1]], np.float32)
    likely = pixel_features.presence(seeing, dense.pixel_levels, texts, weights)
    assert likely == pytest.approx(np.where(weights[0] == 1, own, half), abs=1e-5)
    assert pixel_features.presence(clip, dense.pixel_levels, texts, weights) is None


def test_crops_are_spared_where_pixels_decide(seeing: ClipModel, clip: ClipModel):
    default = OvssParameters()
    assert pipeline.mask_share(clip, default) == default.mask_share
    assert pipeline.mask_share(seeing, default) == 1
    assert pipeline.mask_share(seeing, replace(default, pixel_share=0.5)) == pytest.approx(0.85)
    tokens = replace(default, mask_feature="class-tokens")
    assert pipeline.mask_share(seeing, tokens) == default.mask_share


def test_the_image_tower_rests_where_pixels_decide(
    seeing: ClipModel, monkeypatch: pytest.MonkeyPatch
):
    image, labels = picture(70, 90), [Label("water"), Label("road")]
    default = OvssParameters()
    both = pipeline.encode_image(image, seeing, replace(default, pixel_share=0.5))
    assert both.dense.values is not None
    assert both.dense.states is not None
    read = replace(both, by_mask=features.pyramid_features(seeing, both.dense, both.proposed.masks))
    words = vocabulary.prepare(labels, seeing)
    expected = pipeline.classify(read, words, seeing, default)

    def refuse(*_: object) -> None:
        raise AssertionError("nobody reads what it says")

    monkeypatch.setattr(features, "states_of", refuse)
    alone = pipeline.encode_image(image, seeing, default)
    assert all(level.values is None for level in alone.dense.levels)
    assert alone.dense.states is None
    answer = pipeline.classify(alone, words, seeing, default)
    assert (answer.class_map == expected.class_map).all()
    assert answer.probability == pytest.approx(expected.probability)


def test_an_expression_finds_instances_in_the_map_of_pixels(seeing: ClipModel):
    image = np.full((64, 64, 3), 90, np.uint8)
    image[20:40, 20:40] = (200, 60, 60)
    anything = ResParameters(selection=SelectionParameters(least=0.0))  # nothing is trained here
    answer = referring.segment_expression(image, "the red square", seeing, anything)
    assert answer.candidates
    assert all(0 <= x.parts["whole"] <= 1 for x in answer.candidates if "whole" in x.parts)


def test_a_tower_beside_the_weights_is_loaded(model_folder: Path, tmp_path: Path):
    for file in model_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    plain = model.load_clip(str(tmp_path))
    assert plain.pixels is None
    pixel_tower.save(TOWER, tmp_path / PIXELS)
    loaded = model.load_clip(str(tmp_path))
    assert loaded.pixels is not None
    assert loaded.fingerprint != plain.fingerprint
    assert not loaded.pixels.training
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    says, wanted = loaded.pixels(image), TOWER(image)
    for field in ("coordinates", "outline", "presence", "scale"):
        torch.testing.assert_close(  # weights lie in files as halves
            getattr(says, field), getattr(wanted, field), rtol=2e-2, atol=5e-2
        )


def test_a_tower_for_inference_says_the_same():
    tower, numbers = deepcopy(TOWER), torch.Generator().manual_seed(1)
    for part in tower.modules():
        if isinstance(part, torch.nn.BatchNorm2d):  # as after training: no norm is without effect
            for value in (part.running_mean, part.running_var, part.weight, part.bias):
                value.copy_(0.5 + torch.rand(value.shape, generator=numbers))
    fast = pixel_tower.for_inference(tower)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in fast.modules())
    assert sum(isinstance(part, pixel_tower.SplitJoining) for part in fast.modules()) == 4
    for size in ((64, 96), (32, 32)):
        image = torch.rand(2, 3, *size, generator=numbers)
        says, wanted = fast(image), tower(image)
        for field in ("coordinates", "outline", "presence", "scale"):
            torch.testing.assert_close(
                getattr(says, field), getattr(wanted, field), rtol=1e-4, atol=1e-4
            )


def test_what_is_no_tower_for_this_model_is_refused(model_folder: Path, tmp_path: Path):
    file = tmp_path / PIXELS
    pixel_tower.save(TOWER, file)
    with pytest.raises(ModelError, match=r"features of 32 numbers, the model beside it has 512"):
        pixel_tower.load(file, 512)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ModelError, match=PIXELS):
        pixel_tower.load(file, 32)
    foreign = model_folder / "open_clip_model.safetensors"
    with pytest.raises(ModelError, match="holds no pixel tower"):
        pixel_tower.load(foreign, 32)
