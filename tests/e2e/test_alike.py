"""All like this, in a real browser: a click on a roof, a line of text, masks of the others."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page

from samples.servers import Studio
from samples.studio import LABEL_CONFIG, connect_backend, create_project
from tests.e2e.annotator import REGIONS, SECONDS, SELECTED, open_task, submit
from tests.e2e.projects import Project
from tests.e2e.smart_tools import (
    LABEL,
    accept,
    auto_annotate,
    click,
    iou,
    mask_of,
    names,
    suggestions,
    take_label,
    take_smart_tool,
)

pytestmark = pytest.mark.e2e

H, W = 360, 480
ROOFS = [(top, left) for top in (40, 150, 260) for left in (40, 150, 260, 370)]
ROOF = (32, 44)  # height and width
MOST_MISSED = 2  # of the eleven others
# No building is painted beforehand: it would hold the roofs that are sought.
CONFIG = LABEL_CONFIG.replace(
    f'<Label value="{LABEL}"', f'<Label value="{LABEL}" model_score_threshold="1"', 1
)


def test_all_like_a_clicked_roof_come_as_suggestions(
    studio: Studio, backend: str, page: Page, screenshots: Path
) -> None:
    project = with_roofs(studio, backend)
    open_task(page, studio, project, project.tasks[0])
    auto_annotate(page)
    take_label(page)
    take_smart_tool(page)
    top, left = ROOFS[0]
    click(page, (H, W), (top + ROOF[0] // 2, left + ROOF[1] // 2))
    (first,) = suggestions(page, other_than=[])
    assert iou(mask_of(first, (H, W)), roof(top, left)) > 0.6

    prompt = page.locator("[name=prompt]").first
    prompt.fill("all like this")
    prompt.press("Enter")
    page.wait_for_function(f"{SELECTED}.suggestions.size > 1", timeout=120 * SECONDS)
    every = suggestions(page, other_than=[first])
    page.screenshot(path=screenshots / "e2e-alike.png")
    assert first["id"] in [each["id"] for each in every], "what was clicked comes along"
    assert {tuple(each["labels"]) for each in every} == {(LABEL,)}
    others = [mask_of(each, (H, W)) for each in every if each["id"] != first["id"]]
    wanted = [roof(*corner) for corner in ROOFS[1:]]
    right = [max(iou(mask, other) for mask in others) > 0.5 for other in wanted]
    assert sum(right) >= len(wanted) - MOST_MISSED
    assert len(others) <= len(wanted)

    before = page.evaluate(f"{REGIONS}.filter(r => r.type === 'brushregion').length")
    accept(page)
    after = page.evaluate(f"{REGIONS}.filter(r => r.type === 'brushregion').length")
    assert after == before + len(every)
    submit(page)
    (annotation,) = studio.api("GET", f"/api/tasks/{project.tasks[0]}/annotations/")
    stored = [r for r in annotation["result"] if r["type"] == "brushlabels" and LABEL in names(r)]
    assert len(stored) == len(every)


def with_roofs(studio: Studio, backend: str) -> Project:
    """A project of one task: twelve red roofs on green ground."""
    project = create_project(studio, "roofs", CONFIG)
    buffer = io.BytesIO()
    Image.fromarray(roofs()).save(buffer, "PNG")
    task = {"image": f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"}
    path, ids = f"/api/projects/{project}/import", {"return_task_ids": "true"}
    tasks = studio.api("POST", path, params=ids, json=[task])["task_ids"]
    connect_backend(studio, project, backend)
    return Project(project, tasks)


def roofs() -> NDArray[np.uint8]:
    """(H, W, 3) uint8."""
    random = np.random.default_rng(0)
    pixels = np.empty((H, W, 3))
    pixels[:] = (96, 118, 84)
    for top, left in ROOFS:
        pixels[roof(top, left)] = (176, 84, 66)
    return np.clip(pixels + random.normal(0, 5, pixels.shape), 0, 255).astype(np.uint8)


def roof(top: int, left: int) -> NDArray[np.bool_]:
    """(H, W) bool."""
    mask = np.zeros((H, W), dtype=np.bool_)
    mask[top : top + ROOF[0], left : left + ROOF[1]] = True
    return mask
