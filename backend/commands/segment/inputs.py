"""What `dgl-rsis segment` works on: files, folders, lists; and what earlier runs did of them."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from backend.commands.file_names import result_stems
from backend.commands.folders import files_below
from backend.commands.journal import Journal
from backend.commands.lists import LIST_SUFFIXES, below, read_list
from dgl_rsis.formats import IMAGE_SUFFIXES, RASTER_SUFFIXES

LOG = logging.getLogger(__name__)

SUFFIXES = (*IMAGE_SUFFIXES, *RASTER_SUFFIXES)


class InputsError(ValueError):
    """There is nothing to work on; the message says the way out."""


@dataclass(frozen=True)
class Inputs:
    """What somebody gave.

    Attributes:
        files: each once, in the order given; those of a folder by name.
        many: they come of a folder or a list, so that the next run goes on where this one ends.
    """

    files: tuple[Path, ...]
    many: bool


def expand(given: Sequence[Path], out: Path) -> Inputs:
    """The files that arguments stand for.

    Args:
        given: files, folders with all below them, and lists (`backend.commands.lists`).
        out: folder of the results, which are no inputs.

    Raises:
        InputsError: none, or a folder that the results would lie in.
        ListError, OSError: a list cannot be read.
    """
    files: list[Path] = []
    many = False
    for path in given:
        if path.is_dir():
            if path.resolve() == out.resolve():
                raise InputsError(
                    f"the results would lie among the images of {path}, and be images of the next "
                    "run: give another --out, such as a folder in it"
                )
            files += files_below(path, SUFFIXES, without=out)
        elif path.suffix.lower() in LIST_SUFFIXES and path.is_file():
            files += [below(path.parent, line) for line in read_list(path)]
        else:
            files.append(path)
            continue
        many = True
    if not files:
        raise InputsError(
            f"no images in {', '.join(map(str, given))}: files that end in {', '.join(SUFFIXES)} "
            "are taken"
        )
    return Inputs(tuple(dict.fromkeys(files)), many)


def readable(inputs: Inputs) -> Inputs:
    """The same without the files that cannot be opened; each is told, before a model is loaded."""
    files = []
    for path in inputs.files:
        try:
            with path.open("rb"):
                files.append(path)
        except OSError as error:
            LOG.error("%s: cannot be read: %s", path, error.strerror or error)
    return replace(inputs, files=tuple(files))


@dataclass
class Work:
    """Inputs, what their results are called, and which of them are done.

    Attributes:
        inputs: of all runs together.
        out: folder of the results.
        about: what the results depend on, by name; a run of another in the folder is refused.
        stems: file → stem of its results.
    """

    inputs: Inputs
    out: Path
    about: Mapping[str, Any]
    stems: dict[Path, str] = field(init=False)
    _journal: Journal | None = field(init=False, default=None)
    _stack: ExitStack = field(init=False, default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.stems = result_stems(self.inputs.files)

    def __enter__(self) -> Self:
        """Raise a JournalError where the folder holds the results of something else."""
        if self.inputs.many:
            about = {name: _short(value) for name, value in self.about.items()}
            self._journal = self._stack.enter_context(Journal(self.out, about))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def left(self) -> list[Path]:
        """The files that no run has done yet."""
        if self._journal is None:
            return list(self.inputs.files)
        known = self._journal.progress.done
        left = [path for path in self.inputs.files if _name(path) not in known]
        if before := len(self.inputs.files) - len(left):
            LOG.info("%d of %d were done before", before, len(self.inputs.files))
        return left

    def done(self, path: Path) -> None:
        """The results of a file are there."""
        if self._journal is not None:
            self._journal.write([{"done": _name(path), "part": 0, "end": 0}])


def _short(value: Any) -> str:
    """A text as it is, and a digest of anything else."""
    return value if isinstance(value, str) else hashlib.sha256(str(value).encode()).hexdigest()[:16]


def _name(path: Path) -> str:
    return str(path.absolute())
