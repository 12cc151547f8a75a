"""What an annotator does and sees in the browser."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from label_studio_sdk.converter.brush import decode_rle
from numpy.typing import NDArray
from playwright.sync_api import Page

from samples.servers import Studio
from tests.e2e.projects import Project

SELECTED = "window.Htx.annotationStore.selected"
REGIONS = f"{SELECTED}.regionStore.regions"
SUGGESTED = f"Array.from({SELECTED}.suggestions.values())"
SECONDS = 1000  # Playwright counts milliseconds
SENTENCE = "the large building on the left"


def open_task(page: Page, studio: Studio, project: Project, task: int) -> None:
    """Open a task as a click in the list does, and wait until its regions are there."""
    page.goto(f"{studio.base_url}/projects/{project.id}/data?task={task}")
    wait_until_open(page)


def wait_until_open(page: Page) -> None:
    """Wait until the editor has an annotation with regions, and all of them are drawn.

    Label Studio shows a prediction first, then the annotation that it makes of one.
    """
    page.wait_for_function(
        "window.Htx?.annotationStore?.selected?.type === 'annotation'", timeout=120 * SECONDS
    )
    page.wait_for_function(f"{SELECTED}.regionStore.regions.length > 0", timeout=120 * SECONDS)
    wait_until_drawn(page, REGIONS)


def wait_until_drawn(page: Page, regions: str) -> None:
    """Wait until every mask of a JavaScript array of regions has pixels on the screen.

    Label Studio keeps the pixels of a brush region once it has drawn them.
    """
    page.wait_for_function(
        f"{regions}.every(r => r.type !== 'brushregion' || r.imageData?.data.some(x => x > 0))",
        timeout=60 * SECONDS,
    )
    wait_until_painted(page)


def wait_until_painted(page: Page) -> None:
    """Wait until the browser shows what the page has changed: the frame after the next.

    A tab that lies behind another, or whose painter is stuck, gets no frames, and `evaluate` has
    no time limit of its own: after ten seconds the page stays as it is.
    """
    page.bring_to_front()
    page.evaluate(
        """new Promise(done => {
            requestAnimationFrame(() => requestAnimationFrame(done));
            setTimeout(done, 10000);
        })"""
    )


def submit(page: Page) -> None:
    """Press Submit and wait until Label Studio has stored the annotation."""
    with page.expect_response(
        lambda answer: answer.request.method == "POST" and "/annotations" in answer.url
    ) as answer:
        page.get_by_role("button", name="Submit").click()
    assert answer.value.status == 201


def decoded(regions: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[np.bool_]]:
    """Label → (H, W) bool mask, by the SDK's decoder."""
    return {
        region["value"]["brushlabels"][0]: decode_rle(region["value"]["rle"])
        .reshape(region["original_height"], region["original_width"], 4)[..., 3]
        .astype(bool)
        for region in regions
    }
