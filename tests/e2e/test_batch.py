"""A click is answered while a batch runs: that is what the reserved worker is for."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image
from playwright.sync_api import Page
from redis import Redis
from rich.console import Console

from samples.servers import Backend, Studio
from samples.studio import (
    LABEL_CONFIG,
    connect_backend,
    create_project,
    import_images,
    sample_images,
)
from tests.e2e.predictions import predictions, retrieve, wait_for_predictions
from tests.e2e.projects import Project, make_project
from tests.e2e.smart_tools import click, mask_of, middle, opened, suggestions
from workers.processes.embedded import running_server

pytestmark = pytest.mark.e2e

IMAGES = 20
SIDE = 900  # pixels of a crop
READY_SECONDS = 60


@pytest.fixture
def batch(studio: Studio, served: Backend, tmp_path: Path) -> Iterator[Project]:
    """Images that nobody has seen; what is left of them in the queue is taken back at the end."""
    project = create_project(studio, "a batch", LABEL_CONFIG)
    tasks = import_images(studio, project, crops(tmp_path))
    connect_backend(studio, project, served.base_url)
    yield Project(project, tasks)
    cancel = f"{served.base_url}/api/projects/{project}/cancel"
    requests.post(cancel, json={}, timeout=30).raise_for_status()


def test_a_click_is_answered_before_half_of_a_batch_is_done(
    studio: Studio,
    served: Backend,
    batch: Project,
    page: Page,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = make_project(studio, "beside a batch", served.base_url, images=1)
    retrieve(studio, project)
    wait_for_predictions(studio, project)
    reserved = reserved_worker(served)

    retrieve(studio, batch)
    seen = opened(page, studio, project, project.tasks[0])
    pixel, clicked = middle(seen.mask), time.time()
    click(page, seen.mask.shape, pixel)
    (suggestion,) = suggestions(page, other_than=[])
    shown = time.time()
    done = {prediction["task"] for prediction in predictions(studio, batch)}

    assert mask_of(suggestion, seen.mask.shape)[pixel]
    assert len(done) < IMAGES / 2
    begun = last_job(served, reserved)["since"]
    assert begun > clicked, "another worker answered"
    with capsys.disabled():
        Console(highlight=False).print(
            f"\nbeside a batch: begun {begun - clicked:.2f} s and shown {shown - clicked:.2f} s "
            f"after the click; {len(done)} of {IMAGES} images were done"
        )


def crops(folder: Path) -> list[Path]:
    """Crops of the sample images, each of other pixels."""
    paths = []
    for number in range(IMAGES):
        samples = sample_images()
        step, sample = divmod(number, len(samples))
        left, top = 30 * step, 20 * step
        path = folder / f"crop-{number}.jpg"
        with Image.open(samples[sample]) as image:
            image.crop((left, top, left + SIDE, top + SIDE)).save(path, quality=95)
        paths.append(path)
    return paths


def reserved_worker(backend: Backend) -> str:
    """Name of the worker for people who wait, once it is ready: `dgl-rsis up` is ready before."""
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        workers = requests.get(f"{backend.base_url}/api/status", timeout=30).json()["workers"]
        for worker in workers:
            if worker["queue"] == "interactive" and worker["live"]:
                return str(worker["name"])
        time.sleep(0.2)
    pytest.fail(f"no reserved worker after {READY_SECONDS} s")


def last_job(backend: Backend, worker: str) -> dict[str, Any]:
    """What a worker has in hand, or had last."""
    address = running_server(backend.program.log.parent / "queue")
    assert address is not None
    with Redis.from_url(address) as redis:
        note = redis.get(f"dgl:running:{worker}")
    assert note is not None, f"{worker} had no job"
    job: dict[str, Any] = json.loads(note)  # type: ignore[arg-type]
    return job
