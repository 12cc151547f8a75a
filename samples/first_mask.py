"""How long it takes from a Label Studio that runs to the first mask, by the page's own commands.

`python -m samples.first_mask` starts a real Label Studio with a project of one image, as somebody
has who reads docs/CONNECT.md, then runs the commands of that page in a folder of their own, and
opens the task. It prints the seconds of each step. --skip leaves the first command out, where
everything is installed already.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from backend.commands.demo.processes import StartError, free_port, running
from samples.servers import ROOT, STUDIO_PYTHON, Studio, label_studio
from samples.studio import LABEL_CONFIG, create_project, import_images, sample_images

PAGE = ROOT / "docs" / "CONNECT.md"
FENCE = "```"
MASK_SECONDS = 300.0


def commands(page: str) -> list[str]:
    """The commands of the first block of a page that is for a shell.

    Raises:
        StartError: there is none.
    """
    blocks = page.split(f"{FENCE}sh\n")[1:]
    if not blocks:
        raise StartError(f"{PAGE} has no commands")
    lines = blocks[0].split(FENCE)[0].splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def main() -> int:
    """Command line; 0 when a mask came."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--skip", action="store_true", help="the command that installs")
    options = parser.parse_args()
    steps: dict[str, float] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="first-mask-") as name:
            _run(Path(name), steps, skip=options.skip)
    except StartError as error:
        Console(stderr=True).print(str(error), style="red", highlight=False)
        return 1
    table = Table("step", "seconds")
    for step, seconds in {**steps, "in all": sum(steps.values())}.items():
        table.add_row(step, f"{seconds:.1f}")
    Console().print(table)
    return 0


def _run(folder: Path, steps: dict[str, float], *, skip: bool) -> None:
    with label_studio(folder / "studio", free_port(0), STUDIO_PYTHON) as studio:
        project = create_project(studio, "mine", LABEL_CONFIG)
        (task,) = import_images(studio, project, sample_images()[:1])
        port = free_port(9090)
        environment = os.environ | {"PORT": str(port), "XDG_RUNTIME_DIR": str(folder)}
        lines = [
            line.replace("http://localhost:8080", studio.base_url)
            .replace("TOKEN", studio.account.personal_token)
            .replace("connect 1", f"connect {project} --backend http://localhost:{port}")
            for line in commands(PAGE.read_text("utf-8"))
        ]
        lines = lines[1:] if skip else lines
        before = [line for line in lines if line.startswith("export ")]
        _steps(lines, before, environment, folder, steps, lambda: _first_mask(studio, task))


def _steps(
    lines: list[str],
    exported: list[str],
    environment: dict[str, str],
    folder: Path,
    steps: dict[str, float],
    first_mask: Callable[[], None],
) -> None:
    """Each command in turn; what ends with & goes on until the mask is there."""
    background = next(line for line in lines if line.endswith("&"))
    server = f"{'; '.join(exported)}; exec {background.removesuffix('&')} --data {folder / 'queue'}"
    for line in lines:
        if line == background:
            break
        _time(line, steps, lambda line=line: _shell(line, environment))  # type: ignore[misc]
    with running(["sh", "-c", server], environment, folder / "up.log") as program:
        for line in lines[lines.index(background) + 1 :]:
            shown = f"{'; '.join(exported)}; {line}"
            _time(line, steps, lambda shown=shown: _shell(shown, environment))  # type: ignore[misc]
            program.check()
        _time("open the task, until its mask is stored", steps, first_mask)


def _time(what: str, steps: dict[str, float], do: Callable[[], None]) -> None:
    started = time.perf_counter()
    do()
    steps[what.split("API_KEY=")[0]] = time.perf_counter() - started


def _shell(line: str, environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["sh", "-c", line], cwd=ROOT, env=environment, text=True, timeout=3600,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    sys.stdout.write(done.stdout)
    if done.returncode:
        raise StartError(f"{line.split('API_KEY=')[0]}: status {done.returncode}\n{done.stdout}")


def _first_mask(studio: Studio, task: int) -> None:
    """As the page does: opening a task has Label Studio ask its backend."""
    end = time.monotonic() + MASK_SECONDS
    studio.api("GET", f"/api/tasks/{task}/")
    while not studio.api("GET", "/api/predictions/", params={"task": task}):
        if time.monotonic() > end:
            raise StartError(f"no prediction within {MASK_SECONDS:.0f} s")
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
