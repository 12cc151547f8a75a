"""The notebooks run, and what they show is what a run shows."""

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from tests.docs.notebooks import EXAMPLES, run
from tests.paths import ROOT

NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
LARGEST = 1_500_000  # bytes
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def stored(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_a_run_shows(path: Path, tmp_path: Path):
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    (tmp_path / "examples").mkdir()
    copy = shutil.copy(path, tmp_path / "examples")
    executed, committed = run(Path(copy)), stored(path)
    for new, old in zip(executed.cells, committed.cells, strict=True):
        assert shapes(new) == shapes(old), f"run `python -m tests.docs.notebooks`:\n{new.source}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_as_it_ran(path: Path):
    assert path.stat().st_size <= LARGEST
    text = path.read_text("utf-8")
    assert "/site-packages/" not in text
    assert str(ROOT.parent) not in text
    cells = [cell for cell in stored(path).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    for cell in cells:
        kinds = {output.output_type for output in cell.outputs}
        assert "error" not in kinds
        assert not [each for each in cell.outputs if each.get("name") == "stderr"]


def test_there_are_notebooks():
    assert NOTEBOOKS


def shapes(cell: NotebookNode) -> list[tuple[str, str]]:
    """Kind and text of what a cell shows, but for numbers: another machine has others."""
    found = []
    for output in cell.get("outputs", ()):
        if output.output_type == "stream":
            found.append((output.name, NUMBER.sub("0", output.text)))
        else:
            found += [
                (kind, "" if kind.startswith("image/") else NUMBER.sub("0", "".join(data)))
                for kind, data in sorted(output.data.items())
            ]
    return [(kind, re.sub(r"[ -]+", " ", text)) for kind, text in found]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("0.63 of 12", "0.71 of  9", True),
        ("EPSG:32640", "EPSG:4326", True),
        ("water 0.2", "land 0.2", False),
    ],
)
def test_numbers_may_differ_and_words_may_not(one: str, other: str, same: bool):
    outputs = [nbformat.v4.new_output("stream", text=text) for text in (one, other)]
    first, second = (nbformat.v4.new_code_cell(outputs=[each]) for each in outputs)
    assert (shapes(first) == shapes(second)) is same
