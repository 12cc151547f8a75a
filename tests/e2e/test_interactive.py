"""Smart tools in a real browser: clicks, a text prompt, a backend that is down.

Only a smart tool sends a prompt. A plain click on a mask would select its region, so Ctrl is held.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import requests
from label_studio_sdk.converter.brush import decode_rle
from numpy.typing import NDArray
from playwright.sync_api import Page

from samples.processes import free_port
from samples.servers import Studio, dgl_rsis
from tests.e2e.annotator import (
    REGIONS,
    SECONDS,
    SELECTED,
    SENTENCE,
    SUGGESTED,
    decoded,
    open_task,
    submit,
    wait_until_drawn,
)
from tests.e2e.projects import Project, connection_of, make_project

pytestmark = pytest.mark.e2e

LABEL = "building"
QUIET_SECONDS = 2  # in which a suggestion that must not come would come


@dataclass(frozen=True)
class Seen:
    """An open task.

    Attributes:
        task: its id.
        mask: (H, W) bool, the predicted mask of `LABEL`.
    """

    task: int
    mask: NDArray[np.bool_]


@pytest.fixture(scope="module")
def tiles(studio: Studio, backend: str) -> Project:
    """Two tiles of a project of their own, so that other tests' annotations are not in the way."""
    return make_project(studio, "smart tools", backend, images=2)


def test_clicks_suggest_a_mask_and_accepting_stores_it(
    studio: Studio, tiles: Project, page: Page, screenshots: Path
) -> None:
    seen = opened(page, studio, tiles, tiles.tasks[0])
    inside, edge = two_pixels(seen.mask)
    before = regions(page)

    click(page, seen.mask.shape, inside)
    (first,) = suggestions(page, other_than=[])
    page.screenshot(path=screenshots / "e2e-click.png")
    assert first["labels"] == [LABEL]
    assert mask_of(first, seen.mask.shape)[inside]

    click(page, seen.mask.shape, edge, negative=True)
    (second,) = suggestions(page, other_than=[first])
    page.screenshot(path=screenshots / "e2e-negative-click.png")
    changed = mask_of(second, seen.mask.shape)
    assert not changed[edge]
    assert changed.any()

    page.get_by_test_id("bottombar-accept-suggestions-button").click()
    page.wait_for_function(f"{SELECTED}.suggestions.size === 0", timeout=30 * SECONDS)
    wait_until_drawn(page, REGIONS)
    page.screenshot(path=screenshots / "e2e-accepted.png")
    assert regions(page) > before
    submit(page)
    (annotation,) = studio.api("GET", f"/api/tasks/{seen.task}/annotations/")
    stored = [r for r in annotation["result"] if r["type"] == "brushlabels"]
    masks = [decoded([region])[LABEL] for region in stored if LABEL in names(region)]
    assert any(iou(mask, changed) > 0.99 for mask in masks)


def test_a_text_prompt_gives_a_mask(
    studio: Studio, tiles: Project, page: Page, screenshots: Path
) -> None:
    seen = opened(page, studio, tiles, tiles.tasks[1], tool=False)
    prompt = page.locator("[name=prompt]").first
    prompt.fill(SENTENCE)
    prompt.press("Enter")
    (suggestion,) = suggestions(page, other_than=[])
    page.screenshot(path=screenshots / "e2e-text-prompt.png")
    assert suggestion["labels"] == [LABEL]
    assert mask_of(suggestion, seen.mask.shape).any()


def test_a_click_on_an_image_that_the_worker_has_not_seen(
    studio: Studio, page: Page, tmp_path: Path, screenshots: Path
) -> None:
    connection, port = connection_of(studio, studio.account.personal_token), free_port(0)
    with dgl_rsis(tmp_path / "first", port, connection) as first:
        project = make_project(studio, "cold image", first.base_url, images=1)
        opened(page, studio, project, project.tasks[0], tool=False)  # stores the prediction
    with dgl_rsis(tmp_path / "second", port, connection) as second:
        seen = opened(page, studio, project, project.tasks[0])
        assert answered(second.base_url) == 0  # the prediction is there: nobody asked the worker
        inside, _ = two_pixels(seen.mask)
        click(page, seen.mask.shape, inside)
        (suggestion,) = suggestions(page, other_than=[])
        assert answered(second.base_url) == 1
    page.screenshot(path=screenshots / "e2e-cold-click.png")
    assert mask_of(suggestion, seen.mask.shape)[inside]


