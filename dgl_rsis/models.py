"""Loading weights: any open_clip vision transformer, from a folder or a checkpoint file."""

import hashlib
import json
import logging
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import open_clip
import torch
from open_clip.transformer import VisionTransformer

log = logging.getLogger(__name__)

STARTER = "starter"
TEMPERATURE = 50.0


class ModelError(ValueError):
    """A model cannot be loaded. The message names the file and the way out."""


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
        fingerprint: SHA-256 of the weight file, hexadecimal.
        device: where it lives.
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

    @property
    def visual(self) -> VisionTransformer:
        """The image tower."""
        return self.model.visual

    @cached_property
    def patch(self) -> int:
        """Side of a patch, pixels."""
        return int(self.visual.patch_size[0])


def load_clip(name: str, device: str = "cpu") -> ClipModel:
    """Load a CLIP model for inference. Nothing is ever downloaded.

    Args:
        name: "starter" for the weights that ship with the project; a folder with
            `open_clip_config.json` and `open_clip_model.safetensors`; or "ARCH:FILE", an
            architecture that open_clip lists and a checkpoint of it
            ("ViT-B-32:models/RemoteCLIP-ViT-B-32.pt").
        device: "cpu" or "cuda:0".

    Raises:
        ModelError: no such file or architecture, a file that does not fit it, or an image tower
            that is no plain vision transformer.
    """
    if name == STARTER:
        return _from_folder(name, Path(str(files("starter"))) / "weights", device)
    if Path(name).is_dir():
        return _from_folder(name, Path(name), device)
    architecture, _, file = name.partition(":")
    if not file:
        raise ModelError(
            f"no model {name!r}: give {STARTER!r}, a folder with open_clip_config.json, "
            "or ARCHITECTURE:FILE"
        )
    if architecture not in open_clip.list_models():
        raise ModelError(
            f"open_clip knows no architecture {architecture!r} (in {name!r}): "
            "see open_clip.list_models()"
        )
    return _load(name, architecture, Path(file), {}, device)


def _from_folder(name: str, folder: Path, device: str) -> ClipModel:
    try:
        config = json.loads((folder / "open_clip_config.json").read_text("utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{folder} holds no open_clip_config.json") from None
    weights = folder / "open_clip_model.safetensors"
    return _load(name, f"local-dir:{folder}", weights, config.get("dgl_rsis", {}), device)


def _load(
    name: str, architecture: str, weights: Path, extra: dict[str, Any], device: str
) -> ClipModel:
    if not weights.is_file():
        raise ModelError(f"no weight file {weights} for model {name!r}")
    local = architecture.startswith("local-dir:")
    try:
        model = open_clip.create_model(
            architecture,
            pretrained=None if local else str(weights),
            device=device,
            weights_only=True,
        )
        tokenizer = open_clip.get_tokenizer(architecture)
    except (UnpicklingError, EOFError):
        # torch's own message tells how to run the code in the file.
        raise ModelError(
            f"{weights} cannot be loaded: it is no checkpoint, or it holds more than weights"
        ) from None
    except (RuntimeError, KeyError, ValueError, OSError) as error:
        raise ModelError(f"{weights} cannot be loaded as {architecture}: {error}") from error
    if not isinstance(model.visual, VisionTransformer):
        raise ModelError(
            f"{name!r} has the image tower {type(model.visual).__name__}; "
            "only open_clip's vision transformers are supported"
        )
    visual = model.visual
    side = int(visual.image_size[0])
    log.info("loaded %s on %s", name, device)
    return ClipModel(
        name=name,
        model=model.eval().requires_grad_(False),
        tokenizer=tokenizer,
        mean=tuple(visual.preprocess_cfg["mean"]),
        std=tuple(visual.preprocess_cfg["std"]),
        crop_side=side,
        dense_side=int(extra.get("dense_side", side)),
        temperature=float(extra.get("temperature", TEMPERATURE)),
        fingerprint=_sha256(weights),
        device=str(torch.device(device)),
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
