"""Whether predictions reach Label Studio, as /ready and the page say it."""

import time

import pytest
from redis import Redis

from backend.studio.client import StudioClient
from backend.web.reaching import NO_DELIVERY, StudioWatch
from tests.backend.conftest import MakeApp
from tests.backend.studio.fake_studio import LEGACY_TOKEN, FakeStudio
from tests.backend.web.test_status import DELIVERER, SEGMENTER
from tests.workers.worker_processes import until
from workers.queue import reach
from workers.queue.client import SegmentClient
from workers.queue.heartbeats import beat


def settings(studio: FakeStudio) -> dict[str, object]:
    return {"label_studio_url": studio.url, "label_studio_api_key": LEGACY_TOKEN}


def refused(redis: Redis, *, known: bool = False) -> None:
    """Label Studio has refused for five minutes."""
    reach.refused(redis, "Label Studio answered 503", known=known)
    redis.hset(reach.STUDIO_KEY, "since", time.time() - 300)


def test_what_is_to_be_delivered_needs_a_living_delivery_worker(
    make_app: MakeApp, redis: Redis, studio: FakeStudio
) -> None:
    beat(redis, SEGMENTER)
    assert make_app().get("/ready").status_code == 200, "nothing is to be delivered"
    client = make_app(**settings(studio))
    assert client.get("/ready").json == {"ready": False, "problem": NO_DELIVERY}
    assert client.get("/health").status_code == 200
    beat(redis, DELIVERER)
    assert client.get("/ready").status_code == 200
    redis.expire(f"dgl:worker:{DELIVERER.name}", 10)  # silent for 20 s
    assert client.get("/ready").status_code == 503


def test_a_label_studio_that_refuses_for_minutes_is_told_until_it_is_back(
    make_app: MakeApp, redis: Redis, studio: FakeStudio
) -> None:
    beat(redis, SEGMENTER)
    beat(redis, DELIVERER)
    client = make_app(**settings(studio))
    reach.refused(redis, "Label Studio answered 503")
    assert client.get("/ready").status_code == 200, "a restart takes as long"
    studio.is_away(503, 60)
    refused(redis)
    expected = "nothing has reached Label Studio for 5 min: Label Studio answered 503"
    assert client.get("/ready").json["problem"] == expected
    assert expected in client.get("/status").text
    assert client.get("/api/status").json["problem"] == expected
    until(lambda: studio.calls == ["GET /api/current-user/whoami"])
    assert reach.refusal(redis) is not None
    reach.passed(redis)
    assert client.get("/ready").status_code == 200


@pytest.mark.parametrize("known", [False, True])
def test_what_the_workers_saw_last_is_not_believed_for_an_hour(
    redis: Redis, studio: FakeStudio, known: bool
) -> None:
    client = SegmentClient(redis)
    watch = StudioWatch(client, lambda: StudioClient(studio.url, LEGACY_TOKEN))
    beat(redis, DELIVERER)
    refused(redis, known=known)
    assert watch.problem(client.workers())
    until(lambda: studio.calls)
    if known:  # it answers whoever asks, and takes no prediction
        assert watch.problem(client.workers())
    else:
        until(lambda: not watch.problem(client.workers()))


def test_a_queue_that_takes_no_writes_is_not_ready(make_app: MakeApp, redis: Redis) -> None:
    beat(redis, SEGMENTER)
    client = make_app()
    try:
        for trouble in ({"maxmemory": 1}, {"maxmemory": 0, "min-replicas-to-write": 1}):
            for name, value in trouble.items():
                redis.config_set(name, value)
            refused = client.get("/ready")
            assert refused.status_code == 503
            assert "worker" not in refused.json["problem"], "it is the queue"
            assert client.get("/health").status_code == 200
    finally:
        redis.config_set("maxmemory", 0)
        redis.config_set("min-replicas-to-write", 0)
    assert client.get("/ready").status_code == 200