def test_label_studio_stays_usable_when_the_backend_is_down(
    studio: Studio, page: Page, tmp_path: Path, screenshots: Path
) -> None:
    connection = connection_of(studio, studio.account.personal_token)
    with dgl_rsis(tmp_path, free_port(0), connection) as stopped:
        project = make_project(studio, "backend down", stopped.base_url, images=1)
        seen = opened(page, studio, project, project.tasks[0])
    inside, _ = two_pixels(seen.mask)

    with page.expect_response(
        lambda answer: "interactive-annotating" in answer.url, timeout=120 * SECONDS
    ):
        click(page, seen.mask.shape, inside)
    page.wait_for_timeout(QUIET_SECONDS * SECONDS)

    assert page.evaluate(f"{SELECTED}.suggestions.size") == 0
    page.screenshot(path=screenshots / "e2e-backend-down.png")
    submit(page)
    (annotation,) = studio.api("GET", f"/api/tasks/{seen.task}/annotations/")
    assert any(LABEL in names(region) for region in annotation["result"])


def opened(page: Page, studio: Studio, project: Project, task: int, *, tool: bool = True) -> Seen:
    """Open a task with Auto-Annotation on and, if wanted, the smart keypoint in the hand."""
    open_task(page, studio, project, task)
    auto_annotate(page)
    if tool:
        take_label(page)
        page.locator(".lsf-tool_smart:visible").last.hover()  # the other smart tools fly out
        page.locator(".lsf-tool_smart[aria-label=key-point-tool]:visible").last.click()
    (prediction, *_) = studio.api("GET", "/api/predictions/", params={"task": task})
    return Seen(task, decoded(prediction["result"])[LABEL])


def auto_annotate(page: Page) -> None:
    """Turn Auto-Annotation on; the browser remembers it from one task to the next."""
    if not page.evaluate("window.Htx.autoAnnotation"):
        page.get_by_text("Auto-Annotation").first.click()
    page.wait_for_function("window.Htx.autoAnnotation", timeout=30 * SECONDS)


def take_label(page: Page) -> None:
    """Select the label of the smart keypoints; every click lets it go again."""
    if not page.evaluate(f"{SELECTED}.names.get('click').selectedLabels.length"):
        labels = page.locator(".lsf-labels").nth(1)  # the config's second control
        labels.locator(".lsf-label").filter(has_text=LABEL).click()


def click(
    page: Page, size: Sequence[int], pixel: tuple[int, int], *, negative: bool = False
) -> None:
    """Click on a pixel (row, column) of the image, even where a mask lies."""
    take_label(page)
    box = page.locator(".konvajs-content").first.bounding_box()
    assert box is not None
    x = box["x"] + (pixel[1] + 0.5) / size[1] * box["width"]
    y = box["y"] + (pixel[0] + 0.5) / size[0] * box["height"]
    held = ["Control", "Alt"] if negative else ["Control"]
    for key in held:
        page.keyboard.down(key)
    page.mouse.click(x, y)
    for key in reversed(held):
        page.keyboard.up(key)


def suggestions(page: Page, other_than: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Labels and run lengths of what is suggested, once it is something else than before."""
    described = f"{SUGGESTED}.map(r => ({{labels: r.labels.slice(), rle: Array.from(r.rle)}}))"
    page.wait_for_function(
        f"old => {SELECTED}.suggestions.size > 0 && JSON.stringify({described}) !== old",
        arg=page.evaluate("ids => JSON.stringify(ids)", list(other_than)),
        timeout=120 * SECONDS,
    )
    wait_until_drawn(page, SUGGESTED)
    described_regions: list[dict[str, Any]] = page.evaluate(described)
    return described_regions


def answered(backend: str) -> int:
    """Tasks and prompts that a backend has answered."""
    text = requests.get(f"{backend}/metrics", timeout=30).text
    match = re.search(r'^dgl_tasks_total\{outcome="answered"\} (\S+)$', text, re.MULTILINE)
    return int(float(match[1])) if match else 0


def regions(page: Page) -> int:
    return int(page.evaluate(f"{SELECTED}.regionStore.regions.length"))


def mask_of(suggestion: dict[str, Any], size: Sequence[int]) -> NDArray[np.bool_]:
    """(H, W) bool, by the SDK's decoder."""
    pixels = np.asarray(decode_rle(suggestion["rle"])).reshape(size[0], size[1], 4)
    mask: NDArray[np.bool_] = pixels[..., 3] > 0
    return mask


def two_pixels(mask: NDArray[np.bool_]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The middle of the largest object, and the pixel of it that is furthest away from there.

    Both as row and column. The border of the image counts as the object's end, and the far pixel
    lies some pixels inside, so that rounding on the screen cannot move it out.
    """
    _, numbered, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    largest = numbered == 1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax())
    depth = cv2.distanceTransform(np.pad(largest.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    rows, columns = np.nonzero(depth >= min(4.0, float(depth.max())))
    far = int(((rows - row) ** 2 + (columns - column) ** 2).argmax())
    return (int(row), int(column)), (int(rows[far]), int(columns[far]))


def names(region: dict[str, Any]) -> list[str]:
    """Labels of a region of any type."""
    labels: list[str] = region["value"].get(region["type"], [])
    return labels


def iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return float((first & second).sum() / max(1, (first | second).sum()))
