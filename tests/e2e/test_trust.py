"""What a real Label Studio says counts, and what anybody else says in its name does not.

The backend asks for a login, which Label Studio's webhook has not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from backend.commands.demo.processes import free_port
from backend.regions import brush
from backend.studio.webhooks import HEADER
from dgl_rsis.runs import to_runs
from samples.servers import Studio, dgl_rsis
from samples.studio import LABEL_CONFIG, create_project, import_images
from tests.e2e.predictions import predictions, retrieve, wait_for_predictions
from tests.e2e.projects import Project, connection_of, wait_until, webhook

pytestmark = pytest.mark.e2e

LOGIN = ("label-studio", "word")
SIZE = 128


@dataclass(frozen=True)
class Backend:
    """A backend with a login."""

    url: str

    def get(self, path: str) -> Any:
        return requests.get(self.url + path, auth=LOGIN, timeout=10).json()

    def post(self, path: str, content: Any, **options: Any) -> int:
        return requests.post(self.url + path, json=content, timeout=10, **options).status_code

    def learnt(self, project: Project) -> list[str]:
        """The annotations that a project learnt from."""
        view = self.get(f"/api/projects/{project.id}")
        return [annotation for annotation, _ in view["learnt"]["annotations"]]


@pytest.fixture(scope="module")
def guarded(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    environment = connection_of(studio, studio.account.personal_token) | {
        "BASIC_AUTH_USER": LOGIN[0],
        "BASIC_AUTH_PASS": LOGIN[1],
        "INTERACTIVE_WORKERS": "0",
    }
    folder = tmp_path_factory.mktemp("guarded")
    with dgl_rsis(folder, free_port(0), environment, seconds=300) as backend:
        yield Backend(backend.base_url)


def small_project(studio: Studio, folder: Path, title: str) -> Project:
    """A project with one small image."""
    image = folder / f"{title}.png"
    pixels = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    pixels[:, : SIZE // 2] = (30, 60, 90)
    Image.fromarray(pixels).save(image)
    project = create_project(studio, title, LABEL_CONFIG)
    return Project(project, import_images(studio, project, [image]))


@pytest.fixture(scope="module")
def project(studio: Studio, guarded: Backend, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = small_project(studio, tmp_path_factory.mktemp("images"), "connected")
    login = {"basic_auth_user": LOGIN[0], "basic_auth_pass": LOGIN[1]}
    backend = {"url": guarded.url, "project": project.id, "title": "DGL-RSIS"}
    studio.api("POST", "/api/ml/", json={**backend, "auth_method": "BASIC_AUTH", **login})
    return project


def test_the_webhook_that_label_studio_made_gets_its_secret(
    studio: Studio, project: Project
) -> None:
    wait_until(lambda: HEADER in webhook(studio, project.id)["headers"])
    assert webhook(studio, project.id)["send_for_all_actions"]


def test_predictions_are_stored_with_the_tasks_of_a_connected_project_alone(
    studio: Studio, guarded: Backend, project: Project, tmp_path: Path
) -> None:
    foreign = small_project(studio, tmp_path, "foreign")
    (number,) = foreign.tasks
    task = studio.api("GET", f"/api/tasks/{number}/")
    wanted = {"id": number, "data": task["data"]}
    for named in (foreign.id, project.id):
        body = {"tasks": [wanted, {}], "project": f"{named}.1", "label_config": LABEL_CONFIG}
        assert guarded.post("/predict", body, auth=LOGIN) == 200
    retrieve(studio, project)
    wait_for_predictions(studio, project)
    wait_until(lambda: len(refusals(guarded)) == 2)
    assert "not connected" in refusals(guarded)[str(foreign.id)]
    assert f"has no task {number}" in refusals(guarded)[str(project.id)]
    assert predictions(studio, foreign) == []


def test_what_people_submit_teaches_and_forged_events_do_nothing(
    studio: Studio, guarded: Backend, project: Project
) -> None:
    (task,) = project.tasks
    real = str(submit(studio, task))
    wait_until(lambda: guarded.learnt(project) == [real])
    forged = {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": int(real)}]}
    assert guarded.post("/webhook", forged) == 403
    assert guarded.post("/webhook", forged, auth=LOGIN) == 403
    # Whoever may read the project's webhooks can send events; what they say is looked up.
    assert guarded.post("/webhook", forged, headers=webhook(studio, project.id)["headers"]) == 201
    other = str(submit(studio, task))
    wait_until(lambda: guarded.learnt(project) == [real, other])
    assert guarded.get("/api/status")["events"]["refused"] == 2
    studio.api("DELETE", f"/api/annotations/{real}/")
    wait_until(lambda: guarded.learnt(project) == [other])


def refusals(backend: Backend) -> dict[str, str]:
    """Project → why something was not stored."""
    failures = backend.get("/api/status")["failures"]
    return {each["project"]: each["message"] for each in failures if each["stage"] == "delivery"}


def submit(studio: Studio, task: int) -> int:
    """Submit an annotation that somebody drew."""
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[:, : SIZE // 2] = True
    region = {
        "id": "drawn",
        "from_name": "mask",
        "to_name": "image",
        "type": "brushlabels",
        "original_width": SIZE,
        "original_height": SIZE,
        "image_rotation": 0,
        "origin": "manual",
        "value": {"format": "rle", "rle": brush.encode(to_runs(mask)), "brushlabels": ["water"]},
    }
    path = f"/api/tasks/{task}/annotations/"
    return int(studio.api("POST", path, json={"result": [region]})["id"])
