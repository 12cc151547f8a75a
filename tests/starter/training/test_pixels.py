"""Training a pixel tower on tiny data: that it learns, resumes, writes what the product loads."""

import logging
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dgl_rsis.clip import features
from dgl_rsis.clip.model import PIXELS, ClipModel, load_clip
from starter.training import pixels, vocabularies, windows
from starter.training.pixels import PixelPlan
from starter.training.train import WEIGHTS
from starter.training.trainer import Trainer, orthogonalised
from starter.training.vocabularies import SOURCES
from starter.training.windows import Bank, bank

pytestmark = pytest.mark.filterwarnings("ignore:.*expandable_segments.*")


def drawn(names: tuple[str, str]) -> Bank:
    """Two images, red on the left and blue on the right, which two classes are."""
    image = torch.zeros(160, 160, 3, dtype=torch.uint8)
    image[:, :80, 0], image[:, 80:, 2] = 200, 200
    label = torch.full((160, 160), 1 + SOURCES.index(names[0]), dtype=torch.uint8)
    label[:, 80:] = 1 + SOURCES.index(names[1])
    return bank([image, image], [label, label])


def scenes(clip: ClipModel) -> Bank:
    """The same as generated scenes, with their patch features."""
    return pixels.with_patches(clip, drawn(("scene ship", "scene car")))


def test_a_tower_is_trained_resumed_and_written(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "starter")
    for file in WEIGHTS.iterdir():
        if file.name != PIXELS:
            shutil.copy(file, tmp_path)
    real, made = drawn(("dubai water", "dubai road")), scenes(load_clip(str(WEIGHTS)))
    for minutes, save_seconds in ((0.01, 0.0), (0.02, 60.0)):  # the first looks at what is held out
        plan = PixelPlan(minutes=minutes, batch=4, save_seconds=save_seconds)
        pixels.train_tower(plan, real, made, real, tmp_path, tmp_path / "state")
    assert "resumed at step" in caplog.text
    assert "held out: IoU" in caplog.text
    tower = load_clip(str(tmp_path)).pixels
    assert tower is not None
    torch.testing.assert_close(tower.basis @ tower.basis.T, torch.eye(32), rtol=0, atol=2e-2)


def test_losses_fall():
    torch.manual_seed(0)
    plan = PixelPlan(minutes=1, batch=4, side=64, averaging=0.5)
    clip = load_clip(str(WEIGHTS))
    real, made = drawn(("dubai water", "dubai road")), scenes(clip)
    texts = [pixels.Texts(clip, known) for known in (vocabularies.coarse(), vocabularies.fine())]
    tower = pixels.new_tower(clip, texts)
    objective = pixels.Objective(plan, clip, tower, texts)
    trainer = Trainer(plan, tower, pixels._optimizers(tower, plan), Path("unused"))
    losses = []
    for _ in range(40):
        parts = objective.losses(real, made)
        losses.append(float(sum(parts).detach()))
        trainer.update(sum(parts), 0.0)
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_two_processes_train_one_tower(tmp_path: Path):
    Image.new("RGB", (160, 160), (20, 40, 140)).save(tmp_path / "tile1_001.jpg")
    Image.new("RGB", (160, 160), (0xE2, 0xA9, 0x29)).save(tmp_path / "tile1_001.png")
    for file in WEIGHTS.iterdir():
        shutil.copy(file, tmp_path)
    before = (tmp_path / PIXELS).read_bytes()
    command = [
        sys.executable,
        "-m",
        "starter.training.pixels",
        "--dubai",
        str(tmp_path),
        "--tiles",
        "1",
    ]
    command += ["--validate", "1", "--scenes", "1", "--batch", "4", "--minutes", "0.005"]
    command += ["--processes", "2", "--weights", str(tmp_path), "--state", str(tmp_path / "state")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert "steps; tower in" in ran.stderr
    assert (tmp_path / PIXELS).read_bytes() != before
    saved = torch.load(tmp_path / "state" / "state.pt", weights_only=True)
    assert saved["step"] > 0


def test_cut_windows_show_image_labels_and_patches_together():
    torch.manual_seed(0)
    clip = load_clip(str(WEIGHTS))
    made = scenes(clip)
    assert made.patches is not None
    assert made.patches.shape == (2, 20, 20, 128)
    images, labels, patches = windows.cut(made, 8, 64, 0.5)
    assert patches.shape == (8, 128, 8, 8)
    assert torch.equal(images[:, 0] > images[:, 2], labels == 1 + SOURCES.index("scene ship"))
    whole = features.dense_features(replace(clip, pixels=None), made.images[0].numpy(), 8)
    sources = features.patch_features(clip, whole).flatten(0, 1)
    nearest = (patches.permute(0, 2, 3, 1).flatten(0, 2) @ sources.T).amax(dim=1)
    assert nearest.min() > 0.99  # each is one of the image's, as it was computed with it


def test_borders_are_where_owners_change():
    owners = np.zeros((5, 6), np.int32)
    owners[1:4, 2:5] = 7
    border = pixels.borders(owners)
    assert not border[2, 3]
    assert border[1:4, 2:5].sum() == 8
    assert not border[0, [0, 1, 5]].any()
    assert border[0, 2:5].all()


def test_scenes_come_with_their_borders():
    image, labels = pixels._scene(pixels.FIRST_SEED)
    assert image.shape == (512, 512, 3)
    assert (labels >= pixels.BORDER).any()
    assert set(np.unique(labels % pixels.BORDER)) <= set(range(1 + len(SOURCES)))


def test_orthogonalised_matrices_are_nearly_so():
    torch.manual_seed(0)
    for shape in ((6, 20), (20, 6), (8, 8)):
        values = torch.linalg.svdvals(orthogonalised(torch.randn(shape)))
        assert values.min() > 0.3
        assert values.max() < 1.3
