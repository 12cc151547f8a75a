"""What a person waits for in the browser, measured; that answers come is all that is asserted.

Each time is from the press of the mouse or of Enter until the mask is on the screen, and holds what
Label Studio and Chromium take on the machine that runs all of it. Images are the samples turned
over, so that nothing has been computed of them.
"""

import contextlib
import json
import os
import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import requests
from label_studio_sdk.converter.brush import mask2rle
from PIL import Image
from playwright.sync_api import Page
from rich.console import Console
from rich.table import Table

from samples.servers import Studio
from samples.studio import (
    LABEL_CONFIG,
    connect_backend,
    create_project,
    import_images,
    sample_images,
)
from tests.e2e.annotator import SECONDS, SELECTED, SENTENCE, wait_until_open
from tests.e2e.predictions import newest
from tests.e2e.projects import Project
from tests.e2e.smart_tools import (
    LABEL,
    auto_annotate,
    click,
    decoded,
    suggestions,
    take_label,
    take_smart_tool,
    two_pixels,
)

pytestmark = pytest.mark.e2e

TILES = 3


@dataclass
class Watch:
    """Seconds by what was waited for, in the order in which it was first waited for."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Time a block."""
        started = time.monotonic()
        yield
        self.seconds[what].append(time.monotonic() - started)


def test_what_a_person_waits_for(
    studio: Studio,
    backend: str,
    page: Page,
    tmp_path: Path,
    screenshots: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    watch = Watch()
    fresh = project_of(studio, backend, turned(tmp_path, Image.Transpose.FLIP_LEFT_RIGHT))
    for number, task in enumerate(fresh.tasks):
        for what in ("open, the image is new", "open, the prediction is stored"):
            open_by_click(page, studio, fresh, number, watch, what)
        wait_for_answers(page, studio, task, watch)

    predicted = project_of(studio, backend, turned(tmp_path, Image.Transpose.FLIP_TOP_BOTTOM))
    for number, task in enumerate(predicted.tasks):
        size = push_corner(studio, backend, predicted, task)
        open_by_click(page, studio, predicted, number)
        take_tool(page)
        with watch.waiting("first click, the image is new"):
            click(page, size, (size[0] // 2, size[1] // 2))
            suggestions(page, other_than=[])

    assert {len(seconds) for seconds in watch.seconds.values()} == {TILES}
    keep(watch.seconds, screenshots / "waiting.json")
    with capsys.disabled():
        show(watch.seconds)


def wait_for_answers(page: Page, studio: Studio, task: int, watch: Watch) -> None:
    """Two clicks and a sentence, for a task that is open."""
    mask = decoded(newest(studio, task)["result"])[LABEL]
    inside, edge = two_pixels(mask)
    take_tool(page)
    with watch.waiting("first click"):
        click(page, mask.shape, inside)
        first = suggestions(page, other_than=[])
    take_label(page)
    with watch.waiting("further click"):
        click(page, mask.shape, edge, negative=True)
        suggestions(page, other_than=first)
    page.get_by_test_id("bottombar-reject-suggestions-button").click()
    page.wait_for_function(f"{SELECTED}.suggestions.size === 0", timeout=30 * SECONDS)
    prompt = page.locator("[name=prompt]").first
    prompt.fill(SENTENCE)
    with watch.waiting("sentence"):
        prompt.press("Enter")
        suggestions(page, other_than=[])


def open_by_click(
    page: Page,
    studio: Studio,
    project: Project,
    number: int,
    watch: Watch | None = None,
    what: str = "",
) -> None:
    """Open the task of a number in the list of a project as people do, and wait for its masks."""
    page.goto(f"{studio.base_url}/projects/{project.id}/data")
    row = page.get_by_test_id("table-row").nth(number)
    row.wait_for(timeout=120 * SECONDS)
    page.wait_for_load_state("networkidle")  # the list's thumbnails
    with watch.waiting(what) if watch else contextlib.nullcontext():
        row.click()
        wait_until_open(page)


def take_tool(page: Page) -> None:
    """Be ready for a click."""
    auto_annotate(page)
    take_label(page)
    take_smart_tool(page)


def turned(folder: Path, turn: Image.Transpose) -> list[Path]:
    """The sample images turned over."""
    paths = []
    for sample in sample_images()[:TILES]:
        path = folder / f"{sample.stem}-{turn.name}.jpg"
        with Image.open(sample) as image:
            image.transpose(turn).save(path, quality=95)
        paths.append(path)
    return paths


def project_of(studio: Studio, backend: str, images: Sequence[Path]) -> Project:
    """A project of these images with the backend connected."""
    project = create_project(studio, "waiting", LABEL_CONFIG)
    tasks = import_images(studio, project, images)
    connect_backend(studio, project, backend)
    return Project(project, tasks)


def push_corner(studio: Studio, backend: str, project: Project, task: int) -> tuple[int, int]:
    """Give a task a prediction that no worker made; height and width of its image.

    It is a square in a corner: a task that has a prediction is opened without asking the backend.
    """
    body = {"project": f"{project.id}.1", "schema": LABEL_CONFIG}
    version = requests.post(f"{backend}/setup", json=body, timeout=10).json()["model_version"]
    with Image.open(sample_images()[0]) as image:
        width, height = image.size
    corner = np.zeros((height, width), dtype=np.uint8)
    corner[:50, :50] = 255
    region = {
        "type": "brushlabels",
        "from_name": "mask",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": mask2rle(corner), "brushlabels": [LABEL]},
    }
    body = {"task": task, "result": [region], "score": 0.5, "model_version": version}
    studio.api("POST", "/api/predictions/", json=body)
    return height, width


def keep(seconds: Mapping[str, Sequence[float]], path: Path) -> None:
    """Write the times down, with the machine that they are of."""
    with Image.open(sample_images()[0]) as image:
        pixels = image.size
    told = {
        "cores": os.cpu_count(),
        "processor": processor(),
        "load": round(os.getloadavg()[1], 1),  # processes of all who share it, of five minutes
        "image": {"width": pixels[0], "height": pixels[1]},
        "seconds": {what: [round(s, 3) for s in each] for what, each in seconds.items()},
    }
    path.write_text(json.dumps(told, indent=2) + "\n")


def processor() -> str:
    """Its name, as Linux tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def show(seconds: Mapping[str, Sequence[float]]) -> None:
    table = Table(title="waited for, s")
    for column in ("what", "median", "worst"):
        table.add_column(column)
    for what, each in seconds.items():
        table.add_row(what, f"{statistics.median(each):.2f}", f"{max(each):.2f}")
    Console().print(table)
