"""The demo: everything is started on free ports, asked as Label Studio asks, and stopped."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import requests
from PIL import Image
from redis import Redis
from rich.console import Console
from rich.table import Table

from backend.commands.demo.processes import LOOPBACK, Program, StartError, running
from backend.commands.demo.sample import LABEL_CONFIG
from backend.commands.program import PROGRAM
from backend.project import label_config
from backend.project.colours import colours
from backend.regions import reading
from dgl_rsis.overlays import overlay
from dgl_rsis.rasters import read_rgb
from dgl_rsis.runs import Runs, area, from_runs
from dgl_rsis.types import Segment
from workers.messages import SegmentReply
from workers.queue.client import SegmentClient

READY_SECONDS = 180.0  # to import torch on a busy machine
ANSWER_SECONDS = 120.0
OURS = ("REDIS_", "LABEL_STUDIO_", "BASIC_AUTH_", "LOCAL_FILES_")


@dataclass(frozen=True)
class Asked:
    """What /predict was asked and what it answered.

    Attributes:
        task: as Label Studio sends it.
        prediction: the answer.
        model_version: of /setup.
        seconds: that /predict took.
    """

    task: dict[str, Any]
    prediction: dict[str, Any]
    model_version: str
    seconds: float


def run(image: Path, out: Path, folder: Path) -> None:
    """Pre-label an image through the queue; `predictions.json`, `overlay.png` and a table say how.

    Args:
        image: an absolute path.
        out: folder of the results and of the log.
        folder: an empty one, for the queue.

    Raises:
        StartError: a process did not start, or there were no masks in time.
        requests.RequestException: the web server does not answer.
        OSError: a result cannot be written.
    """
    state = folder / "state.json"
    command = [*PROGRAM, "up", "--port", "0"]
    command += ["--host", LOOPBACK, "--state", str(state), "--data", str(folder / "queue")]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
    environment = inherited | {"LOCAL_FILES_DOCUMENT_ROOT": str(image.parent)}
    Console().print("starting the queue, the workers and the web server …")
    with running(command, environment, out / "up.log") as program:
        program.wait_until(state.exists, READY_SECONDS)
        addresses = json.loads(state.read_text())
        asked = _ask(addresses["url"], image, program)
        reply = _reply(addresses["redis_url"], asked)
    predictions = [{"data": asked.task["data"], "predictions": [asked.prediction]}]
    (out / "predictions.json").write_text(json.dumps(predictions), "utf-8")
    _draw(image, asked.prediction, out / "overlay.png")
    _print(asked, reply, out)


def _ask(url: str, image: Path, program: Program) -> Asked:
    """/health, /setup and /predict, with the bodies that Label Studio 1.23.2 sends."""
    with requests.Session() as session:
        session.trust_env = False
        project = "1.1795419101"
        _json(session.get(f"{url}/health", timeout=1))
        setup = {
            "project": project,
            "schema": LABEL_CONFIG,
            "hostname": "http://127.0.0.1:8080",
            "access_token": "",
            "extra_params": None,
        }
        version = _json(session.post(f"{url}/setup", json=setup, timeout=3))["model_version"]
        task = {
            "id": 1,
            "data": {"image": f"/data/local-files/?d={image.name}"},
            "annotations": [],
            "predictions": [],
        }
        body = {
            "tasks": [task],
            "project": project,
            "label_config": LABEL_CONFIG,
            "params": {"login": None, "password": None, "context": None},
        }
        started = time.perf_counter()
        while time.perf_counter() - started < ANSWER_SECONDS:
            program.check()
            answer = _json(session.post(f"{url}/predict", json=body, timeout=100))["results"][0]
            if answer:
                return Asked(task, answer, version, time.perf_counter() - started)
            time.sleep(1)
        raise StartError(f"no masks within {ANSWER_SECONDS:.0f} s; see {program.log}")


def _json(response: requests.Response) -> dict[str, Any]:
    response.raise_for_status()
    content: dict[str, Any] = response.json()
    return content


def _reply(redis_url: str, asked: Asked) -> SegmentReply:
    """What the worker stored: the prediction does not carry the seconds of the stages."""
    key = label_config.parse(LABEL_CONFIG).to_request(asked.task, asked.model_version).key
    with Redis.from_url(redis_url) as redis:
        reply = SegmentClient(redis).look_up([key])[key]
    if not isinstance(reply, SegmentReply):
        raise StartError(f"the worker has no reply under {key}: {reply}")
    return reply


def _draw(path: Path, prediction: dict[str, Any], out: Path) -> None:
    """The masks as Label Studio would decode them, over the image."""
    config = label_config.parse(LABEL_CONFIG)
    by_label = colours([label.name for label in config.labels], config.colours)
    segments = [
        Segment(region["value"]["brushlabels"][0], region["score"], from_runs(_mask(region)))
        for region in prediction["result"]
    ]
    Image.fromarray(overlay(read_rgb(path.read_bytes()), segments, by_label)).save(out)


def _mask(region: dict[str, Any]) -> Runs:
    return reading.mask(region, (region["original_height"], region["original_width"]))


def _print(asked: Asked, reply: SegmentReply, out: Path) -> None:
    table = Table("label", "regions", "area %", "score")
    pixels = reply.height * reply.width
    for label in label_config.parse(LABEL_CONFIG).labels:
        regions = [
            r for r in asked.prediction["result"] if r["value"]["brushlabels"] == [label.name]
        ]
        covered = sum(area(_mask(r)) for r in regions)
        score = f"{np.mean([r['score'] for r in regions]):.2f}" if regions else "–"
        table.add_row(label.name, str(len(regions)), f"{100 * covered / pixels:.1f}", score)
    console = Console()
    console.print(table)
    stages = "  ".join(f"{stage} {seconds:.2f}" for stage, seconds in reply.seconds.items())
    console.print(f"seconds: {stages}  (/predict {asked.seconds:.2f})", highlight=False)
    console.print(f"model version {asked.model_version}", highlight=False)
    console.print(f"wrote {out / 'predictions.json'} and {out / 'overlay.png'}", highlight=False)
