"""The architectures that weights belong to, untrained, and whether a file is of one.

Of open_clip and of segment_anything. What is refused here is refused both when a checkpoint is
added to the models folder and when one is loaded.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import open_clip
import torch
from huggingface_hub import constants as hub_constants
from huggingface_hub.errors import OfflineModeIsEnabled
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer as TimmTransformer
from torch import nn

from dgl_rsis.weights.checkpoints import ModelError, fill
from dgl_rsis.weights.identity import ModelKind, SamArchitecture

CLIP_WEIGHTS = "open_clip_model.safetensors"  # of a folder in open_clip's form

Colours = tuple[float, float, float]


def require_device(device: str) -> None:
    """Refuse a device that is not here.

    Args:
        device: "cpu", "cuda" or "cuda:1".

    Raises:
        ModelError: saying why, and the way out.
    """
    kind, _, number = device.partition(":")
    if kind != "cuda":
        return
    if not torch.cuda.is_available():
        built = torch.version.cuda is not None
        why = "no driver answers" if built else "this PyTorch was built without CUDA"
        raise ModelError(f"DEVICE {device} cannot be used, {why}: set DEVICE=cpu, or install it")
    count = torch.cuda.device_count()
    if int(number or 0) >= count:
        raise ModelError(f"DEVICE {device} is not here: there are {count}, counted from cuda:0")


def require_clip(architecture: str) -> None:
    """Refuse what open_clip does not list.

    Raises:
        ModelError: naming it.
    """
    if architecture not in open_clip.list_models():
        raise ModelError(
            f"open_clip knows no architecture {architecture!r}: see open_clip.list_models()"
        )


def build_clip(architecture: str, device: str = "cpu") -> Any:
    """An untrained model of open_clip.

    Args:
        architecture: one that open_clip lists, or "local-dir:FOLDER".
        device: where to make it; "meta" makes its shape only.

    Raises:
        ModelError: open_clip knows no such architecture, lacks what it needs, or its image tower is
            of a make that is not known here.
    """
    if ":" not in architecture:
        require_clip(architecture)
    with _without_warning(), _offline(), _refusing(architecture), torch.device(device):
        model = open_clip.create_model(
            architecture, load_weights=False, device=device, pretrained_text=False
        )
    _check_tower(architecture, model.visual)
    return model


def clip_tokenizer(architecture: str) -> Any:
    """The tokenizer of a model of open_clip: text → (n, context) int64.

    Raises:
        ModelError: its vocabulary is not here.
    """
    with _offline(), _refusing(architecture):
        return open_clip.get_tokenizer(architecture)


def normalisation(architecture: str, visual: nn.Module) -> tuple[Colours, Colours]:
    """Mean and standard deviation of each colour channel that a model was trained with.

    An architecture does not say them, its published weights do: SigLIP and PE centre at a half. So
    they are taken where all weights that open_clip knows of it agree, else as the tower has them.

    Args:
        architecture: one that open_clip lists, or "local-dir:FOLDER", whose config says them.
        visual: its image tower.
    """
    own: Any = visual.preprocess_cfg
    tags = [] if ":" in architecture else open_clip.list_pretrained_tags_by_model(architecture)
    known = [open_clip.get_pretrained_cfg(architecture, tag) for tag in tags]
    said = {(tuple(x["mean"]), tuple(x["std"])) for x in known if x.get("mean") and x.get("std")}
    if len(said) == 1 and len(known) == sum(bool(x.get("mean")) for x in known):
        mean, std = said.pop()
        return mean, std
    return tuple(own["mean"]), tuple(own["std"])


def require_sam(architecture: str) -> None:
    """Refuse what is no Segment Anything.

    Raises:
        ModelError: naming it.
    """
    if architecture not in get_args(SamArchitecture):
        known = ", ".join(get_args(SamArchitecture))
        raise ModelError(f"no architecture {architecture!r} of Segment Anything: choose of {known}")


def build_sam(architecture: str, device: str = "cpu") -> Any:
    """An untrained Segment Anything.

    Args:
        architecture: "vit_b", "vit_l" or "vit_h".
        device: as for `build_clip`.

    Raises:
        ModelError: no such architecture, or segment-anything is not installed.
    """
    require_sam(architecture)
    try:
        from segment_anything import sam_model_registry
    except ImportError:
        raise ModelError("Segment Anything is not installed: install segment-anything-py") from None
    with torch.device(device):
        return sam_model_registry[architecture]()


BUILDERS: dict[ModelKind, Callable[[str, str], Any]] = {"clip": build_clip, "sam": build_sam}


def check(path: Path, kind: ModelKind, architecture: str, origin: str = "") -> None:
    """See that a checkpoint can be loaded: every weight of the architecture, and no other.

    The model is made as a shape only, so that this costs a look at the file.

    Args:
        path: of the checkpoint.
        kind: "clip" or "sam".
        architecture: as open_clip lists it, or as for `build_sam`.
        origin: how to call the file in messages; "" for `path`.

    Raises:
        ModelError: it cannot.
    """
    if kind == "clip":
        require_clip(architecture)
        clip_tokenizer(architecture)
    fill(BUILDERS[kind](architecture, "meta"), path, architecture, origin, assign=True)


def check_folder(folder: Path, origin: str = "") -> None:
    """The same for a folder in open_clip's form, with its words.

    Args:
        folder: with `open_clip_config.json`, `open_clip_model.safetensors`, files of a tokenizer.
        origin: how to call the weights in messages; "" for their path.

    Raises:
        ModelError: it cannot be loaded.
    """
    local = f"local-dir:{folder}"
    clip_tokenizer(local)
    fill(build_clip(local, "meta"), folder / CLIP_WEIGHTS, local, origin, assign=True)


def _check_tower(architecture: str, visual: nn.Module) -> None:
    """Refuse image towers whose insides are not known here.

    Raises:
        ModelError: naming the tower and what to choose instead.
    """
    tower = f"{architecture!r} has the image tower {type(visual).__name__}"
    way_out = "choose one such as ViT-B-32, ViT-L-14, RN50, ViT-B-16-SigLIP2 or PE-Core-B-16"
    if isinstance(visual, TimmModel):
        if not _pools_as_known(visual):
            trunk = type(visual.trunk).__name__
            raise ModelError(f"{tower} of {trunk}, whose way to pool is not known here: {way_out}")
    elif not isinstance(visual, VisionTransformer | ModifiedResNet):
        raise ModelError(f"{tower}, which cannot be opened: {way_out}")
    elif getattr(visual, "pool_type", "tok") == "none":
        raise ModelError(f"{tower} that pools nothing: {way_out}")


def _pools_as_known(visual: TimmModel) -> bool:
    """Whether `dgl_rsis.clip.timm_towers` can pool in the place of a tower.

    By an attention pool or a class token of a transformer, or by the mean of whatever it is.
    """
    trunk: Any = visual.trunk
    if hasattr(visual.head, "pool"):  # open_clip's own, behind the trunk
        return False
    if isinstance(trunk, TimmTransformer | Eva) and trunk.global_pool in ("map", "token"):
        return True
    pooling = getattr(trunk, "global_pool", None) or getattr(trunk.head, "global_pool", None)
    return getattr(pooling, "pool_type", pooling) == "avg" and hasattr(trunk, "forward_head")


_FAILURES = (
    RuntimeError, KeyError, TypeError, ValueError, OSError, ImportError, AssertionError
)  # fmt: skip


@contextmanager
def _refusing(architecture: str) -> Iterator[None]:
    """Turn what open_clip and the libraries under it raise into one error.

    Raises:
        ModelError: naming the architecture and the reason.
    """
    try:
        yield
    except _FAILURES as error:
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        if "huggingface.co" in str(error) or isinstance(error, OfflineModeIsEnabled):
            reason = (
                "its words are in files of their own, which are not here: use a folder with them "
                "and open_clip_config.json as MODEL, or bring them into Hugging Face's cache"
            )
        raise ModelError(f"{architecture!r} cannot be built: {reason}") from error


@contextmanager
def _offline() -> Iterator[None]:
    """Without the network: what is in the cache of Hugging Face's tools is taken from there.

    open_clip would fetch vocabularies and configs of other libraries as it builds a model.
    """
    before = hub_constants.HF_HUB_OFFLINE
    hub_constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        hub_constants.HF_HUB_OFFLINE = before


@contextmanager
def _without_warning() -> Iterator[None]:
    """Without open_clip's warning, on the root logger, of random weights: these are replaced."""

    def wanted(record: logging.LogRecord) -> bool:
        return "No pretrained weights loaded" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(wanted)
    try:
        yield
    finally:
        root.removeFilter(wanted)
