"""Loading the weights of a CLIP model.

Any model of open_clip, from a folder or a checkpoint file; `dgl_rsis.clip.towers` and
`dgl_rsis.clip.timm_towers` open the image towers up.
"""

import hashlib
import json
import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer

from dgl_rsis.clip import pixel_tower
from dgl_rsis.clip.pixel_tower import PixelTower
from dgl_rsis.clip.timm_towers import open_timm
from dgl_rsis.clip.towers import ResNetTower, Tower, TransformerTower
from dgl_rsis.weights.architectures import (
    CLIP_WEIGHTS,
    build_clip,
    clip_tokenizer,
    normalisation,
    require_clip,
    require_device,
)
from dgl_rsis.weights.checkpoints import ModelError, fill
from dgl_rsis.weights.identity import STARTER, fingerprint, is_closed

log = logging.getLogger(__name__)

Precision = Literal["float32", "bfloat16"]

TEMPERATURE = 50.0
PIXELS = "pixel_tower.safetensors"  # beside the weights; see `dgl_rsis.clip.pixel_tower`


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
        precision: of the products inside of its image towers; what goes in and comes out, and all
            that is made of it, is float32.
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
    precision: Precision = "float32"

    def in_precision(self) -> AbstractContextManager[None]:
        """For a pass of an image tower."""
        device = torch.device(self.device).type
        passing: AbstractContextManager[None] = torch.autocast(
            device, torch.bfloat16, enabled=self.precision == "bfloat16"
        )
        return passing

    @property
    def closed(self) -> bool:
        """Whether it knows no words but those of its training images' things."""
        return is_closed(self.name)

    @property
    def visual(self) -> VisionTransformer | ModifiedResNet | TimmModel:
        """The image tower, as open_clip has it."""
        return self.model.visual

    @cached_property
    def tower(self) -> Tower:
        """The image tower, opened up."""
        return _opened(self.visual)

    @property
    def patch(self) -> int:
        """Side of a patch, or of a cell of the last feature map, pixels."""
        return self.tower.patch


def _opened(visual: VisionTransformer | ModifiedResNet | TimmModel) -> Tower:
    if isinstance(visual, TimmModel):
        return open_timm(visual)
    if isinstance(visual, ModifiedResNet):
        return ResNetTower(visual)
    return TransformerTower(visual)


def load_clip(name: str, device: str = "cpu", precision: Precision = "float32") -> ClipModel:
    """Load a CLIP model for inference. Nothing is ever downloaded.

    Args:
        name: "starter" for the weights that ship with the project; a folder with
            `open_clip_config.json`, `open_clip_model.safetensors` and perhaps
            `pixel_tower.safetensors`; or "ARCH:FILE", an architecture that open_clip lists and a
            checkpoint of it ("ViT-B-32:models/RemoteCLIP-ViT-B-32.pt").
        device: "cpu" or "cuda:0".
        precision: of the image towers.

    Raises:
        ModelError: no such file, architecture or device, a file that does not fit it, or an image
            tower whose insides are not known here.
    """
    return replace(_loaded(name, device), precision=precision)


def _loaded(name: str, device: str) -> ClipModel:
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
    weights = folder / CLIP_WEIGHTS
    clip = _load(name, f"local-dir:{folder}", weights, config.get("dgl_rsis", {}), device)
    if (file := folder / PIXELS).is_file():
        clip = _with_pixels(clip, file)
    return clip


def _with_pixels(clip: ClipModel, file: Path) -> ClipModel:
    with torch.inference_mode():
        words = clip.model.encode_text(clip.tokenizer([""]).to(clip.device))
    tower = pixel_tower.load(file, words.shape[-1], clip.device)
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
    mean, std = normalisation(architecture, visual)
    tower = _opened(visual)
    dense_side = int(extra.get("dense_side", tower.side)) if tower.stretches else tower.side
    log.info("loaded %s on %s", name, device)
    return ClipModel(
        name=name,
        model=model.eval().requires_grad_(False),
        tokenizer=tokenizer,
        mean=mean,
        std=std,
        crop_side=tower.side,
        dense_side=dense_side,
        temperature=float(extra.get("temperature", TEMPERATURE)),
        fingerprint=fingerprint(weights),
        device=str(torch.device(device)),
    )
