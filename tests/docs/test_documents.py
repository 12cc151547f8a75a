"""The documents name what exists: files, names in the code, commands, options, settings.

A document names something of the project by writing it as code. What counts as a name:

- a path that begins with a folder or file of the project, or ends like a source file;
- a name with a dot, an underscore, a capital or brackets behind: `label_config.parse`,
  `ALLOWED_FUNCTIONS`, `SegmentRequest`, `prefetch()`; a plain word such as `regions` may be an
  example and is not looked up;
- `dgl-rsis` or one of its commands with something behind it, an option, `make TARGET`,
  `python -m MODULE`, and names in capitals: settings and variables.

Links must lead to a file, and to a heading in it, and `SETTINGS.md` must tell the true defaults.
`LOG.md`, `CHANGELOG.md` and the decisions tell history and are not read.
"""

import mimetypes
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.project import Project, braces, words_of
from tests.docs.reading import Document, read
from tests.paths import ROOT

HISTORY = ("docs/LOG.md",)
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in [
        ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md",
        ROOT / "samples" / "README.md",
        *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "tasks").glob("*.md"),
    ]
    if str(path.relative_to(ROOT)) not in HISTORY
)  # fmt: skip
MOST_LINES_OF_README = 100
PACKAGES = {"backend", "workers", "starter"}  # README names the folders in them

SOURCE = (".py", ".toml", ".md", ".yml", ".sh")
IN_TEXT = re.compile(r"[\w.{}*-]+(?:/[\w.{}*,-]+)+/?|[\w*-]+\.py\b")
FILE_AND_NAME = re.compile(r"(\S+\.py): ([\w.]+)")
DOTTED = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(\(.*\))?")
CAPITALS = re.compile(r"([A-Z][A-Z0-9_]*)(=.*)?")
ASSIGNMENT = re.compile(r"^(?:export\s+)?((?:[A-Z][A-Z0-9_]*=\S*\s*)+)")
OPTION = re.compile(r"(--[a-z][a-z0-9-]*)(?:[ =].*)?")
ROW = re.compile(r"^\|([^|\n]+)\|.*\|([^|\n]+)\|$", re.M)
NUMBER = re.compile(r"(?P<number>\d+)(?P<exponent>[⁰¹²³⁴⁵⁶⁷⁸⁹]+)?(?P<mib> MiB)?")
RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")

PROJECT = Project(ROOT)


def lies(document: Document, project: Project = PROJECT) -> list[str]:
    """What a document names and the project has not."""
    problems = [problem for span in document.spans for problem in _in_span(span, project)]
    for block in document.blocks:
        for line in block.lines:
            problems += _in_command(line, project) if block.language == "sh" else []
            problems += _in_text(line, project)
    return list(dict.fromkeys(problems))


def _in_span(span: str, project: Project) -> list[str]:
    """One span in backticks is one name, or a command: the first kind that it can be decides."""
    for kind in (_file_and_name, _path, _command, _option, _variable, _name):
        problems = kind(span, project)
        if problems is not None:
            return problems
    return []


# Each of these looks at one kind of span: its problems, or None where it is of another kind.


def _file_and_name(span: str, project: Project) -> list[str] | None:
    match = FILE_AND_NAME.fullmatch(span)
    if match is None:
        return None
    defined = project.defines(match[1], match[2])
    return [] if defined else [f"{span}: no such name there"]


def _path(span: str, project: Project) -> list[str] | None:
    if project.has_path(span):
        return []
    return [f"{span}: no such file or folder"] if _is_path(span, project) else None


def _command(span: str, project: Project) -> list[str] | None:
    first, *rest = words_of(span) or [""]
    if first.rsplit("/", 1)[-1] in ("dgl-rsis", "make", "python") or (
        rest and ASSIGNMENT.match(span)
    ):
        return list(_in_command(span, project, whole=False))
    if rest and first in project.command_names:
        return list(_refused(span, [first, *rest], project, whole=False))
    return None


def _option(span: str, project: Project) -> list[str] | None:
    match = OPTION.fullmatch(span)
    if match is None:
        return None
    return [] if match[1] in project.options else [f"{span}: no command has this option"]


def _variable(span: str, project: Project) -> list[str] | None:
    match = CAPITALS.fullmatch(span)
    if match is None:
        return None
    known = project.variables if match[2] else project.words | project.variables
    return [] if match[1] in known else [f"{span}: nothing reads it"]


