from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dgl_rsis.classes import pipeline
from dgl_rsis.classes.pipeline import OvssParameters
from dgl_rsis.clip import features, model, pixel_tower
from dgl_rsis.clip.model import PIXELS, ClipModel
from dgl_rsis.clip.pixel_tower import PixelTower
from dgl_rsis.expressions import instances
from dgl_rsis.expressions import pipeline as referring
from dgl_rsis.expressions.instances import InstanceParameters
from dgl_rsis.expressions.pipeline import ResParameters
from dgl_rsis.expressions.selection import SelectionParameters
from dgl_rsis.weights.checkpoints import ModelError

RNG = np.random.default_rng(0)


@pytest.fixture
def tower() -> PixelTower:
    """With random weights everywhere, so that nothing is nought by chance."""
    torch.manual_seed(0)
    tower = PixelTower(32, rank=8, width=8)
    for layer in (tower.read, tower.known):
        torch.nn.init.normal_(layer.weight, std=0.3)
    return tower.eval().requires_grad_(False)


@pytest.fixture
def seeing(clip: ClipModel, tower: PixelTower) -> ClipModel:
    """The small model with a pixel tower."""
    return replace(clip, pixels=pixel_tower.folded(tower))


def picture(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_folding_changes_the_basis_and_not_the_features(tower: PixelTower):
    images, patches = torch.rand(2, 3, 32, 48), F.normalize(torch.rand(2, 32, 4, 6), dim=1)
    folded = pixel_tower.folded(tower)
    torch.testing.assert_close(folded.basis @ folded.basis.T, torch.eye(8))
    (old, border), (new, same) = tower(images, patches), folded(images, patches)
    meant = [
        torch.einsum("brhw,rd->bdhw", coordinates, basis)
        for coordinates, basis in ((old, tower.basis), (new, folded.basis))
    ]
    torch.testing.assert_close(meant[0], meant[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(border, same)
    assert old.shape == (2, 8, 16, 24)


def test_a_new_tower_says_what_the_patches_say():
    tower = PixelTower(32, rank=32, width=8).eval()
    with torch.no_grad():
        tower.basis.copy_(torch.eye(32))
        tower.known.weight.copy_(torch.eye(32)[:, :, None, None])
        patches = F.normalize(torch.rand(1, 32, 4, 4), dim=1)
        coordinates, _ = tower(torch.rand(1, 3, 32, 32), patches)
    expected = F.interpolate(patches, size=(16, 16), mode="bilinear")
    torch.testing.assert_close(coordinates, expected)


def test_bands_are_the_whole_image(seeing: ClipModel, monkeypatch: pytest.MonkeyPatch):
    image = picture(416, 72)
    whole = features.dense_features(seeing, image, 8).pixels
    monkeypatch.setattr(features, "BAND", 96)
    bands = features.dense_features(seeing, image, 8).pixels
    assert whole is not None
    assert bands is not None
    torch.testing.assert_close(whole.coordinates, bands.coordinates, rtol=0, atol=2e-3)
    # A half's step below 1: both are rounded to halves, perhaps to neighbouring ones.
    torch.testing.assert_close(whole.outline, bands.outline, rtol=0, atol=2**-11)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (45, 33), (70, 131)])
def test_there_is_a_feature_for_every_other_pixel(seeing: ClipModel, height: int, width: int):
    shown = features.dense_features(seeing, picture(height, width), 8).pixels
    assert shown is not None
    half = ((height + 1) // 2, (width + 1) // 2)
    assert shown.coordinates.shape == (*half, 8)
    lengths = shown.coordinates.norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones(half), rtol=0, atol=2e-3)
    assert shown.outline.shape == (height, width)
    assert shown.outline.min() >= 0
    assert shown.outline.max() <= 1


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
    pooled = features.pooled_pixels(seeing, dense.pixels, masks)
    torch.testing.assert_close(pooled, expected, rtol=1e-4, atol=1e-5)
    numbers = np.where(masks[0] & masks[1], 2, np.where(masks[0], 1, 3)).astype(np.int32)
    by_run = features.pooled_runs(seeing, dense.pixels, numbers, np.array([1]), np.array([3]))
    torch.testing.assert_close(by_run[0], expected[0], rtol=1e-4, atol=1e-5)
    without = features.mask_features(seeing, replace(dense, pixels=None), masks)
    for share in (0.0, 0.4, 1.0):
        both = features.mask_features(seeing, dense, masks, share)
        fused = F.normalize(share * expected + (1 - share) * without, dim=-1)
        torch.testing.assert_close(both, fused, rtol=1e-4, atol=1e-5)


def test_crops_are_spared_where_pixels_decide(seeing: ClipModel, clip: ClipModel):
    default = OvssParameters()
    assert pipeline.mask_share(clip, default) == default.mask_share
    assert pipeline.mask_share(seeing, default) == 1
    assert pipeline.mask_share(seeing, replace(default, pixel_share=0.5)) == pytest.approx(0.85)
    tokens = replace(default, mask_feature="class-tokens")
    assert pipeline.mask_share(seeing, tokens) == default.mask_share


def test_an_expression_finds_instances_in_the_map_of_pixels(seeing: ClipModel):
    image = np.full((64, 64, 3), 90, np.uint8)
    image[20:40, 20:40] = (200, 60, 60)
    anything = ResParameters(selection=SelectionParameters(least=0.0))  # nothing is trained here
    answer = referring.segment_expression(image, "the red square", seeing, anything)
    assert answer.candidates
    assert all(0 <= x.parts["whole"] <= 1 for x in answer.candidates if "whole" in x.parts)


def test_instances_are_regions_of_the_noun_and_nothing_where_there_is_none(seeing: ClipModel):
    image = np.full((64, 80, 3), 90, np.uint8)
    image[20:40, 30:60] = (200, 60, 60)
    assert seeing.pixels is not None
    noun, other = seeing.pixels.basis[0], seeing.pixels.basis[1]
    coordinates = torch.zeros(32, 40, 8)
    coordinates[..., 1] = 1
    coordinates[10:20, 15:30] = F.one_hot(torch.tensor(0), 8).float()
    outline = torch.zeros(64, 80)
    outline[[20, 39], 30:60], outline[20:40, [30, 59]] = 1.0, 1.0
    pixels = features.PixelFeatures(coordinates, outline)
    asked = (torch.stack([noun, other]), [0, 1], 50.0, (64, 80), InstanceParameters())
    shown = instances.of_noun(seeing, image, pixels, *asked)
    truth = (image == 200).any(axis=2)
    ious = [(mask & truth).sum() / (mask | truth).sum() for mask in shown.masks]
    assert max(ious) > 0.8
    assert shown.classes.shape == (len(shown.masks), 2)
    assert shown.classes[int(np.argmax(ious)), 0] > 0.9
    coordinates[10:20, 15:30] = F.one_hot(torch.tensor(1), 8).float()
    nothing = instances.of_noun(seeing, image, replace(pixels, coordinates=coordinates), *asked)
    assert nothing.masks == ()
    assert nothing.classes.shape == (0, 2)


def test_a_tower_beside_the_weights_is_loaded(model_folder: Path, tmp_path: Path):
    for file in model_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    plain = model.load_clip(str(tmp_path))
    assert plain.pixels is None
    tower = PixelTower(32, rank=8, width=8)
    pixel_tower.save(tower, tmp_path / PIXELS)
    loaded = model.load_clip(str(tmp_path))
    assert loaded.pixels is not None
    assert loaded.fingerprint != plain.fingerprint
    assert not loaded.pixels.training
    for name, value in tower.state_dict().items():
        torch.testing.assert_close(loaded.pixels.state_dict()[name], value, rtol=1e-2, atol=1e-3)


def test_what_is_no_tower_for_this_model_is_refused(tmp_path: Path):
    file = tmp_path / PIXELS
    pixel_tower.save(PixelTower(32, rank=8, width=8), file)
    with pytest.raises(ModelError, match=r"features of 32 numbers .* has 512 and 8: remove"):
        pixel_tower.load(file, 512, 8)
    with pytest.raises(ModelError, match="has 32 and 14"):
        pixel_tower.load(file, 32, 14)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ModelError, match="holds no pixel tower"):
        pixel_tower.load(file, 32, 8)
