"""The commands of the documents do what they say: each document's, in its order, in one folder.

Run are the lines of shell blocks that call `dgl-rsis`, and whole blocks of Python, but for those
blocks whose first line says what they need ("# Needs Label Studio …"). Images are small;
`scene.tif` is the user's own scene, and `export.json` what Label Studio exports once people have
accepted every mask that was imported.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from tests.docs.project import words_of
from tests.docs.reading import read
from tests.docs.test_documents import DOCUMENTS, PROJECT
from tests.paths import ROOT
from tests.small_scene import picture, write_scene

SIDE = 160  # pixels of the samples
PROGRAM = re.compile(r"(^|[|=]\s*)dgl-rsis\b")


def runnable(markdown: str) -> list[str]:
    """The commands of a document that need nothing but a checkout."""
    blocks = [b for b in read(markdown).blocks if b.language == "sh" and not b.needs]
    return [line for block in blocks for line in block.lines if PROGRAM.search(line)]


def program(markdown: str) -> str:
    """The Python of a document, in its order."""
    blocks = [b for b in read(markdown).blocks if b.language == "python" and not b.needs]
    return "\n".join(line for block in blocks for line in block.lines)


RUN = {name: runnable((ROOT / name).read_text("utf-8")) for name in DOCUMENTS}
PROGRAMS = {name: program((ROOT / name).read_text("utf-8")) for name in DOCUMENTS}
# Pages that go on where another one ended.
AFTER = {"docs/tasks/export.md": "docs/tasks/scene.md"}


@pytest.mark.parametrize(
    "name",
    [name for name, commands in RUN.items() if commands and name not in AFTER.values()],
)
def test_the_commands_of_a_document_work(name: str, tmp_path: Path):
    _lay_out(tmp_path)
    for command in RUN.get(AFTER.get(name, ""), []) + RUN[name]:
        if "export.json" in command:
            _accept(tmp_path / "run" / "predictions-0001.json", tmp_path / "export.json")
        done = _run(command, tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        for written in _written(words_of(command)):
            assert _holds_something(tmp_path / written), f"{command}\nwrote no {written}"


@pytest.mark.parametrize("name", [name for name, text in PROGRAMS.items() if text])
def test_the_python_of_a_document_works(name: str, tmp_path: Path):
    _lay_out(tmp_path)
    (tmp_path / "program.py").write_text(PROGRAMS[name], "utf-8")
    done = _run("python program.py", tmp_path)
    assert done.returncode == 0, done.stderr
    for file in re.findall(r'\.write\("([^"]+)"', PROGRAMS[name]):
        assert _holds_something(tmp_path / file), file


def test_a_block_that_says_what_it_needs_is_not_run():
    text = (
        "```sh\n# Needs a GPU.\ndgl-rsis up\n```\n```sh\nmake demo\n# Also:\ndgl-rsis parse\n```\n"
    )
    assert runnable(text) == ["dgl-rsis parse"]


@pytest.mark.parametrize("command", ["dgl-rsis tile gone.tif --out b", "dgl-rsis no"])
def test_a_command_that_fails_is_seen(command: str, tmp_path: Path):
    assert _run(command, tmp_path).returncode != 0


def test_the_readme_and_the_whole_way_of_a_scene_are_run():
    programs = {words_of(command)[1] for command in RUN["docs/SCENES.md"]}
    assert programs >= {"segment", "tile", "config", "prelabel", "untile", "export"}
    assert {words_of(command)[1] for command in RUN["README.md"]} == {"segment"}


def _lay_out(folder: Path) -> None:
    """What a user has: the samples of the checkout, and a scene of their own."""
    (folder / "samples").mkdir()
    for file in sorted((ROOT / "samples").glob("*.jpg")):
        with Image.open(file) as image:
            image.resize((SIDE, SIDE)).save(folder / "samples" / file.name)
    write_scene(folder / "scene.tif", picture(SIDE, SIDE + 32))


def _accept(imported: Path, exported: Path) -> None:
    """What Label Studio exports of tasks whose predictions were all submitted as they are."""
    tasks = json.loads(imported.read_text("utf-8"))
    annotated = [
        {
            "id": number,
            "data": task["data"],
            "annotations": [{"id": number, "result": task["predictions"][0]["result"]}],
            "predictions": [],
        }
        for number, task in enumerate(tasks, 1)
    ]
    exported.write_text(json.dumps(annotated), "utf-8")


def _run(command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a line of shell in a folder, with the program of this environment and no settings."""
    environment = {k: v for k, v in os.environ.items() if k not in PROJECT.settings}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment["MODELS_DIR"] = str(folder / "models")
    environment["OMP_NUM_THREADS"] = "1"  # images this small are done before threads have begun
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def _written(words: Sequence[str]) -> list[str]:
    """What a command is told to write: behind --out, --json, --plot or >."""
    return [after for word, after in pairwise(words) if word in ("--out", "--json", "--plot", ">")]


def _holds_something(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.is_file() and path.stat().st_size > 0
