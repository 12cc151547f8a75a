"""No mask is lost: what is accepted stays, what is corrected takes its own place."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle
from numpy.typing import NDArray
from playwright.sync_api import Page

from backend.project.interface import Wanted, write
from samples.servers import Studio
from samples.studio import connect_backend, create_project, import_images, sample_images
from tests.e2e.annotator import REGIONS, SECONDS, submit
from tests.e2e.projects import Project, make_project
from tests.e2e.smart_tools import (
    LABEL,
    Seen,
    accept,
    click,
    mask_of,
    middle,
    opened,
    suggestions,
    two_pixels,
)

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def tiles(studio: Studio, backend: str) -> Project:
    """Three tiles that nobody else annotates."""
    return make_project(studio, "correcting", backend, images=3)


def test_two_accepted_suggestions_are_both_there_after_submit(
    studio: Studio, tiles: Project, page: Page, screenshots: Path
) -> None:
    seen = opened(page, studio, tiles, tiles.tasks[0])
    mask = seen.masks[largest(seen)].copy()
    accepted = []
    for _ in range(2):
        at = middle(mask)
        click(page, mask.shape, at)
        (suggestion,) = suggestions(page, other_than=[])
        accept(page)
        accepted.append(suggestion)
        # A click on what was accepted would correct it, and have its id.
        mask &= ~mask_of(suggestion, mask.shape)
        mask[max(0, at[0] - 150) : at[0] + 150] = False
    page.screenshot(path=screenshots / "e2e-two-accepted.png")
    submit(page)

    assert accepted[0]["id"] != accepted[1]["id"]
    labels = labels_of(seen) | {each["id"]: LABEL for each in accepted}
    stored = regions_of(studio, seen.task, labels)
    for suggestion in accepted:
        np.testing.assert_array_equal(stored[suggestion["id"]], mask_of(suggestion, mask.shape))


def test_a_corrected_mask_is_one_region_with_its_old_id_and_new_pixels(
    studio: Studio, tiles: Project, page: Page, screenshots: Path
) -> None:
    seen = opened(page, studio, tiles, tiles.tasks[1])
    _, edge = two_pixels(seen.mask)
    click(page, seen.mask.shape, edge, negative=True)
    (suggestion,) = suggestions(page, other_than=[])
    assert suggestion["id"] == seen.regions[LABEL]
    accept(page)
    page.screenshot(path=screenshots / "e2e-corrected-by-click.png")
    submit(page)

    stored = regions_of(studio, seen.task, labels_of(seen))
    corrected = stored[seen.regions[LABEL]]
    np.testing.assert_array_equal(corrected, mask_of(suggestion, seen.mask.shape))
    assert seen.mask[edge]
    assert not corrected[edge]
    for label, mask in seen.masks.items():
        if label != LABEL:
            np.testing.assert_array_equal(stored[seen.regions[label]], mask)


def test_a_negative_click_inside_another_class_splits_the_two(
    studio: Studio, tiles: Project, page: Page, screenshots: Path
) -> None:
    seen = opened(page, studio, tiles, tiles.tasks[2])
    inside, other = middle(seen.mask), largest(seen)
    beside = nearest(seen.masks[other], inside)
    click(page, seen.mask.shape, inside)
    first = suggestions(page, other_than=[])
    click(page, seen.mask.shape, beside, negative=True)
    both = suggestions(page, other_than=first)
    page.screenshot(path=screenshots / "e2e-two-classes.png")
    assert {each["id"]: each["labels"] for each in both} == {
        seen.regions[LABEL]: [LABEL],
        seen.regions[other]: [other],
    }
    accept(page)
    submit(page)

    stored = regions_of(studio, seen.task, labels_of(seen))
    building, ground = stored[seen.regions[LABEL]], stored[seen.regions[other]]
    assert not (building & ground).any()
    assert (building[inside], ground[inside]) == (True, False)
    assert (building[beside], ground[beside]) == (False, True)


def test_a_click_without_a_mask_says_why_and_leaves_no_point(
    studio: Studio, backend: str, page: Page, screenshots: Path
) -> None:
    number = create_project(studio, "one label", write(Wanted([LABEL])))
    tasks = import_images(studio, number, sample_images()[:1])
    connect_backend(studio, number, backend)
    seen = opened(page, studio, Project(number, tasks), tasks[0])
    before = page.evaluate(f"{REGIONS}.length")

    click(page, seen.mask.shape, middle(~seen.mask), negative=True)
    reason = page.locator(".dgl-reason").get_by_text("add a positive point")
    reason.wait_for(timeout=60 * SECONDS)
    page.screenshot(path=screenshots / "e2e-reason.png")
    assert page.evaluate(f"{REGIONS}.length") == before + 1, "the point is there"

    page.keyboard.press("Control+z")
    reason.wait_for(state="detached", timeout=30 * SECONDS)
    submit(page)
    regions_of(studio, seen.task, labels_of(seen))


def largest(seen: Seen) -> str:
    """The label with the largest mask but for the one that is clicked."""
    others = {name: mask for name, mask in seen.masks.items() if name != LABEL}
    return max(others, key=lambda name: int(others[name].sum()))


def nearest(mask: NDArray[np.bool_], pixel: tuple[int, int]) -> tuple[int, int]:
    """The pixel of a mask, some pixels inside, that is nearest to another."""
    deep = mask.copy()
    for axis in (0, 1):
        for step in (-5, 5):
            deep &= np.roll(mask, step, axis)
    inside = np.argwhere(deep)
    row, column = inside[int(((inside - pixel) ** 2).sum(axis=1).argmin())]
    return int(row), int(column)


def labels_of(seen: Seen) -> dict[str, str]:
    """Id → label of the regions that were there when the task was opened."""
    return {identity: label for label, identity in seen.regions.items()}


def regions_of(
    studio: Studio, task: int, labels: Mapping[str, str]
) -> dict[str, NDArray[np.bool_]]:
    """Id → mask of every region of the only annotation of a task: these, each with its label."""
    (annotation,) = studio.api("GET", f"/api/tasks/{task}/annotations/")
    masks = {region["id"]: pixels(region) for region in annotation["result"]}
    held = {region["id"]: region["value"]["brushlabels"] for region in annotation["result"]}
    assert held == {identity: [label] for identity, label in labels.items()}
    return masks


def pixels(region: dict[str, Any]) -> NDArray[np.bool_]:
    assert region["type"] == "brushlabels", region["type"]
    height, width = region["original_height"], region["original_width"]
    plane = np.asarray(decode_rle(region["value"]["rle"])).reshape(height, width, 4)
    mask: NDArray[np.bool_] = plane[..., 3] > 0
    return mask
