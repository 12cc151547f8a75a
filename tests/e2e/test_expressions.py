"""Expressions in a real Label Studio: a prompt in the browser, and sentences in the tasks' data."""

import base64
import time
from pathlib import Path
from typing import Any

import pytest
from label_studio_sdk.label_interface.interface import LabelInterface
from playwright.sync_api import Page

from samples.servers import Studio
from samples.studio import LABEL_CONFIG, connect_backend, create_project, sample_images
from tests.e2e.annotator import (
    SECONDS,
    SELECTED,
    SENTENCE,
    SUGGESTED,
    open_task,
    wait_until_drawn,
)
from tests.e2e.predictions import retrieve
from tests.e2e.projects import Project

pytestmark = pytest.mark.e2e

SETTLE_SECONDS = 2  # in which the next candidate of a task would come


def test_a_prompt_in_the_browser_suggests_a_mask(
    studio: Studio, project: Project, page: Page, screenshots: Path
) -> None:
    open_task(page, studio, project, project.tasks[2])
    page.get_by_text("Auto-Annotation").first.click()
    prompt = page.locator("[name=prompt]").first
    prompt.fill(SENTENCE)
    prompt.press("Enter")
    page.wait_for_function(f"{SELECTED}.suggestions.size > 0", timeout=120 * SECONDS)
    wait_until_drawn(page, SUGGESTED)
    page.screenshot(path=screenshots / "e2e-prompt.png")
    (labels,) = page.evaluate(f"{SUGGESTED}.map(r => r.labels.slice())")
    assert labels == ["building"]


def test_a_sentence_in_a_task_gets_its_best_candidates_as_predictions(
    studio: Studio, backend: str
) -> None:
    project = create_project(studio, "expressions", LABEL_CONFIG)
    image = base64.b64encode(sample_images()[0].read_bytes()).decode()
    task = {"image": f"data:image/jpeg;base64,{image}", "expression": SENTENCE}
    studio.api("POST", f"/api/projects/{project}/import", json=[task])
    (number,) = (
        t["id"] for t in studio.api("GET", "/api/tasks", params={"project": project})["tasks"]
    )
    connect_backend(studio, project, backend)

    retrieve(studio, Project(project, [number]))
    stored = wait_until_settled(studio, number)

    assert 1 <= len(stored) <= 3
    scores = [prediction["score"] for prediction in stored]
    assert scores == sorted(scores, reverse=True)
    interface = LabelInterface(LABEL_CONFIG)
    for prediction in stored:
        (region,) = prediction["result"]
        assert region["value"]["brushlabels"] == ["building"]
        value = {name: prediction[name] for name in ("result", "score", "model_version")}
        assert interface.validate_prediction(value, return_errors=True) == []  # type: ignore[no-untyped-call]


def wait_until_settled(studio: Studio, task: int) -> list[dict[str, Any]]:
    """The stored predictions of a task, oldest first, once no more come for some seconds."""
    deadline, seen, since = time.monotonic() + 120, 0, time.monotonic()
    while time.monotonic() < deadline:
        stored = studio.api("GET", "/api/predictions/", params={"task": task})
        if len(stored) != seen:
            seen, since = len(stored), time.monotonic()
        elif seen and time.monotonic() - since > SETTLE_SECONDS:
            return sorted(stored, key=lambda prediction: int(prediction["id"]))
        time.sleep(0.2)
    pytest.fail(f"{seen} predictions for task {task} after two minutes")
