import pytest
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    ExecAbortError,
    MovedError,
    ResponseError,
    TimeoutError,
)
from redis.sentinel import MasterNotFoundError

from workers.queue.server_errors import explain


@pytest.mark.parametrize(
    ("error", "name", "passes"),
    [
        (BusyLoadingError("Redis is loading the dataset in memory"), "loading", True),
        (ResponseError("MISCONF Errors writing to the AOF file: No space left"), "disk", True),
        (ResponseError("BUSY Valkey is busy running a script."), "busy", True),
        (ResponseError("OOM command not allowed. script: 3f, on @user_script:1."), "memory", True),
        (ExecAbortError("Transaction discarded: READONLY You can't write"), "read-only", True),
        (ResponseError("MASTERDOWN Link with MASTER is down"), "primary", True),
        (MovedError("3999 127.0.0.1:6381"), "cluster", False),
        (ResponseError("unknown command 'EVALSHA'"), "version", False),
        (ConnectionError("max number of clients reached"), "clients", True),
        (ResponseError("WRONGTYPE Operation against a key script: 3f"), "foreign", True),
        (MasterNotFoundError("no sentinel"), "sentinel", True),
        (TimeoutError("Timeout reading from socket"), "silent", True),
        (ConnectionError("Error 111 connecting to queue:6379."), "unreachable", True),
        (ResponseError("what nobody foresaw about hunter22"), "refused", True),
    ],
)
def test_each_refusal_has_a_cause_and_a_way_out(error: Exception, name: str, passes: bool) -> None:
    cause = explain(error)
    assert (cause.name, cause.passes) == (name, passes)
    assert ":" in cause.message
    assert "hunter22" not in cause.message
