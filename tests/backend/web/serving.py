"""A service on the real queue, with little patience."""

from typing import Any

from redis import Redis

from backend.web.metrics import Metrics
from backend.web.service import PredictionService
from backend.web.settings import Settings
from workers.queue.client import SegmentClient


def service(redis: Redis, client: SegmentClient | None = None, **values: Any) -> PredictionService:
    budgets = {"single_task_seconds": 0.3, "batch_seconds": 0.5}
    settings = Settings.model_validate(budgets | values)
    return PredictionService(client or SegmentClient(redis), settings, Metrics())
