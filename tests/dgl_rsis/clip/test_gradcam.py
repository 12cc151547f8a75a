import threading
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch.nn import functional as F

from dgl_rsis.clip import features, gradcam
from dgl_rsis.clip.gradcam import CamParameters
from dgl_rsis.clip.model import ClipModel, load_clip
from tests.dgl_rsis.clip.small_towers import build_model

TOWERS = {
    "transformer": {"image_size": 64, "patch_size": 8, "layers": 3, "width": 64, "head_width": 32},
    "averages": {
        "image_size": 48,
        "patch_size": 16,
        "layers": 2,
        "width": 64,
        "head_width": 16,
        "pool_type": "avg",
        "ls_init_value": 0.5,
    },
    "normalised queries": {
        "image_size": 32,
        "patch_size": 8,
        "layers": 2,
        "width": 64,
        "head_width": 32,
        "qk_norm": True,
        "scale_attn": True,
    },
    "resnet": {"image_size": 128, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64},
}


@pytest.fixture(scope="module", params=[*TOWERS, "starter"])
def tower(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ClipModel:
    """Transformers and a ResNet, and the weights that ship."""
    if request.param == "starter":
        return load_clip("starter")
    return build_model(tmp_path_factory.mktemp("tower"), **TOWERS[request.param])


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Blobs of colour."""
    coarse = np.random.default_rng(seed).random((-(-height // 8), -(-width // 8), 3))
    fine = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    return (255 * fine).astype(np.uint8)


def texts(clip: ClipModel, count: int, seed: int = 0) -> torch.Tensor:
    return texts_of(count, clip.visual.output_dim, seed)


def texts_of(count: int, size: int = 32, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, size, generator=generator), dim=-1)


class Classifier(torch.nn.Module):
    """Probabilities of texts, as grad-cam wants a model."""

    def __init__(self, clip: ClipModel, vectors: torch.Tensor, temperature: float):
        super().__init__()
        self.clip, self.temperature = clip.model, temperature
        self.vectors = torch.nn.Parameter(vectors, requires_grad=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        embedded = F.normalize(self.clip.encode_image(images), dim=-1)
        return (self.temperature * embedded @ self.vectors.T).softmax(dim=-1)


def grid(tokens: torch.Tensor) -> torch.Tensor:
    side = round((tokens.shape[1] - 1) ** 0.5)
    return tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, side, side)


def package_map(
    clip: ClipModel, image: np.ndarray, vectors: torch.Tensor, temperature: float
) -> np.ndarray:
    """The grad-cam package's map of the first text among all."""
    visual = clip.visual
    resnet = isinstance(visual, open_clip.modified_resnet.ModifiedResNet)
    layer = visual.layer4 if resnet else visual.transformer.resblocks[-1].ln_1
    images = torch.tensor(image).permute(2, 0, 1)[None] / 255
    images = features.standardised(clip, images).requires_grad_()
    model = Classifier(clip, vectors, temperature)
    with GradCAM(model, [layer], reshape_transform=None if resnet else grid) as package:
        return package(images, [ClassifierOutputTarget(0)])[0]


def test_one_tile_agrees_with_the_grad_cam_package(tower: ClipModel):
    image, temperature = picture(tower.crop_side, tower.crop_side), 5.0
    targets, others = texts(tower, 8).split(4)
    parameters = CamParameters(temperature=temperature)
    empty = 0
    for noun, expression in targets.split(2):
        cam = gradcam.cross_scale(tower, image, noun, expression, others, parameters)
        for target, ours in ((noun, cam.local), (expression, cam.global_)):
            theirs = package_map(tower, image, torch.stack([target, *others]), temperature)
            np.testing.assert_allclose(ours, theirs, atol=1e-4)
            empty += theirs.max() == 0
    assert empty < 3


@pytest.mark.parametrize("shape", [(20, 30), (64, 64), (130, 71), (200, 300)])
def test_maps_have_the_images_size_and_span_0_to_1(clip: ClipModel, shape: tuple[int, int]):
    noun, expression, *others = texts(clip, 5)
    cam = gradcam.cross_scale(clip, picture(*shape), noun, expression, torch.stack(others))
    for plane in (cam.local, cam.global_, cam.fused):
        assert plane.shape == shape
        assert plane.dtype == np.float32
        assert plane.min() == 0
        assert plane.max() == pytest.approx(1)


@settings(deadline=None, max_examples=20)
@given(st.floats(0, 10), st.integers(0, 99))
def test_the_expression_lifts_what_the_noun_shows(eta: float, seed: int):
    rng = np.random.default_rng(seed)
    local, whole = torch.tensor(rng.random((2, 6, 7)), dtype=torch.float32)
    local[0, 0] = 0
    fused = gradcam.normalised((local * (1 + eta * whole))[None])[0]
    assert fused[0, 0] == 0  # nothing appears where the noun is not
    expected = local * (1 + eta * whole)
    assert torch.equal(fused.argmax(), expected.argmax())
    if eta == 0:
        torch.testing.assert_close(fused, gradcam.normalised(local[None])[0])


def test_eta_weighs_the_expression(clip: ClipModel):
    noun, expression, *others = texts(clip, 5)
    one, none, much = (
        gradcam.cross_scale(
            clip, picture(64, 64), noun, expression, torch.stack(others), CamParameters(eta=eta)
        )
        for eta in (1.0, 0.0, 4.0)
    )
    np.testing.assert_allclose(none.fused, none.local, atol=1e-6)
    for cam, eta in ((one, 1), (much, 4)):
        raw = cam.local * (1 + eta * cam.global_)
        np.testing.assert_allclose(cam.fused, raw / raw.max(), atol=1e-5)
    assert abs(one.fused - much.fused).max() > 0.01


def test_constant_maps_are_zero():
    assert (gradcam.normalised(torch.full((2, 3, 4), 5.0)) == 0).all()


def test_the_batch_does_not_change_the_maps(clip: ClipModel):
    noun, expression, *others = texts(clip, 5)
    image = picture(100, 130)
    one, many = (
        gradcam.cross_scale(
            clip, image, noun, expression, torch.stack(others), CamParameters(batch=batch)
        )
        for batch in (1, 64)
    )
    np.testing.assert_allclose(one.fused, many.fused, atol=1e-4)


def test_a_certain_model_still_shows_where(clip: ClipModel):
    """The softmax is 1 in float32, and its own gradient 0."""
    image = picture(32, 32)
    crop = torch.tensor(image).permute(2, 0, 1)[None] / 255
    best = F.normalize(features.crop_features(clip, crop, 1)[0] + texts(clip, 1)[0], dim=0)
    rivals = texts(clip, 2, seed=1)
    probability = Classifier(clip, torch.stack([best, *rivals]), 1e4)
    assert probability(features.standardised(clip, crop))[0, 0] == 1
    cam = gradcam.cross_scale(clip, image, best, best, rivals, CamParameters(temperature=1e4))
    mild = gradcam.cross_scale(clip, image, best, best, rivals, CamParameters(temperature=5.0))
    assert cam.local.max() == pytest.approx(1)
    assert np.corrcoef(cam.local.flat, mild.local.flat)[0, 1] > 0.5


def test_the_score_is_minus_the_log_of_what_the_others_have():
    embedded, targets, others = (texts_of(n, seed=n) for n in (6, 2, 3))
    for index, target in enumerate(targets):
        logits = 5 * embedded @ torch.stack([target, *others]).T
        expected = -(1 - logits.softmax(dim=1)[:, 0]).log().sum()
        score = gradcam._scores(embedded, targets, others, 5.0)[index]
        torch.testing.assert_close(score, expected)


def test_without_others_the_score_is_the_cosine(clip: ClipModel):
    image = picture(32, 32)
    noun, expression = texts(clip, 2)
    cam = gradcam.cross_scale(clip, image, noun, expression, noun.new_zeros(0, len(noun)))
    assert cam.local.max() == pytest.approx(1)
    # A rival that is the opposite of the target moves the score along the same line.
    against = gradcam.cross_scale(clip, image, noun, expression, -noun[None])
    np.testing.assert_allclose(cam.local, against.local, atol=1e-4)


def test_a_tile_without_the_target_stays_darker_than_one_with_it(clip: ClipModel):
    """Tiles are blended before the min-max, weighted by how much they look like the target."""
    left, right = picture(32, 32, 1), picture(32, 32, 2)
    image = np.concatenate([left, right], axis=1)
    tiles = torch.tensor(np.stack([left, right])).permute(0, 3, 1, 2) / 255
    target, other = features.crop_features(clip, tiles, 2)
    parameters = CamParameters(side=32, overlap=0.0, temperature=200.0)
    for noun, rival, bright in ((target, other, slice(0, 32)), (other, target, slice(32, 64))):
        raw = gradcam.activations(clip, image, noun[None], rival[None], parameters)[0]
        inside = raw[:, bright]
        beside = torch.cat([raw[:, :28], raw[:, 36:]], dim=1)  # but what was interpolated
        dark = beside[:, 28:] if bright.start == 0 else beside[:, :28]
        assert inside.max() > 10 * dark.max()


def test_texts_of_inference_mode_and_callers_in_it_are_fine(clip: ClipModel):
    image = picture(50, 40)
    with torch.inference_mode():
        vectors = texts(clip, 4).clone()
        inside = gradcam.cross_scale(clip, image, vectors[0], vectors[1], vectors[2:])
    outside = gradcam.cross_scale(clip, image, vectors[0], vectors[1], vectors[2:])
    np.testing.assert_array_equal(inside.fused, outside.fused)


def test_nothing_is_left_on_the_model(tower: ClipModel):
    noun, expression, *others = texts(tower, 4)
    image = picture(tower.crop_side, tower.crop_side)
    gradcam.cross_scale(tower, image, noun, expression, torch.stack(others))
    for module in tower.model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
    assert all(w.grad is None and not w.requires_grad for w in tower.model.parameters())


def test_threads_share_a_model(clip: ClipModel):
    image = picture(70, 90)
    noun, expression, *others = texts(clip, 5)
    cams: dict[int, gradcam.CrossScaleCam] = {}

    def run(index: int) -> None:
        pair = (noun, expression) if index % 2 else (expression, noun)
        cams[index] = gradcam.cross_scale(clip, image, *pair, torch.stack(others))

    threads = [threading.Thread(target=run, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in (0, 1):
        np.testing.assert_array_equal(cams[index].fused, cams[index + 2].fused)
    np.testing.assert_allclose(cams[0].local, cams[1].global_, atol=1e-5)


def test_other_sides_of_tile(tower: ClipModel):
    """Twice the trained size in one tile, against tiles of the trained size."""
    side = 2 * tower.crop_side
    image, (targets, others) = picture(side, side), texts(tower, 6).split(4)
    targets = torch.cat([targets, -targets])
    one, many = (
        gradcam.activations(tower, image, targets, others, CamParameters(side=s))
        for s in (side, tower.crop_side)
    )
    assert one.shape == many.shape == (8, side, side)
    assert one.min() >= 0
    assert one.isfinite().all()
    assert (gradcam.normalised(one) - gradcam.normalised(many)).abs().max() > 0.01


def test_the_tiles_are_those_of_the_dense_pass_unless_a_crop_holds_the_image(clip: ClipModel):
    targets, others = texts(clip, 8).split(4)
    for shape, side in (((32, 32), 32), ((20, 30), 32), ((32, 33), 64), ((100, 100), 64)):
        given, default = (
            gradcam.activations(clip, picture(*shape), targets, others, CamParameters(side=s))
            for s in (side, None)
        )
        assert torch.equal(given, default)


def test_states_of_the_dense_pass_give_the_same_maps(tower: ClipModel, monkeypatch):
    side = tower.dense_side + tower.patch
    image, (targets, others) = picture(side, side), texts(tower, 6).split(2)[:2]
    plain = CamParameters(side=tower.dense_side)
    expected = gradcam.activations(tower, image, targets, others, plain)
    dense = features.dense_features(tower, image, 64)
    assert dense.states is not None
    split = replace(plain, side=tower.crop_side)
    other = gradcam.activations(tower, image, targets, others, split)
    # Tiles of another size are encoded anew.
    assert torch.equal(gradcam.activations(tower, image, targets, others, split, dense), other)
    monkeypatch.setattr(features, "states_of", None)
    for batch in (1, 64):
        wanted = replace(plain, batch=batch)
        maps = gradcam.activations(tower, image, targets, others, wanted, dense)
        torch.testing.assert_close(maps, expected, atol=1e-4, rtol=1e-4)


def test_states_made_in_inference_mode_are_fine(clip: ClipModel):
    image, (targets, others) = picture(100, 130), texts(clip, 6).split(3)
    with torch.inference_mode():
        dense = features.dense_features(clip, image, 64)
    maps = gradcam.activations(clip, image, targets, others, CamParameters(), dense)
    plain = gradcam.activations(clip, image, targets, others, CamParameters())
    torch.testing.assert_close(maps, plain, atol=1e-4, rtol=1e-4)
