"""Where items come from: files by folder, glob or list, and lists of tasks.

Files get a reference that Label Studio can show: below a prefix that somebody serves, or Label
Studio's own for files below LOCAL_FILES_DOCUMENT_ROOT.
"""

import glob
import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from backend.commands.folders import files_below, pictures
from backend.commands.lists import LIST_SUFFIXES, ListError, json_lines, read_list
from backend.commands.lists import below as below_list
from backend.commands.prelabel.items import PrelabelError, PrelabelItem
from backend.project.pictures import Pictures
from backend.project.tasks import TaskError
from backend.regions.findings import ExportError
from backend.studio.json_stream import elements
from backend.studio.references import LOCAL_FILES, below, path_of, served
from dgl_rsis.formats import IMAGE_SUFFIXES, RASTER_SUFFIXES, TIFF_SUFFIXES
from workers.images.storages import is_cloud

LOG = logging.getLogger(__name__)

LONGEST_NAME = 512
LONGEST_REFERENCE = 4096  # of a path

Entry = Path | str  # a file, or a reference that is left as it is


@dataclass(frozen=True)
class Source:
    """Items, and how many there are.

    Attributes:
        items: begins anew at each call; names are unique.
        total: how many, as far as known at the start.
    """

    items: Callable[[], Iterator[PrelabelItem]]
    total: int


@dataclass(frozen=True)
class Shown:
    """How Label Studio is to find a file.

    Attributes:
        prefix: goes before the file's path within its source, as in `https://host/images/`;
            empty for none.
        root: Label Studio's folder of local files, resolved; None for none.
    """

    prefix: str = ""
    root: Path | None = None

    def reference(self, file: Path, base: Path) -> str:
        """The reference of a file for the task's data.

        Raises:
            ValueError: nothing leads Label Studio to this file.
        """
        if self.prefix:
            return served(self.prefix, file.relative_to(base).as_posix())
        if (inside := below(file, self.root)) is not None:
            return inside
        raise ValueError(f"{file} is not below {self.root}")


def read_sources(given: Sequence[str], shown: Shown, pictures: Pictures) -> Source:
    """The items of folders, globs, files and lists, or of one list of tasks.

    Args:
        given: each a folder (with all below it), a glob in quotes, an image, or a list of paths
            and addresses (`backend.commands.lists`); or one file of tasks as Label Studio imports
            them, JSON or JSON lines.
        shown: how Label Studio is to find files.
        pictures: where a task's data holds its image, or several.

    Raises:
        PrelabelError: nothing is there, or Label Studio could not show it.
    """
    if len(given) == 1 and (tasks := _tasks(Path(given[0]), pictures)) is not None:
        return tasks
    if any(name.lower().endswith(".json") for name in given):
        raise PrelabelError("give one JSON list of tasks alone, or none")
    listings = [_entries(name, pictures.key) for name in given]
    bases = [base for base, _ in listings]
    base = bases[0] if len(set(bases)) == 1 else Path(os.path.commonpath(bases))
    entries = [entry for _, part in listings for entry in part]
    if not entries:
        known = ", ".join(sorted(IMAGE_SUFFIXES))
        raise PrelabelError(f"no images in {', '.join(given)}: files that end in {known} are taken")
    _check_shown(entries, shown)
    return Source(
        lambda: _unique(_item(entry, base, shown, pictures) for entry in entries), len(entries)
    )


def _entries(name: str, key: str) -> tuple[Path, list[Entry]]:
    """What one argument stands for, and the folder that paths within it begin at."""
    path = Path(name).absolute()
    if path.is_dir():
        return path, [*files_below(path, (*IMAGE_SUFFIXES, *RASTER_SUFFIXES))]
    if path.is_file():
        if path.suffix.lower() in (*IMAGE_SUFFIXES, *RASTER_SUFFIXES):
            return path.parent, [path]
        return path.parent, _listed(path, key)
    if glob.has_magic(name):
        matches = [Path(match) for match in glob.glob(str(path), recursive=True)]
        files = pictures(sorted(match for match in matches if match.is_file()))
        return _fixed_part(path), [*files]
    raise PrelabelError(f"{name} does not exist: give a folder, a glob in quotes, or a list")


def _fixed_part(pattern: Path) -> Path:
    """The folders before the first wildcard."""
    parts = list(pattern.parts[:-1])
    first = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return Path(*parts[:first])


def _listed(file: Path, key: str) -> list[Entry]:
    """The lines of a list; paths in it begin at its folder."""
    try:
        return [_entry(line, file.parent) for line in read_list(file, key)]
    except ListError as error:
        raise PrelabelError(str(error)) from None


def _entry(line: str, folder: Path) -> Entry:
    if "://" in line or line.startswith(("data:", "/data/")):
        return line
    return Path(os.path.normpath(below_list(folder, line)))


def _check_shown(entries: Iterable[Entry], shown: Shown) -> None:
    files = [entry for entry in entries if isinstance(entry, Path)]
    outside = [f for f in files if not shown.prefix and not _is_below(f, shown.root)]
    if outside:
        where = "no root is known" if shown.root is None else f"not below {shown.root}"
        raise PrelabelError(
            f"Label Studio could not show {outside[0]} ({where}): give --image-prefix, the address "
            "that these files are served at, or --root, the LOCAL_FILES_DOCUMENT_ROOT of Label "
            "Studio and the workers, with the files inside"
        )
    if rasters := [file for file in files if file.suffix.lower() in TIFF_SUFFIXES]:
        LOG.warning(
            "Label Studio shows no TIFF, and %d files are some, such as %s; cut scenes with "
            "`dgl-rsis tile` first",
            len(rasters),
            rasters[0],
        )


