"""A backend of their own for benchmarks, and what they ask of it, as Label Studio asks it."""

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from backend.commands.demo.processes import LOOPBACK, Program, running

LONGEST_SECONDS = 700
START_SECONDS = 300


@dataclass(frozen=True)
class Backend:
    """A backend that runs.

    Attributes:
        url: of its web server.
        images: folder of the local files that tasks may name.
        program: `dgl-rsis up`, the parent of its processes.
    """

    url: str
    images: Path
    program: Program


@contextlib.contextmanager
def backend(program: Path | None = None, **settings: str) -> Iterator[Backend]:
    """`dgl-rsis up` on free ports with the starter weights, for the length of a `with` block.

    Args:
        program: the command `dgl-rsis`, as of another commit; None for the one here.
        settings: further ones, by the names of their variables.

    Raises:
        StartError: it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="dgl-rsis-bench-") as name:
        folder = Path(name)
        images, state = folder / "images", folder / "state.json"
        images.mkdir()
        command = [str(program or Path(sys.executable).with_name("dgl-rsis")), "up", "--port", "0"]
        command += ["--host", LOOPBACK, "--state", str(state), "--data", str(folder / "queue")]
        environment = {
            "PATH": "/usr/bin:/bin",
            "LOCAL_FILES_DOCUMENT_ROOT": str(images),
            "BATCH_SECONDS": "600",
            "PYTHONSAFEPATH": "1",  # the program's own code, not that of the folder we are in
            **settings,
        }
        with running(command, environment, folder / "up.log") as program:
            program.wait_until(state.exists, START_SECONDS)
            yield Backend(json.loads(state.read_text())["url"], images, program)


def predict(
    url: str, label_config: str, names: Sequence[str], context: dict[str, Any] | None = None
) -> dict[str, Any]:
    """One /predict of local files, each a task with an id of its own.

    Args:
        url: of the backend.
        label_config: XML of the project.
        names: of the files, below LOCAL_FILES_DOCUMENT_ROOT.
        context: of an interactive call.
    """
    body = {
        "tasks": [
            {"id": hash(name) % 10**9, "data": {"image": f"/data/local-files/?d={name}"}}
            for name in names
        ],
        "project": "1.1",
        "label_config": label_config,
        "params": {"login": None, "password": None, "context": context},
    }
    response = requests.post(f"{url}/predict", json=body, timeout=LONGEST_SECONDS)
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer
