"""What is done: an append-only file of JSON lines, so that a run can end anywhere and go on.

Lines of JSON rather than SQLite: one writer, nothing to look up but all of it at the start, people
can read it, and the one fault a crash can leave is a torn last line, which is cut off. What a line
says was written before the line itself, both reached the disk in that order.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from dgl_rsis.types import Json

NAME = "journal.jsonl"


class JournalError(ValueError):
    """A folder that this run cannot go on in; the message says the way out."""


@dataclass
class Progress:
    """What the lines say, taken together.

    Attributes:
        done: names of items that have their prediction.
        failed: name → reason of items that were given up; done ones are not among them.
        part: number of the output file that was written last; 0 for none.
        end: its bytes, as far as they count.
        in_part: item of that file → bytes of the file up to its end.
        closed: that file is complete.
        unsettled: names whose push had begun, and seconds since the epoch of its beginning.
    """

    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    part: int = 0
    end: int = 0
    in_part: dict[str, int] = field(default_factory=dict)
    closed: bool = True
    unsettled: dict[str, float] = field(default_factory=dict)

    def take(self, line: Json) -> None:
        """Follow one line."""
        if "done" in line:
            self._finish(line["done"])
            self._grow(line["part"], line["end"], line["done"])
        elif "pushing" in line:
            self.unsettled.update(dict.fromkeys(line["pushing"], line["at"]))
        elif "pushed" in line:
            for name in line["pushed"]:
                self._finish(name)
        elif "failed" in line:
            self.failed[line["failed"]] = line["reason"]
            self.unsettled.pop(line["failed"], None)
        elif "closed" in line:
            self.closed = True
        elif "lost" in line:
            self.end = line["end"]
            for name in line["lost"]:
                self.done.discard(name)
                self.in_part.pop(name, None)

    def _finish(self, name: str) -> None:
        self.done.add(name)
        self.failed.pop(name, None)
        self.unsettled.pop(name, None)

    def _grow(self, part: int, end: int, name: str) -> None:
        if part != self.part:
            self.part, self.in_part = part, {}
        self.end, self.closed = end, False
        self.in_part[name] = end


class Journal:
    """The journal of one output folder, held by one run at a time.

    Args:
        folder: where it lies; made if missing.
        about: what the predictions depend on; a folder never mixes two of them.

    Raises:
        JournalError: another run has the folder, or it holds other predictions.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / NAME
        self.progress = Progress()
        self._file = self._locked()
        try:
            lines = self._read()
            for line in lines[1:]:
                self.progress.take(line)
            self._agree(lines[0] if lines else None, dict(about))
        except BaseException:
            self._file.close()
            raise

    @classmethod
    def about(cls, folder: Path) -> Json:
        """What the journal in a folder is about; empty where there is none."""
        try:
            with (folder / NAME).open("rb") as file:
                about = json.loads(file.readline())
        except (FileNotFoundError, ValueError):
            return {}
        return about if isinstance(about, dict) else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, lines: Iterable[Json]) -> None:
        """Follow and keep some lines; they are on the disk when this returns."""
        whole = list(lines)
        if not whole:
            return
        for line in whole:
            self.progress.take(line)
        self._append(whole)

    def _append(self, lines: Iterable[Json]) -> None:
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        self._file.write(text.encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def _locked(self) -> IO[bytes]:
        file = self.path.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise JournalError(
                f"another run works in {self.path.parent}: wait for it, or give another --out"
            ) from None
        return file

    def _read(self) -> list[Json]:
        """All whole lines; a torn last one is cut off."""
        self._file.seek(0)
        text = self._file.read()
        whole = text[: text.rfind(b"\n") + 1]
        if len(whole) < len(text):
            self._file.truncate(len(whole))
        return [self._parsed(number, line) for number, line in enumerate(whole.splitlines(), 1)]

    def _parsed(self, number: int, line: bytes) -> Json:
        try:
            parsed = json.loads(line)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise JournalError(
                f"{self.path} is damaged in line {number}: remove that line, whose item is then "
                "done again, or give another --out"
            )
        return parsed

    def _agree(self, before: Json | None, about: Json) -> None:
        if before is None:
            self._append([about])
            return
        differ = [name for name in about if before.get(name) != about[name]]
        if differ and not (self.progress.done or self.progress.unsettled or self.progress.part):
            self._file.truncate(0)  # all of it failed: nothing there would be mixed with
            self.progress = Progress()
            self._append([about])
        elif differ:
            what = "; ".join(f"{n}: {before.get(n)!r} there, {about[n]!r} now" for n in differ)
            raise JournalError(
                f"{self.path.parent} holds the results of another run ({what}): give another --out"
            )
