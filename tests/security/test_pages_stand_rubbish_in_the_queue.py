"""What is looked at shows what can be read of the queue: rubbish in it makes no page a fault."""

from collections.abc import Callable, Iterator

import pytest
import requests
from redis import Redis

from backend.web.app import create_app
from backend.web.settings import Settings
from tests.backend.worker_end import VERSION, XML
from tests.loopback import serving
from workers.queue.client import SegmentClient
from workers.queue.heartbeats import Announcement, announce

RUBBISH = b"\xff{"
PAGES = (
    "/", "/status", "/projects/1", "/tasks/1/5", "/api/status", "/api/projects", "/api/projects/1",
    "/api/projects/1/tasks", "/api/projects/1/tasks/5", "/metrics", "/ready", "/versions",
)  # fmt: skip
# Of the types that they have, with what nobody of this project wrote.
WRITTEN: dict[str, Callable[[Redis], object]] = {
    "a nonce": lambda redis: redis.set("dgl:challenge", RUBBISH),
    "a model": lambda redis: redis.set("dgl:model", b'{"model_version": [], "at": NaN}'),
    "a model of lists": lambda redis: redis.set("dgl:model", b"[" * 5000),
    "counts": lambda redis: redis.hset("dgl:failures:counts", mapping={RUBBISH: RUBBISH}),
    "failures": lambda redis: redis.lpush("dgl:failures", RUBBISH, b'{"stage": 1, "at": "x"}'),
    "tallies": lambda redis: redis.hset("dgl:tallies", mapping={RUBBISH: "1e999", "jobs|": "x"}),
    "projects": lambda redis: redis.zadd("dgl:ledger", {RUBBISH: 1.0, "../x": 2.0}),
    "tasks": lambda redis: redis.zadd("dgl:ledger:1:queued", {RUBBISH: 1.0, "x": 2.0}),
    "entries": lambda redis: redis.hset("dgl:ledger:1:tasks", mapping={"5": b"", "x": RUBBISH}),
    "workers": lambda redis: redis.sadd("dgl:workers", RUBBISH),
    "a worker": lambda redis: _told(redis, "dgl:workers", "dgl:worker:w", {"pid": "x", "at": []}),
    "supervisors": lambda redis: redis.sadd("dgl:supervisors", RUBBISH),
    "processes": lambda redis: _told(redis, "dgl:supervisors", "dgl:supervised:w", [7, {"pid": 1}]),
    "a refusal": lambda redis: redis.hset("dgl:studio", mapping={"since": "x", "cause": RUBBISH}),
    "jobs": lambda redis: redis.rpush("rq:queue:segment", RUBBISH),
    "deliveries": lambda redis: redis.rpush("rq:queue:delivery", RUBBISH),
    "learnt": lambda redis: redis.sadd("dgl:prototypes", RUBBISH, "../x"),
    "a note": lambda redis: redis.set("dgl:following:1:note", RUBBISH),
}  # fmt: skip


def _told(redis: Redis, names: str, key: str, said: object) -> None:
    redis.sadd(names, "w")
    redis.set(key, str(said).replace("'", '"'), ex=60)


@pytest.fixture
def url(redis: Redis) -> Iterator[str]:
    """A backend whose task 5 of project 1 waits."""
    announce(redis, Announcement(VERSION, "cpu", 0.0))
    settings = Settings(single_task_seconds=0.0, batch_seconds=0.0)
    with serving(create_app(settings, SegmentClient(redis))) as port:
        address = f"http://127.0.0.1:{port}"
        task = {"id": 5, "data": {"image": "/data/upload/1/t5.png"}}
        body = {"tasks": [task], "project": "1.1", "label_config": XML}
        assert requests.post(f"{address}/predict", json=body, timeout=10).ok
        yield address


@pytest.mark.parametrize("what", WRITTEN)
def test_rubbish_of_the_right_type_is_passed_over(url: str, redis: Redis, what: str) -> None:
    WRITTEN[what](redis)
    answers = {page: requests.get(url + page, timeout=10) for page in PAGES}
    assert {page: answer.status_code for page, answer in answers.items()} == {
        page: 503 if page == "/ready" else 404 if what == "entries" and page.endswith("/5") else 200
        for page in PAGES
    }
    assert not any("Traceback" in answer.text for answer in answers.values())


def test_another_type_is_said_with_its_way_out(
    url: str, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    keys = ("dgl:ledger", "dgl:challenge", "dgl:tallies", "dgl:workers", "rq:queue:segment")
    for key in keys:
        redis.delete(key)
        redis.xadd(key, {"another": "program"})
    statuses = {requests.get(url + page, timeout=10).status_code for page in PAGES}
    assert statuses <= {200, 503}
    assert 503 in statuses
    assert "give REDIS_URL a database of its own" in caplog.text
    assert "Traceback" not in caplog.text
