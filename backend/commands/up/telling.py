"""Tells the queue's server how the supervised processes are, for the status page."""

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from socket import gethostname

from redis import RedisError

from workers.queue.servers import connect
from workers.queue.supervision import Supervised, tell

TELL_SECONDS = 3.0


class Telling:
    """Does so in a thread, which may wait for the server, while the context lasts.

    Args:
        redis_url: of the queue's server.
        processes: how they are now.
    """

    def __init__(self, redis_url: str, processes: Callable[[], Sequence[Supervised]]) -> None:
        self._redis = connect(redis_url)
        self._processes = processes
        self._name = f"{gethostname()}:{os.getpid()}"
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telling", daemon=True)

    def __enter__(self) -> "Telling":
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        self._stopped.set()
        self._thread.join()
        self._redis.close()

    def _run(self) -> None:
        while not self._stopped.wait(TELL_SECONDS):
            with suppress(RedisError):  # it is told again soon
                tell(self._redis, self._name, self._processes())
