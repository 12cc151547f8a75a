"""Small untrained models with image towers of every make."""

import copy
import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

from dgl_rsis.clip import pixel_tower
from dgl_rsis.clip.model import ClipModel, load_clip
from dgl_rsis.clip.pixel_features import PixelFeatures
from dgl_rsis.clip.pixel_tower import PixelTower
from tests.small_model import CONFIG

RESNET = {"layers": [1, 1, 1, 1], "width": 8, "head_width": 64}


def build_model(folder: Path, **vision: Any) -> ClipModel:
    """The small model with another image tower, saved in a folder and loaded from there.

    What is known as another part of a model's config is that, and no part of the tower's.
    """
    config = copy.deepcopy(CONFIG)
    parts = ("embed_dim", "text_cfg", "custom_text", "init_logit_bias")
    config["model_cfg"] |= {name: vision.pop(name) for name in parts if name in vision}
    config["model_cfg"]["vision_cfg"] = {"image_size": 64} | vision
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    for weights in model.visual.parameters():  # a new ResNet's blocks start at zero
        weights.data += 0.1 * torch.randn_like(weights)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return load_clip(str(folder))


def untrained_pixels(dimensions: int = 32, rank: int = 8) -> PixelTower:
    """A narrow pixel tower whose layers keep the spread of their inputs, as trained ones do."""
    torch.manual_seed(0)
    tower = PixelTower(dimensions, rank, (8,) * len(pixel_tower.WIDTHS))
    for part in tower.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        tower(torch.rand(4, 3, 96, 96))  # the statistics of its batch norms
    return tower.eval().requires_grad_(False)


def drawn_pixels(coordinates: torch.Tensor, outline: torch.Tensor) -> PixelFeatures:
    """Pixel features drawn by hand; everything is as likely to be there, at 1 m a pixel."""
    presence = torch.zeros(coordinates.shape[-1], 1, 1)
    return PixelFeatures(coordinates, outline, presence, torch.zeros(2))