def _name(span: str, project: Project) -> list[str] | None:
    match = DOTTED.fullmatch(span)
    if match is None or not _is_name(span, match[1], match[2]):
        return None
    return [] if project.has_name(match[1]) else [f"{span}: no such name in the code"]


def _in_command(line: str, project: Project, *, whole: bool = True) -> Iterator[str]:
    """One line of shell: its variables, and the program that it calls, if that is ours."""
    given = ASSIGNMENT.match(f"{line} ")
    names = re.findall(r"([A-Z][A-Z0-9_]*)=", given[1]) if given else []
    yield from (f"{line}: nothing reads {n}" for n in names if n not in project.variables)
    for part in re.split(r"\s[|&;]+\s", f"{line} "[given.end() if given else 0 :]):
        words = words_of(re.sub(r"\s[<>]\s*\S+", "", part))
        match [words[0].rsplit("/", 1)[-1], *words[1:]] if words else []:
            case ["dgl-rsis", *rest]:
                yield from _refused(line, rest, project, whole=whole)
            case ["make", *rest]:
                yield from _in_make(line, rest, project)
            case ["python" | "python3", "-m", module, *rest]:
                yield from _in_python(line, module, rest, project)


def _refused(line: str, words: list[str], project: Project, *, whole: bool) -> Iterator[str]:
    if "…" in words or "..." in words:
        words, whole = [word for word in words if word not in ("…", "...")], False
    if refusal := project.refusal(words, whole=whole):
        yield f"{line}: {refusal}"


def _in_make(line: str, words: list[str], project: Project) -> Iterator[str]:
    for word in words:
        variable, equals, _ = word.partition("=")
        if equals and variable not in project.make_variables:
            yield f"{line}: the Makefile takes no {variable}"
        elif not equals and word not in project.targets:
            yield f"{line}: the Makefile has no target {word}"


def _in_python(line: str, module: str, words: list[str], project: Project) -> Iterator[str]:
    if not project.has_module(module):
        yield f"{line}: no module {module} to run"
    elif module.split(".")[0] in project.top:
        known = project.module_options(module)
        given = [word.partition("=")[0] for word in words if word.startswith("--")]
        yield from (f"{line}: no option {option}" for option in given if option not in known)


def _in_text(line: str, project: Project) -> Iterator[str]:
    """Paths anywhere in a line, as in a drawing."""
    for path in IN_TEXT.findall(line):
        if _is_path(path, project) and not project.has_path(path):
            yield f"{path}: no such file or folder"


def _is_path(text: str, project: Project) -> bool:
    """Whether a text is a path of the project, true or not, rather than some other file's."""
    if not re.fullmatch(r"[\w./{},* -]+", text) or re.search(r"(?<!,) ", text):
        return False
    begins_here = "/" in text and text.split("/")[0] in project.top
    return begins_here or text.endswith(SOURCE)


def _is_name(span: str, name: str, brackets: str | None) -> bool:
    """Whether a word is meant as a name in the code, and not as a file: `scene.tif`."""
    if brackets or mimetypes.guess_type(span)[0] is None:
        return bool(brackets) or re.search(r"[._]|[a-z][A-Z]|^[A-Z][a-z]", name) is not None
    return False


def wrong_defaults(markdown: str, project: Project = PROJECT) -> list[str]:
    """Settings whose default in the tables is not that of the code, or that stand in no table.

    A row has its variables in the first cell and their defaults in the last one: as many, in their
    order and with commas between, or one for all.
    """
    told: dict[str, str] = {}
    for first, last in ROW.findall(markdown):
        variables = read(first).spans
        defaults = last.split(", ") if len(variables) > 1 else [last]
        told.update(zip(variables, defaults * len(variables), strict=False))
    return sorted(
        name
        for name, default in project.defaults.items()
        if name not in told or not _tells(told[name].strip(), default)
    )


def _tells(text: str, default: object) -> bool:
    """Whether a cell means a default.

    "–" or "none …" is nothing; a name stands in backticks; a folder of the user's is told by its
    end, in backticks; numbers are 20, 10⁸ or 128 MiB.
    """
    if default in (None, ()):
        return text == "–" or text.split()[0] == "none"
    if isinstance(default, Path):
        return str(default).endswith(read(text).spans[:1] or ("\n",))
    if isinstance(default, bool | str):
        return text == f"`{str(default).lower() if isinstance(default, bool) else default}`"
    match = NUMBER.fullmatch(text)
    if match is None:
        return False
    exponent = int(match["exponent"].translate(RAISED)) if match["exponent"] else 1
    return int(match["number"]) ** exponent * (2**20 if match["mib"] else 1) == default


