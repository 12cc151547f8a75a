"""What tells one model from another: its kind, its architecture, its name, the hash of its file.

Needs no library, so that the registry of models loads no torch.
"""

import hashlib
import json
from pathlib import Path
from typing import Literal

ModelKind = Literal["clip", "sam", "concepts"]
FOLDER = "transformers"  # the architecture of models that are folders: their config says which
SamArchitecture = Literal["vit_b", "vit_l", "vit_h"]  # keys of segment_anything's registry

STARTER = "starter"  # the model that ships with the project

# A model in Hugging Face's form is a folder: what of it decides answers, and nothing beside.
CONFIG = "config.json"
FOLDER_FILES = (
    CONFIG, "*.safetensors", "model.safetensors.index.json", "preprocessor_config.json",
    "processor_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
    "special_tokens_map.json",
)  # fmt: skip


def fingerprint(path: Path) -> str:
    """SHA-256 of a file, or over the names and hashes of a folder's `files_of`, hexadecimal."""
    if path.is_dir():
        lines = (f"{file.name} {fingerprint(file)}\n" for file in files_of(path))
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(path: Path) -> list[Path]:
    """The file itself; of a folder in Hugging Face's form those that decide answers, by name."""
    if path.is_dir():
        return sorted({file for pattern in FOLDER_FILES for file in path.glob(pattern)})
    return [path] if path.is_file() else []


def is_concepts(folder: Path) -> bool:
    """Whether a folder in Hugging Face's form is of SAM 3, by its config."""
    try:
        kind = json.loads((folder / CONFIG).read_text("utf-8")).get("model_type", "")
    except (OSError, ValueError, AttributeError):
        return False
    return kind in ("sam3", "sam3_video")


def is_closed(name: str) -> bool:
    """Whether a model knows no words but those of the things in its training images.

    Args:
        name: as `MODEL` says it. The starter weights saw some thirty kinds of things; CLIP models
            of captions from the web saw whatever people write about.
    """
    return name == STARTER
