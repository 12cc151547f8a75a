"""The backend's page in a browser, while a real Label Studio asks for predictions."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Locator, Page, expect

from backend.commands.demo.processes import free_port
from samples.servers import Backend, Studio, dgl_rsis
from tests.e2e.predictions import predictions, retrieve
from tests.e2e.projects import Project, connection_of, make_project

pytestmark = pytest.mark.e2e

MILLISECONDS = 240_000  # the model on a slow machine
BROKEN = "data:image/png;base64,AAAA"


@pytest.fixture(scope="module")
def own(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A backend whose worker can be held up."""
    connection = connection_of(studio, studio.account.personal_token)
    with dgl_rsis(tmp_path_factory.mktemp("page"), free_port(0), connection, 240) as backend:
        yield backend


@pytest.fixture
def held(own: Backend) -> Iterator[psutil.Process]:
    """Its segment worker, stopped in the middle of whatever it does."""
    children = psutil.Process(own.program.process.pid).children(recursive=True)
    (worker,) = [each for each in children if each.cmdline()[-1:] == ["worker"]]
    worker.suspend()
    yield worker
    worker.resume()


def test_tasks_are_cancelled_tried_again_and_followed_to_their_delivery(
    studio: Studio, own: Backend, held: psutil.Process, page: Page, screenshots: Path
) -> None:
    project = make_project(studio, "seen on the page", own.base_url, images=2)
    path, ids = f"/api/projects/{project.id}/import", {"return_task_ids": "true"}
    imported = studio.api("POST", path, params=ids, json=[{"image": BROKEN}])
    first, second, broken = [*project.tasks, *imported["task_ids"]]
    retrieve(studio, Project(project.id, [first, second, broken]))

    page.goto(own.base_url)
    page.get_by_role("link", name="seen on the page").click()
    expect(page.get_by_text("0 of 3 done")).to_be_visible()
    line(page, second).get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("status")).to_have_text("Cancelled: 1.")
    expect(line(page, second)).to_contain_text("cancelled")
    line(page, second).get_by_role("button", name="Retry").click()
    expect(line(page, second)).to_contain_text("queued")
    page.screenshot(path=screenshots / "e2e-page.png")
    held.resume()

    # Nobody presses anything from here on: the page renews itself.
    expect(page.get_by_text("2 of 3 done")).to_be_visible(timeout=MILLISECONDS)
    expect(line(page, first)).to_contain_text("delivered")
    expect(line(page, second)).to_contain_text("delivered")
    expect(line(page, broken)).to_contain_text("failed", timeout=MILLISECONDS)
    expect(line(page, broken)).to_contain_text("format")
    stored = {each["task"] for each in predictions(studio, project)}
    assert stored == {first, second}
    page.screenshot(path=screenshots / "e2e-page-done.png")


def line(page: Page, task: int) -> Locator:
    """The line of a task in the list."""
    return page.locator("#tasks tbody tr").filter(has_text=f"task {task} ")
