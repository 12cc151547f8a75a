"""From a scene to a training set: tiles, pre-labels, a person, what is learnt, raster and COCO."""

import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import requests
from affine import Affine
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page
from pycocotools.coco import COCO

from samples.servers import Studio, program_path
from samples.studio import LABEL_CONFIG, connect_backend, create_project, sample_images
from tests.e2e.annotator import decoded, open_task, submit
from tests.e2e.predictions import accept
from tests.e2e.projects import Project, connection_of

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")]

LABELS = ["building", "road", "vegetation", "water", "land"]  # of LABEL_CONFIG
CRS, TRANSFORM = "EPSG:32640", Affine(0.5, 0.0, 325_000.0, 0.0, -0.5, 2_785_000.0)
SIZE, OVERLAP = 256, 32
LEARNING_SECONDS = 120  # a worker may be busy with a picture


def test_from_a_scene_to_a_training_set(
    studio: Studio, backend: str, page: Page, tmp_path: Path, screenshots: Path
) -> None:
    connection = connection_of(studio, studio.account.personal_token)
    scene = make_scene(studio.files / "delta.tif")
    tiles = studio.files / "tiles"
    run("tile", scene, "--size", SIZE, "--overlap", OVERLAP, "--out", tiles, "--root", studio.files)
    project = imported(studio, tiles)
    assert len(project.tasks) == 2

    run(
        *("prelabel", "--project", project.id, "--push", "--local", "--out", tmp_path / "bulk"),
        environment=connection,
    )
    stored = studio.api("GET", "/api/predictions/", params={"project": project.id})
    assert sorted(p["task"] for p in stored) == sorted(project.tasks)

    connect_backend(studio, project.id, backend)
    open_task(page, studio, project, project.tasks[0])  # the tile and its pre-label are there
    page.screenshot(path=screenshots / "e2e-tile.png")
    before = version(backend, project)
    submit(page)
    assert learnt(backend, project, before).startswith(f"{before}+p")
    accept(studio, project.tasks[1])

    export = tmp_path / "export.json"
    exported = studio.api("GET", f"/api/projects/{project.id}/export?exportType=JSON")
    export.write_text(json.dumps(exported), "utf-8")
    labels = tmp_path / "labels.tif"
    run("untile", export, "--out", labels, "--labels", ",".join(LABELS))
    assert_put_together(labels, exported)

    coco = tmp_path / "set"
    run(
        "export", "--project", project.id, "--format", "coco", "--out", coco, environment=connection
    )
    assert_same_in_coco(coco / "coco", exported)

    numbers = tmp_path / "report.json"
    run("report", "--project", project.id, "--json", numbers, environment=connection)
    (whole,) = json.loads(numbers.read_text("utf-8"))["versions"].values()
    assert (whole["pairs"], whole["untouched"], whole["class_iou"]) == (2, 2, 1.0)


def make_scene(path: Path) -> Path:
    """A georeferenced piece of a real image, two tiles wide."""
    with Image.open(sample_images()[0]) as image:
        pixels = np.asarray(image.convert("RGB"))[:SIZE, : 2 * SIZE - OVERLAP]
    height, width = pixels.shape[:2]
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, "crs": CRS, "transform": TRANSFORM}
    with rasterio.open(path, "w", height=height, width=width, **profile) as file:
        file.write(pixels.transpose(2, 0, 1))
    return path


def imported(studio: Studio, tiles: Path) -> Project:
    """A project of tiles that Label Studio serves as local files."""
    project = create_project(studio, "tiles of a scene", LABEL_CONFIG)
    storage = {"project": project, "title": "tiles", "path": str(tiles), "use_blob_urls": True}
    studio.api("POST", "/api/storages/localfiles", json=storage)
    tasks = json.loads((tiles / "import.json").read_text("utf-8"))
    path = f"/api/projects/{project}/import"
    answer = studio.api("POST", path, json=tasks, params={"return_task_ids": "true"})
    return Project(project, answer["task_ids"])


def run(*words: Any, environment: Mapping[str, str] | None = None) -> None:
    """Run `dgl-rsis`; its output is the message when it fails."""
    command = [program_path(), *map(str, words)]
    ended = subprocess.run(
        command, env=os.environ | (environment or {}), capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr


def version(backend: str, project: Project) -> str:
    """The model version that Label Studio would be told now."""
    body = {"project": f"{project.id}.1", "schema": LABEL_CONFIG}
    answer = requests.post(f"{backend}/setup", json=body, timeout=30).json()
    announced: str = answer["model_version"]
    return announced


def learnt(backend: str, project: Project, before: str) -> str:
    """The next version, once there is one."""
    deadline = time.monotonic() + LEARNING_SECONDS
    while (current := version(backend, project)) == before and time.monotonic() < deadline:
        time.sleep(0.2)
    return current


def assert_put_together(labels: Path, exported: list[dict[str, Any]]) -> None:
    """Each pixel has the label of the tile that holds it deepest."""
    with rasterio.open(labels) as file:
        classes = file.read(1)
        assert (str(file.crs), file.transform) == (CRS, TRANSFORM)
    for task in exported:
        column, _, width, _ = task["data"]["window"]
        # The seam runs through the middle of the overlap.
        own = slice(0, SIZE - OVERLAP // 2) if column == 0 else slice(OVERLAP // 2, width)
        expected = numbers_of(task)
        np.testing.assert_array_equal(
            classes[:, column:][:, own], expected[:, own], err_msg=task["data"]["image"]
        )


def numbers_of(task: dict[str, Any]) -> NDArray[np.int64]:
    """(H, W): the number of each pixel's label, 0 for none."""
    numbers: NDArray[np.int64] = np.zeros((SIZE, SIZE), dtype=np.int64)
    for label, mask in decoded(task["annotations"][0]["result"]).items():
        numbers[mask] = LABELS.index(label) + 1
    return numbers


def assert_same_in_coco(folder: Path, exported: list[dict[str, Any]]) -> None:
    """pycocotools reads the masks that people submitted."""
    seen = 0
    for file in sorted(folder.rglob("*.json")):
        coco = COCO(str(file))
        names = {each["id"]: each["name"] for each in coco.dataset["categories"]}
        for image in coco.dataset["images"]:
            (task,) = [t for t in exported if Path(t["data"]["image"]).stem in image["file_name"]]
            wanted = decoded(task["annotations"][0]["result"])
            for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]])):
                mask = coco.annToMask(annotation).astype(bool)
                np.testing.assert_array_equal(mask, wanted.pop(names[annotation["category_id"]]))
            assert not wanted
            seen += 1
    assert seen == len(exported)
