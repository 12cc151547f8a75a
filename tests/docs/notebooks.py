"""Notebooks in `examples/`, run as a reader runs them: from their folder, top to bottom.

`python -m tests.docs.notebooks` runs them and keeps what they show.
"""

import os
import sys
from pathlib import Path
from unittest.mock import patch

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SECONDS = 300  # of a cell


def run(path: Path) -> NotebookNode:
    """Run a notebook; nothing is written but what its cells write.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        startup_timeout=SECONDS,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # `dgl-rsis`, in its cells
    with patch.dict(os.environ, PATH=programs):
        return client.execute()


if __name__ == "__main__":
    for path in sorted(EXAMPLES.glob("*.ipynb")):
        nbformat.write(run(path), path)
