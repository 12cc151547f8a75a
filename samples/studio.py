"""Try the product: a real Label Studio with a demo project, and this backend connected to it.

`make studio` runs it and keeps it running until Ctrl-C. What it does to Label Studio
(`create_project`, `import_images`, `connect_backend`) also serves the end-to-end tests.
"""

import argparse
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console

from backend.commands.demo.processes import StartError, free_port
from backend.commands.demo.sample import LABEL_CONFIG, sample_images
from samples.servers import ROOT, STUDIO_PYTHON, Backend, Studio, dgl_rsis, label_studio
from samples.updating import update

LOG = logging.getLogger(__name__)

TITLE = "DGL-RSIS demo"
# Label Studio's page takes the numbers of a list away, so they are written out.
INSTRUCTION = """<p>1. Look at the masks that are there (<b>Ctrl + H</b> hides and shows them). Is
one of the wrong class? Select it and press the digit of the right one.</p>
<p>2. Switch on <b>Auto-Annotation</b> at the bottom of the page, once.</p>
<p>3. Repair a mask: press <b>K</b>, then the letter of its class (<b>a</b>, <b>s</b>, <b>d</b> …),
then <b>Ctrl + click</b> on it and where it goes on, or <b>Ctrl + Alt + click</b> where it is
wrong.</p>
<p>4. Add a thing: the same click beside all masks of its class, a box (<b>R</b>,
<b>Shift + letter</b>), words in the field <i>Find by words</i>, or the brush (<b>B</b>; eraser
<b>E</b>).</p>
<p>5. A suggestion is kept when you press the tick beside <i>suggestions</i>; the cross drops it.
A point that got no mask: <b>Ctrl + Z</b>.</p>
<p>6. Nothing left to repair: <b>Submit</b> (<b>Ctrl + Enter</b>).</p>"""


def create_project(studio: Studio, title: str, label_config: str, instruction: str = "") -> int:
    """Create a project and return its id.

    Args:
        studio: a running Label Studio.
        title: three characters or more.
        label_config: XML.
        instruction: HTML for annotators; shown by a button over the task, and when they begin to
            label all tasks in a row. Empty for none.
    """
    body = {
        "title": title,
        "label_config": label_config,
        "show_collab_predictions": True,
        "expert_instruction": instruction,
        "show_instruction": bool(instruction),
    }
    return int(studio.api("POST", "/api/projects/", json=body)["id"])


def find_project(studio: Studio, title: str) -> int | None:
    """Id of the project with exactly this title, or None."""
    projects = studio.api("GET", "/api/projects/", params={"title": title})["results"]
    return next((int(project["id"]) for project in projects if project["title"] == title), None)


def import_images(studio: Studio, project: int, images: Sequence[Path]) -> list[int]:
    """Upload images, one task each, and return the ids of the tasks in the same order."""
    path = f"/api/projects/{project}/import"
    tasks: list[int] = []
    for image in images:
        upload = {image.name: (image.name, image.read_bytes())}
        tasks += studio.api("POST", path, files=upload, params={"return_task_ids": "true"})[
            "task_ids"
        ]
    return tasks


def connect_backend(studio: Studio, project: int, url: str) -> int:
    """Connect the backend at `url` to a project, or move the one connected; return its id.

    One that is connected keeps its title: once there are predictions it is their version.
    """
    connected = studio.api("GET", "/api/ml/", params={"project": project})
    body = {"url": url, "project": project, "is_interactive": True}
    if connected:
        changed = studio.api("PATCH", f"/api/ml/{connected[0]['id']}", json=body)
        return int(changed["id"])
    return int(studio.api("POST", "/api/ml/", json={**body, "title": "DGL-RSIS"})["id"])


def main() -> int:
    """Command line of `make studio`; returns the exit status."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # SIGINT too: what a script starts in the background ignores it otherwise.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        _run_demo(options)
    except StartError as error:
        LOG.error("%s", error)
        return 1
    except KeyboardInterrupt:
        LOG.info("stopped")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, prog="make studio")
    parser.add_argument("--python", type=Path, default=STUDIO_PYTHON, help="of Label Studio")
    parser.add_argument("--port", type=int, default=8080, help="of Label Studio (8080)")
    parser.add_argument("--backend-port", type=int, default=9090, help="of the backend (9090)")
    parser.add_argument("--data-dir", type=Path, default=ROOT / "var" / "studio")
    return parser.parse_args()


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Let a kill or a closed terminal unwind the `with` blocks as Ctrl-C does."""
    raise KeyboardInterrupt


def _run_demo(options: argparse.Namespace) -> None:
    """Start both servers, set up the project once, say where to click, and wait."""
    LOG.info("Starting Label Studio (the first time takes a minute or two) …")
    port = free_port(options.port)
    with label_studio(options.data_dir, port, options.python) as studio:
        LOG.info("Starting the backend …")
        connection = {
            "LABEL_STUDIO_URL": studio.base_url,
            "LABEL_STUDIO_API_KEY": studio.account.personal_token,
        }
        backend_port = free_port(options.backend_port)
        with dgl_rsis(options.data_dir, backend_port, connection) as backend:
            project = _demo_project(studio)
            connect_backend(studio, project, backend.base_url)
            _say_where_to_click(studio, project, backend)
            while True:
                studio.program.check()
                backend.program.check()
                time.sleep(1)


def _demo_project(studio: Studio) -> int:
    """The demo project with every image of samples/ imported; made the first time, then updated."""
    project = find_project(studio, TITLE)
    if project is None:
        project = create_project(studio, TITLE, LABEL_CONFIG, INSTRUCTION)
    elif said := update(studio, project, LABEL_CONFIG, INSTRUCTION):
        LOG.info("%s", said)
    if not studio.api("GET", f"/api/projects/{project}/")["task_number"]:
        import_images(studio, project, sample_images())
    return project


def _say_where_to_click(studio: Studio, project: int, backend: Backend) -> None:
    """Print the address, the login and the first steps."""
    Console().print(
        f"\n[bold]Label Studio[/] {studio.base_url}/projects/{project}/data\n"
        f"  user      {studio.account.email}\n"
        f"  password  {studio.account.password}\n"
        f"[bold]Backend[/]      {backend.base_url}/status\n\n"
        "1. Log in and click a task: its masks appear within seconds.\n"
        "2. Press Instructions (at the top): six lines on how to correct them.\n"
        "3. Turn on Auto-Annotation (at the bottom) for clicks, boxes and words.\n"
        "4. For all images at once: tick them in the list, Actions, Retrieve Predictions.\n\n"
        "Ctrl-C stops both; the project is kept for the next start.",
        highlight=False,
    )


if __name__ == "__main__":
    sys.exit(main())
