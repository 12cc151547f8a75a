"""What an annotator does with smart tools: only these send a prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from label_studio_sdk.converter.brush import decode_rle
from numpy.typing import NDArray
from playwright.sync_api import Page, expect

from samples.servers import Studio
from tests.e2e.annotator import (
    REGIONS,
    SECONDS,
    SELECTED,
    SUGGESTED,
    decoded,
    open_task,
    wait_until_drawn,
)
from tests.e2e.projects import Project

LABEL = "building"


@dataclass(frozen=True)
class Seen:
    """An open task.

    Attributes:
        task: its id.
        regions: id of each predicted label's region, by label.
        masks: (H, W) bool, the predicted mask of each label.
    """

    task: int
    regions: Mapping[str, str]
    masks: Mapping[str, NDArray[np.bool_]]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W) bool, the predicted mask of `LABEL`."""
        return self.masks[LABEL]


def opened(page: Page, studio: Studio, project: Project, task: int, *, tool: bool = True) -> Seen:
    """Open a task with Auto-Annotation on and, if wanted, the smart keypoint in the hand."""
    open_task(page, studio, project, task)
    auto_annotate(page)
    if tool:
        take_label(page)
        take_smart_tool(page)
    (prediction, *_) = studio.api("GET", "/api/predictions/", params={"task": task})
    result = prediction["result"]
    regions = {region["value"]["brushlabels"][0]: region["id"] for region in result}
    return Seen(task, regions, decoded(result))


def auto_annotate(page: Page) -> None:
    """Turn Auto-Annotation on; the browser remembers it from one task to the next."""
    if not page.evaluate("window.Htx.autoAnnotation"):
        page.get_by_text("Auto-Annotation").first.click()
    page.wait_for_function("window.Htx.autoAnnotation", timeout=30 * SECONDS)


def take_smart_tool(page: Page) -> None:
    """Take the smart keypoint into the hand."""
    page.locator(".lsf-tool_smart:visible").last.hover()  # the other smart tools fly out
    page.locator(".lsf-tool_smart[aria-label=key-point-tool]:visible").last.click()
    page.mouse.move(0, 0)  # they lie over the image as long as the mouse is there
    expect(page.locator(".lsf-tool_smart:visible")).to_have_count(1)


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
    """Ids, labels, run lengths of what is suggested, once it is something else than before."""
    described = (
        f"{SUGGESTED}.map(r => ({{id: r.cleanId, labels: r.labels.slice(), "
        "rle: Array.from(r.rle)}))"
    )
    page.wait_for_function(
        f"old => {SELECTED}.suggestions.size > 0 && JSON.stringify({described}) !== old",
        arg=page.evaluate("ids => JSON.stringify(ids)", list(other_than)),
        timeout=120 * SECONDS,
    )
    wait_until_drawn(page, SUGGESTED)
    described_regions: list[dict[str, Any]] = page.evaluate(described)
    return described_regions


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


def accept(page: Page) -> None:
    """Press the check mark of the bottom bar, and wait until all suggestions are regions."""
    page.get_by_test_id("bottombar-accept-suggestions-button").click()
    page.wait_for_function(f"{SELECTED}.suggestions.size === 0", timeout=30 * SECONDS)
    wait_until_drawn(page, REGIONS)


def middle(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Row and column of the pixel that is deepest inside a mask."""
    depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(row), int(column)
