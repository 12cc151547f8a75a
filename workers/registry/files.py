"""What the registry does to files: hash, unpack, lock."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile, ZipFile, ZipInfo
from zlib import error as ZlibError

from dgl_rsis.weights.identity import fingerprint

SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")
CHUNK_BYTES = 1 << 20


class RegistryError(ValueError):
    """A model cannot be had. The message says why, and the way out."""


class AbsentError(RegistryError):
    """A server answers, and has no file at that address."""


def check_hash(path: Path, wanted: str, origin: str) -> str:
    """The hash of a file.

    Args:
        path: the file.
        wanted: what it must be; "" when unknown.
        origin: how to call the file in a message.

    Raises:
        RegistryError: it is another.
    """
    digest = fingerprint(path)
    if wanted and digest != wanted.lower():
        raise RegistryError(
            f"{origin} has the SHA-256 {digest}, not the expected {wanted}: it is another file, or "
            "was damaged; nothing was kept"
        )
    return digest


def extract(archive: Path, member: str, target: Path, origin: str) -> None:
    """Take the one file of a name, in whatever folder, out of a zip archive.

    Args:
        archive: the archive.
        member: name of the file, without its folder.
        target: file to write.
        origin: how to call the archive in a message.

    Raises:
        RegistryError: no archive, damaged, without that file, or no room for it.
    """
    try:
        with ZipFile(archive) as content:
            entry = _member(content, member, origin)
            if entry.file_size > shutil.disk_usage(target.parent).free:
                raise RegistryError(
                    f"{origin} needs {entry.file_size:,} bytes in {target.parent}: make room, or "
                    "set MODELS_DIR to another disk"
                )
            with content.open(entry) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file, CHUNK_BYTES)
    except (BadZipFile, ZlibError, EOFError, NotImplementedError) as error:
        raise RegistryError(
            f"{origin} is no whole zip archive ({error}); nothing was kept"
        ) from None


def _member(content: ZipFile, member: str, origin: str) -> ZipInfo:
    entries = [item for item in content.infolist() if Path(item.filename).name == member]
    if len(entries) != 1:
        raise RegistryError(f"{origin} holds {len(entries)} files {member}, not one")
    return entries[0]


def suffix(origin: str) -> str:
    """Ending for the file of a model, from an address or a path; for people, its content counts."""
    ending = Path(origin.partition("?")[0]).suffix.lower()
    return ending if ending in SUFFIXES else ".pt"


@contextmanager
def locking(path: Path, refusal: str = "") -> Iterator[None]:
    """Hold a lock among processes.

    Args:
        path: file to lock; it stays.
        refusal: message for when another process holds it; "" waits.

    Raises:
        RegistryError: with the refusal.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if refusal else 0))
        except BlockingIOError:
            raise RegistryError(refusal) from None
        yield