def _is_below(file: Path, root: Path | None) -> bool:
    return root is not None and file.resolve().is_relative_to(root)


def _item(entry: Entry, base: Path, shown: Shown, pictures: Pictures) -> PrelabelItem:
    if isinstance(entry, str):
        name = entry if len(entry) <= LONGEST_NAME else _digest(entry)  # a data: URL is long
        return PrelabelItem(name, {"data": pictures.data(entry)})
    if entry.suffix.lower() in RASTER_SUFFIXES:
        problem = f"no browser shows {entry.suffix}: cut it with `dgl-rsis tile` first"
        return PrelabelItem(str(entry), {"data": pictures.data(str(entry))}, problem=problem)
    try:
        reference = shown.reference(entry, base)
    except UnicodeEncodeError:
        shown_as = str(entry).encode("utf-8", "backslashreplace").decode()
        problem = f"{shown_as}: its name is not in UTF-8, so no address follows from it: rename it"
        return PrelabelItem(shown_as, {"data": pictures.data(shown_as)}, problem=problem)
    except ValueError:
        problem = f"it lies outside {base}, so no address follows from --image-prefix"
        return PrelabelItem(str(entry), {"data": pictures.data(str(entry))}, problem=problem)
    return PrelabelItem(reference, {"data": pictures.data(reference)}, file=entry)


def _tasks(file: Path, where: Pictures) -> Source | None:
    """The tasks of a JSON list or of JSON lines; None for a file of another kind.

    They are objects with `data`, or the data themselves. A list is read twice, to count it first,
    and never stands in memory.
    """
    folder, total = file.absolute().parent, 0
    try:
        if file.suffix.lower() == ".json":
            read = partial(elements, file)
        elif file.suffix.lower() in LIST_SUFFIXES and file.is_file() and (rows := json_lines(file)):
            read = partial(iter, rows)
        else:
            return None
        total = sum(1 for _ in read())
    except (ExportError, ListError) as error:
        raise PrelabelError(str(error)) from None
    if not total:
        raise PrelabelError(f"{file} holds no tasks")

    def items() -> Iterator[PrelabelItem]:
        taken: dict[Path, str] = {}
        return _unique(_from_task(task, folder, where, taken) for task in read())

    return Source(items, total)


def _from_task(task: Any, folder: Path, pictures: Pictures, taken: dict[Path, str]) -> PrelabelItem:
    """An element of a list of tasks; `taken` notes which files stand for which addresses."""
    if not isinstance(task, Mapping):
        problem = f"a task must be an object, got {type(task).__name__}"
        return PrelabelItem(_digest(task), {"data": {}}, problem=problem)
    whole = task if isinstance(task.get("data"), Mapping) else {"data": task}
    name = str(whole["id"]) if isinstance(whole.get("id"), int) else _digest(whole["data"])
    file = _beside(whole, folder, pictures)
    address = "" if file is None else pictures.of(whole)[0]
    other = taken.setdefault(file, address) if file is not None and is_cloud(address) else address
    if other == address:
        return PrelabelItem(name, whole, file=file)
    problem = (
        f"its image may be {file}, but that was taken for {other}, too: keep the folders of both "
        f"addresses beside the list, as in {path_of(address)}"
    )
    return PrelabelItem(name, whole, problem=problem)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def _beside(task: Mapping[str, Any], folder: Path, pictures: Pictures) -> Path | None:
    """The image when it lies next to the list or below.

    A path, a local file of Label Studio, or a file in a cloud storage for a task that is not stored
    yet, so that a list that `tile` wrote needs no LOCAL_FILES_DOCUMENT_ROOT and no keys. What leads
    out of the folder is left to the workers, who know what they may read.
    """
    try:
        reference, *more = pictures.of(task)
    except TaskError:
        return None  # said when the item is asked for
    if more:
        return None  # the workers fetch what there are several of
    if len(reference) > LONGEST_REFERENCE or "\0" in reference:
        return None
    if reference.startswith(LOCAL_FILES):
        asked = path_of(reference)
        file = folder / Path(asked).name
        return file if asked and file.as_posix().endswith(f"/{asked}") and _is_file(file) else None
    if is_cloud(reference):
        parts = path_of(reference).split("/")
        ends = ["/".join(parts[start:]) for start in range(len(parts))]  # the longest first
    else:
        ends = [] if ":" in reference else [reference, reference.replace("\\", "/")]
    return next((found for end in ends if (found := _below(folder, end)) is not None), None)


def _below(folder: Path, name: str) -> Path | None:
    """A file of a folder; None where there is none, or the name leads elsewhere."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        return None
    return file if _is_file(file := folder / path) else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long a name, half a character
        return False


def _unique(items: Iterable[PrelabelItem]) -> Iterator[PrelabelItem]:
    """The same items, a name that was there before with a number behind it."""
    seen = Counter[str]()
    for item in items:
        seen[item.name] += 1
        count = seen[item.name]
        yield item if count == 1 else replace(item, name=f"{item.name}#{count}")
