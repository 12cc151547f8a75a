"""Some hundred of the requests of `tests.fuzz.http`; the command sends as many as one likes."""

import logging

import pytest
from redis import Redis

from backend.web.app import create_app
from backend.web.settings import Settings
from tests.fuzz.http import Fuzzer, application


@pytest.mark.filterwarnings("ignore")
def test_without_a_queue_503_is_the_worst(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    chosen = {"redis_url": "redis://127.0.0.1:1/0", "single_task_seconds": 0.0}
    fuzzer = Fuzzer(create_app(Settings.model_validate(chosen)), 200, away=True)
    fuzzer.run()
    assert {200, 503} <= set(fuzzer.statuses)
    assert "Traceback" not in caplog.text


@pytest.mark.filterwarnings("ignore")
def test_no_request_meets_a_fault(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    fuzzer = Fuzzer(application(redis), 300)
    fuzzer.run()
    assert fuzzer.sent.total() >= 200
    assert {200, 201, 303, 400, 404} <= set(fuzzer.statuses)
    assert "Traceback" not in caplog.text
