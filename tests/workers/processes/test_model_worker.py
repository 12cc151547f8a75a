"""A model that is tested before it is trusted, and again when something went wrong."""

import logging
import os
import time
from dataclasses import replace

import numpy as np
import pytest
from redis import Redis
from rq import Queue
from rq.job import JobStatus

from tests.workers.fake_worker import VERSION, fake_bench, request
from tests.workers.worker_processes import status
from workers.messages import (
    SegmentReply,
)
from workers.processes.model_worker import ModelWorker, SelfTestError
from workers.queue.client import SegmentClient
from workers.queue.connection import segment_job_id
from workers.queue.heartbeats import Announcement, announce


def test_a_warm_worker_announces_its_model(client: SegmentClient, worker: ModelWorker) -> None:
    announced = client.announced()
    assert announced is not None
    assert (announced.model_version, announced.device) == (VERSION, "cpu")
    assert client.ready() == []  # it beats once it runs
    worker._tick()
    (beat,) = client.ready()
    assert (beat.pid, beat.device, beat.job) == (os.getpid(), "cpu", "")
    assert 0 <= time.time() - beat.self_test < 60


def test_an_announcement_that_the_server_lost_is_made_again(
    redis: Redis, client: SegmentClient, worker: ModelWorker
) -> None:
    first = client.announced()
    worker._tick()
    assert client.announced() == first
    redis.flushdb()  # a restart without data
    worker._tick()
    again = client.announced()
    assert again is not None
    assert again.model_version == VERSION
    announce(redis, Announcement("newer", "cpu", 0.0))
    worker._tick()
    assert client.announced() == Announcement("newer", "cpu", 0.0)


def test_after_an_unexpected_failure_a_sound_model_works_on(
    client: SegmentClient, worker: ModelWorker
) -> None:
    broken, good = request("broken"), request("bright")
    client.submit([broken, good])
    worker.run(burst=True)
    assert not worker._bench.suspect
    assert isinstance(client.look_up([good.key])[good.key], SegmentReply)


def test_after_an_unexpected_failure_a_dead_model_ends_the_process(
    client: SegmentClient, queue: Queue, worker: ModelWorker, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(*_: object) -> object:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    worker._bench.segmenter.segment = fault  # type: ignore[assignment]
    first, second = request("bright"), request("sleep")
    client.submit([first, second])
    with caplog.at_level(logging.CRITICAL), pytest.raises(SystemExit, match="1"):
        worker.run()
    assert "the self-test failed" in caplog.text
    assert queue.job_ids == [segment_job_id(second.key)]  # not burnt
    assert status(queue, segment_job_id(first.key)) == JobStatus.SCHEDULED
    assert client.ready() == []


def test_a_model_that_answers_nonsense_is_not_announced(redis: Redis, queue: Queue) -> None:
    bench = fake_bench(redis)
    answer = bench.segmenter.segment

    def not_finite(*arguments: object) -> object:
        segmentation = answer(*arguments)  # type: ignore[arg-type]
        segmentation.probability[0, 0] = np.nan
        return segmentation

    bench.segmenter.segment = not_finite  # type: ignore[assignment]
    with pytest.raises(SelfTestError, match="not finite"):
        ModelWorker(queue, bench, "cpu").warm_up()
    bench.segmenter.segment = lambda picture, labels, batch: answer(
        replace(picture, pixels=picture.pixels[1:]), labels, batch
    )
    with pytest.raises(SelfTestError, match=r"the class map is \(63, 64\), not \(64, 64\)"):
        ModelWorker(queue, bench, "cpu").warm_up()
    assert SegmentClient(redis).announced() is None
