"""`make studio`, from its start to Ctrl-C, as who reads what it prints goes on."""

import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import BrowserContext, Locator, Page, TimeoutError

from backend.commands.demo.processes import LOOPBACK, free_port, running
from samples.servers import ROOT
from samples.studio import sample_images
from tests.e2e.annotator import wait_until_open
from tests.e2e.browser import log_in

pytestmark = pytest.mark.e2e

SCREEN = {"width": 1280, "height": 720}


@dataclass(frozen=True)
class Told:
    """What the demo prints for people.

    Attributes:
        base_url: of Label Studio.
        project: id of the demo project.
        user: to log in with.
        password: of that user.
    """

    base_url: str
    project: str
    user: str
    password: str


@pytest.fixture
def visitor(anonymous: BrowserContext) -> Iterator[BrowserContext]:
    """The browser of somebody who is not logged in anywhere.

    Cookies know hosts, not ports: another Label Studio's login would take the place of the first.
    """
    kept = anonymous.cookies()
    anonymous.clear_cookies()
    yield anonymous
    anonymous.clear_cookies()
    anonymous.add_cookies(kept)  # type: ignore[arg-type]


def test_the_demo_can_be_logged_in_to_and_stops_on_ctrl_c(
    first_start: Path, visitor: BrowserContext, tmp_path: Path, screenshots: Path
) -> None:
    shutil.copytree(first_start, tmp_path / "data")
    ports = {"--port": free_port(0), "--backend-port": free_port(0)}
    command = [sys.executable, "-m", "samples.studio", "--data-dir", str(tmp_path / "data")]
    command += [str(part) for option in ports.items() for part in option]
    log = tmp_path / "log.txt"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    with running(command, environment, log) as program:
        program.wait_until(lambda: "Ctrl-C" in log.read_text(), seconds=300)
        told = read(log.read_text())
        task = assert_set_up(told)
        log_in(visitor, told.base_url, told.user, told.password)
        page = visitor.new_page()
        assert_all_in_view(page, told, task)
        page.screenshot(path=screenshots / "e2e-demo.png")
        page.close()

        program.process.send_signal(signal.SIGINT)
        assert program.process.wait(60) == 0
    for port in ports.values():
        with socket.socket() as probe:
            assert probe.connect_ex((LOOPBACK, port)) != 0, f"port {port} still answers"


def read(text: str) -> Told:
    """What the printed text says."""
    address = re.search(r"(http\S+)/projects/(\d+)/data", text)
    user, password = re.search(r"user +(\S+)", text), re.search(r"password +(\S+)", text)
    assert address
    assert user
    assert password
    return Told(*address.groups(), user[1], password[1])


def assert_set_up(told: Told) -> int:
    """Log in as told, and see to the project and its backend; id of its first task."""
    with requests.Session() as session:
        login = f"{told.base_url}/user/login/"
        session.get(login, timeout=30)
        form = {"email": told.user, "password": told.password}
        form["csrfmiddlewaretoken"] = session.cookies["csrftoken"]
        assert session.post(login, data=form, timeout=30).ok

        def ask(path: str) -> Any:
            return session.get(f"{told.base_url}/api/{path}", timeout=30).json()

        project = ask(f"projects/{told.project}/")
        assert project["task_number"] == len(sample_images())
        assert "Auto-Annotation" in project["expert_instruction"]
        assert project["show_instruction"]
        (backend,) = ask(f"ml/?project={told.project}")
        assert backend["is_interactive"]
        return min(int(task["id"]) for task in ask(f"tasks/?project={told.project}")["tasks"])


def assert_all_in_view(page: Page, told: Told, task: int) -> None:
    """Open a task on a small screen: nothing that the instruction names has to be scrolled to."""
    page.set_viewport_size(SCREEN)  # type: ignore[arg-type]
    page.goto(f"{told.base_url}/projects/{told.project}/data?task={task}")
    try:
        wait_until_open(page)
    except TimeoutError:  # on a busy machine the masks are stored later than the page asks for them
        page.reload()
        wait_until_open(page)
    labels = page.locator(".lsf-label:visible")
    assert labels.count() == 15  # five of masks, clicks and boxes
    submit = page.get_by_role("button", name="Submit")
    within = (0.0, 0.0, float(SCREEN["width"]), edges(submit)[1])
    named = [
        page.locator("[name=prompt]").first,
        page.get_by_role("button", name="Instructions"),
        page.locator(".konvajs-content").first,
        *labels.all(),
    ]
    for seen in named:
        assert_inside(seen, within)
    for seen in (submit, page.get_by_text("Auto-Annotation").first):
        assert_inside(seen, (0.0, 0.0, float(SCREEN["width"]), float(SCREEN["height"])))


def assert_inside(seen: Locator, within: tuple[float, float, float, float]) -> None:
    """The box of an element lies inside of another: left, top, right, bottom in pixels."""
    left, top, right, bottom = edges(seen)
    what = f"{seen}: {left}, {top}, {right}, {bottom} is not inside of {within}"
    assert left >= within[0], what
    assert top >= within[1], what
    assert right <= within[2], what
    assert bottom <= within[3], what


def edges(seen: Locator) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of an element that is seen, pixels of the window."""
    seen.wait_for()
    box = seen.bounding_box()
    assert box is not None
    return box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]
