import time
from dataclasses import replace

from redis import Redis

from tests.workers.fake_worker import VERSION
from workers.messages import SEGMENT_QUEUE, SegmentReply
from workers.queue.connection import segment_job_id
from workers.queue.heartbeats import Heartbeat
from workers.queue.replies import store_reply
from workers.queue.running import Running, in_hand, note

KEY = "a" * 32
NOW = time.time()
IDLE = Heartbeat("w", "host", 1, SEGMENT_QUEUE, "cpu", "", NOW, NOW)
BUSY = replace(IDLE, job=segment_job_id(KEY))
HELD = Running("w", segment_job_id(KEY), KEY, "5", "finding regions", NOW - 9)


def test_what_the_last_beat_names_is_in_hand(redis: Redis) -> None:
    assert in_hand(redis, []) == in_hand(redis, [BUSY]) == []
    note(redis, HELD)
    assert in_hand(redis, [BUSY]) == [HELD]
    assert in_hand(redis, [IDLE]) == []
    assert HELD.segments
    assert not replace(HELD, job=f"learn-{KEY}").segments


def test_what_was_begun_after_the_last_beat_is_in_hand(redis: Redis) -> None:
    begun = replace(HELD, since=NOW + 1)
    note(redis, begun)
    assert in_hand(redis, [IDLE]) == [begun]


def test_what_is_answered_is_in_nobodys_hand(redis: Redis) -> None:
    note(redis, HELD)
    store_reply(redis, KEY, SegmentReply(1, 1, VERSION, ()), 60)
    assert in_hand(redis, [BUSY]) == []
