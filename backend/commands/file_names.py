"""Names of the files that commands write.

Names from other people's data become names that stay in the folder they are meant for; stems of
inputs name results as they are, as long as they differ.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable
from itertools import chain, count
from pathlib import Path

LONGEST = 150  # bytes of UTF-8; file systems take 255, suffixes and ends included
UNSAFE = re.compile(r"[^\w.-]+")


class FileNames:
    """Gives every name once, whatever is a capital letter and whatever is not."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def take(self, name: str) -> None:
        """A name that is used as it is: nobody else gets it."""
        self._given.add(name.lower())

    def give(self, text: str, otherwise: str, mark: int = 2) -> str:
        """A stem for a file: letters, digits, dots, dashes and underscores.

        Args:
            text: what it is to be called, whatever it holds.
            otherwise: what it is called when nothing of that can be used.
            mark: number behind the name when it is taken; where that is taken, too, from 2 on.
        """
        stem = _safe(text) or otherwise
        numbered = (f"{stem}-{number}" for number in chain([mark], count(2)))
        name = next(each for each in chain([stem], numbered) if each.lower() not in self._given)
        self.take(name)
        return name


def result_stems(files: Iterable[Path]) -> dict[Path, str]:
    """What results of files are called: each otherwise, however many files have one name.

    The stem of a file; where several share it, whatever is a capital letter, their paths from the
    folder that holds them all, as in b_a.jpg. So a name does not depend on the order of the files.
    """
    paths = list(dict.fromkeys(files))
    stems = Counter(path.stem.lower() for path in paths)
    names = FileNames()
    alone = {path: path.stem for path in paths if stems[path.stem.lower()] == 1}
    for stem in alone.values():
        names.take(stem)
    folders = [path.absolute().parent for path in paths]
    base = Path(os.path.commonpath(folders)) if folders else Path()

    def within(path: Path) -> str:
        return path.absolute().relative_to(base).as_posix()

    return {path: alone.get(path) or names.give(within(path), "image") for path in paths}


def _safe(text: str) -> str:
    plain = UNSAFE.sub("_", text).encode()
    return plain[:LONGEST].decode(errors="ignore").strip("-.")
