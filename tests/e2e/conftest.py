"""A real Label Studio, the real backend and a real browser; nothing here is a stand-in.

Run by `make e2e`. What is missing fails the run and says how to install it: a skipped end-to-end
test would look like a passed one.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page

from backend.commands.demo.processes import free_port
from samples.servers import ROOT, Backend, Studio, dgl_rsis, label_studio
from tests.e2e.browser import chromium, log_in
from tests.e2e.projects import Project, connection_of, make_project


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
def served(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """`dgl-rsis up`, which knows Label Studio by a personal access token."""
    connection = connection_of(studio, studio.account.personal_token)
    with dgl_rsis(tmp_path_factory.mktemp("backend"), free_port(0), connection) as backend:
        yield backend


@pytest.fixture(scope="session")
def backend(served: Backend) -> str:
    """Its address."""
    return served.base_url


@pytest.fixture(scope="session")
def project(studio: Studio, backend: str) -> Project:
    """Three real tiles."""
    return make_project(studio, "three tiles", backend, images=3)


@pytest.fixture(scope="session")
def anonymous(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """Chromium with every host cut off but this machine, until `browser` logs in."""
    with chromium(tmp_path_factory.mktemp("chromium")) as context:
        yield context


@pytest.fixture(scope="session")
def browser(studio: Studio, anonymous: BrowserContext) -> BrowserContext:
    """Chromium, logged in to Label Studio."""
    log_in(anonymous, studio.base_url, studio.account.email, studio.account.password)
    return anonymous


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
