"""Expressions in a real Label Studio: a prompt in the browser, and sentences in the tasks' data."""

import base64
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_studio_sdk.label_interface.interface import LabelInterface
from numpy.typing import NDArray
from playwright.sync_api import Page

from samples.servers import Studio
from samples.studio import LABEL_CONFIG, connect_backend, create_project, sample_images
from tests.e2e.annotator import (
    REGIONS,
    SECONDS,
    SELECTED,
    SENTENCE,
    SUGGESTED,
    decoded,
    open_task,
    wait_until_drawn,
)
from tests.e2e.predictions import retrieve
from tests.e2e.projects import Project
from tests.e2e.smart_tools import auto_annotate

pytestmark = pytest.mark.e2e

SETTLE_SECONDS = 2  # in which the next candidate of a task would come


def test_a_prompt_in_the_browser_suggests_a_mask(
    studio: Studio, project: Project, page: Page, screenshots: Path
) -> None:
    open_task(page, studio, project, project.tasks[2])
    auto_annotate(page)
    prompt = page.locator("[name=prompt]").first
    prompt.fill(SENTENCE)
    prompt.press("Enter")
    page.wait_for_function(f"{SELECTED}.suggestions.size > 0", timeout=120 * SECONDS)
    wait_until_drawn(page, SUGGESTED)
    page.screenshot(path=screenshots / "e2e-prompt.png")
    (labels,) = page.evaluate(f"{SUGGESTED}.map(r => r.labels.slice())")
    assert labels == ["building"]


def test_a_delivered_task_opens_with_the_best_candidate(
    studio: Studio, backend: str, page: Page, screenshots: Path
) -> None:
    project = with_a_sentence(studio, backend, "expressions")
    (task,) = project.tasks
    retrieve(studio, project)
    stored = wait_until_settled(studio, task)

    assert_shown(page, studio, project, stored)
    page.screenshot(path=screenshots / "e2e-candidates.png")
    interface = LabelInterface(LABEL_CONFIG)
    for prediction in stored:
        (region,) = prediction["result"]
        assert region["value"]["brushlabels"] == ["building"]
        value = {name: prediction[name] for name in ("result", "score", "model_version")}
        assert interface.validate_prediction(value, return_errors=True) == []  # type: ignore[no-untyped-call]


def test_a_task_without_predictions_opens_with_the_best_candidate(
    studio: Studio, backend: str, page: Page
) -> None:
    project = with_a_sentence(studio, backend, "expressions, opened at once")
    (task,) = project.tasks

    open_task(page, studio, project, task)  # Label Studio asks, and is answered with a list

    assert_shown(page, studio, project, wait_until_settled(studio, task))


def with_a_sentence(studio: Studio, backend: str, title: str) -> Project:
    """A project of one task, whose data hold a sentence."""
    project = create_project(studio, title, LABEL_CONFIG)
    image = base64.b64encode(sample_images()[-1].read_bytes()).decode()
    task = {"image": f"data:image/jpeg;base64,{image}", "expression": SENTENCE}
    path, ids = f"/api/projects/{project}/import", {"return_task_ids": "true"}
    tasks = studio.api("POST", path, params=ids, json=[task])["task_ids"]
    connect_backend(studio, project, backend)
    return Project(project, tasks)


def assert_shown(
    page: Page, studio: Studio, project: Project, stored: Sequence[dict[str, Any]]
) -> None:
    """The open annotation has the mask of the best score, and each other is a click away."""
    assert 1 < len(stored) <= 3
    scores = [prediction["score"] for prediction in stored]
    assert scores == sorted(scores), "the best has to be stored last: that one is opened"
    open_task(page, studio, project, project.tasks[0])
    assert page.evaluate(f"{SELECTED}.type") == "annotation"
    np.testing.assert_array_equal(shown(page), mask(stored[-1]))
    for prediction in stored:
        page.locator(f".lsf-annotation-button[data-annotation-id='{prediction['id']}']").click()
        page.wait_for_function(
            f"pk => {SELECTED}.type === 'prediction' && {SELECTED}.pk === pk",
            arg=str(prediction["id"]),
            timeout=30 * SECONDS,
        )
        wait_until_drawn(page, REGIONS)
        np.testing.assert_array_equal(shown(page), mask(prediction))


def shown(page: Page) -> NDArray[np.bool_]:
    """(H, W) bool: the only mask of the tab in front."""
    regions = page.evaluate(f"{SELECTED}.serializeAnnotation()")
    assert len(regions) == 1
    return decoded(regions)["building"]


def mask(prediction: dict[str, Any]) -> NDArray[np.bool_]:
    """(H, W) bool: the only mask of a stored prediction."""
    return decoded(prediction["result"])["building"]


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
