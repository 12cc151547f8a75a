"""Predictions that Label Studio asks for by its API: one each, under the version of /setup."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from label_studio_sdk.label_interface.interface import LabelInterface

from backend.commands.demo.processes import free_port
from samples.servers import Studio, dgl_rsis
from samples.studio import LABEL_CONFIG
from tests.e2e.predictions import predictions, retrieve, wait_for_predictions
from tests.e2e.projects import Project, connection_of, make_project

pytestmark = pytest.mark.e2e

SETTLE_SECONDS = 3  # in which a prediction too many would come


@pytest.fixture(scope="module")
def project(studio: Studio, backend: str) -> Project:
    """Three tiles that nobody annotates: what a project learns asks for new predictions."""
    return make_project(studio, "retrieved", backend, images=3)


@pytest.fixture(scope="module")
def stored(studio: Studio, project: Project) -> list[dict[str, Any]]:
    """What is stored after "Retrieve Predictions" on all tasks."""
    assert retrieve(studio, project) < 30, "Label Studio waited for the masks"
    return wait_for_predictions(studio, project)


def test_every_task_gets_one_valid_prediction_of_the_version_of_setup(
    stored: list[dict[str, Any]], backend: str
) -> None:
    interface = LabelInterface(LABEL_CONFIG)
    for prediction in stored:
        assert prediction["model_version"] == model_version(backend)
        assert prediction["result"]
        value = {name: prediction[name] for name in ("result", "score", "model_version")}
        assert interface.validate_prediction(value, return_errors=True) == []  # type: ignore[no-untyped-call]


def test_a_second_retrieve_changes_nothing(
    studio: Studio, project: Project, stored: list[dict[str, Any]]
) -> None:
    retrieve(studio, project)
    time.sleep(SETTLE_SECONDS)

    assert predictions(studio, project) == stored


def test_the_label_stream_shows_a_delivered_prediction(
    studio: Studio, project: Project, stored: list[dict[str, Any]]
) -> None:
    task = studio.api("GET", f"/api/projects/{project.id}/next")

    expected = [prediction["id"] for prediction in stored if prediction["task"] == task["id"]]
    assert [prediction["id"] for prediction in task["predictions"]] == expected


def test_two_parallel_opens_store_one_prediction(studio: Studio, backend: str) -> None:
    project = make_project(studio, "parallel opens", backend, images=1)
    path = f"/api/tasks/{project.tasks[0]}"

    with ThreadPoolExecutor(2) as pool:
        opens = [
            pool.submit(studio.api, "GET", path, params={"project": project.id}) for _ in range(2)
        ]
        answers = [opened.result() for opened in opens]

    assert any(answer["predictions"] for answer in answers)
    stored = wait_for_predictions(studio, project)
    time.sleep(SETTLE_SECONDS)
    assert predictions(studio, project) == stored


def test_a_legacy_token_serves_as_well(studio: Studio, tmp_path: Path) -> None:
    connection = connection_of(studio, studio.account.legacy_token)
    with dgl_rsis(tmp_path, free_port(0), connection) as backend:
        project = make_project(studio, "legacy token", backend.base_url, images=1)
        retrieve(studio, project)
        (stored,) = wait_for_predictions(studio, project)
        assert stored["model_version"] == model_version(backend.base_url)


def model_version(backend: str) -> str:
    """What /setup reports."""
    answer = requests.post(f"{backend}/setup", json={"schema": LABEL_CONFIG}, timeout=10)
    return str(answer.json()["model_version"])
