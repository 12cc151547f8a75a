"""Folders as people have them: which files in them are meant, and what is passed over."""

import logging
import tempfile
from collections import Counter
from collections.abc import Collection
from pathlib import Path

LOG = logging.getLogger(__name__)

RESOURCE_FORK = "._"  # macOS writes ._a.jpg beside a.jpg on disks of others: it is no picture
# What belongs to a raster, and is read with it.
BESIDE = frozenset({".xml", ".prj", ".ovr", ".msk", ".tfw", ".jgw", ".pgw", ".bpw", ".gfw", ".wld",
                    ".tifw", ".jpgw", ".pngw", ".j2w"})  # fmt: skip
SHOWN = 5


class FolderError(OSError):
    """A folder cannot hold results; the message says the way out."""


def make_writable(folder: Path) -> None:
    """Make a folder for results, and see that files can be made in it.

    For before a model is loaded: what would fail after minutes of work fails at once.

    Raises:
        FolderError: a file is in its place, or in that of a folder above it.
        OSError: the disk is full, read-only, or somebody else's.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise FolderError(
            f"{folder} cannot be a folder of results, a file is in its place: name another"
        ) from None
    with tempfile.TemporaryFile(dir=folder):
        pass


def files_below(folder: Path, suffixes: Collection[str], without: Path | None = None) -> list[Path]:
    """All files below a folder that end so, sorted; what else lies there is told.

    Args:
        folder: gone through with all that is below it.
        suffixes: in small letters, with their dots.
        without: a folder below it whose files do not count, such as that of the results.
    """
    there = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    if without is not None and without.resolve().is_relative_to(folder.resolve()):
        there = [file for file in there if not file.resolve().is_relative_to(without.resolve())]
    real = pictures(there)
    wanted = [file for file in real if file.suffix.lower() in suffixes]
    others = Counter(
        file.suffix.lower() or "no suffix"
        for file in real
        if file.suffix.lower() not in {*suffixes, *BESIDE}
    )
    if others:
        listed = ", ".join(f"{count} of {kind}" for kind, count in others.most_common(SHOWN))
        LOG.info("%s: files that are no images by their names are passed over: %s", folder, listed)
    return wanted


def pictures(files: list[Path]) -> list[Path]:
    """The files that are not macOS's own; how many are is told."""
    real = [file for file in files if not file.name.startswith(RESOURCE_FORK)]
    if len(real) < len(files):
        few = len(files) - len(real)
        LOG.info("files that macOS keeps beside others (._…) are passed over: %d", few)
    return real
