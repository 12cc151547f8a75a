"""What tells one model from another: its kind, its architecture, its name, the hash of its file.

Needs no library, so that the registry of models loads no torch.
"""

import hashlib
from pathlib import Path
from typing import Literal

ModelKind = Literal["clip", "sam"]
SamArchitecture = Literal["vit_b", "vit_l", "vit_h"]  # keys of segment_anything's registry

STARTER = "starter"  # the model that ships with the project


def fingerprint(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_closed(name: str) -> bool:
    """Whether a model knows no words but those of the things in its training images.

    Args:
        name: as `MODEL` says it. The starter weights saw some thirty kinds of things; CLIP models
            of captions from the web saw whatever people write about.
    """
    return name == STARTER
