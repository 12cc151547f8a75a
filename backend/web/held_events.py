"""Label Studio's events while the queue's server is away: held in memory until it is back.

Label Studio posts an event once. This process is there all the same, so it remembers what the event
names; whether its secret is valid is found out when the queue's server, which has that, is back.
"""

import atexit
import logging
import threading
from collections.abc import Callable

from workers.messages import StudioEvent
from workers.queue.connection import QueueError

LOG = logging.getLogger(__name__)

MOST_IDS = 20_000  # of annotations and tasks, of all events together: some megabytes
PAUSE_SECONDS = 2.0  # between two tries


class HeldEvents:
    """Events that wait for the queue's server.

    Args:
        take: given a secret and what came with it, does what is to be done; raises `QueueError`
            while the server is away.
    """

    def __init__(self, take: Callable[[str, StudioEvent], None]) -> None:
        self._take = take
        self._lock = threading.Lock()
        self._held: dict[tuple[str, StudioEvent], int] = {}  # the same one twice is one; its ids
        self._runs = False
        atexit.register(self._say_lost)

    def hold(self, secret: str, event: StudioEvent) -> bool:
        """Take an event as soon as the queue's server is back.

        Returns:
            False when so many wait that there is no room.
        """
        size = len(event.annotations) + len(event.tasks)
        with self._lock:
            if sum(self._held.values()) + size > MOST_IDS:
                return False
            self._held[secret, event] = size
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._drain, name="held events", daemon=True).start()
        return True

    def _drain(self) -> None:
        """Take what is held, oldest first, until there is none."""
        pause, taken = threading.Event(), 0
        while True:
            with self._lock:
                first = next(iter(self._held), None)
                if first is None:
                    self._runs = False
                    break
            try:
                self._take(*first)
            except QueueError:
                pause.wait(PAUSE_SECONDS)
                continue
            except Exception:
                LOG.exception("project %s: an event is lost", first[1].project)
            with self._lock:
                del self._held[first]
            taken += 1
        LOG.info("the queue is back: %d events that came meanwhile are looked at", taken)

    def _say_lost(self) -> None:
        if self._held:
            LOG.error("%d events are lost: the queue did not come back", len(self._held))
