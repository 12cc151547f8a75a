"""Loading the weights of a CLIP model.

Any model of open_clip whose image tower is its own vision transformer or its own ResNet, from a
folder or a checkpoint file; `dgl_rsis.clip.towers` opens these towers up.
"""

import hashlib
import json
import logging
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import VisionTransformer

from dgl_rsis.clip import pixel_tower
from dgl_rsis.clip.pixel_tower import PixelTower
from dgl_rsis.weights.architectures import (
    build_clip,
    clip_tokenizer,
    normalisation,
    require_clip,
    require_device,
)
from dgl_rsis.weights.checkpoints import ModelError, fill
from dgl_rsis.weights.identity import STARTER, fingerprint, is_closed

log = logging.getLogger(__name__)

TEMPERATURE = 50.0
PIXELS = "pixel_tower.safetensors"  # beside the weights; see `dgl_rsis.clip.pixel_tower`
RESNET_STRIDE = 32  # pixels between the cells of a ResNet's last feature map


@dataclass(frozen=True)
class ClipModel:
    """A CLIP model ready to encode.

    Attributes:
        name: as the user asked for it.
        model: the open_clip model, in eval mode, float32 on the CPU.
        tokenizer: text → (n, context) int64.
        mean, std: of each colour channel, for images in [0, 1].
        crop_side: S of a crop, pixels: the size the model was trained at.
        dense_side: S of a tile of the dense pass, pixels; a multiple of the patch.
        temperature: τ at which its probabilities are meant to be read (SegEarth-OV, TextRegion: 50;
            CLIP trains at 100).
        fingerprint: SHA-256 of the weight file, or of several, hexadecimal.
        device: where it lives.
        pixels: a tower for details that its patches are too large for; None for none.
    """

    name: str
    model: Any
    tokenizer: Any
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop_side: int
    dense_side: int
    temperature: float
    fingerprint: str
    device: str
    pixels: PixelTower | None = None

    @property
    def closed(self) -> bool:
        """Whether it knows no words but those of its training images' things."""
        return is_closed(self.name)

    @property
    def visual(self) -> VisionTransformer | ModifiedResNet:
        """The image tower."""
        return self.model.visual

    @cached_property
    def patch(self) -> int:
        """Side of a patch, or of a cell of a ResNet's last feature map, pixels."""
        if isinstance(self.visual, ModifiedResNet):
            return RESNET_STRIDE
        return int(self.visual.patch_size[0])


def load_clip(name: str, device: str = "cpu") -> ClipModel:
    """Load a CLIP model for inference. Nothing is ever downloaded.

    Args:
        name: "starter" for the weights that ship with the project; a folder with
            `open_clip_config.json`, `open_clip_model.safetensors` and perhaps
            `pixel_tower.safetensors`; or "ARCH:FILE", an architecture that open_clip lists and a
            checkpoint of it ("ViT-B-32:models/RemoteCLIP-ViT-B-32.pt").
        device: "cpu" or "cuda:0".

    Raises:
        ModelError: no such file, architecture or device, a file that does not fit it, or an image
            tower that is neither open_clip's own vision transformer nor its own ResNet.
    """
    require_device(device)
    if name == STARTER:
        return _from_folder(name, Path(str(files("starter"))) / "weights", device)
    if Path(name).is_dir():
        return _from_folder(name, Path(name), device)
    architecture, _, file = name.partition(":")
    if not file:
        raise ModelError(
            f"no model {name!r}: give {STARTER!r}, a folder with open_clip_config.json, "
            "ARCHITECTURE:FILE, or a name that `dgl-rsis models list` shows"
        )
    require_clip(architecture)
    return _load(name, architecture, Path(file), {}, device)


def _from_folder(name: str, folder: Path, device: str) -> ClipModel:
    try:
        config = json.loads((folder / "open_clip_config.json").read_text("utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{folder} holds no open_clip_config.json") from None
    weights = folder / "open_clip_model.safetensors"
    clip = _load(name, f"local-dir:{folder}", weights, config.get("dgl_rsis", {}), device)
    if (file := folder / PIXELS).is_file():
        clip = _with_pixels(clip, file)
    return clip


def _with_pixels(clip: ClipModel, file: Path) -> ClipModel:
    tower = pixel_tower.load(file, int(clip.visual.output_dim), clip.device)
    both = hashlib.sha256(f"{clip.fingerprint} {fingerprint(file)}".encode()).hexdigest()
    return replace(clip, pixels=tower, fingerprint=both)


def _load(
    name: str, architecture: str, weights: Path, extra: dict[str, Any], device: str
) -> ClipModel:
    if not weights.is_file():
        raise ModelError(f"no weight file {weights} for model {name!r}")
    model, tokenizer = build_clip(architecture), clip_tokenizer(architecture)
    fill(model, weights, architecture)
    model.to(device)
    visual = model.visual
    resnet = isinstance(visual, ModifiedResNet)
    mean, std = normalisation(architecture, visual)
    side = int(visual.image_size if resnet else visual.image_size[0])
    log.info("loaded %s on %s", name, device)
    return ClipModel(
        name=name,
        model=model.eval().requires_grad_(False),
        tokenizer=tokenizer,
        mean=mean,
        std=std,
        crop_side=side,
        dense_side=int(extra.get("dense_side", side)),
        temperature=float(extra.get("temperature", TEMPERATURE)),
        fingerprint=fingerprint(weights),
        device=str(torch.device(device)),
    )
