"""One task open in a real Label Studio: where clicks are answered, and how long that takes.

What is drawn is not drawn here: it asks nothing of the machine.
"""

import time
from collections.abc import Sequence

from playwright.sync_api import Page, ViewportSize

from backend.regions.findings import Findings
from backend.regions.reading import read_regions
from dgl_rsis.runs import from_runs
from samples.servers import Studio
from tests.e2e.annotator import REGIONS, SECONDS, SELECTED, SUGGESTED, wait_until_painted
from tests.e2e.correcting.canvas import Shape, shape_of
from tests.e2e.smart_tools import auto_annotate, mask_of, suggestions, take_smart_tool

# The labels and all of the image, without scrolling.
SCREEN: ViewportSize = {"width": 1600, "height": 1400}
KEEP = "bottombar-accept-suggestions-button"
DROP = "bottombar-reject-suggestions-button"


def open_from_list(page: Page, studio: Studio, project: int, *, masks: bool = True) -> float:
    """Open the only task of a project by a click in the list.

    Args:
        page: of a browser that is logged in.
        studio: Label Studio.
        project: with the task.
        masks: whether it will have some.

    Returns:
        Seconds from the click until the image, with its masks, is on the screen.
    """
    page.set_viewport_size(SCREEN)
    page.goto(f"{studio.base_url}/projects/{project}/data")
    row = page.locator(".lsf-table__row-wrapper").last
    row.wait_for(timeout=60 * SECONDS)
    started = time.monotonic()
    row.click()
    page.wait_for_function("window.Htx?.annotationStore?.selected", timeout=120 * SECONDS)
    page.locator(".konvajs-content canvas").first.wait_for(timeout=60 * SECONDS)
    if masks:
        some = f"{SELECTED}.regionStore.regions.length > 0"
        page.wait_for_function(some, timeout=180 * SECONDS)
        _wait_until_shown(page)
    wait_until_painted(page)
    return time.monotonic() - started


class BrowserEditor:
    """An open task.

    Attributes:
        regions: what it was pre-labelled with, by id.
        waited: seconds from opening it until they were on the screen.
    """

    def __init__(
        self, page: Page, studio: Studio, project: int, names: Sequence[str], size: Sequence[int]
    ) -> None:
        """Open a task.

        Args:
            page: of a browser that is logged in.
            studio: Label Studio.
            project: its only task is opened.
            names: labels, in the order of their numbers; the config's second control has them too.
            size: height and width of the image, pixels.
        """
        self._page, self._names, self._size = page, list(names), (size[0], size[1])
        self.waited = open_from_list(page, studio, project)
        auto_annotate(page)
        result = page.evaluate(f"{SELECTED}.serializeAnnotation()")
        self.regions: dict[str, Shape] = {}
        for region in read_regions(result, self._size, "tile", Findings()):
            shape = shape_of(self._names.index(region.label), from_runs(region.runs))
            if shape is not None:
                self.regions[region.id] = shape

    def ask(self, label: int, pixel: tuple[int, int]) -> tuple[list[tuple[str, Shape]], float]:
        """Ctrl + click on a pixel (row, column): the regions of the answer, seconds of waiting."""
        take_smart_tool(self._page)
        labels = self._page.locator(".lsf-labels").nth(1)
        labels.locator(".lsf-label").filter(has_text=self._names[label]).click()
        box = self._page.locator(".konvajs-content").first.bounding_box()
        assert box is not None
        x = box["x"] + (pixel[1] + 0.5) / self._size[1] * box["width"]
        y = box["y"] + (pixel[0] + 0.5) / self._size[0] * box["height"]
        started = time.monotonic()
        with self._page.expect_response(
            lambda answer: "interactive-annotating" in answer.url, timeout=120 * SECONDS
        ) as answered:
            self._page.keyboard.down("Control")
            self._page.mouse.click(x, y)
            self._page.keyboard.up("Control")
        answer = []
        if answered.value.json().get("data", {}).get("result"):
            for each in suggestions(self._page, other_than=[]):
                number = self._names.index(each["labels"][0])
                shape = shape_of(number, mask_of(each, self._size))
                if shape is not None:
                    answer.append((str(each["id"]), shape))
        return answer, time.monotonic() - started

    def keep(self) -> float:
        """Press the tick; seconds until the answer's masks are drawn."""
        started = time.monotonic()
        self._page.get_by_test_id(KEEP).click()
        self._page.wait_for_function(f"{SELECTED}.suggestions.size === 0", timeout=30 * SECONDS)
        _wait_until_shown(self._page)
        return time.monotonic() - started

    def drop(self) -> float:
        """Press the cross, or take a click without an answer away; seconds of waiting."""
        started = time.monotonic()
        if self._page.evaluate(f"{SUGGESTED}.length"):
            self._page.get_by_test_id(DROP).click()
            self._page.wait_for_function(f"{SELECTED}.suggestions.size === 0")
        else:
            self._page.keyboard.press("Control+z")
        _wait_until_shown(self._page)
        return time.monotonic() - started


def _wait_until_shown(page: Page) -> None:
    """Wait until all masks are drawn, also those of so few pixels that none is on the screen."""
    drawn = f"{REGIONS}.every(r => r.type !== 'brushregion' || r.imageData)"
    page.wait_for_function(drawn, timeout=60 * SECONDS)
    wait_until_painted(page)
