import os

import pytest
from redis import Redis
from typer.testing import CliRunner, Result

from backend.commands.adapt import app
from backend.commands.running import Running, leaving_word
from workers.messages import DELIVERY_QUEUE
from workers.queue.connection import open_queue
from workers.queue.identity import Identity
from workers.queue.prototypes import PrototypeStore
from workers.queue.shares import Share, pack


@pytest.fixture(autouse=True)
def _queue(valkey: str, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", valkey)
    store = PrototypeStore(redis)
    for annotation in ("8", "9"):
        store.expect("12", annotation, 1, "5")
    share = Share(("building", "road"), (0, 0, 1), b"x" * 2048)
    store.put("12", "8", 1, pack(share))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_status_of_all_and_of_one(redis: Redis) -> None:
    PrototypeStore(redis).switch("3", on=False)
    lines = run("status").output.splitlines()
    assert [line.split() for line in lines[1:3]] == [
        ["3", "no", "-", "0", "0", "0", "KiB"],
        ["12", "yes", PrototypeStore(redis).revision("12"), "1", "1", "2", "KiB"],
    ]
    (_, only) = run("status", "3").output.splitlines()
    assert only == lines[1]


def test_status_names_classes_examples_and_where_they_are_from() -> None:
    lines = run("status", "12").output.splitlines()
    assert lines[-2:] == [
        "project 12 learnt 2 of building, 1 of road",
        "  from annotation 8 (task 5)",
    ]


def test_another_secret_for_webhooks(redis: Redis) -> None:
    identity = Identity(redis)
    former = identity.token("12")
    assert run("renew-secret").output.startswith("webhooks of 1 projects get another secret")
    assert identity.token("12") != former
    assert identity.project_of(former) == "12", "what comes before the webhook has the new one"
    (job,) = open_queue(DELIVERY_QUEUE, redis).job_ids
    assert job.startswith("follow-12-")


def test_off_and_on(redis: Redis) -> None:
    store = PrototypeStore(redis)
    before = store.revision("12")
    assert "switched off" in run("off", "12").output
    assert store.revision("12") == ""
    assert "switched on" in run("on", "12").output
    assert store.revision("12") == before


def test_reset(redis: Redis) -> None:
    output = run("reset", "12").output
    assert "forgotten" in output
    assert "former version" in output
    assert open_queue(DELIVERY_QUEUE, redis).scheduled_job_registry.count == 1
    assert PrototypeStore(redis).projects() == []


def test_a_project_is_a_number() -> None:
    assert run("reset", "12; flushall").exit_code == 2


def test_without_a_queue_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    result = run("status")
    assert result.exit_code != 0
    assert "check that its server runs" in result.output
    monkeypatch.delenv("REDIS_URL")
    assert "REDIS_URL is not set" in run("status").output


def test_it_finds_the_queue_of_the_one_that_runs(
    valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REDIS_URL")
    with leaving_word(Running(os.getpid(), valkey, "/data")):
        assert "2 of building" in run("status").output
    assert "no `dgl-rsis up` of yours runs" in run("status").output
