"""The segment worker: loads its model once, tests it, announces it, works."""

from collections.abc import Sequence
from dataclasses import replace

from redis import Redis

from dgl_rsis import models, pipelines, referring
from dgl_rsis.pipelines import ClassSegmentation, OvssParameters
from dgl_rsis.referring import ExpressionSegmentation, ResParameters
from dgl_rsis.types import RGB, Label
from workers.fetch import Fetcher
from workers.jobs import Engine
from workers.memory import limit_memory
from workers.messages import SEGMENT_QUEUE
from workers.model_worker import ModelWorker
from workers.queues import open_queue
from workers.settings import WorkerSettings
from workers.worker import worker_connection


def load_engine(settings: WorkerSettings, redis: Redis) -> Engine:
    """Load the model that the settings name.

    Raises:
        ModelError: there is no such model.
    """
    clip = models.load_clip(settings.model, settings.device)
    parameters, referring_parameters = OvssParameters(), ResParameters()

    def segment(image: RGB, labels: Sequence[Label], batch: int) -> ClassSegmentation:
        return pipelines.segment_classes(image, labels, clip, replace(parameters, batch=batch))

    def refer(
        image: RGB, expression: str, labels: Sequence[Label], batch: int
    ) -> tuple[ExpressionSegmentation, str]:
        encoding = replace(referring_parameters.encoding, batch=batch)
        wanted = replace(referring_parameters, encoding=encoding)
        found = referring.segment_expression(image, expression, clip, wanted)
        return found, referring.label_for(found.decoupled.noun, labels, clip)

    return Engine(
        segment=segment,
        refer=refer,
        batch=parameters.batch,
        model_version=pipelines.model_version(clip, parameters, referring_parameters),
        fetch=Fetcher.from_settings(settings).fetch,
        redis=redis,
        max_pixels=settings.max_image_pixels,
        reply_seconds=settings.reply_days * 24 * 3600,
    )


def run_segment_worker(settings: WorkerSettings) -> int:
    """Load, warm up, and work until asked to stop.

    Returns:
        Exit status, as `QueueWorker.run`.

    Raises:
        ModelError, SelfTestError: the model cannot be used.
        ValueError: no REDIS_URL.
    """
    redis = worker_connection(settings.redis_url)
    if settings.device == "cpu":
        limit_memory()
    queue = open_queue(SEGMENT_QUEUE, redis)
    engine = load_engine(settings, redis)
    worker = ModelWorker(queue, engine, settings.device)
    worker.warm_up()
    return worker.run()
