"""How tasks refer to image files: by an address that somebody serves, or as local files."""

import re
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from workers.images.storages import is_cloud, stored

LOCAL_FILES = "/data/local-files/?d="  # Label Studio's own; then the path below its document root


def served(prefix: str, path: str) -> str:
    """The reference of a file at an address.

    Args:
        prefix: of the folder, as in `https://host/images`, `s3://bucket/` or `https://host/?file=`.
        path: of the file within it. In a cloud storage names stand as they are: there `%20` is no
            blank but three characters.

    Raises:
        UnicodeEncodeError: the path is not in UTF-8.
    """
    joint = "" if prefix.endswith(("/", "=")) else "/"
    quoted = quote(path)
    return prefix + joint + (path if is_cloud(prefix) else quoted)


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
    reference = stored(reference)
    if is_cloud(reference):
        return reference.partition("://")[2].partition("/")[2].strip("/")
    if "\\" in reference and "?" not in reference:  # of Windows, where names stand as they are
        return re.sub("^[A-Za-z]:", "", reference).replace("\\", "/").strip("/")
    try:
        parts = urlsplit(reference)
        named = parse_qs(parts.query).get("d") if "local-files" in parts.path else None
    except ValueError:
        return ""
    path = named[0] if named else unquote(parts.path)
    return path.replace("\\", "/").strip("/")
