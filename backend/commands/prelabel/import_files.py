"""Predictions as Label Studio's import JSON, in files of a size that it accepts.

Label Studio 1.23 takes uploads of up to 250 MB and 100 files a call. A file is written item by item
and never stands in memory. Until it is complete it ends in `.part`; what the journal does not know
of it, the tail of a run that was killed, is cut off by the next run.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from backend.commands.journal import Journal
from backend.commands.prelabel.items import PrelabelItem
from dgl_rsis.types import Json

MOST_BYTES = 100_000_000
ENDS = 8  # bytes around an item and at the end of a file
KEPT = ("annotations", "meta")  # of a task, beside its data


class ImportFiles:
    """Writes `predictions-0001.json` and so on.

    Args:
        folder: where to; exists.
        journal: of the same folder.
        model_version: of the predictions; earlier ones of the same version are replaced.
        most_bytes: of a file, unless one item alone has more.
    """

    def __init__(
        self, folder: Path, journal: Journal, model_version: str, most_bytes: int = MOST_BYTES
    ) -> None:
        self._folder = folder
        self._journal = journal
        self._version = model_version
        self._most_bytes = most_bytes
        self._number = journal.progress.part
        self._file = None if journal.progress.closed else self._reopened()

    def write(self, predicted: Sequence[tuple[PrelabelItem, list[Json]]]) -> None:
        """Write some items; they are on the disk and in the journal when this returns."""
        lines: list[Json] = []
        for item, predictions in predicted:
            text = json.dumps(_task(item.task, predictions, self._version), separators=(",", ":"))
            lines += self._add(item.name, text.encode())
        if self._file is not None:
            _sync(self._file)
        self._journal.write(lines)

    def close(self, *, finished: bool) -> None:
        """Complete the file in work; a run that was stopped leaves it to the next one."""
        if self._file is not None and finished:
            self._journal.write([self._complete(self._file)])

    def abandon(self) -> None:
        """Leave the file in work to the next run."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def note(self) -> str:
        """What to do with the complete files."""
        files = sorted(self._folder.glob("predictions-*.json"))
        megabytes = sum(file.stat().st_size for file in files) / 1e6
        return (
            f"{len(files)} file{'s' * (len(files) != 1)} for Label Studio's import in "
            f"{self._folder}, {megabytes:.1f} MB; one upload takes at most 250 MB"
        )

    def _add(self, name: str, text: bytes) -> Iterator[Json]:
        """Append one item; yields what the journal is to know."""
        if self._file is not None and self._file.tell() + len(text) > self._most_bytes - ENDS:
            yield self._complete(self._file)
        if self._file is None:
            self._number += 1
            self._file = self._path(".part").open("wb")
        self._file.write((b",\n" if self._file.tell() else b"[\n") + text)
        yield {"done": name, "part": self._number, "end": self._file.tell()}

    def _complete(self, file: IO[bytes]) -> Json:
        file.write(b"\n]\n")
        _sync(file)
        file.close()
        self._file = None
        self._path(".part").rename(self._path(".json"))
        return {"closed": self._number}

    def _reopened(self) -> IO[bytes] | None:
        """The file that the last run was at, without what the journal does not know of it."""
        progress = self._journal.progress
        if self._path(".json").exists():  # killed between its last two steps
            self._journal.write([{"closed": self._number}])
            return None
        path = self._path(".part")
        size = path.stat().st_size if path.exists() else 0
        if size < progress.end:  # somebody shortened or removed it
            lost = [name for name, end in progress.in_part.items() if end > size]
            end = max((end for end in progress.in_part.values() if end <= size), default=0)
            self._journal.write([{"lost": lost, "end": end}])
        file = path.open("r+b" if path.exists() else "w+b")
        file.truncate(progress.end)
        file.seek(0, os.SEEK_END)
        return file

    def _path(self, suffix: str) -> Path:
        return self._folder / f"predictions-{self._number:04}{suffix}"


def _task(task: Mapping[str, Any], predictions: list[Json], version: str) -> Json:
    """The task with these predictions, and with those of other versions that it came with."""
    others = [p for p in task.get("predictions") or () if _version(p) != version]
    kept = {name: task[name] for name in KEPT if task.get(name)}
    return {"data": task["data"], **kept, "predictions": [*others, *predictions]}


def _version(prediction: Any) -> Any:
    return prediction.get("model_version") if isinstance(prediction, Mapping) else None


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
