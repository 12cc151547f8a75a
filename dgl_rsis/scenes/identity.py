"""Whether two machines see the same scene at a path: a digest that costs a few reads. [ours].

It covers every file that the scene is read from: sources of a virtual raster, and what lies beside
the file and counts. Of each it knows name, length, and pieces from its first byte to its last;
bytes between the pieces may differ unseen, so it finds another file and another edition of one, and
not a pixel that somebody painted.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from dgl_rsis.scenes.reading import Scene
from dgl_rsis.types import InputError

ENDS = 2**16  # bytes at the beginning and at the end of a file: headers and directories
PIECE = 4096  # bytes
PIECES = 256  # of all files together; each has one at least

Stamp = tuple[tuple[str, int, int, int], ...]


def stamp(scene: Scene) -> Stamp:
    """Name, number, length and time of change of each file: cheap, and of one machine alone.

    Raises:
        InputError: a file is gone.
    """
    try:
        states = [(file, os.stat(file)) for file in scene.files]
    except OSError as error:
        raise _gone(scene, error) from error
    return tuple((str(file), s.st_ino, s.st_size, s.st_mtime_ns) for file, s in states)


def identity(scene: Scene) -> str:
    """A digest of the scene's files, the same on all machines; hexadecimal.

    Raises:
        InputError: a file cannot be read.
    """
    files = scene.files
    digest = hashlib.sha256()
    try:
        for file in files:
            name = os.path.relpath(file, scene.path.absolute().parent)
            length = file.stat().st_size
            digest.update(f"{len(name)} {name} {length}\n".encode())
            for piece in _pieces(file, length, max(1, PIECES // len(files))):
                digest.update(piece)
    except OSError as error:
        raise _gone(scene, error) from error
    return digest.hexdigest()


def _gone(scene: Scene, error: OSError) -> InputError:
    return InputError(
        f"{scene.path}: {error.filename or 'a file of it'} cannot be read ({error.strerror}): put "
        "it there, and segment the scene again"
    )


def _pieces(file: Path, length: int, count: int) -> Iterator[bytes]:
    """Beginning, end, and pieces spread evenly between them."""
    with file.open("rb") as opened:
        yield opened.read(ENDS)
        if length <= ENDS:
            return
        for i in range(count):
            opened.seek(ENDS + (length - ENDS) * i // count)
            yield opened.read(PIECE)
        opened.seek(max(0, length - ENDS))
        yield opened.read(ENDS)
