"""The Dockerfile without a builder: the steps of a stage, done in a folder with a plain venv.

What only the machine of an image has (packages of the distribution, a user) is left out. Packages
are linked from this environment, which takes a second:

    .venv/bin/python -m tests.rehearsal worker FOLDER --install

fetches them as the Dockerfile says, as large as they are. Compose's part, the environment and the
command of a service, comes by `command` and `environment`.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

from tests.containers import STAGES, build_context
from tests.linked_uv import UV
from tests.paths import ROOT

# Folders of an image, which lie below a folder of ours.
PLACE = re.compile(r"(?<![\w.}*-])/(?=(?:opt|dist|src|cache|models|usr/share/doc)\b)")
# Of the machine of an image; and, where packages are linked, what would change those they lead to.
MACHINE = ("apt-get", "useradd", "chown", "pip")
CHANGING = ("rm", "find", "strip")


@dataclass
class Image:
    """A stage that was built.

    Attributes:
        root: the folder that stands for the file system of its container.
        variables: its environment.
    """

    root: Path
    variables: dict[str, str] = field(default_factory=dict)

    def placed(self, text: str) -> str:
        """A text with the folders of the container where they lie here."""
        return PLACE.sub(f"{self.root}/", text)

    def command(self, service: Mapping[str, Any]) -> list[str]:
        """What a service of Compose runs."""
        return [str(self.root / "opt/dgl-rsis/bin/dgl-rsis"), *service["command"]]

    def environment(self, service: Mapping[str, Any], **changed: str) -> dict[str, str]:
        """The whole environment of a service of Compose, but for what must differ here."""
        given = self.variables | service["environment"]
        own = {"HOME": str(self.root / "tmp"), "TMPDIR": str(self.root / "tmp")}
        return {name: self.placed(value) for name, value in given.items()} | own | changed


class Rehearsal:
    """Stages, built below a folder.

    Args:
        folder: where.
        linked: take packages of this environment rather than those of the index.
        arguments: of the build, by name.
    """

    def __init__(self, folder: Path, *, linked: bool = True, **arguments: str) -> None:
        self._folder, self._linked, self._arguments = folder, linked, arguments
        # What is fetched needs this machine's way to its index.
        self._inherited = {"HOME": os.environ["HOME"]} if linked else dict(os.environ)
        self._tools = folder / "tools"
        self._tools.mkdir(parents=True, exist_ok=True)
        uv = [sys.executable, ROOT / "tests" / "linked_uv.py"] if linked else [UV]
        self._tool("uv", f'exec {shlex.join(map(str, uv))} "$@"')
        self._tool("python", f'exec {sys.executable} "$@"')
        for name in MACHINE + (CHANGING if linked else ()):
            self._tool(name, "exit 0")

    def _tool(self, name: str, script: str) -> None:
        (self._tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (self._tools / name).chmod(0o755)

    def build(self, stage: str) -> Image:
        """Do the instructions of a stage, and of those that it copies from.

        Raises:
            subprocess.CalledProcessError: a step failed.
            AssertionError: a step needs what .dockerignore keeps from it.
        """
        image = Image(self._folder / stage, {"PATH": "/usr/local/bin:/usr/bin:/bin"})
        (image.root / "src").mkdir(parents=True)
        (image.root / "tmp").mkdir()
        for line in STAGES[stage]:
            word, _, rest = line.partition(" ")
            if word == "ENV":
                for assignment in shlex.split(rest):
                    name, _, value = assignment.partition("=")
                    image.variables[name] = Template(value).safe_substitute(image.variables)
            elif word == "ARG":
                name, _, value = rest.partition("=")
                image.variables[name] = self._arguments.get(name, value)
            elif word == "COPY":
                self._copy(image, rest.split())
            elif word == "RUN":
                self._run(image, re.sub(r"--mount=\S+ ", "", rest))
        return image

    def _copy(self, image: Image, words: list[str]) -> None:
        *sources, target = words
        if sources[0].startswith("--from="):
            stage = sources.pop(0).removeprefix("--from=")
            built = self._folder / stage
            if not built.exists():
                self.build(stage)
            # Programs name their interpreter where they were installed: linked, not copied.
            place = Path(image.placed(target))
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(built / sources[0].lstrip("/"))
            return
        allowed, everything = build_context(), sources == ["."]
        for source in allowed if everything else map(Path, sources):
            assert source in allowed, f".dockerignore keeps {source} from the build"
            folder = image.root / "src" / image.placed(target)
            place = folder / (source if everything else source.name)
            place.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.so")
                shutil.copytree(ROOT / source, place, ignore=ignored)
            else:
                shutil.copy(ROOT / source, place)

    def _run(self, image: Image, script: str) -> None:
        variables = {n: image.placed(v) for n, v in image.variables.items() if n != "PATH"}
        # The cache and bytecode are for images; a link leads to bytecode that is there already.
        for name in ("UV_CACHE_DIR", *(["UV_COMPILE_BYTECODE"] if self._linked else [])):
            variables.pop(name, None)
        # Ours before those of this machine, which a rehearsal must leave as it is.
        variables["PATH"] = f"{self._tools}:{os.environ['PATH']}"
        assert shutil.which("useradd", path=variables["PATH"]) == str(self._tools / "useradd")
        subprocess.run(
            ["sh", "-euc", image.placed(script)],
            cwd=image.root / "src",
            env=self._inherited | variables,
            check=True,
        )


def main() -> None:
    """Build a stage, and say where it lies."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stage", choices=[name for name in STAGES if "-" not in name])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--install", action="store_true", help="fetch the packages")
    parser.add_argument("--argument", action="append", default=[], help="NAME=VALUE of the build")
    given = parser.parse_args()
    arguments = dict(each.split("=", 1) for each in given.argument)
    rehearsal = Rehearsal(given.folder.resolve(), linked=not given.install, **arguments)
    print(rehearsal.build(given.stage).root)  # noqa: T201


if __name__ == "__main__":
    main()
