"""All like this, in a real browser: a click on a roof, a line of text, masks of the others."""

import base64
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page

from samples.servers import Studio
from samples.studio import LABEL_CONFIG, connect_backend, create_project
from tests.e2e.annotator import REGIONS, SECONDS, SELECTED, decoded, open_task, submit
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
    project = with_images(studio, backend, roofs(ROOFS))
    first = clicked_roof(page, studio, project)
    ask(page, "all like this")
    every = suggestions(page, other_than=[first])
    page.screenshot(path=screenshots / "e2e-alike.png")
    assert first["id"] in [each["id"] for each in every], "what was clicked comes along"
    assert {tuple(each["labels"]) for each in every} == {(LABEL,)}
    others = [mask_of(each, (H, W)) for each in every if each["id"] != first["id"]]
    assert_are(others, ROOFS[1:])

    before = page.evaluate(f"{REGIONS}.filter(r => r.type === 'brushregion').length")
    accept(page)
    after = page.evaluate(f"{REGIONS}.filter(r => r.type === 'brushregion').length")
    assert after == before + len(every)
    submit(page)
    (annotation,) = studio.api("GET", f"/api/tasks/{project.tasks[0]}/annotations/")
    stored = [r for r in annotation["result"] if r["type"] == "brushlabels" and LABEL in names(r)]
    assert len(stored) == len(every)


def test_all_like_a_clicked_roof_come_in_the_other_images_of_the_project(
    studio: Studio, backend: str, page: Page, screenshots: Path
) -> None:
    others = [(top + 12, left + 17) for top, left in ROOFS]
    project = with_images(studio, backend, roofs(ROOFS), roofs(others), roofs([]))
    clicked_roof(page, studio, project)
    ask(page, "all like this in the project")
    told = page.locator(".dgl-reason").get_by_text("2 other images of the project are searched")
    told.wait_for(timeout=60 * SECONDS)
    page.screenshot(path=screenshots / "e2e-alike-project.png")
    shown = page.evaluate(f"{SELECTED}.suggestions.size")
    assert shown > 1, "what is like it in the open task comes as ever"

    (found,) = eventually(lambda: like_predictions(studio, project.tasks[1]))
    masks = [one_mask(region) for region in found["result"] if LABEL in names(region)]
    assert_are(masks, others)
    open_task(page, studio, project, project.tasks[1])
    regions = page.evaluate(f"{REGIONS}.filter(r => r.type === 'brushregion').length")
    assert regions == len(found["result"]), "the task opens with them"
    page.screenshot(path=screenshots / "e2e-alike-elsewhere.png")
    assert not like_predictions(studio, project.tasks[2])


def clicked_roof(page: Page, studio: Studio, project: Project) -> dict[str, Any]:
    """Open the first task and click on its first roof: the suggestion."""
    open_task(page, studio, project, project.tasks[0])
    auto_annotate(page)
    take_label(page)
    take_smart_tool(page)
    top, left = ROOFS[0]
    click(page, (H, W), (top + ROOF[0] // 2, left + ROOF[1] // 2))
    (first,) = suggestions(page, other_than=[])
    assert iou(mask_of(first, (H, W)), roof(top, left)) > 0.6
    return first


def ask(page: Page, text: str) -> None:
    """Write into the prompt, and wait until more than one mask is suggested."""
    prompt = page.locator("[name=prompt]").first
    prompt.fill(text)
    prompt.press("Enter")
    page.wait_for_function(f"{SELECTED}.suggestions.size > 1", timeout=120 * SECONDS)


def like_predictions(studio: Studio, task: int) -> list[dict[str, Any]]:
    """Predictions of a task that are like an exemplar of another one."""
    every = studio.api("GET", "/api/predictions/", params={"task": task})
    return [each for each in every if each["model_version"].endswith(f" like {LABEL}")]


def eventually(look: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What there is once there is something; at the end of three minutes whatever there is."""
    deadline = time.monotonic() + 180
    while not (seen := look()) and time.monotonic() < deadline:
        time.sleep(1)
    return seen


def one_mask(region: dict[str, Any]) -> NDArray[np.bool_]:
    """(H, W) bool."""
    return decoded([region])[LABEL]


def assert_are(masks: list[NDArray[np.bool_]], corners: list[tuple[int, int]]) -> None:
    """See that masks are the roofs at some corners, nearly all of them and nothing else."""
    wanted = [roof(*corner) for corner in corners]
    right = [max(iou(mask, other) for mask in masks) > 0.5 for other in wanted]
    assert sum(right) >= len(wanted) - MOST_MISSED
    assert len(masks) <= len(wanted)


def with_images(studio: Studio, backend: str, *images: NDArray[np.uint8]) -> Project:
    """A project of a task an image."""
    project = create_project(studio, "roofs", CONFIG)
    tasks = [{"image": data_url(image)} for image in images]
    path, ids = f"/api/projects/{project}/import", {"return_task_ids": "true"}
    numbers = studio.api("POST", path, params=ids, json=tasks)["task_ids"]
    connect_backend(studio, project, backend)
    return Project(project, numbers)


def data_url(image: NDArray[np.uint8]) -> str:
    """As a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def roofs(corners: list[tuple[int, int]]) -> NDArray[np.uint8]:
    """Red roofs on green ground: (H, W, 3) uint8."""
    random = np.random.default_rng(0)
    pixels = np.empty((H, W, 3))
    pixels[:] = (96, 118, 84)
    for corner in corners:
        pixels[roof(*corner)] = (176, 84, 66)
    return np.clip(pixels + random.normal(0, 5, pixels.shape), 0, 255).astype(np.uint8)


def roof(top: int, left: int) -> NDArray[np.bool_]:
    """(H, W) bool."""
    mask = np.zeros((H, W), dtype=np.bool_)
    mask[top : top + ROOF[0], left : left + ROOF[1]] = True
    return mask
