"""How long a real Label Studio takes to store a prediction, asked for one first as deliveries do.

python -m benchmarks.pushes --tasks 60

Needs the Label Studio of `make studio` (.venv-studio). Its database is SQLite here; masks are those
of six labels with ragged outlines.
"""

import argparse
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from backend.commands.demo.processes import free_port
from backend.project import label_config
from backend.regions.writing import to_predictions
from backend.studio.client import StudioClient
from benchmarks.scaling import LABELS, ragged, regular
from samples.servers import label_studio
from samples.studio import create_project
from workers.messages import SegmentReply

CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="brush" toName="image">'
    + "".join(f'<Label value="{label.name}"/>' for label in LABELS)
    + "</BrushLabels></View>"
)


def store(studio: StudioClient, task: int, reply: SegmentReply) -> float:
    """Seconds of one delivery's two calls."""
    started = time.perf_counter()
    studio.predictions(task, reply.model_version)
    for prediction in to_predictions(reply, label_config.parse(CONFIG), reply.model_version):
        studio.push(task, prediction)
    return time.perf_counter() - started


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=60)
    count = parser.parse_args().tasks
    reply = ragged(regular(), np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as folder, label_studio(Path(folder), free_port(0)) as there:
        project = create_project(there, "pushes", CONFIG)
        rows = [{"data": {"image": f"http://localhost/{i}.png"}} for i in range(2 * count)]
        there.api("POST", f"/api/projects/{project}/import", json=rows)
        listed = there.api("GET", f"/api/tasks?project={project}&page_size={2 * count}")
        tasks = [each["id"] for each in listed["tasks"]]
        token = there.account.legacy_token
        studio = StudioClient(there.base_url, token)
        alone = [store(studio, task, reply) for task in tasks[:count]]
        sys.stdout.write(f"one after the other: median {statistics.median(alone):.3f} s\n")
        clients = [StudioClient(there.base_url, token) for _ in range(4)]
        started = time.perf_counter()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda i: store(clients[i % 4], tasks[count + i], reply), range(count)))
        sys.stdout.write(f"four at once: {count / (time.perf_counter() - started):.1f} a second\n")


if __name__ == "__main__":
    main()
