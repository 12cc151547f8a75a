"""`uv` for rehearsals of the Dockerfile: packages are linked from this environment, not fetched.

An environment then has what its lock names, and nothing else that happens to be installed here.
"""

import os
import re
import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

UV = Path(sys.executable).with_name("uv")


def link(requirement: str, site: Path) -> None:
    """Link an installed distribution into another environment.

    Args:
        requirement: "NAME==VERSION ; MARKER", as locks have it.
        site: the folder site-packages of that environment.

    Raises:
        AssertionError: here is another version than the lock's.
    """
    wanted = Requirement(requirement)
    if wanted.marker is not None and not wanted.marker.evaluate():
        return
    found = distribution(wanted.name)
    assert wanted.specifier.contains(found.version), f"{found.version} is not {requirement}"
    for entry in _top(found):
        source, target = Path(str(found.locate_file(entry))), site / entry
        if source.exists() and not target.exists():
            target.symlink_to(source.resolve())


def _top(found: Distribution) -> set[str]:
    """Its files and folders in site-packages; programs, which lie above, are not needed."""
    return {path.parts[0] for path in found.files or []} - {"..", "__pycache__"}


def requirements(arguments: list[str]) -> list[str]:
    """What `uv pip install` is asked for: by files of locks, and by name."""
    asked: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if before == "-r":
            lines = re.sub(r"\\\n", "", Path(argument).read_text()).splitlines()
            asked += [line.split(" --hash")[0] for line in lines if line and line[0] not in "# "]
        elif "==" in argument:
            asked.append(argument)
    return asked


def main(arguments: list[str]) -> None:
    """Do what uv would."""
    here = ["--python", sys.executable]
    match arguments:
        case ["venv", folder]:
            command = ["venv", "--quiet", *here, folder]
        case ["pip", "install", "--no-deps", *wheels]:
            command = ["pip", "install", "--quiet", "--offline", "--no-deps", *wheels]
        case ["pip", "install", *options]:
            (site,) = Path(os.environ["VIRTUAL_ENV"]).glob("lib/python*/site-packages")
            asked = requirements(options)
            assert asked, options
            for requirement in asked:
                link(requirement, site)
            return
        case ["build", "--wheel", *_, "--out-dir", folder]:
            offline = ["--offline", "--no-build-isolation", *here]
            command = ["build", "--quiet", "--wheel", *offline, "--out-dir", folder]
        case _:
            raise SystemExit(f"a rehearsal has no uv {arguments}")
    sys.exit(subprocess.run([UV, *command], check=False).returncode)


if __name__ == "__main__":
    main(sys.argv[1:])
