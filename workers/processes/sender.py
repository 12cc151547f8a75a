"""What a worker sends while it works at its next job."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Sender:
    """Packs and sends what was judged, while the next window is judged.

    One at a time: a window may weigh a hundred megabytes.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "sender")
        self._last: Future[None] | None = None

    def send(self, work: Callable[[], None]) -> None:
        """Begin with one, once the one before is done."""
        self.wait()
        self._last = self._pool.submit(work)

    def wait(self) -> None:
        """Until nothing is on its way any more."""
        if self._last is not None:
            self._last.result()
