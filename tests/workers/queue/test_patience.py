import signal
import threading
import time
from collections.abc import Iterator

import pytest
from redis import Redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from workers.queue import patience
from workers.queue.patience import Patience, may_pass, patience_of


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (RedisConnectionError("refused"), True),
        (RedisTimeoutError("silent"), True),
        (BusyLoadingError("loading"), True),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), True),
        (ReadOnlyError("You can't write against a read only replica."), True),
        (ResponseError("MISCONF Errors writing to the AOF file: No space left"), True),
        (ResponseError("Command # 1 (SET a b) of pipeline caused error: MISCONF Errors"), True),
        (ResponseError("Command # 1 (SET a MISCONF ) of pipeline caused error: ERR no"), False),
        (ResponseError("WRONGTYPE Operation against a key"), False),
        (AuthenticationError("invalid username-password pair"), False),
    ],
)
def test_what_may_pass(error: Exception, passes: bool) -> None:
    assert may_pass(error) is passes


class Server:
    """Does not answer some times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.disconnected = 0

    def do(self) -> str:
        if self.failures:
            self.failures -= 1
            raise RedisConnectionError("away")
        return "PONG"

    def fail(self, error: Exception) -> None:
        self.disconnected += 1


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.01)
    yield
    signal.alarm(0)


def test_a_job_has_as_long_as_before_when_its_server_is_back() -> None:
    server = Server(4)
    signal.alarm(500)
    assert Patience().call_with_retry(server.do, server.fail) == "PONG"
    assert server.disconnected == 4
    assert 498 <= signal.alarm(0) <= 500


def test_the_clock_of_a_job_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.5)
    server = Server(4)
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    signal.alarm(1)
    assert Patience().call_with_retry(server.do, server.fail) == "PONG"  # after 0.5 + 1 + 2 s
    assert rung == []
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_asked_to_stop_it_waits_a_little_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "LAST_SECONDS", 0.1)
    policy, server = Patience(), Server(10**6)
    policy.hurry()
    with pytest.raises(RedisConnectionError, match="away"):
        policy.call_with_retry(server.do, server.fail)


def test_other_threads_do_not_wait() -> None:
    server, raised = Server(10**6), []

    def ask() -> None:
        try:
            Patience().call_with_retry(server.do, server.fail)
        except RedisConnectionError as error:
            raised.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(10)
    assert len(raised) == 1
    assert server.disconnected == 2


def test_all_connections_of_a_client_share_one() -> None:
    policy = Patience()
    with Redis.from_url("redis://127.0.0.1:1/0", retry=policy) as client:
        assert patience_of(client) is policy
        assert client.connection_pool.make_connection().retry is policy
    assert patience_of(Redis()) is None


def test_what_a_person_must_put_right_is_told_at_once() -> None:
    def refuse() -> None:
        raise AuthenticationError("invalid username-password pair")

    began = time.monotonic()
    with pytest.raises(AuthenticationError):
        Patience().call_with_retry(refuse, lambda error: None)
    assert time.monotonic() - began < 5
