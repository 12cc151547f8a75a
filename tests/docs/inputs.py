"""`docs/INPUTS.md` from the tests in `tests/cases/`: what they try is what is read.

The first line of a module's docstring is `Kind: what it is about.`; that of a test's, or else its
name, is a line of the table; the ids of its parameters, where they are literal, are what it was
tried with.

`python -m tests.docs.inputs` writes the document.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "cases"
DOCUMENT = ROOT / "docs" / "INPUTS.md"
KINDS = ("Annotations", "Images", "Rasters", "Lists", "Labels", "Sentences", "Weights")
OTHERS = "Others"
HEAD = """# What is read, and what is refused

Made from the tests in `tests/cases/` by `.venv/bin/python -m tests.docs.inputs`: each line is a
test that holds. What cannot be read is said with its cause and the way out, and the command goes
on with the rest and ends with 1.
"""


@dataclass(frozen=True)
class Case:
    """One test.

    Attributes:
        says: what is right.
        ids: of its parameters; empty where none is literal.
    """

    says: str
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Module:
    """The cases of one module.

    Attributes:
        path: of the module, from the root of the project.
        kind: of inputs.
        about: what its cases are about.
        cases: in their order.
    """

    path: str
    kind: str
    about: str
    cases: tuple[Case, ...]


def document(folder: Path = CASES) -> str:
    """The text of the document, by the tests of a folder."""
    kinds: dict[str, list[Module]] = defaultdict(list)
    for file in sorted(folder.rglob("test_*.py")):
        module = read(file.read_text("utf-8"), file.relative_to(folder.parents[1]).as_posix())
        kinds[module.kind].append(module)
    order = [kind for kind in (*KINDS, *sorted({*kinds} - {*KINDS})) if kind in kinds]
    return HEAD + "".join(_section(kind, kinds[kind]) for kind in order)


def read(source: str, path: str) -> Module:
    """The cases of a module, without importing it.

    Args:
        source: Python.
        path: of the module.
    """
    tree = ast.parse(source)
    first = _first_line(tree) or _words(Path(path).stem)
    kind, colon, about = first.partition(": ")
    if not colon:
        kind, about = OTHERS, first
    cases = [_case(node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return Module(path, kind, about, tuple(case for case in cases if case is not None))


def _case(function: ast.FunctionDef) -> Case | None:
    """A test; None for any other function."""
    if not function.name.startswith("test_"):
        return None
    return Case(_first_line(function) or _words(function.name), tuple(_ids(function)))


def _first_line(node: ast.Module | ast.FunctionDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0].strip().removesuffix(".")


def _words(name: str) -> str:
    return name.removeprefix("test_").replace("_", " ").capitalize()


def _ids(function: ast.FunctionDef) -> Iterator[str]:
    """Of `ids=[…]`, of `pytest.param(…, id=…)`, or of a single parameter that is text."""
    for decorator in function.decorator_list:
        calls = [node for node in ast.walk(decorator) if isinstance(node, ast.Call)]
        named = [keyword for call in calls for keyword in call.keywords]
        lists = [each.value for each in named if each.arg == "ids"]
        if not lists and calls and not _several(calls[0]):
            lists = calls[0].args[1:2]
        for given in lists:
            yield from _texts(given.elts if isinstance(given, ast.List | ast.Tuple) else [])
        yield from _texts(each.value for each in named if each.arg == "id")


def _several(parametrize: ast.Call) -> bool:
    """Whether one case of a parametrisation has several values."""
    names = parametrize.args[0] if parametrize.args else None
    return not isinstance(names, ast.Constant) or "," in str(names.value)


def _texts(nodes: Iterable[ast.expr]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _section(kind: str, modules: Sequence[Module]) -> str:
    text = f"\n## {kind}\n"
    for module in modules:
        about = module.about[:1].upper() + module.about[1:]
        text += f"\n### {_cell(about)}\n`{module.path}`\n\n| what | tried with |\n|---|---|\n"
        for case in module.cases:
            text += f"| {_cell(case.says)} | {_cell(', '.join(case.ids))} |\n"
    return text


def _cell(text: str) -> str:
    """As it may stand in a table: code in backticks is checked to exist, and these are examples."""
    return re.sub(r"\s+", " ", text.replace("`", "").replace("|", "\\|")).strip()


if __name__ == "__main__":
    DOCUMENT.write_text(document(), "utf-8")
