"""Checkpoint files: what is in them, and whether they are what they should be.

Every format that the published weights come in: a bare state dict (RemoteCLIP, GeoRSCLIP, Segment
Anything), a training checkpoint with the state dict inside and `module.` before its names
(SkyCLIP), Hugging Face's names, a TorchScript archive (OpenAI), safetensors. The content tells
which, never the name. No code in a file is ever run.
"""

import logging
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from open_clip.model import convert_to_custom_text_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dgl_rsis.weights import layouts
from dgl_rsis.weights.layouts import State
from dgl_rsis.weights.pickles import ContentError, unpickled
from dgl_rsis.weights.torchscript import is_torchscript, read_weights

LOG = logging.getLogger(__name__)

SHOWN = 3  # misfits, names or members in a message
LONGEST_SHOWN = 200  # characters of another library's message

START_BYTES = 64  # enough to tell the formats apart
PICKLE, ZIP = b"\x80", b"PK\x03\x04"  # what they begin with
LONGEST_HEADER = 100_000_000  # bytes of JSON in safetensors, by its own reader
# What often comes in the place of a checkpoint: how it begins → what it is, and the way out.
NO_CHECKPOINTS = {
    b"version https://git-lfs": "it is a Git LFS pointer to the file: fetch that by `git lfs pull`",
    b"<": "it is a web page or XML: sign in or accept the licence there, and download the file",
}
KNOWN = "a checkpoint that PyTorch saved, a TorchScript archive or a safetensors file"
# What the readers of pickles, archives and safetensors raise at damaged files.
DAMAGES = (
    RuntimeError, LookupError, ValueError, TypeError, AttributeError, EOFError, OSError,
    zipfile.BadZipFile, SafetensorError,
)  # fmt: skip


class ModelError(ValueError):
    """A model cannot be loaded. The message names the file and the way out."""


def load_state(path: Path, origin: str = "") -> dict[str, Tensor]:
    """The weights of a checkpoint, by the names that its model gives them.

    Args:
        path: of any format that the module names.
        origin: how to call the file in messages, where `path` is a passing place; "" for `path`.

    Returns:
        Name → tensor on the CPU, in the file's own precision.

    Raises:
        ModelError: no file, no checkpoint, a truncated one, or one that holds more than weights.
    """
    return _states(path, origin or str(path))[0][1]


def _states(path: Path, origin: str) -> list[tuple[str, State]]:
    """All state dicts in a file, the likeliest first, see `layouts.states`.

    Raises:
        ModelError: see `load_state`.
    """
    if path.is_dir():
        raise ModelError(f"{origin} is a folder: give the file of weights in it")
    if not path.is_file():
        raise ModelError(f"no weight file {origin}")
    try:
        return list(layouts.states(_read(path), KNOWN))
    except ContentError as error:
        raise ModelError(
            f"{origin} cannot be loaded: {str(error).replace('FILE', origin)}"
        ) from None
    except UnpicklingError:
        raise ModelError(
            f"{origin} cannot be loaded, it may be truncated: it holds more than weights, or it "
            "was damaged on its way"
        ) from None
    except DAMAGES as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:LONGEST_SHOWN]
        reason = reason.replace(str(path), origin)
        raise ModelError(f"{origin} cannot be loaded, it may be truncated: {reason}") from None


def fill(
    model: nn.Module, path: Path, architecture: str, origin: str = "", *, assign: bool = False
) -> None:
    """Load a checkpoint into a model, all of it and nothing else.

    Args:
        model: of open_clip or segment_anything.
        path: of the checkpoint.
        architecture: of the model, for messages.
        origin: as for `load_state`.
        assign: take the file's tensors as they are, instead of copying them into the model's.

    Raises:
        ModelError: as `load_state`, or the checkpoint is of another architecture.
    """
    origin, expected = origin or str(path), model.state_dict()
    fitting = [(key, _matched(model, state)) for key, state in _states(path, origin)]
    chosen = min(fitting, key=lambda each: bool(_misfits(expected, each[1])))
    _check_fit(expected, chosen[1], origin, architecture)
    if len(fitting) > 1:
        LOG.info("%s: the weights under %r are taken", origin, chosen[0])
    model.load_state_dict(chosen[1], strict=True, assign=assign)


def _read(path: Path) -> Any:
    """What a file holds, by what its first bytes say that it is.

    Raises:
        ContentError: it is no format of weights, or holds more than these.
        UnpicklingError: it is damaged.
        one of DAMAGES: it is damaged.
    """
    with path.open("rb") as file:
        start = file.read(START_BYTES)
    if _is_safetensors(start):
        return load_file(path)
    if is_torchscript(path):
        return read_weights(path)
    if zipfile.is_zipfile(path):
        _check_members(path)
        return unpickled(path)
    if start.startswith(ZIP):
        raise zipfile.BadZipFile("it begins as a zip archive and lacks the end of one")
    if not start.startswith(PICKLE):
        raise ContentError(_no_checkpoint(start))
    return unpickled(path)


def _is_safetensors(start: bytes) -> bool:
    """The format's own rule: the length of a header in 8 bytes, then the header, a JSON object."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= LONGEST_HEADER


def _check_members(path: Path) -> None:
    """Refuse zip archives that `torch.save` did not make, such as one around a checkpoint."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if not any(name.endswith("/data.pkl") for name in names):
        raise ContentError(
            f"it is a zip archive of {_listed(names)}: unpack it, and give the checkpoint inside"
        )


def _no_checkpoint(start: bytes) -> str:
    """What a file is that begins like this, and the way out."""
    text = start.lstrip(b"\xef\xbb\xbf \r\n\t")
    if not text:
        return "it is empty, as a truncated download is: fetch it again"
    for sign, meaning in NO_CHECKPOINTS.items():
        if text.startswith(sign):
            return meaning
    if all(32 <= byte < 127 or byte in b"\r\n\t" for byte in text):
        return f"it is text that begins with {text.splitlines()[0].decode()!r}: give {KNOWN}"
    return f"it begins with the bytes {start[:8].hex(' ')}, as no known format does: give {KNOWN}"


def _matched(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights as this model names and shapes them; as open_clip's own loading does."""
    state = layouts.fitted(layouts.named_by_open_clip(state), model.state_dict().keys())
    if "positional_embedding" in state and hasattr(model, "text"):
        state = convert_to_custom_text_state_dict(state)
    scale = getattr(model, "logit_scale", None)  # () or (1,), by the version that saved it
    if scale is not None and "logit_scale" in state and state["logit_scale"].numel() == 1:
        state["logit_scale"] = state["logit_scale"].reshape(scale.shape)
    return state


def _check_fit(
    expected: Mapping[str, Tensor], state: Mapping[str, Tensor], origin: str, architecture: str
) -> None:
    misfits = _misfits(expected, state)
    if misfits:
        more = f" (and {len(misfits) - SHOWN} more)" if len(misfits) > SHOWN else ""
        raise ModelError(
            f"{origin} cannot be loaded as {architecture}, it is of another architecture: "
            f"{'; '.join(misfits[:SHOWN])}{more}"
        )


def _misfits(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """What keeps weights from a model: shapes, then what is missing, then what is too much."""
    missing = [f"{name} is missing" for name in expected if name not in state]
    strange = [f"{name} is unknown to it" for name in state if name not in expected]
    shapes = [
        f"{name} is {list(state[name].shape)} instead of {list(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    return shapes + missing + strange


def _listed(names: Iterable[Any]) -> str:
    """The first of some names, and how many there are more."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more
