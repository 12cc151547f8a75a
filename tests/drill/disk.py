"""A small disk of its own for the data of the queue, so that it can be full."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

DISK_BYTES = 192 * 2**20
PART = 2**20


class DiskError(RuntimeError):
    """No disk can be mounted here; the message says the way out."""


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount one in memory below a folder for the length of a `with` block.

    Raises:
        DiskError: this user may not.
    """
    place = folder / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs", str(place)]
    result = subprocess.run(mount, capture_output=True, text=True, check=False)
    if result.returncode:
        reason = result.stderr.strip()
        raise DiskError(f"no disk of its own for the queue ({reason}): run the drill as root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


class Ballast:
    """A file that takes all the room that a disk has left."""

    def __init__(self, disk: Path) -> None:
        self._file = disk / "ballast"

    def fill(self) -> None:
        """Leave no byte."""
        with self._file.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            size = PART
            while size:
                try:
                    file.write(os.urandom(1) * size)
                except OSError:  # what is left is less than that
                    size //= 2

    def clear(self) -> None:
        """Make room again."""
        self._file.unlink(missing_ok=True)
