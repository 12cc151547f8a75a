import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis import Redis
from rq import Retry

from dgl_rsis.runs import Runs
from dgl_rsis.types import InputError
from tests.workers.fake_worker import VERSION, fake_bench, picture, request
from workers.engine.learning import CONTESTED, UNMARKED, marked
from workers.images.cache import ImageCache
from workers.images.download import FetchError
from workers.images.pictures import Pictures
from workers.messages import (
    DELIVERY_QUEUE,
    SEGMENT_QUEUE,
    LearnRequest,
    SegmentReply,
    SegmentRequest,
    learn_job_id,
    versioned,
)
from workers.processes import jobs
from workers.processes.jobs import Workbench
from workers.processes.model_worker import ModelWorker
from workers.queue import replies
from workers.queue.client import SegmentClient
from workers.queue.connection import open_queue
from workers.queue.prototypes import PrototypeStore
from workers.queue.recovery import MOST_RECOVERIES, recover

LEFT = Runs(8, 12, (0, *[6] * 16))
RIGHT = Runs(8, 12, (6,) * 16)


def learn_request(annotation: str = "1", stamp: int = 1, **values: Any) -> LearnRequest:
    regions = (("dark", LEFT), ("bright", RIGHT))
    given = {"image": picture(), "regions": regions, "task_id": "5"} | values
    return LearnRequest(project="7", annotation=annotation, stamp=stamp, **given)


@pytest.fixture
def bench(redis: Redis, tmp_path: Path) -> Workbench:
    return fake_bench(redis, tmp_path)


@pytest.fixture
def client(redis: Redis) -> SegmentClient:
    return SegmentClient(redis)


def learnt(bench: Workbench, client: SegmentClient, asked: LearnRequest) -> str:
    """Have it learnt, and say what a request must name then."""
    assert client.corrections.submit(asked)
    jobs.learn(bench, asked.to_json())
    return client.corrections.prototypes("7")


def test_marks_of_two_classes_are_contested() -> None:
    both = Runs(8, 12, (0, 96))
    plane = marked([("a", both), ("b", RIGHT), ("a", LEFT)], ["a", "b"], (8, 12))
    assert (plane[:, :6] == 0).all()
    assert (plane[:, 6:] == CONTESTED).all()
    assert (marked([("b", RIGHT)], ["a", "b"], (8, 12))[:, :6] == UNMARKED).all()


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (Runs(1, 1, (1,)), "1 × 1 pixels"),
        (Runs(10**6, 10**6, (10**12,)), "1000000 × 1000000 pixels"),  # must not be drawn
        (Runs(8, 12, (0, 95)), "damaged"),
        (Runs(8, 12, (100, -4)), "damaged"),
    ],
)
def test_masks_that_do_not_fit_the_image_are_refused(runs: Runs, message: str) -> None:
    with pytest.raises(InputError, match=message):
        marked([("a", LEFT), ("a", runs)], ["a"], (8, 12))


def test_a_correction_makes_a_revision(bench: Workbench, client: SegmentClient) -> None:
    version = learnt(bench, client, learn_request())
    project, _, revision = version.partition("@")
    assert project == "7"
    assert len(revision) == 8
    name, used = bench.recall.prototypes(version)
    assert name == version
    assert used is not None
    assert [used.labels[owner] for owner in used.owners] == ["dark", "bright"]
    assert used.keys[:, 0].tolist() == [0, 255]


def test_learning_twice_changes_nothing(bench: Workbench, client: SegmentClient) -> None:
    assert learnt(bench, client, learn_request()) == learnt(bench, client, learn_request())


def test_a_bad_annotation_taken_back_restores_all(bench: Workbench, client: SegmentClient) -> None:
    before = learnt(bench, client, learn_request("1"))
    _, kept = bench.recall.prototypes(before)
    bad = learnt(bench, client, learn_request("2", regions=(("bright", LEFT),)))
    assert bad != before
    assert len(bench.recall.prototypes(bad)[1] or ()) == 3
    client.corrections.forget("7", ["2"])
    assert client.corrections.prototypes("7") == before
    again = PrototypeStore(bench.redis)
    _, after = type(bench.recall)(again).prototypes(before)
    assert kept is not None
    assert after is not None
    assert np.array_equal(kept.keys, after.keys)
    assert np.array_equal(kept.sources, after.sources)


