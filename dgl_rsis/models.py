"""Loading weights, and the image tower opened up: what goes in, what comes out, piece by piece.

Any model of open_clip whose image tower is its own vision transformer or its own ResNet, from a
folder or a checkpoint file. The functions below the loading follow open_clip's forward passes, at
any size of tile, so that stages can step in between.
"""

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
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.transformer import (
    AttentionalPooler,
    ResidualAttentionBlock,
    VisionTransformer,
)
from torch import Tensor, nn
from torch.nn import functional as F

log = logging.getLogger(__name__)

STARTER = "starter"
TEMPERATURE = 50.0
RESNET_STRIDE = 32  # pixels between the cells of a ResNet's last feature map


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
            `open_clip_config.json` and `open_clip_model.safetensors`; or "ARCH:FILE", an
            architecture that open_clip lists and a checkpoint of it
            ("ViT-B-32:models/RemoteCLIP-ViT-B-32.pt").
        device: "cpu" or "cuda:0".

    Raises:
        ModelError: no such file or architecture, a file that does not fit it, or an image tower
            that is neither open_clip's own vision transformer nor its own ResNet.
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
    visual = model.visual
    _check(name, visual)
    resnet = isinstance(visual, ModifiedResNet)
    side = int(visual.image_size if resnet else visual.image_size[0])
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


