"""Small untrained models with image towers of every make."""

import copy
import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

from dgl_rsis.clip.model import ClipModel, load_clip
from tests.small_model import CONFIG

RESNET = {"layers": [1, 1, 1, 1], "width": 8, "head_width": 64}


def build_model(folder: Path, **vision: Any) -> ClipModel:
    """The small model with another image tower, saved in a folder and loaded from there."""
    config = copy.deepcopy(CONFIG)
    config["model_cfg"]["vision_cfg"] = {"image_size": 64} | vision
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    for weights in model.visual.parameters():  # a new ResNet's blocks start at zero
        weights.data += 0.1 * torch.randn_like(weights)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return load_clip(str(folder))
