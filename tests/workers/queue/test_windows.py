import json

import pytest
from redis import Redis

from tests.workers.window_requests import REQUEST, request
from workers.messages import SEGMENT_QUEUE
from workers.queue import windows
from workers.queue.heartbeats import Heartbeat, beat
from workers.queue.windows import WindowFailure, WindowQueue, WindowRequest


@pytest.fixture
def queue(redis: Redis) -> WindowQueue:
    return WindowQueue(redis, "v1")


def test_requests_survive_json() -> None:
    assert WindowRequest.from_json(json.loads(json.dumps(REQUEST.to_json()))) == REQUEST


def test_keys_tell_windows_and_scenes_apart() -> None:
    keys = {
        each.key
        for each in (REQUEST, request(row=2), request(nodata=None), request(costs=(0.1, 0.3)))
    }
    assert len(keys) == 4
    assert request(row=7).scene_key == REQUEST.scene_key
    assert request(identity="1" * 64).scene_key != REQUEST.scene_key


@pytest.mark.parametrize(
    "changes",
    [
        {"scene": "/etc/passwd"},
        {"scene": "a/../../b.tif"},
        {"scene": ""},
        {"scene": "a\0.tif"},
        {"labels": ()},
        {"side": 10**6},
        {"side": 1},
        {"surroundings": -1},
        {"context": 1.0},
        {"row": -1},
        {"costs": (float("nan"),)},
    ],
)
def test_what_no_worker_should_be_asked(changes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        request(**changes)


def test_a_window_waits_once_and_is_taken_back(redis: Redis, queue: WindowQueue) -> None:
    both = [request(row=0), request(row=1)]
    queue.submit(both)
    queue.submit(both)
    assert windows.waiting(redis) == 2
    keys = [each.key for each in both]
    assert queue.lost(keys) == []
    assert queue.withdraw(keys) == 2
    assert windows.waiting(redis) == 0
    assert queue.lost(keys) == keys
    assert queue.withdraw(keys) == 0


def test_what_came_stays_until_it_is_forgotten(redis: Redis, queue: WindowQueue) -> None:
    one, other = request(row=0), request(row=1)
    windows.keep(redis, one.key, b"packed")
    windows.keep(redis, other.key, WindowFailure("why", may_pass=True))
    keys = [one.key, other.key, request(row=2).key]
    expected = {one.key: b"packed", other.key: WindowFailure("why", may_pass=True)}
    assert queue.take(keys) == expected == queue.take(keys)
    queue.submit([one])  # was judged
    assert windows.waiting(redis) == 0
    assert 0 < redis.ttl(windows.result_key(one.key)) <= windows.RESULT_SECONDS
    queue.forget(keys)
    assert queue.take(keys) == {}


@pytest.mark.parametrize("value", [b"?", b"!", b"!{}", b"!\xff", b"!" + b"[" * 9999])
def test_rubbish_is_a_failure_that_may_pass(redis: Redis, queue: WindowQueue, value) -> None:
    redis.set(windows.result_key(REQUEST.key), value)
    outcome = queue.take([REQUEST.key])[REQUEST.key]
    assert isinstance(outcome, WindowFailure)
    assert outcome.may_pass


def test_workers_by_their_models(redis: Redis, queue: WindowQueue) -> None:
    for name, model in (("a", "v1"), ("b", "v2")):
        beat(redis, Heartbeat(name, "h", 1, SEGMENT_QUEUE, "cpu", "", 0.0, 0.0, model))
    fit, others = queue.workers()
    assert [worker.name for worker in fit] == ["a"]
    assert [worker.name for worker in others] == ["b"]


def test_refusals_are_forgotten(redis: Redis, queue: WindowQueue) -> None:
    windows.refuse(redis, REQUEST.scene_key, "w1", "not there")
    assert queue.refusals(REQUEST.scene_key) == {"w1": "not there"}
    assert redis.ttl(f"dgl:window:refused:{REQUEST.scene_key}") > 0
    assert queue.refusals("other") == {}


def test_few_results_are_taken_at_once(redis: Redis, queue: WindowQueue) -> None:
    keys = [request(row=row).key for row in range(windows.MOST_TAKEN + 3)]
    for key in keys:
        windows.keep(redis, key, b"x")
    assert list(queue.take(keys)) == keys[: windows.MOST_TAKEN]
