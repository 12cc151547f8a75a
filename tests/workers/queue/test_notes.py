import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from workers.queue import heartbeats, notes
from workers.queue.failures import FAILURES_KEY, TaskFailure, last, record
from workers.queue.heartbeats import Heartbeat

FAILURE = TaskFailure("segment", "7", "why", 1.0)


def test_what_a_newer_version_says_besides_is_left_out() -> None:
    newer = json.dumps(asdict(FAILURE) | {"colour": "red"})
    assert notes.read(TaskFailure, newer) == FAILURE
    assert notes.read(TaskFailure, notes.write(FAILURE)) == FAILURE
    assert notes.read(TaskFailure, None) is None


@pytest.mark.parametrize("stored", [b"", b"{", b"[]", b"7", b"null", b'{"stage": 1}', b"\xff"])
def test_what_is_no_record_counts_as_none(stored: bytes) -> None:
    assert notes.read(TaskFailure, stored) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_none(stored: bytes) -> None:
    notes.read(Heartbeat, stored)


def test_one_damaged_note_hides_none_of_the_others(redis: Redis) -> None:
    record(redis, [FAILURE])
    redis.lpush(FAILURES_KEY, "damaged")
    assert last(redis) == [FAILURE]
    beat = Heartbeat("good", "here", 1, "segment", "cpu", "", 0.0, 0.0)
    heartbeats.beat(redis, beat)
    redis.sadd(heartbeats.WORKERS_KEY, "bad")
    redis.set("dgl:worker:bad", "damaged", ex=60)
    assert heartbeats.beats(redis) == [beat]
