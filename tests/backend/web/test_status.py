import time

from redis import Redis

from backend.web.status import read_state
from tests.backend.conftest import MakeApp
from tests.backend.worker_end import VERSION, predict_body, task
from workers.queue.client import SegmentClient
from workers.queue.failures import TaskFailure
from workers.queue.heartbeats import Heartbeat, beat, fall_silent

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


def test_the_page(make_app: MakeApp, announced: Redis) -> None:
    client = make_app()
    beat(announced, SEGMENTER)
    hostile = task(1) | {"id": "<script>alert(1)</script>"}
    client.post("/predict", json=predict_body({**hostile, "data": {}}), buffered=True)
    response = client.get("/status")
    assert response.mimetype == "text/html"
    page = response.text
    for words in (VERSION, "gpu-host", "4711", "cuda:0", "segment-abc", "no &#39;image&#39;"):
        assert words in page
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "script-src" not in response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


def test_the_page_shows_what_other_processes_gave_up(make_app: MakeApp, announced: Redis) -> None:
    client, elsewhere = make_app(), SegmentClient(announced)
    elsewhere.record_failures([TaskFailure("segment", "4711", "the image is <damaged>")])
    elsewhere.record_failures([TaskFailure("delivery", "4712", "Label Studio answered 403")])
    page = client.get("/status").text
    assert page.index("4712<td>delivery") < page.index("4711<td>segment")
    assert "the image is &lt;damaged&gt;" in page
    metrics = client.get("/metrics").text
    assert 'dgl_tasks_given_up{stage="segment"} 1.0' in metrics
    assert 'dgl_tasks_given_up{stage="delivery"} 1.0' in metrics


def test_the_page_without_anything(make_app: MakeApp, redis: Redis) -> None:
    page = make_app().get("/status").text
    assert "no segment worker is ready" in page
    assert page.count("none") >= 2