def broken_links(name: str, document: Document) -> list[str]:
    """Links of a document to files and headings that are not there."""
    here = (ROOT / name).parent
    inside = [target for target in document.targets if "://" not in target]
    return [target for target in inside if not _leads_somewhere(target, here, document)]


def _leads_somewhere(target: str, here: Path, document: Document) -> bool:
    path, _, anchor = target.partition("#")
    if path and not (here / path).exists():
        return False
    if not anchor or (path and not path.endswith(".md")):
        return True
    there = read((here / path).read_text("utf-8")) if path else document
    return anchor in there.anchors


# ---- the documents


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_names_what_exists(name: str):
    document = read((ROOT / name).read_text("utf-8"))
    assert lies(document) == []
    assert broken_links(name, document) == []


def test_every_setting_is_explained():
    spans = read((ROOT / "docs" / "SETTINGS.md").read_text("utf-8")).spans
    assert sorted(PROJECT.settings - set(spans)) == []


def test_the_settings_have_the_defaults_that_are_told():
    assert wrong_defaults((ROOT / "docs" / "SETTINGS.md").read_text("utf-8")) == []


def test_the_readme_is_short():
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= MOST_LINES_OF_README


def test_the_readme_names_every_folder():
    spans = read((ROOT / "README.md").read_text("utf-8")).spans
    named = {path.strip("/") for span in spans for path in braces(span)}
    packages = [name for name in PROJECT.files if name.endswith("/__init__.py")]
    rooms = {"/".join(name.split("/")[:2]) for name in packages if name.count("/") > 1}
    top = {name for name in PROJECT.top & PROJECT.folders if not name.startswith(".")}
    assert sorted((rooms | top) - named - PACKAGES) == []


# ---- the check itself: each kind of lie is seen, and its truth is not


@pytest.mark.parametrize(
    ("truth", "lie"),
    [
        ("`backend/web/app.py`", "`backend/web/gone.py`"),
        ("`backend/web/`", "`backend/corridor/`"),
        ("`dgl_rsis/*/pipeline.py`", "`dgl_rsis/*/pipelines.py`"),
        ("`backend/{web,studio}`", "`backend/{web,cli}`"),
        ("`shapes.py`", "`geometry_instances.py`"),
        ("`words.toml`", "`decoupling.toml`"),
        ("`backend/project/label_config.py: parse`", "`backend/project/label_config.py: read`"),
        ("`label_config.parse`", "`label_config.parsed`"),
        ("`types.InputError`", "`types.GoneThing`"),
        ("`queue.client`", "`queue.gone_client`"),
        ("`json.dumps`", "`jsonl.dumps`"),
        ("`project.label_config.parse`", "`studio.label_config.parse`"),
        ("`SegmentRequest`", "`SegmentInquiry`"),
        ("`Proposals`", "`Suggesters`"),
        ("`SegmentRequest.key`", "`SegmentRequest.lock`"),
        ("`SegmentClient.submit(at_front=True)`", "`SegmentClient.send(at_front=True)`"),
        ("`ALLOWED_FUNCTIONS`", "`ALLOWED_FUNCTION`"),
        ("`timed()`", "`_timed`"),
        ("`dgl_rsis.classes.pipeline`", "`dgl_rsis.pipelines`"),
        ("`dgl-rsis segment`", "`dgl-rsis divide`"),
        ("`models pull NAME`", "`models fetch NAME`"),
        ("`evaluate ovss`", "`evaluate classes`"),
        ("`worker --interactive`", "`worker --patient`"),
        ("`--retry-failed`", "`--retry-broken`"),
        ("`make test`", "`make tests`"),
        ("`make starter MINUTES=5`", "`make starter HOURS=5`"),
        ("`python -m benchmarks --dubai DIR`", "`python -m bench --dubai DIR`"),
        ("`python -m benchmarks --tiles 6`", "`python -m benchmarks --plates 6`"),
        ("`REDIS_URL`", "`VALKEY_URL`"),
        ("`LEARN=false`", "`LEARNS=false`"),
        ("`DEVICE=cpu dgl-rsis worker`", "`GPU=0 dgl-rsis worker`"),
    ],
)
def test_a_lie_in_a_span_is_seen(truth: str, lie: str):
    assert lies(read(truth)) == []
    assert len(lies(read(lie))) == 1


