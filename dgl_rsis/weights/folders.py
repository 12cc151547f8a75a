"""Models in Hugging Face's form: a folder of `config.json`, safetensors and a processor's files.

They are built by `transformers`, from its own classes: nothing is fetched, no code of a folder is
run, and no pickle is read. This module loads that library, so only who loads such a model imports
it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedConfig
from transformers.utils import logging as transformers_logging

from dgl_rsis.weights.architectures import require_device
from dgl_rsis.weights.checkpoints import ModelError
from dgl_rsis.weights.identity import CONFIG

SHOWN = 3  # names of weights in a message
# What the library raises at damaged or unfit files.
DAMAGES = (OSError, ValueError, TypeError, KeyError, RuntimeError, AttributeError, SafetensorError)


def load(
    folder: Path, built: type[Any], device: str, config: PreTrainedConfig | None = None
) -> Any:
    """A model with the weights of a folder, all of its own and none left as they were drawn.

    Args:
        folder: with `config.json` and safetensors.
        built: the class of `transformers`.
        device: "cpu" or "cuda:0".
        config: another than the folder's, as for one of several models in it.

    Returns:
        The model in float32, for inference only.

    Raises:
        ModelError: a file is missing or damaged, or is of another model.
    """
    require_device(device)
    require_folder(folder)
    with _refusing(folder, built.__name__):
        model, said = built.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    _check_whole(folder, built.__name__, said)
    return model.to(device).eval().requires_grad_(False)


def part(folder: Path, read: type[Any], **others: Any) -> Any:
    """Another part of a model, such as a config, a processor or a tokenizer.

    Args:
        folder: where its files are.
        read: its class in `transformers`.
        others: arguments of that class.

    Raises:
        ModelError: its files are missing or damaged.
    """
    require_folder(folder)
    with _refusing(folder, read.__name__):
        return read.from_pretrained(folder, local_files_only=True, **others)


def require_folder(folder: Path) -> None:
    """Refuse what is no such folder.

    Raises:
        ModelError: saying what it lacks.
    """
    if not (folder / CONFIG).is_file():
        raise ModelError(
            f"{folder} holds no {CONFIG}: give a model's folder in Hugging Face's form"
        )
    if not list(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder} holds no safetensors: other weights may run code, and are not read; fetch "
            "model.safetensors of the same model"
        )


def model_type(folder: Path) -> str:
    """What a folder's `config.json` says that it is: "sam2", "sam3_video"; "" for nothing.

    Raises:
        ModelError: no such file, or none of that form.
    """
    require_folder(folder)
    try:
        return str(json.loads((folder / CONFIG).read_text("utf-8")).get("model_type", ""))
    except (ValueError, AttributeError, OSError) as error:
        raise ModelError(f"{folder / CONFIG} cannot be read: {error}") from None


def _check_whole(folder: Path, name: str, said: dict[str, Any]) -> None:
    """Refuse a model of which something is missing: it would answer at random."""
    shapes = [str(each[0] if isinstance(each, tuple) else each) for each in said["mismatched_keys"]]
    wrong = [*said["missing_keys"], *shapes, *said["error_msgs"]]
    if wrong:
        listed = ", ".join(sorted(map(str, wrong))[:SHOWN])
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise ModelError(
            f"{folder} cannot be loaded as {name}, weights are missing or of other shapes: "
            f"{listed}{more}"
        )


@contextmanager
def _refusing(folder: Path, name: str) -> Iterator[None]:
    """One error for what the library raises, and none of its bars and reports.

    Raises:
        ModelError: naming the folder and the reason.
    """
    level = transformers_logging.get_verbosity()
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    except DAMAGES as error:
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise ModelError(f"{folder} cannot be loaded as {name}: {reason}") from None
    finally:
        transformers_logging.set_verbosity(level)
        if shown:
            transformers_logging.enable_progress_bar()
