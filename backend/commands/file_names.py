"""Names of the files that commands write.

Names from other people's data become names that stay in the folder they are meant for; stems of
inputs name results as they are, so they must differ.
"""

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
        self._given.add(name.lower())
        return name


def shared_stems(files: Iterable[Path]) -> list[str]:
    """Stems that several files have, sorted: results named by them would overwrite each other."""
    stems = Counter(path.stem for path in files)
    return sorted(stem for stem, times in stems.items() if times > 1)


def _safe(text: str) -> str:
    plain = UNSAFE.sub("_", text).encode()
    return plain[:LONGEST].decode(errors="ignore").strip("-.")
