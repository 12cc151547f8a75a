"""What jobs tell the queue's server beside their replies, and what they do while it refuses."""

from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ReadOnlyError
from rq import Retry

from tests.workers.fake_worker import fake_bench, request
from workers.messages import SegmentReply
from workers.processes import jobs
from workers.processes.jobs import MOST_ATTEMPTS, Workbench
from workers.queue import tallies
from workers.queue.replies import Failure, attempts_key, look_up, store_reply


@pytest.fixture
def bench(redis: Redis, tmp_path: Path) -> Workbench:
    return fake_bench(redis, tmp_path)


def test_a_job_is_counted_with_its_stages_and_failures_by_cause(bench: Workbench) -> None:
    jobs.segment(bench, request("bright").to_json())
    jobs.segment(bench, request("bright", image="data:image/png;base64,AAAA").to_json())
    read = tallies.read(bench.redis)
    assert (read.counters["jobs"]["answered"], read.counters["jobs"]["failed"]) == (1, 1)
    assert read.counters["job_failures"]["image"] == 1
    assert sum(read.histograms["job_stage_seconds"]["total"].counts) == 1
    assert sum(read.counters["image_cache"].values()) >= 1


def test_a_reply_waits_for_a_server_that_changes_hands(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def store(*arguments: Any) -> None:
        tries.append(arguments)
        if len(tries) < 3:
            raise ReadOnlyError("You can't write against a read only replica.")
        store_reply(*arguments)

    monkeypatch.setattr(jobs, "store_reply", store)
    monkeypatch.setattr(jobs, "STORE_PAUSES", (0.0, 0.0))
    asked = request("bright")
    assert jobs.segment(bench, asked.to_json()) is None
    assert isinstance(look_up(bench.redis, [asked.key])[asked.key], SegmentReply)
    assert "a reply waits: the queue's server is a replica" in caplog.text
    tries.clear()
    monkeypatch.setattr(jobs, "STORE_PAUSES", ())
    other = request("bright", "dark")
    assert isinstance(jobs.segment(bench, other.to_json()), Retry)
    tries[:] = []
    bench.redis.set(attempts_key(other.key), MOST_ATTEMPTS - 1)
    assert jobs.segment(bench, other.to_json()) is None
    answer = look_up(bench.redis, [other.key])[other.key]
    assert isinstance(answer, Failure)
    assert "it was tried 3 times: the queue's server is a replica" in answer.message
