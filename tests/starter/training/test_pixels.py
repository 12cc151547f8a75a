"""Training a pixel tower on tiny data: that it learns, resumes, writes what the product loads."""

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

from dgl_rsis.clip import pixel_tower
from dgl_rsis.clip.model import load_clip
from dgl_rsis.weights.checkpoints import ModelError
from starter.training import pixels, sampling
from starter.training.concepts import EVERY, NUMBERS, Judgements
from starter.training.objective import Objective, Towers
from starter.training.photographs import Photograph
from starter.training.pixels import PixelPlan
from starter.training.train import WEIGHTS
from starter.training.trainer import Trainer, orthogonalised

pytestmark = pytest.mark.filterwarnings("ignore:.*expandable_segments.*")
PLAN = PixelPlan(minutes=1, batch=2, side=64, averaging=0.5)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained weights of the backbone, under names of their own, with a classifier behind."""
    torch.manual_seed(0)
    whole = timm.create_model(pixel_tower.BACKBONE, pretrained=False)
    file = tmp_path_factory.mktemp("backbone") / "backbone.pth"
    torch.save({f"their.{name}": value for name, value in whole.state_dict().items()}, file)
    return file


def drawn(source: str, known: Judgements, left: str, right: str) -> Photograph:
    """Red on the left and blue on the right, which two concepts are."""
    image = np.zeros((96, 96, 3), np.uint8)
    image[:, :48, 0], image[:, 48:, 2] = 200, 200
    truth = np.full((96, 96), known.number(left), np.uint8)
    truth[:, 48:] = known.number(right)
    return Photograph(source, "one", image, truth, 0.5, frozenset({left}))


def data(known: Judgements) -> tuple[list[Photograph], list[Photograph], list[np.ndarray]]:
    """A photograph, a scene and its borders."""
    borders = np.zeros((96, 96), bool)
    borders[:, 47:49] = True
    pictures = [drawn("dubai", known, "water", "building")]
    return pictures, [drawn("scenes", known, "ship", "car")], [borders]


def test_a_tower_is_trained_resumed_and_written(
    tmp_path: Path, backbone: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "starter")
    known = Judgements()
    pictures, scenes, borders = data(known)
    state, out = tmp_path / "state", tmp_path / "out"
    for minutes, save_seconds in ((0.02, 0.0), (0.04, 60.0)):  # the first writes as it goes
        plan = PixelPlan(minutes=minutes, batch=2, side=64, save_seconds=save_seconds)
        pixels.train_tower(
            plan, pictures, scenes, borders, known, backbone, WEIGHTS, state, out
        )  # fmt: skip
    assert "resumed at step" in caplog.text
    assert f"towers in {out}" in caplog.text
    written = load_clip(str(out))
    assert written.pixels is not None
    rank = pixel_tower.RANK
    unit = written.pixels.basis @ written.pixels.basis.T
    torch.testing.assert_close(unit, torch.eye(rank), rtol=0, atol=2e-2)
    before = load_clip(str(WEIGHTS)).visual.state_dict()
    for name, value in written.visual.state_dict().items():  # the image tower stays
        torch.testing.assert_close(value, before[name], rtol=1e-2, atol=1e-3)


def test_losses_fall(backbone: Path, tmp_path: Path):
    torch.manual_seed(0)
    known = Judgements()
    sources = pixels._sources(*data(known), known)
    assert list(sources) == ["dubai", "scenes"]
    clip = load_clip(str(WEIGHTS))
    before = load_clip(str(WEIGHTS)).model
    towers = Towers(pixels.new_tower(clip, backbone), clip.model)
    objective = Objective(clip, towers, before, known, 0)
    trainer = Trainer(PLAN, towers, pixels._optimizers(towers, PLAN), tmp_path)
    pixel = []
    for _ in range(24):
        batch = sampling.draw(sources, PLAN.batch, PLAN.side, PLAN.balanced, objective.rng)
        parts = objective.losses(batch)
        pixel.append(float(parts[0].detach()))
        trainer.update(torch.stack(parts).sum(), 0.0)
    assert np.mean(pixel[-5:]) < 0.8 * np.mean(pixel[:5])


def test_a_new_tower_has_the_weights_of_the_backbone_and_keeps_the_first_layers(backbone: Path):
    tower = pixels.new_tower(load_clip(str(WEIGHTS)), backbone)
    theirs = torch.load(backbone, weights_only=True)
    assert torch.equal(tower.backbone.conv_stem.weight, theirs["their.conv_stem.weight"])
    last = next(name for name in tower.backbone.state_dict() if name.startswith("blocks.6."))
    assert torch.equal(tower.backbone.state_dict()[last], theirs[f"their.{last}"])
    assert not tower.backbone.conv_stem.weight.requires_grad
    assert tower.backbone.blocks[1][0].conv_pw.weight.requires_grad


def test_towers_of_an_earlier_training_are_trained_further(tmp_path: Path):
    towers = pixels.begun(WEIGHTS)
    stored = load_file(WEIGHTS / "pixel_tower.safetensors")
    for name, parameter in towers.tower.state_dict().items():
        assert torch.equal(parameter.half(), stored[name].half()), name
    trained = {n for n, p in towers.tower.named_parameters() if p.requires_grad}
    assert "basis" in trained
    assert not any(name.startswith("backbone.conv_stem.") for name in trained)
    (optimizer,) = pixels._optimizers(towers, PLAN, further=True)  # none that loses what is learnt
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} >= {
        id(p) for p in towers.tower.parameters() if p.requires_grad
    }
    assert towers.model.token_embedding.weight.requires_grad
    assert not any(p.requires_grad for p in towers.model.visual.parameters())
    # What is trained further is loaded again, and says what it said.
    pixels.export(towers.eval(), tmp_path)
    (tmp_path / "open_clip_config.json").write_bytes(
        (WEIGHTS / "open_clip_config.json").read_bytes()
    )
    again, before = load_clip(str(tmp_path)).pixels, load_clip(str(WEIGHTS)).pixels
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        # The basis is made orthonormal anew, so lengths are compared, and not coordinates.
        lengths = [each(image).coordinates.norm(dim=1) for each in (again, before)]
    torch.testing.assert_close(*lengths, atol=0.02, rtol=0.02)


def test_a_teacher_is_heard_where_labels_leave_several_concepts_and_not_of_what_they_exclude():
    clip = load_clip(str(WEIGHTS))
    known = Judgements()
    sure, open_, all_but = (
        known.number("ship"), known.number("ship", "car"), known.number(EVERY - {"tree"})
    )  # fmt: skip
    objective = Objective(
        clip, Towers(pixels.begun(WEIGHTS).tower, clip.model), clip.model, known, 0, clip.pixels
    )
    ship, car, tree = (NUMBERS[name] for name in ("ship", "car", "tree"))
    thought = torch.full((1, 1, 3, len(NUMBERS)), 1e-6)
    thought[..., car] = 1.0
    thought[0, 0, 2, car], thought[0, 0, 2, tree] = 0.01, 0.99
    truth = torch.tensor([[[sure, open_, all_but]]])
    shares = torch.zeros(1, 1, 3, len(NUMBERS), requires_grad=True)
    objective._opinion(shares.log_softmax(-1), thought, truth).backward()
    moved = shares.grad[0, 0].abs().sum(dim=-1)
    assert moved[0] == 0  # the label says it all
    assert shares.grad[0, 0, 1].argmin() == car  # towards what is likelier of both
    assert shares.grad[0, 0, 1, ship] > shares.grad[0, 0, 1, car]
    assert moved[2] < 0.05 * moved[1]  # a teacher that sees a tree where there is none

    image = torch.rand(1, 3, 64, 64)
    texts = torch.nn.functional.normalize(torch.randn(len(NUMBERS), 128), dim=-1)
    seen = objective._thought(clip.pixels, image, texts)
    assert seen.shape == (1, 32, 32, len(NUMBERS))
    torch.testing.assert_close(seen.sum(dim=-1), torch.ones(1, 32, 32))


def test_only_a_folder_with_a_tower_can_be_trained_further(tmp_path: Path):
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        (tmp_path / name).write_bytes((WEIGHTS / name).read_bytes())
    with pytest.raises(ModelError, match="holds no pixel_tower"):
        pixels.begun(tmp_path)


def test_a_teacher_is_not_written_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder = str(WEIGHTS)
    arguments = ["--dubai", "no", "--open", "no", "--begin", folder, "--out", folder]
    monkeypatch.setattr(sys, "argv", ["pixels", *arguments])
    with pytest.raises(SystemExit):
        pixels.main()
    assert "name another folder by --out" in capsys.readouterr().err


def test_without_the_package_of_the_backbone_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pixels, "BACKBONE_PACKAGE", "no_such_package")
    with pytest.raises(ModelError, match=r"no_such_package.*requirements/starter\.txt.*--backbone"):
        pixels.installed_backbone()


def test_the_package_of_the_backbone_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "made_up_backbone"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(pixels, "BACKBONE_PACKAGE", package.name)
    assert pixels.installed_backbone() == package / "models" / pixels.BACKBONE_FILE
    sys.modules.pop(package.name, None)


def test_borders_are_where_owners_change():
    owners = np.zeros((5, 6), np.int32)
    owners[1:4, 2:5] = 7
    border = pixels.borders_of(owners)
    assert not border[2, 3]
    assert border[1:4, 2:5].sum() == 8
    assert not border[0, [0, 1, 5]].any()
    assert border[0, 2:5].all()


def test_scenes_are_kept_and_say_of_their_ground_that_nothing_stands_there(tmp_path: Path):
    image, classes, border, metres = pixels._scene(pixels.FIRST_SEED)
    np.savez(
        tmp_path / "scenes-1.npz", images=image[None], classes=classes[None],
        borders=border[None], metres=metres[None],
    )  # fmt: skip
    known = Judgements()
    (scene,), (outline,) = pixels.generated(1, known, tmp_path)
    assert (scene.image == image).all()
    assert (outline == border).all()
    assert border.any()
    assert scene.metres == pytest.approx(float(metres))
    ground = known.sets[scene.truth[classes == 0][0]]
    assert ground == EVERY - pixels.OBJECTS
    for number in np.unique(classes[classes > 0]):
        assert known.sets[scene.truth[classes == number][0]] == {pixels.CLASSES[number - 1]}


def test_orthogonalised_matrices_are_nearly_so():
    torch.manual_seed(0)
    for shape in ((6, 20), (20, 6), (8, 8)):
        values = torch.linalg.svdvals(orthogonalised(torch.randn(shape)))
        assert values.min() > 0.3
        assert values.max() < 1.3
