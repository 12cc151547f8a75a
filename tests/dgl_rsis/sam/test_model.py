from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from dgl_rsis.sam import model, prompts
from dgl_rsis.sam.model import SamEmbedding, SamModel
from dgl_rsis.types import InputError, Mask, Prompt
from dgl_rsis.weights.checkpoints import ModelError
from tests.dgl_rsis.sam.small_sam import SIDE, noise, small_sam
from tests.dgl_rsis.weights import forms

HEIGHT, WIDTH = 90, 150


@pytest.fixture(scope="module")
def small() -> SamModel:
    return small_sam()


@pytest.fixture(scope="module")
def predictor(small: SamModel) -> SamPredictor:
    original = SamPredictor(small.model)
    original.set_image(noise(HEIGHT, WIDTH))
    return original


@pytest.fixture(scope="module")
def embedding(small: SamModel) -> SamEmbedding:
    return model.encode(small, noise(HEIGHT, WIDTH))


def points(*pairs: tuple[float, float]) -> np.ndarray:
    return np.array(pairs, dtype=np.float32).reshape(-1, 2)


def rectangle(left: int, top: int, right: int, bottom: int) -> Mask:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def predicted(predictor: SamPredictor, **prompt: object) -> tuple[Mask, float]:
    masks, quality, _ = predictor.predict(**prompt)
    best = int(quality.argmax())
    return masks[best], min(1.0, max(0.0, float(quality[best])))


def agree(refined: model.Refined, wanted: tuple[Mask, float]) -> None:
    assert (refined.mask == wanted[0]).mean() > 0.9999
    assert refined.score == pytest.approx(wanted[1], abs=1e-4)


def test_the_encoder_sees_what_the_library_shows_it(embedding, predictor):
    assert (embedding.height, embedding.width) == (HEIGHT, WIDTH)
    assert embedding.input_size == tuple(predictor.input_size) == (77, SIDE)
    assert embedding.nbytes == embedding.features.numel() * 4
    torch.testing.assert_close(embedding.features, predictor.features, rtol=0, atol=1e-4)


def test_one_point_takes_the_best_of_three_masks(small, embedding, predictor):
    for x, y in ((20.5, 30.5), (100.5, 60.5), (149.5, 0.5)):
        wanted = predicted(
            predictor,
            point_coords=np.array([[x - 0.5, y - 0.5]]),
            point_labels=np.array([1]),
            multimask_output=True,
        )
        agree(model.refine(small, embedding, Prompt(positive=points((x, y)))), wanted)


def test_points_of_both_signs_take_the_single_mask(small, embedding, predictor):
    prompt = Prompt(positive=points((20, 30), (60, 40)), negative=points((120, 80)))
    wanted = predicted(
        predictor,
        point_coords=np.array([[20, 30], [60, 40], [120, 80]]) - 0.5,
        point_labels=np.array([1, 1, 0]),
        multimask_output=False,
    )
    agree(model.refine(small, embedding, prompt), wanted)


def test_a_box_with_a_point(small, embedding, predictor):
    prompt = Prompt(negative=points((30, 30)), box=(10.0, 20.0, 70.0, 60.0))
    wanted = predicted(
        predictor,
        point_coords=np.array([[29.5, 29.5]]),
        point_labels=np.array([0]),
        box=np.array([9.5, 19.5, 69.5, 59.5]),
        multimask_output=False,
    )
    agree(model.refine(small, embedding, prompt), wanted)


