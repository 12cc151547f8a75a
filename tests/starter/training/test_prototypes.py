import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dgl_rsis.classes import prototypes
from dgl_rsis.evaluation.datasets.samples import DUBAI_COLOURS
from starter.training import prototypes as starter_prototypes
from starter.training.train import WEIGHTS
from starter.training.vocabularies import DUBAI


def test_the_shipped_files_are_those_of_the_list():
    lines = (WEIGHTS / "SHA256SUMS").read_text("utf-8").splitlines()
    listed = {name: digest for digest, name in (line.split() for line in lines)}
    assert listed.keys() == {file.name for file in WEIGHTS.glob("*.safetensors")}
    assert len(listed) == 3
    for name, digest in listed.items():
        assert hashlib.sha256((WEIGHTS / name).read_bytes()).hexdigest() == digest


def test_training_images_become_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    colours = {name: colour for colour, name in zip(DUBAI_COLOURS, DUBAI, strict=False)}
    label = np.zeros((64, 96, 3), dtype=np.uint8)
    label[:, :48], label[:, 48:] = colours["building"], colours["water"]
    image = np.where(np.arange(96)[None, :, None] < 48, 200, 40) + np.zeros((64, 96, 3))
    noise = np.random.default_rng(0).integers(0, 9, image.shape)
    for part in ("tile1_001", "tile5_001"):  # the second is not for training
        Image.fromarray((image + noise).astype(np.uint8)).save(tmp_path / f"{part}.jpg")
        Image.fromarray(label).save(tmp_path / f"{part}.png")
    monkeypatch.setattr(starter_prototypes, "TRAINING_TILES", (1,))
    monkeypatch.setattr(sys, "argv", ["x", "--dubai", str(tmp_path), "--out", str(tmp_path)])
    starter_prototypes.main()
    written = prototypes.load(tmp_path / "prototypes.safetensors")
    assert written.labels == DUBAI
    assert {DUBAI[owner] for owner in written.owners} == {"building", "water"}
    assert set(written.sources) == {0}
