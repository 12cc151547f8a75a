"""What a correction does by itself: new predictions, scores without gaps, and back again."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from backend.commands.demo.processes import free_port
from samples.servers import Studio, dgl_rsis, program_path
from samples.studio import LABEL_CONFIG, connect_backend, import_images, sample_images
from tests.e2e.annotator import SECONDS
from tests.e2e.predictions import (
    accept,
    newest,
    predictions,
    retrieve,
    wait_for_predictions,
)
from tests.e2e.projects import Project, connection_of, make_project, wait_until
from workers.processes.embedded import running_server

pytestmark = pytest.mark.e2e

BY_SCORE = {"ordering": ["tasks:predictions_score"]}


@dataclass(frozen=True)
class Backend:
    """A backend that does not wait long after a correction.

    Attributes:
        url: its address.
        queue: folder of its queue.
    """

    url: str
    queue: Path


@pytest.fixture(scope="module")
def quick(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    connection = connection_of(studio, studio.account.personal_token) | {"REFRESH_SECONDS": "1"}
    folder = tmp_path_factory.mktemp("quick")
    with dgl_rsis(folder, free_port(0), connection) as backend:
        yield Backend(backend.base_url, folder / "queue")


@pytest.fixture(scope="module")
def project(studio: Studio, quick: Backend) -> Project:
    """Three tiles that have predictions, and scores of them."""
    project = make_project(studio, "learning", quick.url, images=3)
    retrieve(studio, project)
    wait_for_predictions(studio, project)
    wait_until(lambda: None not in scores(studio, project).values())
    return project


def test_the_data_manager_puts_the_doubtful_first(
    studio: Studio, project: Project, page: Page, screenshots: Path
) -> None:
    view = studio.api(
        "POST",
        "/api/dm/views/",
        json={"project": project.id, "data": {"title": "doubtful first", **BY_SCORE}},
    )["id"]
    listed = studio.api("GET", "/api/tasks/", params={"view": view, "project": project.id})
    ordered = [task["predictions_score"] for task in listed["tasks"]]
    assert len(ordered) == len(project.tasks)
    assert ordered == sorted(ordered)
    page.goto(f"{studio.base_url}/projects/{project.id}/data?tab={view}")
    shown_score = f"{ordered[0]:.3f}".rstrip("0")  # as the data manager rounds
    page.get_by_text(shown_score).first.wait_for(timeout=60 * SECONDS)
    page.screenshot(path=screenshots / "e2e-doubtful-first.png")


def test_a_correction_brings_new_predictions_and_reset_takes_them_back(
    studio: Studio, project: Project, quick: Backend
) -> None:
    before, corrected = shown(studio, project), project.tasks[0]
    others = set(project.tasks[1:])
    correct(studio, corrected)

    def followed() -> bool:
        column = scores(studio, project)
        assert None not in [column[task] for task in others], "the column is blank meanwhile"
        return shown(studio, project) != before

    wait_until(followed)
    after = shown(studio, project)
    assert after.startswith(f"{before}+p")
    made = {p["task"] for p in predictions(studio, project) if p["model_version"] == after}
    assert made == others

    adapt(quick, "reset", project.id)
    wait_until(lambda: shown(studio, project) == before)
    assert None not in scores(studio, project).values()
    assert len(predictions(studio, project)) == len(project.tasks) + len(others)


def test_the_page_forgets_what_a_project_learnt(
    studio: Studio, quick: Backend, page: Page, screenshots: Path
) -> None:
    project = make_project(studio, "forgotten", quick.url, images=1)
    retrieve(studio, project)
    wait_for_predictions(studio, project)
    base = served(quick, project)
    correct(studio, project.tasks[0])
    wait_until(lambda: served(quick, project).startswith(f"{base}+p"))
    assert f"project {project.id} learnt" in adapt(quick, "status", project.id)

    page.goto(f"{quick.url}/projects/{project.id}")
    page.get_by_text("Forget all…").click()
    page.get_by_role("button", name="Yes, forget it").click()
    expect(page.get_by_role("status")).to_have_text("Done.")
    expect(page.locator("#learnt")).to_contain_text("Nothing yet")
    page.screenshot(path=screenshots / "e2e-forgotten.png")

    assert served(quick, project) == base
    status = adapt(quick, "status", project.id)
    assert "learnt" not in status
    _, line = status.splitlines()
    assert line.split() == [str(project.id), "yes", "-", "0", "0", "0", "KiB"]


def test_the_label_stream_still_asks_for_new_tasks(studio: Studio, quick: Backend) -> None:
    project = make_project(studio, "label stream", quick.url, images=1)
    retrieve(studio, project)
    wait_for_predictions(studio, project)
    wait_until(lambda: None not in scores(studio, project).values())
    version = shown(studio, project)
    connect_backend(studio, project.id, quick.url)
    assert shown(studio, project) == version, "connecting anew took the version away"

    (added,) = import_images(studio, project.id, sample_images()[1:2])
    accept(studio, project.tasks[0])
    task = studio.api("GET", f"/api/projects/{project.id}/next")
    assert task["id"] == added
    assert [p["result"] for p in task["predictions"]] != []


def scores(studio: Studio, project: Project) -> dict[int, float | None]:
    """Task → what the data manager's column says."""
    asked = {"project": project.id, "query": json.dumps(BY_SCORE)}
    listed = studio.api("GET", "/api/tasks/", params=asked)["tasks"]
    return {int(task["id"]): task["predictions_score"] for task in listed}


def shown(studio: Studio, project: Project) -> str:
    version: str = studio.api("GET", f"/api/projects/{project.id}/")["model_version"]
    return version


def served(backend: Backend, project: Project) -> str:
    """The version that /setup reports for a project."""
    body = {"project": f"{project.id}.1", "schema": LABEL_CONFIG}
    answer = requests.post(f"{backend.url}/setup", json=body, timeout=10)
    return str(answer.json()["model_version"])


def correct(studio: Studio, task: int) -> None:
    """Submit a task's prediction without its first region."""
    prediction = newest(studio, task)
    body = {"result": prediction["result"][1:], "parent_prediction": prediction["id"]}
    body["result"][0]["origin"] = "prediction-changed"
    studio.api("POST", f"/api/tasks/{task}/annotations/", json=body)


def adapt(backend: Backend, *words: Any) -> str:
    """Run `dgl-rsis adapt` for a backend, since others run beside it; what it prints."""
    command = [program_path(), "adapt", *map(str, words)]
    address = running_server(backend.queue)
    assert address is not None
    environment = os.environ | {"REDIS_URL": address, "REFRESH_SECONDS": "1"}
    done = subprocess.run(
        command, env=environment, timeout=60, check=True, text=True, stdout=subprocess.PIPE
    )
    return done.stdout
