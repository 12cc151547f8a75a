"""Windows of a scene that were judged, on the disk: so that a run can end anywhere and go on.

One append-only file beside the results. A window is a line of JSON (place, length, checksum) and
its bytes; a torn last one is cut off, and one that does not fit its checksum is as good as none.
"""

import fcntl
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Self

Place = tuple[int, int]

LONGEST_LINE = 10_000  # bytes


class SpoolError(ValueError):
    """A file that this run cannot go on with; the message says the way out."""


class Spool:
    """The judged windows of one scene, held by one run at a time.

    Args:
        path: of the file; made if missing.
        about: what windows depend on, by name; a file never mixes two of them.

    Raises:
        SpoolError: another run has the file, or it holds windows of something else.
        OSError: it cannot be read or written.
    """

    def __init__(self, path: Path, about: Mapping[str, str]) -> None:
        self.path = path
        self._at: dict[Place, tuple[int, int, int]] = {}  # → offset, length, checksum
        self._file = self._locked()
        try:
            self._read(dict(about))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __contains__(self, place: Place) -> bool:
        return place in self._at

    def __len__(self) -> int:
        return len(self._at)

    def write(self, place: Place, window: bytes) -> None:
        """Keep a window; it survives this process."""
        checksum = zlib.crc32(window)
        line = {"window": list(place), "bytes": len(window), "crc32": checksum}
        start = self._file.seek(0, os.SEEK_END)
        head = json.dumps(line).encode() + b"\n"
        self._file.write(head + window)
        self._file.flush()
        self._at[place] = start + len(head), len(window), checksum

    def read(self, place: Place) -> bytes | None:
        """A window as it was kept; None, and it is not contained any more, where it is damaged."""
        start, length, checksum = self._at[place]
        self._file.seek(start)
        window = self._file.read(length)
        if len(window) == length and zlib.crc32(window) == checksum:
            return window
        self.drop(place)
        return None

    def drop(self, place: Place) -> None:
        """Forget a window; the next one that is written for the place counts."""
        del self._at[place]

    def _locked(self) -> IO[bytes]:
        file = self.path.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise SpoolError(
                f"another run works on {self.path}: wait for it, or give another --out"
            ) from None
        return file

    def _read(self, about: dict[str, str]) -> None:
        """Index what is there, and cut off what is torn."""
        self._file.seek(0)
        before = self._line()
        end = self._file.tell() if before is not None else 0
        if before is not None and before != about:
            named = {*before, *about}
            differ = ", ".join(sorted(n for n in named if before.get(n) != about.get(n)))
            raise SpoolError(
                f"{self.path} holds windows of another run (another {differ}): remove it, or give "
                "another --out"
            )
        size = os.fstat(self._file.fileno()).st_size
        while before is not None and (line := self._line()) is not None:
            start = self._file.tell()
            try:
                (row, column), length, checksum = line["window"], line["bytes"], line["crc32"]
                end_of_it = start + length
            except (ValueError, TypeError, LookupError):
                break
            if end_of_it > size:
                break
            end = self._file.seek(end_of_it)
            self._at[row, column] = start, length, checksum
        self._file.truncate(end)
        if before is None:
            self._file.write(json.dumps(about).encode() + b"\n")
            self._file.flush()

    def _line(self) -> dict[str, Any] | None:
        """The next line; None where there is no whole one."""
        text = self._file.readline(LONGEST_LINE)
        try:
            line = json.loads(text) if text.endswith(b"\n") else None
        except ValueError:
            return None
        return line if isinstance(line, dict) else None
