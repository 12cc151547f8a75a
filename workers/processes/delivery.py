"""The delivery worker: pushes replies to Label Studio. Holds no model and imports no torch."""

from workers.messages import DELIVERY_QUEUE
from workers.processes.queue_worker import QueueWorker, worker_connection
from workers.processes.watchdog import Watchdog
from workers.queue.connection import open_queue
from workers.settings import WorkerSettings


def run_delivery_worker(settings: WorkerSettings) -> int:
    """Deliver until asked to stop.

    Returns:
        Exit status, as `QueueWorker.run`.

    Raises:
        ValueError: no REDIS_URL.
    """
    redis = worker_connection(settings.redis_url)
    watchdog = Watchdog().start()
    return QueueWorker(open_queue(DELIVERY_QUEUE, redis), watchdog=watchdog).run()
