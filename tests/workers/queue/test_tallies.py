import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from tests.paths import ROOT
from workers.queue import tallies
from workers.queue.tallies import OTHER, TALLIES, TALLIES_KEY


def test_what_is_counted_is_read_by_everybody(redis: Redis) -> None:
    tallies.count(redis, "deliveries", "stored")
    tallies.count(redis, "deliveries", "stored", 4)
    with tallies.quietly(redis) as pipe:
        tallies.count(pipe, "job_failures", "fetch")
        for seconds in (0.001, 0.25, 2.0, 1e6):
            tallies.observe(pipe, "job_stage_seconds", "map", seconds)
    read = tallies.read(redis)
    assert read.counters["deliveries"]["stored"] == 5
    assert read.counters["deliveries"]["given-up"] == 0
    assert read.counters["job_failures"]["fetch"] == 1
    kept = read.histograms["job_stage_seconds"]["map"]
    assert kept.counts == (1, 0, 1, 0, 1, 0, 0, 0, 1)
    assert kept.total == pytest.approx(1_000_002.251)
    assert list(read.histograms["job_stage_seconds"]) == ["map"]


@given(st.lists(st.text(max_size=20), max_size=20))
def test_strangers_cannot_make_it_grow(valkey: str, values: list[str]) -> None:
    with Redis.from_url(valkey) as redis:
        redis.delete(TALLIES_KEY)
        for value in values:
            tallies.count(redis, "webhook_events", value)
        labels = (*TALLIES["webhook_events"].values, OTHER)
        fields = {name.decode() for name in redis.hkeys(TALLIES_KEY)}
        assert fields <= {f"webhook_events|{label}" for label in labels}
        assert sum(tallies.read(redis).counters["webhook_events"].values()) == len(values)


def test_what_a_stranger_wrote_into_the_server_counts_nothing(redis: Redis) -> None:
    for field in ("jobs|answered", "job_stage_seconds|map|0", "job_stage_seconds|map|sum", "x"):
        redis.hset(TALLIES_KEY, field, "inf" if field.endswith("sum") else "no number")
    read = tallies.read(redis)
    assert read.counters["jobs"]["answered"] == 0
    assert read.histograms["job_stage_seconds"] == {}


def test_a_server_that_is_away_stops_nobody_from_working() -> None:
    with Redis.from_url("redis://127.0.0.1:1/0") as away, tallies.quietly(away) as pipe:
        tallies.count(pipe, "jobs", "answered")


def test_every_stage_of_the_pipelines_has_its_series() -> None:
    sources = [*(ROOT / "dgl_rsis").rglob("*.py"), *(ROOT / "workers").rglob("*.py")]
    stages = {
        name
        for path in sources
        if path.name != "api.py"  # of programs, not of jobs
        for name in re.findall(r"\btimed\(\w+, \"([\w ]+)\"\)", path.read_text("utf-8"))
    }
    assert len(stages) > 10
    assert stages <= set(TALLIES["job_stage_seconds"].values)


def test_a_name_that_nobody_declared_is_a_mistake(redis: Redis) -> None:
    with pytest.raises(KeyError):
        tallies.count(redis, "nothing of the kind", "x")
