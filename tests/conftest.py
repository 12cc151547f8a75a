import gc
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from redis import Redis
from redis.connection import AbstractConnection

from workers.processes.embedded import embedded_server

# How long one example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """RQ's workers take SIGINT and SIGTERM for themselves and keep them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The REDIS_URL of a real server that lives as long as the test session."""
    folder: Path = tmp_path_factory.mktemp("valkey")
    with embedded_server(folder) as url:
        yield url
        # What ended threads and services of single tests left open would warn when Python ends.
        for each in gc.get_objects():
            if issubclass(type(each), AbstractConnection):  # proxies answer `isinstance`, loudly
                each.disconnect()


@pytest.fixture
def redis(valkey: str) -> Iterator[Redis]:
    """A client of that server, with an empty database before and after."""
    with Redis.from_url(valkey) as client:
        client.flushall()
        yield client
        client.flushall()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small untrained model, as MODEL takes it."""
    from tests.small_model import write_small_model  # loads torch

    folder: Path = tmp_path_factory.mktemp("model")
    write_small_model(folder)
    return folder
