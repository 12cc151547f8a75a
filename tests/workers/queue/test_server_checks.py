from typing import Any

import pytest

from workers.queue import server_checks
from workers.queue.server_checks import NEARLY_FULL


class Told:
    """A server that says of itself what a test has it say."""

    def __init__(self, **info: Any) -> None:
        self._info = {"valkey_version": "9.1.4", "role": "master", "aof_enabled": 1} | info

    def info(self, *sections: str) -> dict[str, Any]:
        return self._info


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({}, ""),
        ({"valkey_version": "8.1.3"}, "Valkey 8.1.3, in which a script can run code"),
        ({"valkey_version": "8.1.4"}, ""),
        ({"valkey_version": "7.2.11"}, ""),
        ({"valkey_version": "6.9.0"}, "too old"),
        ({"valkey_version": "of today"}, ""),
        ({"role": "slave", "aof_enabled": 0}, "is a replica"),
        ({"aof_last_write_status": "err"}, "could not write its log"),
        ({"used_memory": 99, "maxmemory": 100}, "nearly full"),
        ({"used_memory": int(NEARLY_FULL * 100), "maxmemory": 100}, ""),
        ({"used_memory": 99, "maxmemory": 0}, ""),
    ],
)
def test_what_is_warned_about(info: dict[str, Any], said: str) -> None:
    warnings = server_checks.check(Told(**info)).warnings
    assert len(warnings) == bool(said)
    assert said in "".join(warnings)


@pytest.mark.parametrize(
    ("version", "count"), [("6.0.1", 1), ("7.0.15", 1), ("7.4.6", 0), ("8.2.1", 1), ("8.6.0", 0)]
)
def test_versions_of_redis(version: str, count: int) -> None:
    class Redis(Told):
        def info(self, *sections: str) -> dict[str, Any]:
            return {"redis_version": version, "role": "master"}

    assert len(server_checks.check(Redis()).warnings) == count
