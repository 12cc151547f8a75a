"""Some hundred of the requests of `tests.fuzz.http`; the command sends as many as one likes."""

import logging

import pytest
from redis import Redis

from tests.fuzz.http import Fuzzer, application


@pytest.mark.filterwarnings("ignore")
def test_no_request_meets_a_fault(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    fuzzer = Fuzzer(application(redis), 300)
    fuzzer.run()
    assert fuzzer.sent.total() >= 200
    assert {200, 201, 303, 400, 404} <= set(fuzzer.statuses)
    assert "Traceback" not in caplog.text
