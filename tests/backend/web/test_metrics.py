"""What Prometheus reads: well-formed, by its conventions, of few series."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from backend.web.metrics import MOST_WORKERS, Metrics
from backend.web.status import State, WorkerView
from tests.backend.conftest import MakeApp
from tests.backend.worker_end import XML, predict_body, task
from tests.paths import ROOT
from workers.messages import DELIVERY_QUEUE, SEGMENT_QUEUE
from workers.queue import tallies
from workers.queue.heartbeats import Heartbeat, beat

UNITS = ("seconds", "bytes", "info", "total", "ratio")


def families(text: str) -> dict[str, object]:
    return {each.name: each for each in text_string_to_metric_families(text)}


def value(text: str, name: str, **labels: str) -> float | None:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    return None


def lint(text: str) -> list[str]:
    """What promtool would complain about."""
    problems = []
    for family in text_string_to_metric_families(text):
        if not family.documentation:
            problems.append(f"{family.name} has no HELP")
        if family.type == "unknown":
            problems.append(f"{family.name} has no TYPE")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", family.name):
            problems.append(f"{family.name} is no usual name")
        if family.type != "counter" and family.name.endswith("_total"):
            problems.append(f"{family.name} is called as a counter")
        for sample in family.samples:
            if family.type == "counter" and not sample.name.endswith(("_total", "_created")):
                problems.append(f"{sample.name} lacks _total")
        if re.search(r"milli|micro|minutes|hours|kilo|mega|percent", family.name):
            problems.append(f"{family.name} is in no base unit")
    names = [family.name for family in text_string_to_metric_families(text)]
    return problems + [f"{name} twice" for name in {n for n in names if names.count(n) > 1}]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_all_is_well_formed_and_told_once(make_app: MakeApp, announced: Redis) -> None:
    client = make_app()
    client.post("/predict", json=predict_body(task(1)))
    client.post("/webhook", json={"action": "PROJECT_UPDATED"})
    beat(announced, Heartbeat("w", "host", 7, SEGMENT_QUEUE, "cpu", "", 0, 0, resident=2**20))
    with tallies.quietly(announced) as pipe:
        tallies.count(pipe, "deliveries", "stored", 3)
        tallies.observe(pipe, "delivery_age_seconds", "stored", 3.0)
        tallies.count(pipe, "image_cache", "disk")
    answer = client.get("/metrics")
    text = answer.text
    assert answer.content_type.startswith("text/plain; version=")
    assert lint(text) == []
    assert value(text, "dgl_deliveries_total", outcome="stored") == 3
    assert value(text, "dgl_deliveries_total", outcome="given-up") == 0
    assert value(text, "dgl_image_cache_total", tier="disk") == 1
    assert value(text, "dgl_delivery_age_seconds_bucket", outcome="stored", le="5.0") == 1
    assert value(text, "dgl_delivery_age_seconds_bucket", outcome="stored", le="1.0") == 0
    assert value(text, "dgl_delivery_age_seconds_sum", outcome="stored") == 3
    assert value(text, "dgl_webhook_events_total", outcome="ignored") == 1
    assert value(text, "dgl_queue_jobs", queue=SEGMENT_QUEUE) == 1
    waited = value(text, "dgl_queue_oldest_seconds", queue=SEGMENT_QUEUE)
    assert waited is not None
    assert 0 < waited < 60
    assert value(text, "dgl_queue_oldest_seconds", queue=DELIVERY_QUEUE) == 0
    labels = {"queue": SEGMENT_QUEUE, "host": "host", "pid": "7"}
    assert value(text, "dgl_worker_resident_memory_bytes", **labels) == 2**20
    assert value(text, "dgl_worker_heartbeat_age_seconds", **labels) is not None
    assert (value(text, "process_resident_memory_bytes") or 0) > 2**20
    assert (value(text, "dgl_queue_memory_bytes") or 0) > 2**10


def test_refused_logins_are_counted(make_app: MakeApp) -> None:
    client = make_app(basic_auth_user="me", basic_auth_pass="hunter22")
    client.get("/health")
    text = client.get("/metrics", auth=("me", "hunter22")).text
    assert value(text, "dgl_logins_total", outcome="refused") == 1
    assert "hunter22" not in text


def test_addresses_that_strangers_make_up_are_one_series(make_app: MakeApp) -> None:
    client = make_app()
    for number in range(20):
        client.get(f"/nowhere/{number}")
        client.get(f"/projects/{number}")
    routes = {
        sample.labels["route"]
        for sample in families(client.get("/metrics").text)["dgl_requests"].samples
    }
    assert routes == {"unknown", "/projects/<project>"}


def test_workers_are_told_up_to_a_number() -> None:
    worker = WorkerView("w", "", "segment", True, "", "", "h", 1, 1.0, 1, "", "", None)
    text = Metrics().expose(State("", (worker,) * (MOST_WORKERS + 5))).decode()
    assert text.count("\ndgl_worker_heartbeat_age_seconds{") == MOST_WORKERS


def test_without_a_queue_the_rest_is_told() -> None:
    text = Metrics().expose(State("the queue does not answer")).decode()
    assert value(text, "dgl_queue_up") == 0
    assert value(text, "dgl_jobs_total", outcome="answered") == 0
    assert XML not in text


def test_the_metrics_that_the_documents_name_are_told(make_app: MakeApp, announced: Redis) -> None:
    text = (ROOT / "docs" / "SCALING.md").read_text("utf-8")
    text += (ROOT / "SECURITY.md").read_text("utf-8")
    named = set(re.findall(r"\bdgl_(?!rsis)[a-z_]+", text))
    announced.config_set("maxmemory", 2**30)  # else no limit is told
    try:
        told = make_app().get("/metrics").text
    finally:
        announced.config_set("maxmemory", 0)
    assert len(named) > 10
    assert {name for name in named if f"# TYPE {name.removesuffix('_total')}" not in told} == set()
