"""The workers with a model: load it once, test it, announce it, work.

The segment worker answers everything. A worker reserved for people who wait answers only them, so
that a batch in the other's hands does not hold them up.
"""

from redis import Redis

from workers.engine.loading import load_model as load_engine
from workers.engine.model import Model
from workers.engine.scenes import SceneJudge
from workers.images.cache import ImageCache
from workers.images.fetch import Fetcher
from workers.images.pictures import Pictures
from workers.messages import INTERACTIVE_QUEUE, SEGMENT_QUEUE
from workers.processes.ahead import Ahead
from workers.processes.jobs import Workbench
from workers.processes.memory import limit_memory, return_freed_memory, room
from workers.processes.model_worker import ModelWorker
from workers.processes.queue_worker import worker_connection
from workers.processes.watchdog import IDLE_SECONDS, Limits, Watchdog
from workers.queue.connection import open_queue
from workers.settings import WorkerSettings

MIB = 2**20


def load_model(settings: WorkerSettings) -> tuple[Model, Pictures, Ahead]:
    """The model that the settings name, its images, and what prepares them: all share a cache.

    Raises:
        ModelError: there is no such model.
    """
    cache = ImageCache(settings.cache_mb * MIB, settings.cache_dir, settings.cache_disk_mb * MIB)
    fetch = Fetcher.from_settings(settings).fetch
    segmenter = load_engine(settings, cache)
    # The memory of a device is another one: what does not fit there is said by its own error.
    fits = room if settings.device == "cpu" else None
    ahead = Ahead(settings)
    pictures = Pictures(
        cache,
        fetch,
        settings.max_image_pixels,
        setting=segmenter.setting,
        room=fits,
        prepared=ahead.take,
    )
    return segmenter, pictures, ahead


def load_bench(settings: WorkerSettings, redis: Redis) -> Workbench:
    """All that a worker with these settings needs for its jobs.

    Raises:
        ModelError: there is no such model.
    """
    segmenter, pictures, ahead = load_model(settings)
    reply_seconds = settings.reply_days * 24 * 3600
    scenes = SceneJudge(settings.scenes_root, settings.max_image_pixels)
    return Workbench(
        segmenter,
        pictures,
        redis,
        reply_seconds,
        settings.refresh_seconds,
        scenes=scenes,
        ahead=ahead,
    )


def run_segment_worker(settings: WorkerSettings, queue_name: str = SEGMENT_QUEUE) -> int:
    """Load, warm up, and work until asked to stop.

    Args:
        settings: of the worker.
        queue_name: `SEGMENT_QUEUE`, or `INTERACTIVE_QUEUE` for a worker that is reserved for people
            who wait.

    Returns:
        Exit status, as `QueueWorker.run`.

    Raises:
        ModelError, SelfTestError: the model cannot be used.
        ValueError: no REDIS_URL.
    """
    redis = worker_connection(settings.redis_url)
    watchdog = Watchdog(Limits(idle=IDLE_SECONDS)).start()
    return_freed_memory()
    if settings.device == "cpu":
        limit_memory()
    bench = load_bench(settings, redis)
    worker = ModelWorker(open_queue(queue_name, redis), bench, settings.device, watchdog)
    worker.warm_up()
    try:
        return worker.run()
    finally:
        bench.close()


def run_interactive_worker(settings: WorkerSettings) -> int:
    """`run_segment_worker` for people who wait, and nobody else."""
    return run_segment_worker(settings, INTERACTIVE_QUEUE)