def _check(name: str, visual: nn.Module) -> None:
    """Refuse towers whose insides are not known here.

    Raises:
        ModelError: naming the tower and what to choose instead.
    """
    kind = type(visual).__name__
    way_out = "choose a model with one of open_clip's own, such as ViT-B-32, ViT-L-14 or RN50"
    if not isinstance(visual, VisionTransformer | ModifiedResNet):
        raise ModelError(f"{name!r} has the image tower {kind}, which cannot be opened: {way_out}")
    if getattr(visual, "pool_type", "tok") == "none":
        raise ModelError(f"{name!r} has an image tower {kind} that pools nothing: {way_out}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def embedded(visual: VisionTransformer, tiles: Tensor) -> Tensor:
    """What the first block of a vision transformer sees.

    Args:
        visual: the tower.
        tiles: (B, 3, S, S) float32, standardised; S a multiple of the patch.

    Returns:
        (B, 1 + K, E) float32, the class token first.
    """
    x = visual.conv1(tiles)  # (B, E, h, w)
    grid = x.shape[-1]
    x = x.flatten(2).transpose(1, 2)  # (B, K, E)
    token = visual.class_embedding.to(x.dtype).expand(len(x), 1, -1)
    x = torch.cat([token, x], dim=1) + _positions(visual.positional_embedding, grid)
    first: Tensor = visual.ln_pre(x)  # (B, 1 + K, E)
    return first


def attended(block: Any, normed: Tensor) -> Tensor:
    """What a block adds to its input by attention: (B, L, E), from its normalised input."""
    if isinstance(block, ResidualAttentionBlock):
        return _scaled(block, block.attention(normed))
    return _scaled(block, block.ln_attn(block.attn(normed)))


def mixed(block: Any, values: Tensor) -> Tensor:
    """What a block adds to its input when attention has come to these means of values.

    Args:
        block: of a vision transformer.
        values: (..., E) float32, after the value projection.

    Returns:
        (..., E) float32.
    """
    attention = block.attn
    if isinstance(block, ResidualAttentionBlock):
        return _scaled(block, attention.out_proj(values))
    if attention.head_scale is not None:
        by_head = values.unflatten(-1, (attention.num_heads, -1))  # (..., heads, E / heads)
        values = (by_head * attention.head_scale[:, 0]).flatten(-2)
    return _scaled(block, block.ln_attn(attention.out_proj(attention.ln_inner(values))))


def _scaled(block: Any, x: Tensor) -> Tensor:
    scaled: Tensor = block.ls_1(x)
    return scaled


def fed_forward(block: Any, x: Tensor) -> Tensor:
    """The second half of a block: (..., E) → (..., E)."""
    added: Tensor = block.ls_2(block.mlp(block.ln_2(x)))
    return x + added


def read(visual: VisionTransformer, tokens: Tensor) -> Tensor:
    """The embedding of tokens of the last block, each as if the tower saw nothing else.

    Args:
        visual: the tower.
        tokens: (..., E) float32.

    Returns:
        (..., D) float32.
    """
    if visual.attn_pool is not None:
        alone = tokens.reshape(-1, 1, tokens.shape[-1])
        tokens = _queried(visual.attn_pool, alone).reshape(*tokens.shape[:-1], -1)
    found: Tensor = visual.ln_post(tokens) @ visual.proj  # (..., D)
    return found


def read_all(
    visual: VisionTransformer, token: Tensor, patches: Tensor, seen: Tensor | None = None
) -> Tensor:
    """The embedding of all tokens of the last block together, pooled as the tower pools.

    Args:
        visual: the tower.
        token: (B, E) float32, class tokens; most towers read these alone.
        patches: (B, K, E) float32, or (1, K, E) for all the same.
        seen: (B, K) float32 in [0, 1], how much of each patch to pool, where the tower pools
            patches; None for all of them.

    Returns:
        (B, D) float32.
    """
    if visual.attn_pool is not None:
        tokens = torch.cat([token[:, None], patches.expand(len(token), -1, -1)], dim=1)
        weights = None if seen is None else F.pad(seen, (1, 0), value=1.0)  # (B, 1 + K)
        pooled = visual.ln_post(_queried(visual.attn_pool, tokens, weights))
    elif visual.pool_type == "avg":
        pooled = _averaged(visual, patches, seen)
    else:
        pooled = visual.ln_post(token)
    found: Tensor = pooled @ visual.proj  # (B, D)
    return found


def _averaged(visual: VisionTransformer, patches: Tensor, seen: Tensor | None) -> Tensor:
    """(B, K, E) and (B, K) → (B, E): the mean before or after the last norm."""
    if not visual.final_ln_after_pool:
        patches = visual.ln_post(patches)
    weights = patches.new_ones(patches.shape[:2]) if seen is None else seen
    mean: Tensor = (weights[:, None] @ patches)[:, 0] / weights.sum(dim=1, keepdim=True)
    if visual.final_ln_after_pool:
        mean = visual.ln_post(mean)
    return mean


def _queried(pooler: AttentionalPooler, tokens: Tensor, weights: Tensor | None = None) -> Tensor:
    """An attentional pooler's first query, the only one that an embedding is read from.

    Args:
        pooler: CoCa's.
        tokens: (B, L, E) float32.
        weights: (B, L) float32 in [0, 1]; None for all alike.

    Returns:
        (B, E') float32.
    """
    query = pooler.ln_q(pooler.query[:1]).expand(len(tokens), -1, -1)  # (B, 1, E')
    keys = pooler.ln_k(tokens)
    hidden = None if weights is None else weights.log()
    answers, _ = pooler.attn(query, keys, keys, key_padding_mask=hidden, need_weights=False)
    first: Tensor = answers[:, 0]
    return first


def feature_map(visual: ModifiedResNet, tiles: Tensor) -> Tensor:
    """What a ResNet's attention pool sees: (B, 3, S, S) → (B, E, h, w)."""
    x: Tensor = visual.stem(tiles)
    for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        x = layer(x)
    return x


def attention_pooled(pool: AttentionPool2d, maps: Tensor) -> Tensor:
    """A ResNet's attention pool: (B, E, h, w) → (B, D); its query is the mean cell."""
    cells = maps.flatten(2).transpose(1, 2)  # (B, K, E)
    x = torch.cat([cells.mean(dim=1, keepdim=True), cells], dim=1)
    x = x + _positions(pool.positional_embedding, maps.shape[-1])  # (B, 1 + K, E)
    query, key, value = (
        project(y).unflatten(-1, (pool.num_heads, -1)).transpose(1, 2)  # (B, heads, ·, E / heads)
        for project, y in ((pool.q_proj, x[:, :1]), (pool.k_proj, x), (pool.v_proj, x))
    )
    answer = F.scaled_dot_product_attention(query, key, value)  # (B, heads, 1, E / heads)
    found: Tensor = pool.c_proj(answer.flatten(1))  # (B, D)
    return found


def pool_values(pool: AttentionPool2d, maps: Tensor) -> Tensor:
    """The values that a ResNet's attention pool mixes: (B, E, h, w) → (B, h, w, E)."""
    height, width = maps.shape[-2:]
    cells = maps.flatten(2).transpose(1, 2)  # (B, K, E)
    placed = cells + _positions(pool.positional_embedding, width)[1:]
    values: Tensor = pool.v_proj(placed)
    return values.reshape(len(values), height, width, -1)


def _positions(embedding: Tensor, grid: int) -> Tensor:
    """Positional embedding of a square grid, resized as CLIP's are: (1 + grid², E)."""
    token, patches = embedding[:1], embedding[1:]
    trained = round(len(patches) ** 0.5)
    if trained == grid:
        return embedding
    square = patches.reshape(1, trained, trained, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(square, size=(grid, grid), mode="bicubic", antialias=True)
    return torch.cat([token, resized.permute(0, 2, 3, 1).reshape(grid * grid, -1)])
