"""A worker takes windows behind everything else, and none for a while after a scene it lacks."""

from redis import Redis
from rq import Queue

from tests.workers.fake_worker import VERSION, fake_bench, request
from tests.workers.window_requests import request as window
from workers.engine.scenes import SceneJudge
from workers.processes.model_worker import ModelWorker
from workers.queue import windows
from workers.queue.client import SegmentClient
from workers.queue.replies import reply_key
from workers.queue.windows import WindowFailure, WindowQueue


def test_windows_come_last(redis: Redis, queue: Queue, caplog) -> None:
    caplog.set_level("INFO")
    bench = fake_bench(redis)
    bench.scenes = SceneJudge(None, 10**6)
    wanted, asked = window(model_version=VERSION), request("building")
    judged = WindowQueue(redis, VERSION)
    judged.submit([wanted])
    SegmentClient(redis).submit([asked])
    assert SegmentClient(redis).waiting() == {"segment": 1, "delivery": 0, "windows": 1}
    worker = ModelWorker(queue, bench, "cpu")
    assert worker.run(burst=True) == 0
    assert redis.exists(reply_key(asked.key))
    # The fake is no CLIP: a job for it can only fail, and says so to whoever asked.
    failure = judged.take([wanted.key])[wanted.key]
    assert isinstance(failure, WindowFailure)
    assert caplog.text.index("task 7:") < caplog.text.index("2026/a.tif: window 1, 2:")
    assert windows.waiting(redis) == 0
