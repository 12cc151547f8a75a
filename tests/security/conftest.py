"""A backend and a Label Studio that call each other over loopback, and what works behind them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import requests
from redis import Redis
from rq import SimpleWorker
from rq.serializers import JSONSerializer

from backend.studio.environment import studio_of_environment
from backend.web.app import create_app
from backend.web.settings import Settings
from tests.backend.studio.fake_studio import LEGACY_TOKEN, FakeStudio, fake_studio
from tests.backend.worker_end import VERSION, XML, reply
from tests.loopback import serving
from workers.messages import DELIVERY_QUEUE, SEGMENT_QUEUE, SegmentRequest
from workers.queue.client import SegmentClient
from workers.queue.connection import AllowedJob, open_queue
from workers.queue.heartbeats import Announcement, announce
from workers.queue.replies import store_reply
from workers.settings import variables


@dataclass(frozen=True)
class World:
    """What there is.

    Attributes:
        url: of the backend.
        studio: its Label Studio, whose project 1 is connected to it.
        redis: the queue.
    """

    url: str
    studio: FakeStudio
    redis: Redis

    @property
    def client(self) -> SegmentClient:
        """Of the queue."""
        return SegmentClient(self.redis, refresh_seconds=0)

    def post(self, path: str, **options: Any) -> requests.Response:
        """Whoever reaches the backend calls it."""
        return requests.post(self.url + path, timeout=10, **options)

    def predict(self, *tasks: Any, project: str = "1.1795419101", xml: str = XML) -> None:
        """The same asks for masks of tasks, as a batch: nothing is waited for."""
        body = {"tasks": [*tasks, {"id": 3, "data": {}}], "project": project, "label_config": xml}
        assert self.post("/predict", json=body).status_code == 200

    def work(self) -> None:
        """Answer what waits for a segment worker, and do as a delivery worker."""
        segments = open_queue(SEGMENT_QUEUE, self.redis)
        for job in segments.get_jobs():
            if job.func_name.endswith(".segment"):
                self._answer(SegmentRequest.from_json(job.args[0]))
                segments.remove(job.id)
                job.set_status("finished")  # type: ignore[arg-type]
                segments.enqueue_dependents(job)
        self.deliver()

    def deliver(self) -> None:
        """Do as a delivery worker, until nothing is due."""
        queue = open_queue(DELIVERY_QUEUE, self.redis)
        worker = SimpleWorker(
            [queue], connection=self.redis, job_class=AllowedJob, serializer=JSONSerializer
        )
        worker.work(burst=True)

    def wait(self) -> None:
        """Let the time come of all that is tried again later."""
        queue = open_queue(DELIVERY_QUEUE, self.redis)
        for job_id in queue.scheduled_job_registry.get_job_ids():
            queue.scheduled_job_registry.remove(job_id)
            job = queue.fetch_job(job_id)
            assert job is not None
            queue.enqueue_job(job)

    def scheduled(self, kind: str) -> int:
        """How many jobs of a kind are to run later: "delivery", "event" or "follow"."""
        waiting = open_queue(DELIVERY_QUEUE, self.redis).scheduled_job_registry.get_job_ids()
        return sum(each.startswith(f"{kind}-") for each in waiting)

    def _answer(self, request: SegmentRequest) -> None:
        answered = replace(reply(), model_version=request.model_version, subject=request.subject)
        store_reply(self.redis, request.key, answered, 3600)


Open = Callable[..., World]


@pytest.fixture
def open_world(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """`open_world(**settings)`: a backend that is connected, with these settings."""
    announce(redis, Announcement(VERSION, "cpu", 0.0))
    for name in variables(Settings):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", LEGACY_TOKEN)
    studio_of_environment.cache_clear()
    with ExitStack() as stack:

        def make(**values: Any) -> World:
            studio = stack.enter_context(fake_studio())
            monkeypatch.setenv("LABEL_STUDIO_URL", studio.url)
            own = {"label_studio_url": studio.url, "label_studio_api_key": LEGACY_TOKEN}
            settings = Settings.model_validate({**own, "single_task_seconds": 0.1, **values})
            url = stack.enter_context(_serving(settings, redis))
            studio.label_config = XML
            studio.connect("DGL-RSIS", VERSION, url)
            return World(url, studio, redis)

        yield make
    studio_of_environment.cache_clear()


@pytest.fixture
def world(open_world: Open) -> World:
    """A backend that is connected, as it comes."""
    return open_world()


@contextmanager
def _serving(settings: Settings, redis: Redis) -> Iterator[str]:
    app = create_app(settings, SegmentClient(redis, refresh_seconds=0))
    with serving(app) as port:
        yield f"http://127.0.0.1:{port}"


def task(number: int, **data: Any) -> dict[str, Any]:
    """A task as it lies in Label Studio, or with other data."""
    return {"id": number, "data": {"image": f"/data/upload/1/t{number}.png", **data}}
