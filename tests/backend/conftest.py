import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from redis import Redis

from backend.commands.options import OURS
from backend.web.app import create_app
from backend.web.settings import Settings
from tests.backend.studio.fake_studio import FakeStudio, fake_studio
from tests.backend.worker_end import VERSION
from workers.queue.client import SegmentClient
from workers.queue.heartbeats import Announcement, announce
from workers.settings import variables

MakeApp = Callable[..., FlaskClient]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings come from each test, not from whoever runs it, nor from what runs beside it."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in variables(Settings):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """A command that ran in this process leaves no log levels behind."""
    yield
    for package in OURS:
        logging.getLogger(package).setLevel(logging.NOTSET)


@pytest.fixture
def announced(redis: Redis) -> Redis:
    """The queue after a worker has announced its model."""
    announce(redis, Announcement(VERSION, "cpu", 0.0))
    return redis


@pytest.fixture
def make_app(redis: Redis) -> MakeApp:
    """`make_app(**settings)`: a test client of the web application on the real queue."""

    def make(**values: object) -> FlaskClient:
        budgets = {"single_task_seconds": 0.3, "batch_seconds": 0.5}
        settings = Settings.model_validate(budgets | values)
        client = SegmentClient(redis, most_waiting=settings.max_waiting)
        return create_app(settings, client).test_client()

    return make


@pytest.fixture
def studio() -> Iterator[FakeStudio]:
    """A Label Studio that listens."""
    with fake_studio() as studio:
        yield studio
