"""The two kinds of worker as they are started, the segment worker with its real model."""

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis import Redis

from dgl_rsis.decoupling.decouple import decouple
from tests.loading import MODELS, SCENES, loads_none_of
from tests.workers.fake_worker import fake_bench, picture, request, run_delivery
from workers.images.pictures import Picture
from workers.messages import DELIVERY_QUEUE, SegmentReply, SegmentRequest, VisualPrompt
from workers.processes import jobs
from workers.processes.delivery import run_delivery_worker
from workers.processes.model_worker import ModelWorker, self_test
from workers.processes.segment import load_bench, run_interactive_worker, run_segment_worker
from workers.queue.client import SegmentClient
from workers.queue.connection import open_queue
from workers.settings import WorkerSettings

WEIGHTS = Path(str(files("starter"))) / "weights" / "open_clip_model.safetensors"


def test_nobody_waits_for_what_the_first_sentence_loads(redis: Redis) -> None:
    bench = fake_bench(redis)
    answer, asked = bench.segmenter.refer, []

    def refer(picture: Picture, expression: str, *arguments: Any, **named: Any) -> Any:
        asked.append(expression)
        return answer(picture, expression, *arguments, **named)

    bench.segmenter.refer = refer
    worker = ModelWorker(open_queue("sentences", redis), bench, "cpu")
    worker.warm_up()
    assert len(asked) == 1
    assert decouple(asked[0]).modifiers


@pytest.mark.skipif(not WEIGHTS.exists(), reason="the starter weights are not there")
def test_the_real_model_answers_a_job(redis: Redis) -> None:
    bench = load_bench(WorkerSettings(reply_days=1, max_image_pixels=100), redis)
    self_test(bench.segmenter)
    base = request("building", "water")
    asked = SegmentRequest(picture(), base.labels, bench.segmenter.model_version, task_id="1")
    jobs.segment(bench, asked.to_json())
    reply = SegmentClient(redis).look_up([asked.key])[asked.key]
    assert isinstance(reply, SegmentReply)
    assert reply.model_version == bench.segmenter.model_version
    masks = [np.sum(segment.runs.counts) for segment in reply.segments]
    assert masks == [8 * 12] * len(masks)
    assert 0 < redis.ttl(f"dgl:reply:{asked.key}") <= 24 * 3600
    click = replace(asked, pointed=VisualPrompt(positive=((0.75, 0.5),)))
    jobs.segment(bench, click.to_json())
    reply = SegmentClient(redis).look_up([click.key])[click.key]
    assert isinstance(reply, SegmentReply)
    (candidate,) = reply.segments
    assert (candidate.label in ("building", "water"), candidate.level) == (True, "candidate")
    assert candidate.runs.counts == (6,) * 16  # the bright half


def test_a_delivery_worker_beats_and_stops(valkey: str, redis: Redis) -> None:
    client = SegmentClient(redis)
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=run_delivery, args=(valkey,))
    process.start()
    try:
        deadline = time.monotonic() + 60
        while not client.workers() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert [worker.queue for worker in client.workers()] == [DELIVERY_QUEUE]
        assert client.ready() == []  # it answers no requests
        time.sleep(0.2)
        process.terminate()
        process.join(30)
        assert process.exitcode == 0
        assert client.workers() == []
    finally:
        process.kill()
        process.join(10)


def test_the_web_side_and_the_delivery_worker_load_no_model_code() -> None:
    program = (
        "import workers.queue.client, workers.images.credentials\n"
        "import workers.processes.embedded, workers.processes.delivery\n"
    )
    program += loads_none_of(*MODELS, *SCENES)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("run", [run_segment_worker, run_interactive_worker, run_delivery_worker])
def test_a_worker_needs_a_queue(run: Callable[[WorkerSettings], int]) -> None:
    with pytest.raises(ValueError, match="REDIS_URL is not set"):
        run(WorkerSettings(redis_url=None))
