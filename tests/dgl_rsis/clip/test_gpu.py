"""The pipeline on a CUDA device: `pytest -m gpu`."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dgl_rsis.classes import pipeline
from dgl_rsis.clip.model import load_clip
from dgl_rsis.types import Label

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_the_device_does_not_change_the_answer(model_folder: Path):
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    labels = [Label(name) for name in ("building", "road", "water")]
    segmentations = [
        pipeline.segment_classes(image, labels, load_clip(str(model_folder), device))
        for device in ("cpu", "cuda:0")
    ]
    assert (segmentations[0].class_map == segmentations[1].class_map).mean() > 0.99
    assert segmentations[0].probability == pytest.approx(segmentations[1].probability, abs=0.02)
