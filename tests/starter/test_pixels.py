"""Training a pixel tower on tiny data: that it learns, resumes, writes what the product loads."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dgl_rsis.models import PIXELS, load_clip
from starter import descent, pixels, vocabularies
from starter.pixels import PixelPlan
from starter.train import WEIGHTS
from starter.vocabularies import SOURCES
from starter.windows import Bank, bank

pytestmark = pytest.mark.filterwarnings("ignore:.*expandable_segments.*")


def drawn(names: tuple[str, str]) -> Bank:
    """Two images, red on the left and blue on the right, which two classes are."""
    image = torch.zeros(160, 160, 3, dtype=torch.uint8)
    image[:, :80, 0], image[:, 80:, 2] = 200, 200
    label = torch.full((160, 160), 1 + SOURCES.index(names[0]), dtype=torch.uint8)
    label[:, 80:] = 1 + SOURCES.index(names[1])
    return bank([image, image], [label, label])


def test_a_tower_is_trained_resumed_and_written(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "starter")
    for file in WEIGHTS.iterdir():
        if file.name != PIXELS:
            shutil.copy(file, tmp_path)
    real, made = drawn(("dubai water", "dubai road")), drawn(("scene ship", "scene car"))
    for minutes in (0.05, 0.1):
        plan = PixelPlan(minutes=minutes, batch=4, save_seconds=1)
        pixels.learn(plan, real, made, real, tmp_path, tmp_path / "state")
    assert "resumed at step" in caplog.text
    assert "held-out pixels: IoU" in caplog.text
    tower = load_clip(str(tmp_path)).pixels
    assert tower is not None
    torch.testing.assert_close(tower.basis @ tower.basis.T, torch.eye(32), rtol=0, atol=2e-2)


def test_losses_fall():
    torch.manual_seed(0)
    plan = PixelPlan(minutes=1, batch=4, side=64, averaging=0.5)
    real, made = drawn(("dubai water", "dubai road")), drawn(("scene ship", "scene car"))
    clip = load_clip(str(WEIGHTS))
    texts = [pixels.Texts(clip, known) for known in (vocabularies.coarse(), vocabularies.fine())]
    tower = pixels.new_tower(clip, texts)
    trainer = pixels.Trainer(plan, clip, tower, texts)
    run = descent.Run(plan, tower, pixels._optimizers(tower, plan), Path("unused"))
    found = []
    for _ in range(40):
        parts = trainer.losses(real, made)
        found.append(float(sum(parts).detach()))
        run.descend(sum(parts), 0.0)
    assert np.mean(found[-5:]) < 0.7 * np.mean(found[:5])


def test_borders_are_where_owners_change():
    owners = np.zeros((5, 6), np.int32)
    owners[1:4, 2:5] = 7
    found = pixels.borders(owners)
    assert not found[2, 3]
    assert found[1:4, 2:5].sum() == 8
    assert not found[0, [0, 1, 5]].any()
    assert found[0, 2:5].all()


def test_scenes_come_with_their_borders():
    image, labels = pixels._scene(pixels.FIRST_SEED)
    assert image.shape == (512, 512, 3)
    assert (labels >= pixels.BORDER).any()
    assert set(np.unique(labels % pixels.BORDER)) <= set(range(1 + len(SOURCES)))


def test_orthogonalised_matrices_are_nearly_so():
    torch.manual_seed(0)
    for shape in ((6, 20), (20, 6), (8, 8)):
        found = torch.linalg.svdvals(descent.orthogonalised(torch.randn(shape)))
        assert found.min() > 0.3
        assert found.max() < 1.3
