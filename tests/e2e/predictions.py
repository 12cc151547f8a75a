"""Predictions as Label Studio stores them."""

import time
from collections import Counter
from typing import Any

from samples.servers import Studio
from tests.e2e.projects import Project


def retrieve(studio: Studio, project: Project) -> float:
    """The data manager's action "Retrieve Predictions" on all tasks; its seconds."""
    started = time.monotonic()
    studio.api(
        "POST",
        "/api/dm/actions",
        params={"id": "retrieve_tasks_predictions", "project": project.id},
        json={"selectedItems": {"all": True, "excluded": []}, "project": project.id},
    )
    return time.monotonic() - started


def wait_for_predictions(studio: Studio, project: Project) -> list[dict[str, Any]]:
    """Wait until every task has a prediction; they are the first ones, one each."""
    end = time.monotonic() + 300
    while len({p["task"] for p in predictions(studio, project)}) < len(project.tasks):
        assert time.monotonic() < end, "after 300 s some tasks still have no prediction"
        time.sleep(0.2)
    stored = predictions(studio, project)
    assert Counter(p["task"] for p in stored) == Counter(project.tasks)
    return stored


def predictions(studio: Studio, project: Project) -> list[dict[str, Any]]:
    stored = studio.api("GET", "/api/predictions/", params={"project": project.id})
    return sorted(stored, key=lambda prediction: int(prediction["id"]))


def newest(studio: Studio, task: int) -> dict[str, Any]:
    """The prediction that an annotation is pre-filled with: what a project learns adds some."""
    stored = studio.api("GET", "/api/predictions/", params={"task": task})
    return max(stored, key=lambda prediction: int(prediction["id"]))


def accept(studio: Studio, task: int) -> None:
    """Submit the prediction of a task as it is."""
    prediction = newest(studio, task)
    body = {"result": prediction["result"], "parent_prediction": prediction["id"]}
    studio.api("POST", f"/api/tasks/{task}/annotations/", json=body)
