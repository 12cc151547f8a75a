"""The job of a window: what comes of each way in which it can end."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from redis import Redis
from redis import exceptions as redis_errors

from dgl_rsis.scenes.cells import Cells
from dgl_rsis.types import InputError
from tests.workers.fake_worker import fake_bench
from tests.workers.window_requests import request
from workers.engine.loading import load_segmenter
from workers.engine.scenes import SceneJudge, SceneRefusedError
from workers.processes import windows
from workers.processes.jobs import Workbench
from workers.queue import tallies
from workers.queue import windows as window_messages
from workers.queue.replies import attempts_key
from workers.queue.windows import WindowFailure, WindowQueue, WindowRequest, keep
from workers.settings import WorkerSettings


class Judge(SceneJudge):
    """Says nothing of a window, or raises."""

    error: BaseException | None = None
    asked = 0

    def judge(self, request, segmenter, say):
        self.asked += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def bench(redis: Redis, model_folder: Path) -> Workbench:
    bench = fake_bench(redis)
    bench.segmenter = load_segmenter(WorkerSettings(model=str(model_folder)))
    bench.scenes = Judge(None, 10**6)
    bench.known_as("worker-1")
    return bench


@pytest.fixture
def wanted(bench: Workbench) -> WindowRequest:
    return request(model_version=bench.segmenter.model_version)


def outcome(bench: Workbench, wanted: WindowRequest):
    return WindowQueue(bench.redis, wanted.model_version).take([wanted.key]).get(wanted.key)


def test_where_nothing_is_valid(bench: Workbench, wanted: WindowRequest) -> None:
    assert windows.judge(bench, wanted.to_json()) is None
    assert outcome(bench, wanted) == b""
    assert not bench.redis.exists(attempts_key(wanted.key))
    assert tallies.read(bench.redis).counters["windows"]["judged"] == 1


def test_what_was_judged_is_not_judged_again(bench: Workbench, wanted: WindowRequest) -> None:
    keep(bench.redis, wanted.key, b"there")
    windows.judge(bench, wanted.to_json())
    assert bench.scenes.asked == 0
    assert outcome(bench, wanted) == b"there"


def test_the_fourth_try_after_three_deaths_is_none(bench: Workbench, wanted) -> None:
    bench.redis.set(attempts_key(wanted.key), 3)
    windows.judge(bench, wanted.to_json())
    assert bench.scenes.asked == 0
    assert outcome(bench, wanted) == WindowFailure(windows.DEADLY)


def test_what_the_user_can_put_right(bench: Workbench, wanted: WindowRequest) -> None:
    bench.scenes.error = InputError("the file is damaged")
    assert windows.judge(bench, wanted.to_json()) is None
    assert outcome(bench, wanted) == WindowFailure("the file is damaged")
    assert not bench.suspect


def test_who_cannot_read_the_scene_gives_the_window_back(bench: Workbench, wanted) -> None:
    bench.scenes.error = SceneRefusedError("not there")
    assert windows.judge(bench, wanted.to_json()) is not None
    assert outcome(bench, wanted) is None
    queue = WindowQueue(bench.redis, wanted.model_version)
    assert queue.refusals(wanted.scene_key) == {"worker-1": "not there"}
    assert bench.windows_from > 0
    assert not bench.redis.exists(attempts_key(wanted.key))


def test_what_nobody_foresaw(bench: Workbench, wanted: WindowRequest, caplog) -> None:
    bench.scenes.error = ZeroDivisionError("/secret/path")
    windows.judge(bench, wanted.to_json())
    failure = outcome(bench, wanted)
    assert failure.may_pass
    assert f"a worker's log has it under job window-{wanted.key}" in failure.message
    assert "/secret/path" not in failure.message
    assert "ZeroDivisionError: /secret/path" in caplog.text
    assert bench.suspect


def test_another_model_never_answers(bench: Workbench) -> None:
    wanted = request(model_version="another")
    windows.judge(bench, wanted.to_json())
    assert bench.scenes.asked == 0
    assert "it is for model another, which is not this worker's" in outcome(bench, wanted).message


@pytest.mark.parametrize("payload", [{}, {"scene": "/etc/passwd"}, {"labels": 7}])
def test_rubbish_is_dropped(bench: Workbench, payload) -> None:
    assert windows.judge(bench, payload) is None
    assert bench.redis.keys("dgl:window:*") == []


def test_a_path_that_leads_out_is_dropped(bench: Workbench, wanted: WindowRequest) -> None:
    assert windows.judge(bench, wanted.to_json() | {"scene": "../../etc/passwd"}) is None
    assert bench.scenes.asked == 0


class Saying(SceneJudge):
    """Says one thing of every window."""

    def judge(self, request, segmenter, say):
        return CELLS


CELLS = Cells.of(np.full((1, 2), 0.5, np.float32), np.zeros((3, 4), int), np.ones((3, 4), bool))


def test_a_window_is_sent_while_the_worker_goes_on(
    bench: Workbench, wanted: WindowRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.scenes, may_pack = Saying(None, 10**6), threading.Event()
    packed, pack = CELLS.pack(), Cells.pack
    monkeypatch.setattr(Cells, "pack", lambda cells: may_pack.wait(30) and pack(cells))
    windows.judge(bench, wanted.to_json())
    queue = WindowQueue(bench.redis, wanted.model_version)
    # There is neither a job nor a result, and yet nobody needs to ask again.
    assert outcome(bench, wanted) is None
    assert queue.lost([wanted.key]) == []
    may_pack.set()
    bench.close()
    assert outcome(bench, wanted) == packed
    assert not bench.redis.exists(attempts_key(wanted.key))
    queue.forget([wanted.key])
    assert queue.lost([wanted.key]) == [wanted.key]


def test_a_window_that_could_not_be_sent_is_asked_for_again(
    bench: Workbench,
    wanted: WindowRequest,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def away(*_: object) -> None:
        raise redis_errors.ConnectionError("away")

    bench.scenes = Saying(None, 10**6)
    monkeypatch.setattr(window_messages, "SENDING_SECONDS", 1)
    with monkeypatch.context() as broken:
        broken.setattr(window_messages, "keep", away)
        windows.judge(bench, wanted.to_json())
        bench.sender.wait()
    assert "was judged, and not sent: away" in caplog.text
    queue = WindowQueue(bench.redis, wanted.model_version)
    deadline = time.monotonic() + 30
    while not queue.lost([wanted.key]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    windows.judge(bench, wanted.to_json())
    bench.sender.wait()
    assert outcome(bench, wanted) == CELLS.pack()