@pytest.mark.parametrize(
    ("truth", "lie"),
    [
        ("dgl-rsis config --labels a,b > config.xml", "dgl-rsis config --names a,b > config.xml"),
        ("dgl-rsis tile a.tif --out b", "dgl-rsis tile a.tif"),
        ("dgl-rsis export --out b --format yolo", "dgl-rsis export --out b --format tiff"),
        ("dgl-rsis adapt reset 7", "dgl-rsis adapt reset seven"),
        ("echo a | dgl-rsis parse", "echo a | dgl-rsis parse --all"),
        ("export DEVICE=cpu MODEL=starter", "export DEVICE=cpu MODELS=starter"),
        ("MODEL=starter \\\n  dgl-rsis up", "MODEL=starter \\\n  dgl-rsis run"),
        (".venv/bin/python -m pytest tests/docs", ".venv/bin/python -m pytest tests/documents"),
        ("make up  # everything", "make all  # everything"),
        ("# Needs a model.\ndgl-rsis models list", "# Needs a model.\ndgl-rsis models show"),
    ],
)
def test_a_lie_in_a_command_is_seen(truth: str, lie: str):
    assert lies(read(f"```sh\n{truth}\n```\n")) == []
    assert len(lies(read(f"```sh\n{lie}\n```\n"))) == 1


@pytest.mark.parametrize(
    "block",
    [
        "```bash\n{}\n```\n",
        "~~~sh\n{}\n~~~\n",
        "- so:\n  ```sh\n  {}\n  ```\n",
        "````sh\n{}\n````\n",
    ],
)
def test_any_fence_is_read(block: str):
    assert lies(read(block.format("make up"))) == []
    assert len(lies(read(block.format("make all")))) == 1


def test_a_lie_in_a_drawing_is_seen():
    drawing = "```\nLabel Studio ──► backend/web/{} ──► masks/a.png\n```\n"
    assert lies(read(drawing.format("app.py"))) == []
    assert lies(read(drawing.format("cli.py"))) == ["backend/web/cli.py: no such file or folder"]


def test_what_is_no_name_of_the_project_is_left_alone():
    text = "`regions` `<stem>.overlay.png` `masks/` `image.tif` `/data/files` `docker compose up`"
    assert lies(read(text)) == []


@pytest.mark.parametrize(
    ("truth", "lie", "wrong"),
    [
        ("| 128 MiB |", "| 64 MiB |", "MAX_BODY_BYTES"),
        ("| 256 MiB, 10⁸ |", "| 256 MiB, 10⁷ |", "MAX_IMAGE_PIXELS"),
        ("| `127.0.0.1`, 9090 |", "| `0.0.0.0`, 9090 |", "HOST"),
        ("| none, 2048 |", "| `cache`, 2048 |", "CACHE_DIR"),
        ("| `true` |", "| `false` |", "LEARN"),
        ("| none may |", "| any may |", "LOCAL_FILES_DOCUMENT_ROOT"),
        ("| `dgl-rsis/models` in", "| `dgl-rsis/weights` in", "MODELS_DIR"),
        ("| `REPLY_DAYS` |", "| `GONE_DAYS` |", "REPLY_DAYS"),
    ],
)
def test_a_lie_in_a_default_is_seen(truth: str, lie: str, wrong: str):
    settings = (ROOT / "docs" / "SETTINGS.md").read_text("utf-8")
    assert truth in settings
    assert wrong_defaults(settings.replace(truth, lie)) == [wrong]


def test_a_broken_link_is_seen():
    document = read("[a](LOG.md) [b](GONE.md#first) [c](https://example.com/d#e)")
    assert broken_links("docs/DESIGN.md", document) == ["GONE.md#first"]


def test_a_link_to_a_heading_that_is_gone_is_seen():
    links = "[a](MODELS.md#real-weights) [b](MODELS.md#gone) [c](#so-it-is-1) [d](#so-it-was)"
    document = read(f"# So it is\n## So: `it` is\n{links}")
    assert broken_links("docs/DESIGN.md", document) == ["MODELS.md#gone", "#so-it-was"]
