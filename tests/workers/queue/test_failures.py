import time

from redis import Redis

from workers.queue.client import SegmentClient
from workers.queue.failures import KEPT_FAILURES, TaskFailure


def test_the_last_failures_of_all_processes_are_kept_newest_first(redis: Redis) -> None:
    one, another = SegmentClient(redis), SegmentClient(redis)
    first = TaskFailure("predict", "1", "größer als erlaubt")
    second = TaskFailure("segment", "<2>", "the image is empty", at=5.0)
    one.record_failures([first])
    another.record_failures([second])
    assert one.failures() == [second, first]
    assert time.time() - 60 < first.at <= time.time()


def test_only_some_are_kept_and_all_are_counted(redis: Redis) -> None:
    client = SegmentClient(redis)
    many = [TaskFailure("predict", str(number), "no image") for number in range(KEPT_FAILURES + 5)]
    client.record_failures([*many, TaskFailure("delivery", "last", "refused")])
    client.record_failures(many[:3])
    kept = client.failures()
    assert len(kept) == KEPT_FAILURES
    assert [failure.task_id for failure in kept[:5]] == ["2", "1", "0", "last", "104"]
    assert client.failure_counts() == {"predict": KEPT_FAILURES + 8, "delivery": 1}


def test_without_failures_nothing_is_written(redis: Redis) -> None:
    client = SegmentClient(redis)
    client.record_failures([])
    assert (client.failures(), client.failure_counts(), redis.dbsize()) == ([], {}, 0)