def test_a_newer_change_wins_over_an_older_job(bench: Workbench, client: SegmentClient) -> None:
    old, new = learn_request(stamp=1), learn_request(stamp=2, regions=(("dark", LEFT),))
    assert client.corrections.submit(old)
    after = learnt(bench, client, new)
    jobs.learn(bench, old.to_json())
    assert client.corrections.prototypes("7") == after
    assert not client.corrections.submit(old)


def test_an_annotation_without_masks_has_no_share(bench: Workbench, client: SegmentClient) -> None:
    learnt(bench, client, learn_request(stamp=1))
    assert learnt(bench, client, learn_request(stamp=2, regions=())) == ""


def test_waiting_jobs_are_not_doubled(redis: Redis, client: SegmentClient) -> None:
    asked = learn_request()
    assert client.corrections.submit(asked)
    assert client.corrections.submit(asked)
    assert client.waiting()["segment"] == 1
    (job,) = redis.lrange("rq:queue:segment", 0, -1)
    assert job.decode() == learn_job_id(asked)


def test_learning_waits_behind_all_others(redis: Redis, client: SegmentClient) -> None:
    client.corrections.submit(learn_request())
    client.submit([request("bright")], at_front=True)
    assert redis.lrange("rq:queue:segment", 0, -1)[-1].startswith(b"learn-")


def test_a_project_that_is_off_learns_nothing(redis: Redis, client: SegmentClient) -> None:
    client.corrections.switch("7", on=False)
    assert not client.corrections.submit(learn_request())
    assert client.waiting()["segment"] == 0


@pytest.mark.parametrize("image", ["", "data:text/plain,x", "http://192.168.0.1/a.png"])
def test_an_image_that_cannot_be_had_teaches_nothing(
    bench: Workbench, client: SegmentClient, caplog: pytest.LogCaptureFixture, image: str
) -> None:
    assert learnt(bench, client, learn_request(image=image)) == ""
    assert "task 5: nothing is learnt: " in caplog.text
    assert not bench.suspect


def test_what_may_pass_is_left_to_the_queue(bench: Workbench, client: SegmentClient) -> None:
    def fetch(reference: str) -> bytes:
        raise FetchError("Label Studio restarts", transient=True)

    bench.pictures = Pictures(ImageCache(0), fetch, 100)
    asked = learn_request()
    client.corrections.submit(asked)
    assert isinstance(jobs.learn(bench, asked.to_json()), Retry)


def test_masks_of_another_size_teach_nothing(
    bench: Workbench, client: SegmentClient, caplog: pytest.LogCaptureFixture
) -> None:
    regions = (("dark", LEFT), ("bright", Runs(1, 2, (1, 1))))
    assert learnt(bench, client, learn_request(regions=regions)) == ""
    assert "2 × 1 pixels" in caplog.text


def test_what_nobody_foresaw_is_tried_again_and_the_model_tested(
    bench: Workbench, client: SegmentClient, caplog: pytest.LogCaptureFixture
) -> None:
    def marked_examples(*_: Any) -> Any:
        raise RuntimeError("CUDA error")

    bench.segmenter.marked_examples = marked_examples
    asked = learn_request()
    client.corrections.submit(asked)
    assert isinstance(jobs.learn(bench, asked.to_json()), Retry)
    assert bench.suspect
    assert "CUDA error" in caplog.text


def test_a_request_with_prototypes_is_answered_under_its_version(
    bench: Workbench, client: SegmentClient
) -> None:
    seen = []

    def segment(picture: Any, labels: Any, batch: int, learnt: Any = None) -> Any:
        seen.append(learnt)
        return plain(picture, labels, batch)

    plain, bench.segmenter.segment = bench.segmenter.segment, segment
    name = learnt(bench, client, learn_request())
    version = versioned(VERSION, name)
    asked = replace(request("bright"), prototypes=name, model_version=version)
    jobs.segment(bench, asked.to_json())
    reply = replies.look_up(bench.redis, [asked.key])[asked.key]
    assert isinstance(reply, SegmentReply)
    assert reply.model_version == version == f"{VERSION}+p{name[2:]}"
    assert len(seen[0]) == 2
    jobs.segment(bench, request("bright").to_json())
    assert seen[1] is None


