"""A worker waits for its queue's server, however long that is away, and loses nothing by it.

The server may be down, restart and load its data, not answer, or refuse writes: its disk or its
memory is full, or it became a replica. All of that passes. A worker that waits in the middle of a
job still holds the result, so nothing is gained by giving up; it does so only some seconds after
it was asked to stop.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from workers.blocking import waiting
from workers.queue.server_errors import FOREIGN, REFUSED, explain

log = logging.getLogger(__name__)

Result = TypeVar("Result")

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
LAST_SECONDS = 5.0  # after the request to stop: enough for a server that restarts quickly


class Patience(Retry):
    """The retry policy of a worker's client; one for all of its connections.

    Only the main thread, which does the jobs, waits. Other threads get the error after a second
    try, which is for connections that died with a server that restarted.
    """

    def __init__(self) -> None:
        super().__init__(NoBackoff(), 1)
        self._depth = 0
        self._told = False  # that the server is away
        self._until: float | None = None  # monotonic; None before the request to stop
        self._alarm = 0  # seconds that the job in hand had left when the waiting began

    def __deepcopy__(self, memo: dict[int, Any]) -> "Patience":
        """Itself: each connection makes a copy, and whether the server is away is one thing."""
        return self

    def hurry(self) -> None:
        """The process was asked to stop: give up in `LAST_SECONDS`. Safe in a signal handler."""
        if self._until is None:
            self._until = time.monotonic() + LAST_SECONDS

    def call_with_retry(
        self,
        do: Callable[[], Result],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> Result:
        """Do it until it works; see the base class."""
        if threading.current_thread() is not threading.main_thread():
            return super().call_with_retry(do, fail, is_retryable, with_failure_count)
        failures = 0
        self._depth += 1
        try:
            while True:
                try:
                    with waiting():
                        result = do()
                except (RedisError, OSError) as error:
                    if not may_pass(error) or (is_retryable and not is_retryable(error)):
                        raise
                    failures += 1
                    # Closes the connection; of a watched transaction, raises for it to begin anew.
                    fail(error, failures) if with_failure_count else fail(error)
                    self._wait(error, failures)
                else:
                    if self._depth == 1:  # a connection alone does not say that writes pass
                        self._answered()
                    return result
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._resume_alarm()

    def _wait(self, error: Exception, failures: int) -> None:
        """Pause before the next try; the first one follows at once.

        Raises:
            Exception: `error`, when it is time to give up.
        """
        # What RQ allows a job is for the work: the clock stands still while the server is away.
        self._alarm = self._alarm or signal.alarm(0)
        if failures == 1:
            return
        if not self._told:
            self._told = True
            log.warning("waiting for the queue: %s", _said(error))
        pause = min(FIRST_PAUSE_SECONDS * 2 ** min(failures - 2, 10), LONGEST_PAUSE_SECONDS)
        end = time.monotonic() + pause
        with waiting():
            while time.monotonic() < end:
                if self._until is not None and time.monotonic() > self._until:
                    raise error
                time.sleep(FIRST_PAUSE_SECONDS)

    def _answered(self) -> None:
        if self._told:
            log.warning("the queue answers and writes again")
        self._told = False

    def _resume_alarm(self) -> None:
        left, self._alarm = self._alarm, 0
        if left:
            signal.alarm(left)


def may_pass(error: Exception) -> bool:
    """Whether the queue's server will take the same command at another time.

    What it refuses for no known reason, or for what a key holds, and what it says of a command or a
    transaction, stays.
    """
    if isinstance(error, OSError):
        return True
    known = isinstance(error, RedisConnectionError | RedisTimeoutError | ResponseError)
    return known and (cause := explain(error)).passes and cause not in (REFUSED, FOREIGN)


def _said(error: Exception) -> str:
    # Of a connection that is being made, the error is still the socket's own.
    said = error if isinstance(error, RedisError) else RedisConnectionError(str(error))
    return explain(said).message


def patience_of(redis: Redis) -> Patience | None:
    """The policy of a client; None where it is another."""
    policy = redis.connection_pool.connection_kwargs.get("retry")
    return policy if isinstance(policy, Patience) else None
