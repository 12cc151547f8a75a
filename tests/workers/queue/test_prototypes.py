import threading

import pytest
from redis import Redis

from workers.queue.prototypes import PrototypeStore

PROJECT = "7"


@pytest.fixture
def store(redis: Redis) -> PrototypeStore:
    return PrototypeStore(redis)


def put(store: PrototypeStore, annotation: str, share: bytes, stamp: int = 1) -> str | None:
    store.expect(PROJECT, annotation, stamp, f"task {annotation}")
    return store.put(PROJECT, annotation, stamp, share)


def test_nothing_was_learnt_at_first(store: PrototypeStore) -> None:
    assert store.revision(PROJECT) == ""
    assert store.shares(PROJECT) == ("", {})
    assert store.projects() == []


def test_a_share_makes_a_revision(store: PrototypeStore) -> None:
    revision = put(store, "1", b"one")
    assert revision == store.revision(PROJECT)
    assert revision is not None
    assert len(revision) == 8
    assert store.shares(PROJECT) == (revision, {"1": b"one"})
    assert store.projects() == [PROJECT]
    assert store.revision("8") == ""


def test_the_same_share_twice_is_one(store: PrototypeStore) -> None:
    assert put(store, "1", b"one") == put(store, "1", b"one")


def test_the_order_of_learning_does_not_matter(store: PrototypeStore, redis: Redis) -> None:
    put(store, "1", b"one")
    first = put(store, "2", b"two")
    redis.flushall()
    put(store, "2", b"two")
    assert put(store, "1", b"one") == first


def test_a_removed_share_brings_the_former_revision_back(store: PrototypeStore) -> None:
    before = put(store, "1", b"one")
    assert put(store, "2", b"bad") != before
    store.remove(PROJECT, ["2"])
    assert store.revision(PROJECT) == before
    store.remove(PROJECT, ["1"])
    assert store.shares(PROJECT) == ("", {})


def test_a_changed_annotation_replaces_its_share(store: PrototypeStore) -> None:
    before = put(store, "1", b"one", stamp=1)
    after = put(store, "1", b"other", stamp=2)
    assert after != before
    assert store.shares(PROJECT)[1] == {"1": b"other"}
    assert put(store, "1", b"one", stamp=3) == before


def test_an_empty_share_takes_the_former_one_away(store: PrototypeStore) -> None:
    put(store, "1", b"one", stamp=1)
    assert put(store, "1", b"", stamp=2) == ""
    assert store.shares(PROJECT) == ("", {})


def test_what_comes_late_is_dropped(store: PrototypeStore) -> None:
    assert store.expect(PROJECT, "1", 20, "5")
    assert not store.expect(PROJECT, "1", 10, "5")
    assert store.put(PROJECT, "1", 10, b"old") is None
    assert not store.is_current(PROJECT, "1", 10)
    assert store.is_current(PROJECT, "1", 20)
    assert store.expect(PROJECT, "1", 20, "5")


def test_what_was_deleted_stays_deleted(store: PrototypeStore) -> None:
    store.expect(PROJECT, "1", 10, "5")
    store.remove(PROJECT, ["1"])
    assert store.put(PROJECT, "1", 10, b"late") is None
    assert not store.expect(PROJECT, "1", 2**51, "5")
    assert store.shares(PROJECT) == ("", {})


def test_microseconds_are_told_apart(store: PrototypeStore) -> None:
    now = 1_795_500_000_123_456
    assert store.expect(PROJECT, "1", now + 1, "5")
    assert not store.expect(PROJECT, "1", now, "5")


def test_the_tasks_of_annotations_are_known(store: PrototypeStore) -> None:
    store.expect(PROJECT, "1", 1, "5")
    store.expect(PROJECT, "2", 1, "6")
    store.expect(PROJECT, "3", 1, "5")
    assert store.tasks(PROJECT) == {"1": "5", "2": "6", "3": "5"}


def test_the_oldest_annotations_make_room(redis: Redis) -> None:
    store = PrototypeStore(redis, max_bytes=10)
    put(store, "1", b"4444", stamp=3)
    put(store, "2", b"4444", stamp=1)
    put(store, "3", b"4444", stamp=2)
    revision, shares = store.shares(PROJECT)
    assert set(shares) == {"1", "3"}
    assert revision == store.revision(PROJECT)
    put(store, "4", b"x" * 11, stamp=4)
    assert store.shares(PROJECT) == ("", {})


def test_switched_off_means_no_revision_and_forgets_nothing(store: PrototypeStore) -> None:
    revision = put(store, "1", b"one")
    store.switch(PROJECT, on=False)
    assert store.revision(PROJECT) == ""
    assert store.learnt(PROJECT).off
    store.switch(PROJECT, on=True)
    assert store.revision(PROJECT) == revision


def test_reset_forgets_and_drops_what_is_being_learnt(store: PrototypeStore, redis: Redis) -> None:
    put(store, "1", b"one")
    store.expect(PROJECT, "2", 1, "5")
    store.reset(PROJECT)
    assert store.put(PROJECT, "2", 1, b"two") is None
    assert redis.dbsize() == 0


def test_a_project_that_is_off_stays_off_after_a_reset(store: PrototypeStore) -> None:
    store.switch(PROJECT, on=False)
    store.reset(PROJECT)
    assert store.is_off(PROJECT)
    assert store.projects() == [PROJECT]


def test_how_a_project_stands(store: PrototypeStore) -> None:
    put(store, "10", b"12345")
    put(store, "9", b"123")
    store.expect(PROJECT, "11", 1, "5")
    learnt = store.learnt(PROJECT)
    assert (learnt.annotations, learnt.nbytes, learnt.others) == (("9", "10"), 8, 1)


def test_two_workers_that_learn_at_once_lose_nothing(valkey: str, redis: Redis) -> None:
    def work(first: int) -> None:
        with Redis.from_url(valkey) as own:
            for number in range(first, first + 40):
                put(PrototypeStore(own), str(number), f"share {number}".encode())

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 100, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    revision, shares = PrototypeStore(redis).shares(PROJECT)
    assert set(shares) == {str(n) for n in [*range(60), *range(100, 140)]}
    redis.flushall()
    for number in sorted(shares):
        last = put(PrototypeStore(redis), number, shares[number])
    assert last == revision
