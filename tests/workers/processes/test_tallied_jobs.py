"""What jobs tell the queue's server beside their replies."""

from pathlib import Path

import pytest
from redis import Redis

from tests.workers.fake_worker import fake_bench, request
from workers.processes import jobs
from workers.processes.jobs import Workbench
from workers.queue import tallies


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
