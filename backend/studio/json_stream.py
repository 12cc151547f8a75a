"""The elements of a JSON list in a file, one by one: an export may be larger than the memory."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from backend.regions.findings import ExportError

CHUNK = 2**20  # characters
# The longest literal is -Infinity: an error nearer to the end of what was read may be a cut.
LONGEST_LITERAL = 16
SPACE = " \t\n\r"
ENDS = {",", "]", *SPACE}


def elements(path: Path, encoding: str = "utf-8-sig") -> Iterator[Any]:
    """The elements of the list that a file holds.

    Args:
        path: of the file.
        encoding: of its text.

    Raises:
        ExportError: no such file, or it holds no JSON list.
    """
    try:
        with path.open(encoding=encoding) as file:
            yield from _Reading(file, path).elements()
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ExportError(
            f"{path} is no text in UTF-8 or UTF-16: export the project as JSON"
        ) from None


class _Reading:
    """A window that moves over the file; it grows only to hold one whole element."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self.file, self.path = file, path
        self.text, self.at = "", 0
        self.ended = False
        self.decoder = json.JSONDecoder()

    def elements(self) -> Iterator[Any]:
        if self._next() != "[":
            raise ExportError(
                f"{self.path} does not begin with a list: in Label Studio, export the project as "
                "JSON (not JSON_MIN, CSV or any other format)"
            )
        self.at += 1
        if self._next() == "]":
            return
        while True:
            yield self._element()
            mark = self._next()
            self.at += 1
            if mark == "]":
                return
            if mark != ",":
                raise self._broken("a comma is missing")
            self._next()

    def _next(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in SPACE:
                self.at += 1
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._grow(CHUNK):
                return ""

    def _element(self) -> Any:
        """Decode from here; read twice as much whenever that was not enough."""
        more = CHUNK
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if self._is_wrong(error) or not self._grow(more):
                    raise self._broken(error.msg) from None
                more *= 2
            except (ValueError, RecursionError):  # a number of thousands of digits; [[[[…
                raise self._broken("no export has such numbers or lists") from None
            else:
                # A number that was cut may go on: "0." is read as 0.
                if self.text[end : end + 1] in ENDS or not self._grow(more):
                    self.at = end
                    return value

    def _is_wrong(self, error: json.JSONDecodeError) -> bool:
        """Whether more text could not mend it."""
        near_end = error.pos >= len(self.text) - LONGEST_LITERAL
        return not near_end and not error.msg.startswith("Unterminated string")

    def _grow(self, characters: int) -> bool:
        """Drop what lies behind and read on; False at the end of the file."""
        read = "" if self.ended else self.file.read(characters)
        self.ended = not read
        self.text, self.at = self.text[self.at :] + read, 0
        return not self.ended

    def _broken(self, why: str) -> ExportError:
        return ExportError(
            f"{self.path} is cut short or no JSON ({why}): export the project again, as JSON"
        )
