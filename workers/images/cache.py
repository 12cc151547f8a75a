"""What images cost to compute, kept: in memory, and where asked for on disk.

Values are named arrays (region trees, features, embeddings), so one byte-capped memory and one form
on disk serve all of them. Files are .npz without pickle: reading one runs no code.

The folder may be shared by the workers of a machine. What one of them makes, the others wait for
and read: a lock on one byte of a lock file each, which the system releases should its holder die.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
import zipfile
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.blocking import waiting

log = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]

LOCK_FILE = "lock"
LOCK_BYTES = 2**40  # two things that share one only wait for each other
# All that NumPy and zipfile raise for bytes that are not what they were.
DAMAGED = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    AttributeError,
    TypeError,
    MemoryError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)
PARTIAL = ".part"
ABANDONED_SECONDS = 3600.0  # an unfinished file this old is of a process that died


def cache_key(*parts: str) -> str:
    """64 hex digits that name a value by all that it depends on."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


class ImageCache:
    """The least recently used go first, in memory as on disk.

    Args:
        max_bytes: of arrays in memory; larger ones are not kept.
        folder: of the disk tier; None for none.
        max_disk_bytes: of the files in it.
    """

    def __init__(
        self, max_bytes: int, folder: Path | None = None, max_disk_bytes: int = 2**31
    ) -> None:
        self._kept: OrderedDict[str, Arrays] = OrderedDict()
        self._bytes = 0
        self._max_bytes = max_bytes
        self._disk = DiskTier.opened(folder, max_disk_bytes) if folder is not None else None
        self._uses: Counter[str] = Counter()

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self._bytes

    def holds(self, key: str) -> bool:
        """Whether something is in memory under a key; asking is no use of it."""
        return key in self._kept

    def get(self, key: str) -> Arrays | None:
        """What is kept under a key, in memory or on disk."""
        if key in self._kept:
            self._uses["memory"] += 1
            self._kept.move_to_end(key)
            return self._kept[key]
        arrays = self._disk.read(key) if self._disk is not None else None
        self._uses["missed" if arrays is None else "disk"] += 1
        if arrays is not None:
            self.put(key, arrays)
        return arrays

    def take_uses(self) -> dict[str, int]:
        """How often something was "missed", or found in "memory" or on "disk", since last asked."""
        uses, self._uses = dict(self._uses), Counter()
        return uses

    def put(self, key: str, arrays: Arrays) -> None:
        """Keep arrays in memory. Nobody may write to them afterwards."""
        size = _size(arrays)
        if size > self._max_bytes:
            return
        self._bytes += size - _size(self._kept.pop(key, {}))
        self._kept[key] = arrays
        while self._bytes > self._max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= _size(oldest)

    def take(self) -> dict[str, Arrays]:
        """All that is in memory, which is empty then."""
        kept, self._kept, self._bytes = dict(self._kept), OrderedDict(), 0
        return kept

    def remember(self, key: str, make: Callable[[], Arrays]) -> Arrays:
        """What is kept under a key, or else what `make` makes: once among all that share a disk."""
        arrays = self.get(key)
        if arrays is not None:
            return arrays
        if self._disk is None:
            return self._made(key, make)
        with self._disk.locked(key):
            arrays = self.get(key)  # another process may have made it meanwhile
            return self._made(key, make) if arrays is None else arrays

    def _made(self, key: str, make: Callable[[], Arrays]) -> Arrays:
        arrays = make()
        self.put(key, arrays)
        if self._disk is not None:
            self._disk.write(key, arrays)
        return arrays


class DiskTier:
    """A folder of .npz files.

    Args:
        folder: exists.
        max_bytes: of its files.
        lock: descriptor of its lock file.
    """

    def __init__(self, folder: Path, max_bytes: int, lock: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        # Open as long as the process lives: closing any descriptor of it would release all locks.
        self._lock = lock
        self._keeps = True

    @classmethod
    def opened(cls, folder: Path, max_bytes: int) -> "DiskTier | None":
        """The tier in a folder, which is made; None where it cannot be: a cache is no must."""
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            log.warning("no disk cache: %s", error)
            return None
        return cls(folder, max_bytes, lock)

    def read(self, key: str) -> Arrays | None:
        """The arrays of a key; a file that is damaged is deleted."""
        path = self._path(key)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            os.utime(path)  # used: it is the last to go
        except FileNotFoundError:
            return None
        except DAMAGED as error:
            log.warning("damaged file in the cache, deleted: %s (%s)", path.name, error)
            with suppress(OSError):
                path.unlink()
            return None
        return arrays

    def write(self, key: str, arrays: Arrays) -> None:
        """Keep arrays: whole or not at all."""
        if _size(arrays) > self._max_bytes:
            return
        try:
            handle, name = tempfile.mkstemp(PARTIAL, key[:16], self._folder)
            partial = Path(name)
            try:
                with os.fdopen(handle, "wb") as file:
                    np.savez(file, allow_pickle=False, **arrays)
                partial.replace(self._path(key))
            finally:
                partial.unlink(missing_ok=True)
            self._prune()
            self._keeps = True
        except OSError as error:  # a full disk must not fail the job
            with suppress(OSError):
                self._prune()  # the queue's own file may lie on the same disk
            if self._keeps:  # one line, not one for each image
                log.warning("nothing more is kept on disk: %s", error)
            self._keeps = False

    @contextmanager
    def locked(self, key: str) -> Iterator[None]:
        """Alone with a key among the processes that share the folder."""
        place = int(key[:16], 16) % LOCK_BYTES
        try:
            with waiting():
                fcntl.lockf(self._lock, fcntl.LOCK_EX, 1, place)
        except OSError as error:  # a file system without locks: the work may be done twice
            log.warning("the cache's folder has no locks: %s", error)
            yield
            return
        try:
            yield
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN, 1, place)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.npz"

    def _prune(self) -> None:
        """Delete the least recently used files until the rest fits.

        The cache takes half of what it could take at most: others write to the same disk.
        """
        files = []
        for entry in os.scandir(self._folder):
            if entry.name.endswith((".npz", PARTIAL)):
                with suppress(FileNotFoundError):  # another process prunes, too
                    status = entry.stat()
                    files.append((status.st_mtime, status.st_size, Path(entry.path)))
        newest = max((when for when, _, _ in files), default=0.0)
        total = sum(size for _, size, _ in files)
        most = min(self._max_bytes, (total + shutil.disk_usage(self._folder).free) // 2)
        for when, size, path in sorted(files):
            abandoned = path.suffix == PARTIAL and newest - when > ABANDONED_SECONDS
            if abandoned or (total > most and path.suffix != PARTIAL):
                path.unlink(missing_ok=True)
                total -= size


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())
