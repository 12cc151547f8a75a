"""How tasks refer to image files: by an address that somebody serves, or as local files."""

from pathlib import Path
from urllib.parse import quote

LOCAL_FILES = "/data/local-files/?d="  # Label Studio's own; then the path below its document root


def served(prefix: str, path: str) -> str:
    """The reference of a file at an address.

    Args:
        prefix: of the folder, as in `https://host/images`, `s3://bucket/` or `https://host/?file=`.
        path: of the file within it.
    """
    joint = "" if prefix.endswith(("/", "=")) else "/"
    return prefix + joint + quote(path)


def below(file: Path, root: Path | None) -> str | None:
    """Label Studio's reference to a local file; None when it does not lie below the root."""
    resolved = file.resolve()
    if root is None or not resolved.is_relative_to(root):
        return None
    return LOCAL_FILES + quote(resolved.relative_to(root).as_posix())
