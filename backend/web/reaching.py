"""Whether predictions reach Label Studio: told from what the delivery workers saw.

They try again at growing intervals, so what they saw last may be an hour old. Where they were
refused, Label Studio is therefore asked anew, in a thread of its own: whoever asks for the state
never waits for Label Studio.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from backend.studio.client import StudioClient, StudioError
from workers.messages import DELIVERY_QUEUE
from workers.queue.client import SegmentClient
from workers.queue.connection import QueueError
from workers.queue.heartbeats import Heartbeat

LOG = logging.getLogger(__name__)

NO_DELIVERY = (
    "no delivery worker is alive, so nothing reaches Label Studio: start one with "
    "`dgl-rsis deliver` (or `dgl-rsis up`)"
)
REFUSES_SECONDS = 120.0  # a restart of Label Studio is no trouble yet
ASK_SECONDS = 15.0  # between two questions


class StudioWatch:
    """Says why predictions do not reach Label Studio.

    Args:
        client: the queue.
        studio: makes a client of Label Studio; None where nothing is to be pushed.
    """

    def __init__(self, client: SegmentClient, studio: Callable[[], StudioClient] | None) -> None:
        self._client = client
        self._studio = studio
        self._asking = threading.Lock()
        self._asked_at = -ASK_SECONDS

    def problem(self, workers: Sequence[Heartbeat]) -> str:
        """Why nothing is delivered; empty when all is well, or nothing is to be.

        Args:
            workers: those that beat of late.

        Raises:
            QueueError: Redis cannot be reached.
        """
        if self._studio is None:
            return ""
        if not any(worker.queue == DELIVERY_QUEUE and worker.is_live for worker in workers):
            return NO_DELIVERY
        refusal = self._client.studio_refusal()
        if refusal is None or refusal.age < REFUSES_SECONDS:
            return ""
        self._ask()
        minutes = round(refusal.age / 60)
        return f"nothing has reached Label Studio for {minutes} min: {refusal.cause}"

    def _ask(self) -> None:
        """Ask Label Studio whether it is back, unless that was asked a moment ago."""
        if time.monotonic() < self._asked_at + ASK_SECONDS or not self._asking.acquire(False):
            return
        self._asked_at = time.monotonic()
        threading.Thread(target=self._look, name="studio", daemon=True).start()

    def _look(self) -> None:
        try:
            assert self._studio is not None
            self._studio().check_token()
            self._client.studio_answers()
        except (StudioError, QueueError) as error:
            LOG.info("%s", error)
        finally:
            self._asking.release()
