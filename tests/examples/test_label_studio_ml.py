"""The example under label-studio-ml's server, as far as its calls go; everything else is real."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from redis import Redis

from backend.commands.demo.processes import running
from backend.commands.up.run import PROGRAM
from backend.regions import brush
from dgl_rsis.runs import to_runs
from tests.backend.studio.fake_studio import LEGACY_TOKEN, OURS, FakeStudio, fake_studio
from tests.paths import ROOT
from workers.queue.client import SegmentClient

FOLDER = ROOT / "examples" / "label-studio-ml"
STANDIN = Path(__file__).parent / "standin"
CALLS = """
import json, sys
from _wsgi import app
with app.test_client() as client:
    answers = [client.post(path, json=body) for path, body in json.load(sys.stdin)]
print(json.dumps([[answer.status_code, answer.json] for answer in answers]))
"""


@pytest.fixture(scope="module")
def studio() -> Iterator[FakeStudio]:
    with fake_studio() as studio:
        yield studio


@pytest.fixture(scope="module")
def started(
    studio: FakeStudio, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """`dgl-rsis up` with the starter weights, which also serves by itself; its addresses."""
    folder = tmp_path_factory.mktemp("up")
    standin = shutil.copytree(STANDIN, folder / "standin")
    (standin / "label_studio_ml" / "__init__.py").touch()  # before the released 1.0.9
    state = folder / "state.json"
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("LABEL_STUDIO_")}
    environment = inherited | {
        "LOCAL_FILES_DOCUMENT_ROOT": str((ROOT / "samples" / "dubai-5-8.jpg").resolve().parent),
        "LABEL_STUDIO_HOST": studio.url,  # as label-studio-ml's servers know them
        "LABEL_STUDIO_ACCESS_TOKEN": LEGACY_TOKEN,
        "INTERACTIVE_WORKERS": "0",
        "REFRESH_SECONDS": "3600",
    }
    command = [*PROGRAM, "up", "--host", "127.0.0.1", "--port", "0"]
    command += ["--state", str(state), "--data", str(folder / "queue")]
    with running(command, environment, folder / "log") as program:
        program.wait_until(state.exists, 120)
        yield json.loads(state.read_text()) | {"studio": studio.url, "standin": str(standin)}


def environment(started: dict[str, str]) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": f"{started['standin']}:{FOLDER}",
        "REDIS_URL": started["redis_url"],
        "LABEL_STUDIO_HOST": started["studio"],
        "LABEL_STUDIO_ACCESS_TOKEN": LEGACY_TOKEN,
        "SINGLE_TASK_SECONDS": "60",
    }


def calls(started: dict[str, str], *made: tuple[str, Any]) -> list[tuple[int, Any]]:
    """What the example's server answers."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", CALLS], input=json.dumps(made), env=environment(started),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [tuple(each) for each in json.loads(done.stdout.splitlines()[-1])]  # type: ignore[misc]


def test_its_own_tests_pass(started: dict[str, str]) -> None:
    command = [
        sys.executable,
        "-P",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
    ]
    done = subprocess.run(
        [*command, FOLDER / "test_api.py"], env=environment(started), cwd=FOLDER,
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert "5 passed" in done.stdout, done.stdout + done.stderr


def test_masks_are_those_of_our_own_server(started: dict[str, str]) -> None:
    config = (ROOT / "tests" / "examples" / "config.xml").read_text()
    body: dict[str, Any] = {
        "tasks": [{"id": "preview", "data": {"image": "/data/local-files/?d=dubai-5-8.jpg"}}],
        "project": "1.1795419101",
        "label_config": config,
        "params": {"context": None},
    }
    ((status, hosted),) = calls(started, ("/predict", body))
    body["tasks"][0]["id"] = "another"  # one call at a time is answered for a task
    ours = requests.post(f"{started['url']}/predict", json=body, timeout=60).json()
    assert status == 200
    assert masks(hosted) == masks(ours)
    assert masks(hosted)


def masks(answer: Any) -> list[tuple[str, list[int]]]:
    """Labels and run lengths of the one prediction; ids of regions are new each time."""
    (prediction,) = answer["results"]
    return [(r["value"]["brushlabels"][0], r["value"]["rle"]) for r in prediction["result"]]


def test_it_learns_from_what_label_studio_has_and_from_nothing_else(
    started: dict[str, str], studio: FakeStudio
) -> None:
    config = (ROOT / "tests" / "examples" / "config.xml").read_text()
    studio.label_config = config
    studio.answers = lambda _: 404  # that server knows no /versions
    with Redis.from_url(started["redis_url"]) as redis:
        redis.delete("dgl:connected:1")  # that it is not is known for some seconds
        client = SegmentClient(redis)
        announced = client.announced()
        assert announced is not None
        studio.connect("DGL-RSIS", announced.model_version)
        studio.images[1] = "/data/local-files/?d=dubai-5-8.jpg"
        studio.annotations.append(annotation(11))
        forged = annotation(12)["result"]
        event = {"action": "ANNOTATION_CREATED", "project": {"id": 1}}
        answers = calls(
            started,
            ("/webhook", {**event, "annotation": {"id": 11}}),
            ("/webhook", {**event, "annotation": {"id": 12, "result": forged}}),
            ("/webhook", {**event, "project": {"id": 2}, "annotation": {"id": 11}}),
            ("/webhook", {"action": "START_TRAINING", "project": {"id": 1}}),
        )
        assert [status for status, _ in answers] == [201] * 4
        end = time.monotonic() + 60
        while not (learnt := client.corrections.learnt("1")).annotations:
            assert time.monotonic() < end
            time.sleep(0.2)
        assert list(learnt.annotations) == ["11"]
        assert client.corrections.learnt("2").annotations == ()


def annotation(number: int) -> dict[str, Any]:
    """A corrected roof, as Label Studio keeps it."""
    mask = np.zeros((1058, 1126), dtype=np.bool_)
    mask[300:420, 300:420] = True
    value = {"format": "rle", "rle": brush.encode(to_runs(mask)), "brushlabels": ["building"]}
    region = {
        "id": "a", "type": "brushlabels", "from_name": "mask", "to_name": "image", "value": value,
        "original_width": 1126, "original_height": 1058, "image_rotation": 0,
    }  # fmt: skip
    stored = {"id": number, "task": 1, "project": 1, "was_cancelled": False, "result": [region]}
    return {**stored, "parent_prediction": None, "updated_at": "2026-01-01T00:00:00Z"}


def test_the_stand_in_reports_the_version_of_the_worker(started: dict[str, str]) -> None:
    config = (ROOT / "tests" / "examples" / "config.xml").read_text()
    ((status, said),) = calls(started, ("/setup", {"project": "9.1", "schema": config}))
    assert status == 200
    assert said["model_version"] not in ("0.0.1", OURS)
    assert said["model_version"].startswith("dgl-rsis-")
