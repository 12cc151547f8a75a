"""A scene whose tiles lie in an S3 bucket, which Label Studio alone has the keys of."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from backend.commands.demo.processes import LOOPBACK, free_port, running
from samples.servers import Backend, Studio
from samples.studio import LABEL_CONFIG, connect_backend, create_project, sample_images
from tests.e2e.predictions import accept, retrieve, wait_for_predictions
from tests.e2e.projects import Project, connection_of
from tests.e2e.test_training_sets import run

pytestmark = pytest.mark.e2e

SECONDS = 60
KEYS = {"aws_access_key_id": "id-of-a-key", "aws_secret_access_key": "secret-of-a-key"}


@dataclass(frozen=True)
class Bucket:
    """A bucket of an S3 that runs here.

    Attributes:
        endpoint: of the S3.
        name: of the bucket.
    """

    endpoint: str
    name: str = "scenes"

    def upload(self, folder: Path, prefix: str) -> None:
        """Put the images of a folder below a prefix."""
        for file in folder.glob("*.png"):
            address = f"{self.endpoint}/{self.name}/{prefix}/{file.name}"
            requests.put(address, file.read_bytes(), timeout=SECONDS).raise_for_status()


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    """Of moto's S3, which checks signatures no less than Amazon's does whether there is one."""
    port = free_port(0)
    log = tmp_path_factory.mktemp("cloud") / "moto.log"
    command = [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(port)]
    with running(command, os.environ, log) as program:
        made = Bucket(f"http://{LOOPBACK}:{port}")
        program.wait_until(lambda: _made(made), SECONDS)
        yield made


def _made(bucket: Bucket) -> bool:
    try:
        return requests.put(f"{bucket.endpoint}/{bucket.name}", timeout=SECONDS).ok
    except requests.ConnectionError:
        return False


@pytest.fixture
def tiles(tmp_path: Path, bucket: Bucket) -> Path:
    """Two tiles with a blank in their names, uploaded; `import.json` says where."""
    scene = tmp_path / "north bank.png"
    with Image.open(sample_images()[0]) as image:
        image.convert("RGB").crop((0, 0, 480, 256)).save(scene)
    out = tmp_path / "tiles"
    prefix = f"s3://{bucket.name}/{tmp_path.name}"
    run("tile", scene, "--size", 256, "--overlap", 32, "--out", out, "--image-prefix", prefix)
    bucket.upload(out, tmp_path.name)
    return out


def _project(studio: Studio, bucket: Bucket, tiles: Path, *, presign: bool) -> Project:
    """The tasks of `import.json`, and a storage of the bucket that is not synced."""
    project = create_project(studio, f"in a cloud {presign}", LABEL_CONFIG)
    storage = {"project": project, "bucket": bucket.name, "s3_endpoint": bucket.endpoint, **KEYS}
    studio.api("POST", "/api/storages/s3/", json={**storage, "presign": presign})
    tasks = json.loads((tiles / "import.json").read_text("utf-8"))
    assert all(task["data"]["image"].startswith("s3://") for task in tasks)
    answer = studio.api(
        "POST", f"/api/projects/{project}/import", json=tasks, params={"return_task_ids": "true"}
    )
    return Project(project, answer["task_ids"])


def test_signed_addresses(studio: Studio, bucket: Bucket, tiles: Path, tmp_path: Path) -> None:
    """`prelabel` and `export` of a project, by addresses that Label Studio signs."""
    project = _project(studio, bucket, tiles, presign=True)
    connection = connection_of(studio, studio.account.personal_token)
    allowed = connection | {"ALLOWED_IMAGE_HOSTS": bucket.endpoint.removeprefix("http://")}
    bulk = ("prelabel", "--project", project.id, "--push", "--local", "--out", tmp_path / "bulk")
    run(*bulk, environment=allowed)
    wait_for_predictions(studio, project)
    for task in project.tasks:
        accept(studio, task)
    options = ("--format", "semantic", "--split", "1,0,0", "--out", tmp_path / "set")
    run("export", "--project", project.id, *options, environment=allowed)
    written = sorted((tmp_path / "set/semantic/train/images").iterdir())
    for file, tile in zip(written, sorted(tiles.glob("*.png")), strict=True):
        assert np.array_equal(np.asarray(Image.open(file)), np.asarray(Image.open(tile)))


def test_files_that_label_studio_passes_on(
    studio: Studio, served: Backend, bucket: Bucket, tiles: Path
) -> None:
    """The backend, for a storage that signs nothing: no setting is needed."""
    project = _project(studio, bucket, tiles, presign=False)
    connect_backend(studio, project.id, served.base_url)
    retrieve(studio, project)
    assert len(wait_for_predictions(studio, project)) == 2
