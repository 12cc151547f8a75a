import re
import time
from dataclasses import replace

from redis import Redis

from backend.web.status import read_state
from tests.backend.conftest import MakeApp
from workers.queue.client import SegmentClient
from workers.queue.connection import delivery_job_id, segment_job_id
from workers.queue.failures import TaskFailure
from workers.queue.heartbeats import Heartbeat, beat, fall_silent
from workers.queue.running import Running, note
from workers.queue.supervision import Supervised, tell

SEGMENTER = Heartbeat("s1", "gpu-host", 4711, "segment", "cuda:0", "segment-abc", time.time(), 1.0)
DELIVERER = Heartbeat("d1", "web-host", 4712, "delivery", "", "", time.time(), 0.0)


def test_ready_needs_a_live_segment_worker(make_app: MakeApp, redis: Redis) -> None:
    client = make_app()
    beat(redis, DELIVERER)
    refused = client.get("/ready")
    assert refused.status_code == 503
    assert "no segment worker is ready" in refused.json["problem"]
    beat(redis, SEGMENTER)
    ready = client.get("/ready")
    assert ready.status_code == 200
    assert ready.json == {"ready": True, "workers": 1, "waiting": {"segment": 0, "delivery": 0}}
    fall_silent(redis, SEGMENTER.name)
    assert client.get("/ready").status_code == 503


def test_the_state_names_all_workers(redis: Redis) -> None:
    beat(redis, SEGMENTER)
    beat(redis, DELIVERER)
    state = read_state(SegmentClient(redis))
    assert {worker.name for worker in state.workers} == {"s1", "d1"}
    assert state.segmenters == 1
    assert state.problem == ""


def test_a_worker_that_is_silent_is_told_and_not_counted(redis: Redis) -> None:
    beat(redis, SEGMENTER)
    redis.expire(f"dgl:worker:{SEGMENTER.name}", 10)
    state = read_state(SegmentClient(redis))
    assert "no segment worker is ready" in state.problem
    assert [(worker.live, round(worker.age)) for worker in state.workers] == [(False, 20)]


def test_what_is_in_work_is_told_by_task(redis: Redis) -> None:
    key = "a" * 32
    job = segment_job_id(key)
    beat(redis, replace(SEGMENTER, job=job))
    beat(redis, replace(DELIVERER, job=delivery_job_id(8, key, "1")))
    note(redis, Running("s1", job, key, "5", "finding regions", 12.0))
    told = {worker.queue: worker for worker in read_state(SegmentClient(redis)).workers}
    assert (told["segment"].task, told["segment"].stage) == ("5", "finding regions")
    assert told["segment"].since == 12.0
    assert (told["delivery"].task, told["delivery"].stage) == ("8", "delivering")


def test_what_other_processes_gave_up_is_told_and_counted(
    make_app: MakeApp, announced: Redis
) -> None:
    client, elsewhere = make_app(), SegmentClient(announced)
    elsewhere.record_failures([TaskFailure("segment", "4711", "the image is <damaged>")])
    elsewhere.record_failures([TaskFailure("delivery", "4712", "Label Studio answered 403")])
    page = client.get("/status").text
    assert page.index("4712") < page.index("4711")
    assert "the image is &lt;damaged&gt;" in page
    metrics = client.get("/metrics").text
    assert 'dgl_tasks_given_up{stage="segment"} 1.0' in metrics
    assert 'dgl_tasks_given_up{stage="delivery"} 1.0' in metrics


def test_page_readiness_and_metrics_agree(make_app: MakeApp, announced: Redis) -> None:
    client = make_app()
    beat(announced, SEGMENTER)
    announced.expire(f"dgl:worker:{SEGMENTER.name}", 10)
    assert client.get("/ready").status_code == 503
    assert client.get("/api/status").json["ready"] is False
    assert "no segment worker is ready" in client.get("/status").text
    assert "dgl_workers_ready 0.0" in client.get("/metrics").text


def test_a_crash_loop_is_seen(make_app: MakeApp, redis: Redis) -> None:
    client = make_app()
    steady = Supervised("host", "web", 12, "running", 0, 0, None, "", None, None)
    now, cause = time.time(), "ValueError: <b>no"
    crashing = Supervised("host", "clicks", 0, "pausing", 7, 4, -9, cause, now - 3, now + 3000)
    tell(redis, "host:1", [steady, crashing])
    page = client.get("/status", headers={"Accept": "text/html"}).text
    assert re.search("starts again in (49|50) min", page)
    assert "7 times, 4 in a row" in page
    assert "status -9, " in page
    assert "ValueError: &lt;b&gt;no" in page
    web, clicks = client.get("/api/status").json["processes"]
    assert (web["name"], web["pid"], web["ends"]) == ("web", 12, 0)
    assert (clicks["status"], clicks["in_a_row"]) == (-9, 4)
    redis.delete("dgl:supervised:host:1")  # as when its supervisor was killed
    assert client.get("/api/status").json["processes"] == []
    assert "Processes of" not in client.get("/status", headers={"Accept": "text/html"}).text
