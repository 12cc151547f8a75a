"""Smart tools in a real browser: clicks, a text prompt, a backend that is down.

Only a smart tool sends a prompt. A plain click on a mask would select its region, so Ctrl is held.
"""

import re
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page

from backend.commands.demo.processes import free_port
from samples.servers import Studio, dgl_rsis
from tests.e2e.annotator import (
    SECONDS,
    SELECTED,
    SENTENCE,
    decoded,
    submit,
)
from tests.e2e.projects import Project, connection_of, make_project
from tests.e2e.smart_tools import (
    LABEL,
    accept,
    click,
    iou,
    mask_of,
    names,
    opened,
    suggestions,
    two_pixels,
)

pytestmark = pytest.mark.e2e

QUIET_SECONDS = 2  # in which a suggestion that must not come would come


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

    accept(page)
    page.screenshot(path=screenshots / "e2e-accepted.png")
    assert regions(page) == before, "the corrected mask took the place of the first"
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


def answered(backend: str) -> int:
    """Tasks and prompts that a backend has answered."""
    text = requests.get(f"{backend}/metrics", timeout=30).text
    match = re.search(r'^dgl_tasks_total\{outcome="answered"\} (\S+)$', text, re.MULTILINE)
    return int(float(match[1])) if match else 0


def regions(page: Page) -> int:
    return int(page.evaluate(f"{SELECTED}.regionStore.regions.length"))