def test_a_mask_to_correct(small, embedding, predictor):
    prior = rectangle(30, 20, 90, 70)
    prompt = Prompt(positive=points((95, 40)), prior=prior)
    logits = prompts.as_logits(prior, embedding.input_size, SIDE, SIDE // 4)
    wanted = predicted(
        predictor,
        point_coords=np.array([[94.5, 39.5]]),
        point_labels=np.array([1]),
        mask_input=logits[None],
        multimask_output=False,
    )
    agree(model.refine(small, embedding, prompt), wanted)
    anew = model.refine(small, embedding, Prompt(positive=points((95, 40))))
    assert (anew.mask != wanted[0]).any()


def test_a_rough_outline_is_a_box_a_point_and_a_mask():
    outline = rectangle(30, 20, 61, 51)
    pointed = prompts.translate(Prompt(outline=outline), HEIGHT, WIDTH)
    assert pointed.box == (30, 20, 61, 51)
    assert pointed.points.tolist() == [[45.5, 35.5]]
    assert pointed.inside.tolist() == [True]
    assert pointed.prior is outline
    assert not pointed.ambiguous


def test_a_box_that_was_drawn_goes_before_that_of_the_outline():
    prompt = Prompt(outline=rectangle(30, 20, 61, 51), box=(0, 0, 99, 300))
    assert prompts.translate(prompt, HEIGHT, WIDTH).box == (0, 0, 99, HEIGHT)


def test_a_stroke_is_points_along_its_middle():
    stroke = rectangle(10, 40, 140, 47) | rectangle(60, 5, 63, 15)
    pointed = prompts.translate(Prompt(stroke=stroke), HEIGHT, WIDTH)
    again = prompts.translate(Prompt(stroke=stroke.copy()), HEIGHT, WIDTH)
    assert (pointed.points == again.points).all()
    assert 3 <= len(pointed.points) <= prompts.STROKE_POINTS
    columns, rows = np.floor(pointed.points).astype(int).T
    assert stroke[rows, columns].all()
    assert (rows < 15).any()  # the thin stroke has its own
    wide = rows > 20
    assert (rows[wide] == 43).all()
    assert np.ptp(columns[wide]) > 100
    assert pointed.inside.all()
    assert not pointed.ambiguous


def test_a_dot_of_the_brush_is_a_point():
    pointed = prompts.translate(Prompt(stroke=rectangle(5, 5, 6, 6)), HEIGHT, WIDTH)
    assert pointed.points.tolist() == [[5.5, 5.5]]


def test_a_mask_that_is_cut_comes_with_its_box_but_not_beside_a_positive_click():
    prior = rectangle(30, 20, 61, 51)
    cut = prompts.translate(Prompt(prior=prior, negative=points((40, 30))), HEIGHT, WIDTH)
    assert cut.box == (30, 20, 61, 51)
    clicked = prompts.translate(Prompt(prior=prior, positive=points((3, 3))), HEIGHT, WIDTH)
    assert clicked.box is None
    assert not clicked.ambiguous


def test_logits_of_a_mask_cover_the_image_alone():
    logits = prompts.as_logits(rectangle(0, 0, WIDTH, HEIGHT), (77, 128), 128, 32)
    assert logits[:19] == pytest.approx(prompts.SURE, abs=1e-4)
    assert (logits[19:] == -prompts.SURE).all()
    half = prompts.as_logits(rectangle(0, 0, 75, HEIGHT), (77, 128), 128, 32)
    assert (half[:19, :15] > 0).all()
    assert (half[:19, 17:] < 0).all()


def test_very_many_points_are_thinned_out_far_and_wide():
    many = np.random.default_rng(0).uniform(0, 90, (10_000, 2)).astype(np.float32)
    pointed = prompts.translate(Prompt(positive=many), HEIGHT, WIDTH)
    assert len(pointed.points) == prompts.MOST_POINTS
    assert np.ptp(pointed.points, axis=0).min() > 80
    assert len(np.unique(pointed.points, axis=0)) == len(pointed.points)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (Prompt(), "says nothing"),
        (Prompt(negative=points((1, 1))), "says nothing"),
        (Prompt(stroke=np.zeros((HEIGHT, WIDTH), dtype=bool)), "the stroke is empty"),
        (Prompt(positive=points((151, 3))), "point at x 151, y 3 lies outside .* 150 × 90"),
        (Prompt(positive=points((3, 3)), negative=points((3, -1))), "x 3, y -1"),
        (Prompt(positive=points((np.nan, 3))), "outside"),
        (Prompt(box=(5, 5, 5, 9)), r"box \(5, 5, 5, 9\) covers less than a pixel"),
        (Prompt(box=(200, 5, 300, 9)), "less than a pixel"),
        (Prompt(box=(0, 0, np.nan, 9)), "no number"),
        (Prompt(prior=np.ones((4, 5), dtype=bool)), r"mask to correct has \(4, 5\) pixels"),
    ],
)
def test_prompts_that_cannot_be_answered(prompt, message):
    with pytest.raises(InputError, match=message):
        prompts.translate(prompt, HEIGHT, WIDTH)


def test_an_image_as_thin_as_can_be(small):
    thin = model.encode(small, noise(1, 1000))
    assert thin.input_size == (1, SIDE)
    assert model.refine(small, thin, Prompt(positive=points((500, 0.5)))).mask.shape == (1, 1000)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small model stands in for `vit_b`, which takes seconds to build."""
    monkeypatch.setattr(model, "build_sam", lambda _: small_sam().model)


@pytest.mark.usefixtures("registered")
def test_loads_what_was_saved(small, tmp_path: Path):
    path = tmp_path / "sam_vit_b.pth"
    torch.save(small.model.state_dict(), path)
    loaded = model.load_sam("vit_b", path)
    assert loaded.name == "sam-vit-b"
    assert loaded.device == "cpu"
    assert len(loaded.fingerprint) == 64
    assert not loaded.model.training
    assert not any(weight.requires_grad for weight in loaded.model.parameters())
    for name, weight in small.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], weight)


@pytest.mark.usefixtures("registered")
def test_loads_any_format_of_weights(small, tmp_path: Path):
    path = tmp_path / "sam_vit_b.pth"
    forms.safe(small.model.state_dict(), path)
    loaded = model.load_sam("vit_b", path)
    for name, weight in small.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], weight)


@pytest.mark.usefixtures("registered")
def test_refuses_what_is_no_checkpoint_of_it(tmp_path: Path):
    path = tmp_path / "file.pth"
    with pytest.raises(ModelError, match="no weight file"):
        model.load_sam("vit_b", path)
    with pytest.raises(ModelError, match=r"no architecture 'vit_x'.*vit_b, vit_l, vit_h"):
        model.load_sam("vit_x", path)
    path.write_bytes(b"")
    with pytest.raises(ModelError, match="cannot be loaded"):
        model.load_sam("vit_b", path)
    torch.save(SimpleNamespace(harm=1), path)
    with pytest.raises(ModelError, match="holds more than weights"):
        model.load_sam("vit_b", path)
    torch.save({"pixel": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match="cannot be loaded as vit_b"):
        model.load_sam("vit_b", path)
    torch.save(torch.zeros(2), path)
    with pytest.raises(ModelError, match="holds no weights"):
        model.load_sam("vit_b", path)


@pytest.mark.usefixtures("registered")
def test_refuses_a_file_cut_short(small, tmp_path: Path):
    path = tmp_path / "file.pth"
    torch.save(small.model.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ModelError, match="truncated"):
        model.load_sam("vit_b", path)