@pytest.mark.parametrize(
    ("version", "name"), [(VERSION, "7@12345678"), (f"{VERSION}+p12345678", ""), ("x", "")]
)
def test_a_version_that_does_not_fit_is_not_answered(
    bench: Workbench, version: str, name: str
) -> None:
    asked: SegmentRequest = replace(request("bright"), model_version=version, prototypes=name)
    assert jobs.segment(bench, asked.to_json()) is not None


def test_a_revision_that_has_gone_is_replaced_by_the_newest(
    bench: Workbench, client: SegmentClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    old = learnt(bench, client, learn_request("1"))
    new = learnt(bench, client, learn_request("2"))
    name, used = bench.recall.prototypes(old)
    assert (name, len(used or ())) == (new, 4)
    assert "instead of" in caplog.text
    client.corrections.reset("7")
    assert bench.recall.prototypes("7@00000000") == ("", None)


def test_a_reply_stands_under_what_it_was_computed_with_and_not_for_long(
    bench: Workbench, client: SegmentClient, redis: Redis
) -> None:
    """Else a bad annotation would be back with the revision that stood before it."""
    good = learnt(bench, client, learn_request("1"))
    waits = replace(request("bright"), prototypes=good, model_version=versioned(VERSION, good))
    bad = learnt(bench, client, learn_request("2", regions=(("bright", LEFT),)))
    jobs.segment(bench, waits.to_json())
    reply = replies.look_up(redis, [waits.key])[waits.key]
    assert isinstance(reply, SegmentReply)
    assert reply.model_version == versioned(VERSION, bad) != waits.model_version
    assert redis.ttl(replies.reply_key(waits.key)) <= jobs.PASSING_REPLY_SECONDS
    client.corrections.reset("7")
    redis.delete(replies.reply_key(waits.key))
    bench.recall._kept.clear()
    jobs.segment(bench, waits.to_json())
    reply = replies.look_up(redis, [waits.key])[waits.key]
    assert isinstance(reply, SegmentReply)
    assert reply.model_version == VERSION


def test_a_learn_job_whose_worker_died_is_given_up_in_the_end(
    redis: Redis, client: SegmentClient
) -> None:
    client.corrections.submit(learn_request())
    queue = client._segment
    (job,) = queue.jobs
    for _ in range(MOST_RECOVERIES + 1):
        redis.lrem(queue.key, 0, job.id)
        redis.zadd(queue.started_job_registry.key, {f"{job.id}:dead": 2**33})
        redis.hset(job.key, "status", "started")
        recover(queue)
    (failure,) = client.failures()
    assert failure.task_id == "5"


def test_a_worker_runs_what_the_web_side_queued(redis: Redis, client: SegmentClient) -> None:
    """Through RQ itself: the list of allowed functions, the serializer, a try after a try."""
    client.corrections.submit(learn_request())
    queue = open_queue(SEGMENT_QUEUE, redis)
    ModelWorker(queue, fake_bench(redis), "cpu").work(burst=True)
    assert client.corrections.prototypes("7")


def test_what_changes_a_project_has_it_followed_and_nothing_else_does(
    bench: Workbench, client: SegmentClient, redis: Redis
) -> None:
    scheduled = open_queue(DELIVERY_QUEUE, redis).scheduled_job_registry
    learnt(bench, client, learn_request("1", regions=()))
    assert scheduled.count == 0
    learnt(bench, client, learn_request("2"))
    (job,) = scheduled.get_job_ids()
    assert job.startswith("follow-7-")
    redis.delete(scheduled.key, "dgl:following:7:job")
    jobs.learn(bench, learn_request("2").to_json())
    client.corrections.forget("7", ["404"])
    assert scheduled.count == 0, "it is followed though nothing changed"
    client.corrections.forget("7", ["2"])
    assert scheduled.count == 1
