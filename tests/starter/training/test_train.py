"""Training on tiny data: that it learns, resumes, and writes what the product loads."""

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dgl_rsis.classes import knowledge
from dgl_rsis.clip import features
from dgl_rsis.clip.model import load_clip
from dgl_rsis.evaluation.datasets.samples import DatasetError
from starter.training import targets, train, vocabularies, windows
from starter.training.train import TowerPlan
from starter.training.vocabularies import SOURCES

pytestmark = pytest.mark.filterwarnings("ignore:.*expandable_segments.*")
GREEN, BLUE = (40, 120, 40), (20, 40, 140)


@pytest.fixture
def dubai(tmp_path: Path) -> Path:
    """Two images in Dubai's layout: vegetation left, water right."""
    image, label = np.empty((160, 160, 3), np.uint8), np.empty((160, 160, 3), np.uint8)
    image[:, :80], image[:, 80:] = GREEN, BLUE
    label[:, :80], label[:, 80:] = (0xFE, 0xDD, 0x3A), (0xE2, 0xA9, 0x29)
    for part in (1, 2):
        Image.fromarray(image).save(tmp_path / f"tile1_00{part}.jpg", quality=95)
        Image.fromarray(label).save(tmp_path / f"tile1_00{part}.png")
    return tmp_path


def test_every_source_is_a_target_of_some_vocabulary():
    covered = torch.stack([v.targets for v in (vocabularies.coarse(), vocabularies.fine())])
    missed = [s for i, s in enumerate(SOURCES, 1) if (covered[:, i] < 0).all()]
    assert missed == []
    assert (covered[:, 0] == -1).all()  # unlabelled pixels are no target


def test_sentences_ask_for_every_class():
    known = vocabularies.fine()
    sentences = vocabularies.sentences(known, torch.Generator().manual_seed(0))
    assert len(sentences) == len(known.names)
    assert all(any(w in s for w in ws) for s, ws in zip(sentences, known.words, strict=True))


def test_windows_show_the_image_and_its_labels_together(dubai: Path):
    torch.manual_seed(0)
    bank = train.dubai_bank(dubai, [1])
    images, labels = windows.sample(bank, 8, 64, 0.5)
    assert images.shape == (8, 3, 64, 64)
    greener = images[:, 1] > images[:, 2]
    vegetation = labels == 1 + SOURCES.index("dubai vegetation")
    assert (greener == vegetation).float().mean() > 0.97
    jittered = windows.jitter(images)
    assert jittered.min() >= 0
    assert jittered.max() <= 1


def test_regions_lie_in_their_class():
    torch.manual_seed(0)
    labels = torch.zeros(4, 64, 64, dtype=torch.int64)
    labels[:, :32], labels[:, 32:] = 1, 2
    regions = targets.regions(labels, 2, cells=6, patch=8)
    assert regions.weights.shape == (4, 6, 64)
    top = regions.weights.reshape(4, 6, 8, 8)[:, :, :4].sum(dim=(2, 3))
    share = top / regions.weights.sum(dim=2).clamp_min(1e-6)
    assert (share[regions.labels == 1] >= 0.69).all()
    assert (share[regions.labels == 2] <= 0.31).all()
    assert (regions.labels > 0).any()


def test_patch_labels_need_a_clear_majority():
    labels = torch.full((1, 16, 16), 2)
    labels[:, :, :8] = 1
    labels[:, 8:, 8:12] = 1
    patches = targets.patch_labels(labels, 2, patch=8)
    assert patches.tolist() == [[1, 2, 1, 0]]


def test_training_learns_resumes_and_writes_weights(
    dubai: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "starter")
    torch.manual_seed(0)
    bank = train.dubai_bank(dubai, [1])
    plan = TowerPlan(minutes=0.02, batch=4, averaging=0.5, save_seconds=0.0)
    train.train(plan, [bank], bank, "cpu", tmp_path / "state", tmp_path / "out")
    assert "held out: IoU" in caplog.text

    picture = np.asarray(Image.open(dubai / "tile1_001.jpg"))[:128, 16:144]
    for minutes in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6):  # on a busy machine a step takes seconds
        longer = TowerPlan(minutes=minutes, batch=4, averaging=0.5)
        train.train(longer, [bank], bank, "cpu", tmp_path / "state", tmp_path / "out")
        if left_and_right(tmp_path / "out", picture) == [0, 1]:
            break
    assert "resumed at step" in caplog.text
    assert left_and_right(tmp_path / "out", picture) == [0, 1]


def left_and_right(weights: Path, picture: np.ndarray) -> list[int]:
    """What the halves of a picture are taken for: 0 vegetation, 1 water."""
    clip = load_clip(str(weights))
    dense = features.dense_features(clip, picture, 8)
    texts = features.text_features(clip, [knowledge.prompts(w) for w in ("vegetation", "water")])
    masks = np.zeros((2, 128, 128), dtype=bool)
    masks[0, :, :60], masks[1, :, 68:] = True, True
    return (features.mask_features(clip, dense, masks) @ texts.T).argmax(dim=1).tolist()


def test_a_folder_without_tiles_is_named(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"holds no tile1_\*\.jpg"):
        train.dubai_bank(tmp_path, [1])


def test_two_processes_train_one_model(dubai: Path, tmp_path: Path):
    command = [
        sys.executable,
        "-m",
        "starter.training.train",
        "--dubai",
        str(dubai),
        "--tiles",
        "1",
    ]
    command += ["--validate", "1", "--scenes", "1", "--batch", "4", "--minutes", "0.005"]
    command += ["--processes", "2", "--device", "cpu", "--state", str(tmp_path / "state")]
    ran = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    assert "steps; weights in" in ran.stderr
    assert load_clip(str(tmp_path / "out")).crop_side == 64
    saved = torch.load(tmp_path / "state" / "state.pt", weights_only=True)
    assert saved["step"] > 0


def test_the_patch_embedding_starts_as_whitened_components(dubai: Path):
    torch.manual_seed(0)
    clip = train.new_model("cpu")
    bank = train.dubai_bank(dubai, [1])
    train.init_from_components(clip, [bank])
    weight = clip.visual.conv1.weight.detach().flatten(1)
    directions = torch.nn.functional.normalize(weight, dim=1)
    assert (directions @ directions.T - torch.eye(len(directions))).abs().max() < 1e-3
