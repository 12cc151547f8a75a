"""How tasks refer to image files: by an address that somebody serves, or as local files."""

import base64
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

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


def path_of(reference: str) -> str:
    """The path that a reference names, for names of files and scenes; empty for a data: URL."""
    if reference[:5].lower() == "data:":
        return ""
    try:
        parts = urlsplit(reference)
        asked = parse_qs(parts.query)
        if packed := asked.get("fileuri"):  # Label Studio's link to a file in a cloud storage
            parts = urlsplit(base64.b64decode(packed[0]).decode())
    except ValueError:
        return ""
    named = asked.get("d") if "local-files" in parts.path else None
    return (named[0] if named else unquote(parts.path)).strip("/")
