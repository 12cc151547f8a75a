"""An annotator opens a task in a browser, sees the masks, corrects one and submits."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page

from samples.servers import Studio
from tests.e2e.annotator import (
    REGIONS,
    SECONDS,
    SELECTED,
    decoded,
    open_task,
    submit,
    wait_until_painted,
)
from tests.e2e.predictions import newest
from tests.e2e.projects import Project

pytestmark = pytest.mark.e2e


def test_masks_are_seen_and_come_back_as_submitted(
    studio: Studio, project: Project, page: Page, screenshots: Path
) -> None:
    task = project.tasks[0]
    open_task(page, studio, project, task)
    page.screenshot(path=screenshots / "e2e-task.png")
    assert changed_share(page) > 0.2, "hiding the regions changes too little: no masks were drawn"

    submit(page)

    prediction = newest(studio, task)
    (annotation,) = studio.api("GET", f"/api/tasks/{task}/annotations/")
    assert annotation["result"]
    assert_same_masks(annotation["result"], prediction["result"])


def test_a_mask_corrected_with_the_eraser_comes_back_smaller(
    studio: Studio, project: Project, page: Page, screenshots: Path
) -> None:
    task = project.tasks[1]
    open_task(page, studio, project, task)
    prediction = newest(studio, task)
    before = decoded(prediction["result"])
    label = max(before, key=lambda name: middle(before[name]))
    erase_across(page, label)
    page.screenshot(path=screenshots / "e2e-corrected.png")

    submit(page)

    (annotation,) = studio.api("GET", f"/api/tasks/{task}/annotations/")
    after = decoded(annotation["result"])
    assert not (after[label] & ~before[label]).any(), "the eraser added pixels"
    erased = before[label].sum() - after[label].sum()
    assert 0 < erased < 0.5 * before[label].size
    for other in before.keys() - {label}:
        np.testing.assert_array_equal(after[other], before[other])


def test_all_tools_are_in_view_on_a_small_screen_whatever_was_asked(
    studio: Studio, project: Project, page: Page, screenshots: Path
) -> None:
    page.route("**/interactive-annotating*", lambda route: route.abort())
    page.set_viewport_size({"width": 1280, "height": 720})
    open_task(page, studio, project, project.tasks[2])
    assert page.locator(".lsf-label:visible").count() == 15  # five of masks, clicks and boxes
    before = lowest(page)
    assert before < 720 - 50, "the bar with Submit hides labels"

    prompt = page.locator("[name=prompt]").first
    for number in range(5):
        prompt.fill(f"building {number}")
        prompt.press("Enter")
        page.get_by_test_id("textarea-region").nth(number).wait_for()
    page.screenshot(path=screenshots / "e2e-small-screen.png")

    assert prompt.is_visible()
    assert lowest(page) - before < 60, "the list of prompts pushes the labels away"


def lowest(page: Page) -> float:
    """How far down the last label ends, pixels."""
    box = page.locator(".lsf-labels").last.bounding_box()
    assert box is not None
    return float(box["y"] + box["height"])


def changed_share(page: Page) -> float:
    """Share of the image's pixels that look different once every region is hidden."""
    shown = canvas_pixels(page)
    page.evaluate(f"{SELECTED}.regionStore.toggleVisibility()")
    page.wait_for_function(f"{REGIONS}.every(r => !r.layerRef.visible())", timeout=30 * SECONDS)
    wait_until_painted(page)
    hidden = canvas_pixels(page)
    page.evaluate(f"{SELECTED}.regionStore.toggleVisibility()")
    return float((np.abs(shown - hidden).max(axis=-1) > 8).mean())


def canvas_pixels(page: Page) -> NDArray[np.int16]:
    """(H, W, 3) int16, 0-255: what the annotator sees of the image."""
    png = page.locator(".konvajs-content").first.screenshot()
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.int16)


def erase_across(page: Page, label: str) -> None:
    """Choose a region in the list, then the eraser, and drag across the middle of the image."""
    page.locator(".lsf-outliner-item").filter(has_text=label).first.click()
    page.locator("[aria-label=eraser]").click()
    box = page.locator(".konvajs-content").first.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.1, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, y, steps=20)
    page.mouse.up()
    page.wait_for_function(f"{REGIONS}.some(r => r.touches.length > 0)", timeout=30 * SECONDS)
    wait_until_painted(page)


def middle(mask: NDArray[np.bool_]) -> int:
    """Number of pixels on the line that `erase_across` follows."""
    height, width = mask.shape
    return int(mask[height // 2, width // 10 : width * 9 // 10].sum())


def assert_same_masks(
    actual: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]]
) -> None:
    masks, wanted = decoded(actual), decoded(expected)
    assert masks.keys() == wanted.keys()
    for label in wanted:
        np.testing.assert_array_equal(masks[label], wanted[label], err_msg=label)
