"""Lists of files and addresses as people save them: by an editor, a spreadsheet or a program.

Notepad writes UTF-8 with a mark before it, or UTF-16; Windows ends lines with CR LF and parts
folders by backslashes; spreadsheets write CSV with a header; programs write JSON, one value a line.
"""

import codecs
import csv
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LOG = logging.getLogger(__name__)

LIST_SUFFIXES = (".txt", ".lst", ".csv", ".tsv", ".jsonl", ".ndjson")
# What the column or field of images is called, beside the key of the label config.
NAMES = ("image", "path", "file", "filename", "file_name", "filepath", "file_path", "image_path",
         "img", "url", "image_url", "uri", "href", "location")  # fmt: skip
DELIMITERS = ",;\t"
MARKS = {  # before the text → its encoding
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class ListError(ValueError):
    """A list that cannot be read; the message says the way out."""


def read_list(file: Path, key: str = "image") -> list[str]:
    """The paths and addresses of a list, in its order.

    One a line, empty ones and those that begin with # left out; or a CSV with a header; or JSON
    lines, texts or objects. Further columns and fields are left out, and named.

    Args:
        file: the list.
        key: name of the column or field; else one of `NAMES` is taken.

    Raises:
        ListError: no text, or one that does not say where its images are.
        OSError: it cannot be read.
    """
    lines = [line.strip() for line in _text(file).splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        return []
    if lines[0].startswith("{"):
        return [_named(_object(line, file), key, file) for line in lines]
    delimiter = _delimiter(lines[0], key)
    if delimiter:
        rows = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True)
        return [found for row in rows if (found := _named(row, key, file))]
    if lines[0].lower() in (key.lower(), *NAMES):  # a CSV of one column
        lines = lines[1:]
    return [_unquoted(line) for line in lines]


def json_lines(file: Path) -> list[Mapping[str, Any]] | None:
    """The objects of a list of JSON lines; None for a list of any other kind.

    Raises:
        ListError: some lines are no objects.
        OSError: it cannot be read.
    """
    with file.open("rb") as opened:
        if not opened.read(64).lstrip(b"\xef\xbb\xbf\xff\xfe\0 \r\n\t").startswith(b"{"):
            return None
    return [_object(line, file) for line in _text(file).splitlines() if line.strip()]


def below(folder: Path, line: str) -> Path:
    """The file that a line of a list in this folder means, whichever way its slashes lean."""
    path = folder / line
    return folder / line.replace("\\", "/") if "\\" in line and not path.exists() else path


def _text(file: Path) -> str:
    data = file.read_bytes()
    encoding = next((kind for mark, kind in MARKS.items() if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in data[:2]:  # half of each character that English needs
        encoding = "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ListError(
            f"{file} is neither an image of a known suffix nor a text in UTF-8 or UTF-16 with one "
            "path a line: save it as such"
        )
    return text


def _object(line: str, file: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ListError(
            f"{file}: {line[:60]!r} is no JSON object, as the first line is: write one a line, or "
            "give the whole as one list in a file that ends in .json"
        )
    return value


def _delimiter(header: str, key: str) -> str:
    """What parts the columns of a CSV; empty for a line that is no header of one."""
    for delimiter in DELIMITERS:
        cells = [_unquoted(cell.strip()).lower() for cell in header.split(delimiter)]
        if len(cells) > 1 and {key.lower(), *NAMES} & set(cells):
            return delimiter
    return ""


def _named(row: Mapping[str, Any], key: str, file: Path) -> str:
    """What a row says of its image."""
    data = row["data"] if isinstance(row.get("data"), dict) else row
    names = {str(name).strip().lower(): name for name in data}
    name = next((names[each] for each in (key.lower(), *NAMES) if each in names), None)
    if name is None or not isinstance(data[name], str):
        raise ListError(
            f"{file} does not say where its images are: it has {_listed(list(data))}; call the "
            f"column or field {key!r}"
        )
    return str(data[name]).strip()


def _listed(names: Sequence[object]) -> str:
    return ", ".join(repr(name) for name in names[:8]) or "nothing"


def _unquoted(line: str) -> str:
    """A path that somebody copied with its quotation marks."""
    quoted = len(line) > 1 and line[0] == line[-1] and line[0] in "\"'"
    return line[1:-1] if quoted else line
