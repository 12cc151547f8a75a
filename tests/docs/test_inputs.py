"""The table of inputs says what the tests in `tests/cases/` try."""

from pathlib import Path

from tests.docs.inputs import DOCUMENT, Case, Module, document, read

SOURCE = '''"""Rasters: bands and alpha.

More words.
"""

import pytest


def _helper():
    """No test."""


@pytest.mark.parametrize("size", [1, 2], ids=["small", "la|rge"])
@pytest.mark.parametrize("form", [pytest.param(1, id="`plain`"), 2])
@pytest.mark.parametrize("band", ["last", 3])
@pytest.mark.parametrize(("width", "unit"), [("x", "y")])
def test_alpha(size, form, band, width, unit):
    """Alpha, `wherever` it is.

    More words.
    """


class TestNodata:
    def test_a_border_is_pointed_out(self): ...
'''


def test_the_table_is_up_to_date() -> None:
    assert DOCUMENT.read_text("utf-8") == document(), "run: python -m tests.docs.inputs"


def test_a_module_is_read_without_importing_it() -> None:
    assert read(SOURCE, "tests/cases/test_alpha.py") == Module(
        "tests/cases/test_alpha.py",
        "Rasters",
        "bands and alpha",
        (
            Case("Alpha, `wherever` it is", ("small", "la|rge", "`plain`", "last")),
            Case("A border is pointed out"),
        ),
    )
    assert read("", "x/test_odd_names.py") == Module(
        "x/test_odd_names.py", "Others", "Odd names", ()
    )


def test_kinds_are_in_one_order(tmp_path: Path) -> None:
    folder = tmp_path / "tests" / "cases"
    folder.mkdir(parents=True)
    for name, first in (("a", "Zeppelins: big."), ("b", "Weights: heavy."), ("c", SOURCE)):
        text = first if name == "c" else f'"""{first}"""\n'
        (folder / f"test_{name}.py").write_text(text, "utf-8")
    lines = document(folder).splitlines()
    assert [line for line in lines if line.startswith("## ")] == [
        "## Rasters", "## Weights", "## Zeppelins"
    ]  # fmt: skip
    assert "| Alpha, wherever it is | small, la\\|rge, plain, last |" in lines
    assert "`tests/cases/test_c.py`" in lines
