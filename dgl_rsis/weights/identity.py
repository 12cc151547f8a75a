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
