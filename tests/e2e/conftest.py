"""A real Label Studio, the real backend and a real browser; nothing here is a stand-in.

Run by `make e2e`. What is missing fails the run and says how to install it: a skipped end-to-end
test would look like a passed one.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, sync_playwright

from samples.processes import LOOPBACK, free_port
from samples.servers import ROOT, Studio, dgl_rsis, label_studio
from tests.e2e.projects import Project, connection_of, make_project

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
# As root Chromium needs --no-sandbox; the others keep it from calling hosts of its own.
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def first_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first start of a Label Studio leaves: a minute's work, which the others copy."""
    folder: Path = tmp_path_factory.mktemp("first") / "data"
    with label_studio(folder, free_port(0)):
        pass
    return folder


@pytest.fixture(scope="session")
def studio(first_start: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """Label Studio with an empty database."""
    folder = shutil.copytree(first_start, tmp_path_factory.mktemp("studio") / "data")
    with label_studio(folder, free_port(0)) as studio:
        yield studio


@pytest.fixture(scope="session")
def backend(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of `dgl-rsis up`, which knows Label Studio by a personal access token."""
    connection = connection_of(studio, studio.account.personal_token)
    with dgl_rsis(tmp_path_factory.mktemp("backend"), free_port(0), connection) as backend:
        yield backend.base_url


@pytest.fixture(scope="session")
def project(studio: Studio, backend: str) -> Project:
    """Three real tiles."""
    return make_project(studio, "three tiles", backend, images=3)


@pytest.fixture(scope="session")
def browser(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """Chromium, logged in to Label Studio, with every host cut off but this machine."""
    if not CHROMIUM.exists():
        pytest.fail(
            f"{CHROMIUM} does not exist: install it (Debian: apt-get install chromium) or name "
            "another Chromium in the environment variable CHROMIUM",
            pytrace=False,
        )
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("chromium"),
            executable_path=CHROMIUM,
            args=CHROMIUM_FLAGS,
            viewport={"width": 1440, "height": 1000},
        )
        context.route(lambda url: urlsplit(url).hostname != LOOPBACK, lambda route: route.abort())
        _log_in(context, studio)
        yield context
        context.close()


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[Page]:
    """A new tab."""
    page = browser.new_page()
    yield page
    page.close()


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """The folder in which screenshots are kept for people to look at."""
    folder = ROOT / "demo"
    folder.mkdir(exist_ok=True)
    return folder


def _log_in(context: BrowserContext, studio: Studio) -> None:
    page = context.new_page()
    page.goto(f"{studio.base_url}/user/login/")
    page.fill("input[name=email]", studio.account.email)
    page.fill("input[name=password]", studio.account.password)
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "/login" not in url, wait_until="commit")
    page.close()
