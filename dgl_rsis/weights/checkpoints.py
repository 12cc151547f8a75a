"""Checkpoint files: what is in them, and whether they are what they should be.

Every format that the published weights come in: a bare state dict (RemoteCLIP, GeoRSCLIP, Segment
Anything), a training checkpoint with the state dict inside and `module.` before its names
(SkyCLIP), a TorchScript archive (OpenAI), safetensors. No code in a file is ever run.
"""

import hashlib
import logging
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import open_clip
import torch
from open_clip.model import convert_to_custom_text_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dgl_rsis.weights.torchscript import is_torchscript, read_weights

Kind = Literal["clip", "sam"]

WRAPPERS = ("state_dict", "model")
PREFIXES = ("module.", "model.")  # of DistributedDataParallel, and of a wrapping class
# What OpenAI's files hold beside weights; the last at any depth, and models make it themselves.
SETTINGS = ("input_resolution", "context_length", "vocab_size")
MASK = "attn_mask"
SHOWN = 3  # misfits in a message
LONGEST_SHOWN = 200  # characters of another library's message


class ModelError(ValueError):
    """A model cannot be loaded. The message names the file and the way out."""


def load_state(path: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint, by the names that its model gives them.

    Args:
        path: of any format that the module names.

    Returns:
        Name → tensor on the CPU, in the file's own precision.

    Raises:
        ModelError: no file, no checkpoint, a truncated one, or one that holds more than weights.
    """
    if not path.is_file():
        raise ModelError(f"no weight file {path}")
    try:
        return _unwrapped(_read(path))
    except (UnpicklingError, EOFError):
        # torch's own message tells how to run the code in the file.
        raise ModelError(
            f"{path} cannot be loaded: it is no checkpoint, a truncated one, or it holds more than "
            "weights"
        ) from None
    except (RuntimeError, KeyError, ValueError, OSError, zipfile.BadZipFile, SafetensorError) as e:
        reason = (str(e) or type(e).__name__).splitlines()[0][:LONGEST_SHOWN]
        raise ModelError(f"{path} cannot be loaded, it may be truncated: {reason}") from None


def fingerprint(path: Path) -> str:
    """SHA-256 of a weight file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fill(model: nn.Module, path: Path, architecture: str, *, assign: bool = False) -> None:
    """Load a checkpoint into a model, all of it and nothing else.

    Args:
        model: of open_clip or segment_anything.
        path: of the checkpoint.
        architecture: of the model, for messages.
        assign: take the file's tensors as they are, instead of copying them into the model's.

    Raises:
        ModelError: as `load_state`, or the checkpoint is of another architecture.
    """
    state = _matched(model, load_state(path))
    _check_fit(model.state_dict(), state, path, architecture)
    model.load_state_dict(state, strict=True, assign=assign)


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
        ModelError: open_clip knows no such architecture.
    """
    if ":" not in architecture:
        require_clip(architecture)
    with _without_warning(), torch.device(device):
        return open_clip.create_model(
            architecture, load_weights=False, device=device, pretrained_text=False
        )


def build_sam(architecture: str, device: str = "cpu") -> Any:
    """An untrained Segment Anything.

    Args:
        architecture: "vit_b", "vit_l" or "vit_h".
        device: as for `build_clip`.

    Raises:
        ModelError: no such architecture, or segment-anything is not installed.
    """
    try:
        from segment_anything import sam_model_registry
    except ImportError:
        raise ModelError("Segment Anything is not installed: install segment-anything-py") from None
    if architecture not in sam_model_registry:
        known = ", ".join(sam_model_registry)
        raise ModelError(f"segment_anything knows no architecture {architecture!r}, only {known}")
    with torch.device(device):
        return sam_model_registry[architecture]()


BUILDERS: dict[Kind, Callable[[str, str], Any]] = {"clip": build_clip, "sam": build_sam}


def check(path: Path, kind: Kind, architecture: str) -> None:
    """See that a checkpoint is what it should be: every weight of the architecture, and no other.

    The model is made as a shape only, so that this costs a look at the file.

    Args:
        path: of the checkpoint.
        kind: "clip" or "sam".
        architecture: as for `build_clip` or `build_sam`.

    Raises:
        ModelError: it is not.
    """
    fill(BUILDERS[kind](architecture, "meta"), path, architecture, assign=True)


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    if is_torchscript(path):
        return read_weights(path)
    # Mapped into memory: a training checkpoint's optimiser state is never read.
    mapped = zipfile.is_zipfile(path)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


def _unwrapped(content: Any) -> dict[str, Tensor]:
    """The state dict inside what training scripts put around it.

    Raises:
        ValueError: there is none.
    """
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise ValueError("it holds no weights")
    state = {name: value for name, value in content.items() if not _is_setting(str(name))}
    strange = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if strange:
        raise ValueError(f"{strange[0]!r} in it is no tensor")
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _is_setting(name: str) -> bool:
    return name in SETTINGS or name.rpartition(".")[2] == MASK


def _matched(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights as this model names and shapes them; as open_clip's own loading does."""
    if "positional_embedding" in state and hasattr(model, "text"):
        state = convert_to_custom_text_state_dict(state)
    scale = getattr(model, "logit_scale", None)  # () or (1,), by the version that saved it
    if scale is not None and "logit_scale" in state and state["logit_scale"].numel() == 1:
        state["logit_scale"] = state["logit_scale"].reshape(scale.shape)
    return state


def _check_fit(
    expected: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path, architecture: str
) -> None:
    missing = [f"{name} is missing" for name in expected if name not in state]
    strange = [f"{name} is unknown to it" for name in state if name not in expected]
    shapes = [
        f"{name} is {list(state[name].shape)} instead of {list(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    misfits = shapes + missing + strange
    if misfits:
        more = f" (and {len(misfits) - SHOWN} more)" if len(misfits) > SHOWN else ""
        raise ModelError(
            f"{path} cannot be loaded as {architecture}, it is of another architecture: "
            f"{'; '.join(misfits[:SHOWN])}{more}"
        )


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
