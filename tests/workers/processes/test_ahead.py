"""Images of the next jobs, prepared by other processes: what they do, and what they must not."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from redis import Redis
from rq import Queue

from dgl_rsis.regions import tree
from dgl_rsis.regions.proposals import RegionParameters
from dgl_rsis.types import ImageError
from tests.gallery import SIDE, WAIT_SECONDS, Gallery, shown
from tests.workers.fake_worker import FakeSegmenter, request
from workers.engine import providers
from workers.engine.providers import RegionProvider, Remembered
from workers.images.cache import ImageCache
from workers.images.download import FetchError
from workers.images.fetch import Fetcher
from workers.images.pictures import FRESH_SECONDS, Pictures
from workers.messages import SegmentReply, SegmentRequest
from workers.processes import ahead as ahead_module
from workers.processes.ahead import MOST_BROKEN, Ahead
from workers.processes.jobs import Workbench
from workers.processes.model_worker import ModelWorker
from workers.processes.segment import load_bench
from workers.queue.client import SegmentClient
from workers.queue.connection import segment_job_id
from workers.queue.replies import Failure
from workers.settings import WorkerSettings


@pytest.fixture
def gallery() -> Iterator[Gallery]:
    with shown() as gallery:
        yield gallery


def _settings(prefetch: int = 2, **others: Any) -> WorkerSettings:
    return WorkerSettings(prefetch=prefetch, allowed_image_hosts=("127.0.0.1",), **others)


@pytest.fixture
def ahead() -> Iterator[Ahead]:
    prepares = Ahead(_settings())
    yield prepares
    prepares.close()


def _pictures(ahead: Ahead, settings: WorkerSettings | None = None) -> tuple[Pictures, ImageCache]:
    cache = ImageCache(2**26)
    fetch = Fetcher.from_settings(settings or _settings()).fetch
    return Pictures(cache, fetch, 10**6, prepared=ahead.take), cache


def _prepare(ahead: Ahead, gallery: Gallery, *numbers: int) -> None:
    """Begin with images; what is not begun when it is taken is left to whoever takes it."""
    ahead.prepare([gallery.address(number) for number in numbers])
    for number in numbers:
        gallery.wait(number)


# ---- what is prepared -----------------------------------------------------------------------


def test_it_is_what_the_worker_would_have_made(
    gallery: Gallery, ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = RegionParameters()
    alone, _ = _pictures(Ahead(_settings(0)))
    expected, _ = alone.open(gallery.address(1))
    masks = RegionProvider(Remembered(ImageCache(0))).propose(expected, parameters)
    gallery.asked.clear()

    pictures, cache = _pictures(ahead)
    _prepare(ahead, gallery, 1)
    monkeypatch.setattr(providers, "build_tree", _never)  # of this process
    picture, seconds = pictures.open(gallery.address(1))
    prepared = RegionProvider(Remembered(cache)).propose(picture, parameters)

    assert list(seconds) == ["fetch", "decode"]
    assert picture.digest == expected.digest
    assert np.array_equal(picture.pixels, expected.pixels)
    assert np.array_equal(prepared.masks, masks.masks)
    assert np.array_equal(prepared.boxes, masks.boxes)
    assert gallery.asked == [1]
    assert pictures.knows(gallery.address(1))


def _never(*_: object) -> object:
    raise AssertionError("that is not to be done here")


def test_what_another_provider_needs_is_the_pixels_alone(gallery: Gallery) -> None:
    ahead = Ahead(_settings(proposals="sam-vit-b"))
    _prepare(ahead, gallery, 1)
    made = ahead.take(gallery.address(1))
    ahead.close()
    assert made is not None
    assert [list(arrays) for arrays in made.kept.values()] == [["pixels"]]


def test_the_caches_folder_is_shared(gallery: Gallery, tmp_path: Path) -> None:
    ahead = Ahead(_settings(cache_dir=tmp_path))
    _prepare(ahead, gallery, 1)
    assert ahead.take(gallery.address(1)) is not None
    ahead.close()
    (stored,) = tmp_path.glob("*.npz")
    with np.load(stored) as arrays:
        tree.RegionTree.from_arrays(dict(arrays))


def test_an_image_that_does_not_fit_into_its_share_is_opened_again(gallery: Gallery) -> None:
    settings = _settings(64, cache_mb=1)  # 16 KiB each; the pixels take 12, the tree more
    ahead = Ahead(settings)
    pictures, _ = _pictures(ahead)
    ahead.most = 1
    _prepare(ahead, gallery, 1)
    picture, _ = pictures.open(gallery.address(1))
    ahead.close()
    assert picture.pixels.shape == (SIDE, SIDE, 3)


def test_an_image_that_cannot_be_had_says_so_to_whoever_needs_it(
    gallery: Gallery, ahead: Ahead
) -> None:
    pictures, _ = _pictures(ahead)
    broken = "data:image/png;base64,iVBORw0KGgo="
    ahead.prepare([gallery.address(100), broken])
    gallery.wait(100)
    with pytest.raises(FetchError, match="404"):
        pictures.open(gallery.address(100))
    with pytest.raises(ImageError):
        pictures.open(broken)
    assert gallery.asked == [100, 100]


def test_what_was_fetched_long_ago_is_fetched_again(
    gallery: Gallery, ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    _prepare(ahead, gallery, 1)
    began = time.monotonic
    monkeypatch.setattr(ahead_module.time, "monotonic", lambda: began() + FRESH_SECONDS + 1)
    made = ahead.take(gallery.address(1))
    assert made is not None
    assert made.age > FRESH_SECONDS


def test_what_is_not_needed_any_more_is_forgotten(gallery: Gallery, ahead: Ahead) -> None:
    ahead.prepare([gallery.address(1), gallery.address(2), gallery.address(3)])
    gallery.wait(1)
    gallery.wait(2)
    assert ahead.take(gallery.address(3)) is None  # more than it is to prepare
    ahead.prepare([gallery.address(4)], held=[gallery.address(2)])
    gallery.wait(4)
    assert ahead.take(gallery.address(1)) is None
    assert ahead.take(gallery.address(2)) is not None
    assert ahead.take(gallery.address(4)) is not None
    assert ahead.take(gallery.address(4)) is None  # it has been taken
    assert 3 not in gallery.asked


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({}, 0),  # the processor is the model's
        ({"device": "cuda"}, 2),
        ({"device": "cuda:1", "prefetch": 0}, 0),
        ({"prefetch": 3}, 3),
        ({"prefetch": 3, "cache_mb": 0}, 0),  # nowhere to keep them
    ],
)
def test_how_many(given: dict[str, Any], count: int) -> None:
    assert Ahead(WorkerSettings(**given)).most == count


def test_without_any_no_process_is_started(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead_module, "ProcessPoolExecutor", _never)
    ahead = Ahead(_settings(0))
    ahead.prepare([gallery.address(1)])
    assert ahead.take(gallery.address(1)) is None


# ---- processes that die ---------------------------------------------------------------------


def _signal_all(number: signal.Signals) -> None:
    for child in multiprocessing.active_children():
        assert child.pid is not None
        os.kill(child.pid, number)


def test_a_death_costs_what_was_begun_and_no_more(gallery: Gallery, ahead: Ahead) -> None:
    gallery.held = {1}
    ahead.prepare([gallery.address(1), gallery.address(2)])
    gallery.wait(1)
    _signal_all(signal.SIGKILL)
    assert ahead.take(gallery.address(1)) is None
    gallery.release()
    _prepare(ahead, gallery, 3)
    assert ahead.take(gallery.address(3)) is not None


def test_a_process_that_was_stopped_is_not_waited_for_again(gallery: Gallery, ahead: Ahead) -> None:
    gallery.held = {1}
    ahead.prepare([gallery.address(1)])
    gallery.wait(1)
    ahead._seconds = 0.2
    _signal_all(signal.SIGSTOP)
    assert ahead.take(gallery.address(1)) is None
    _signal_all(signal.SIGKILL)
    gallery.release()
    ahead._seconds = WAIT_SECONDS
    _prepare(ahead, gallery, 3)
    assert ahead.take(gallery.address(3)) is not None


def test_processes_that_always_die_are_not_started_for_ever(
    gallery: Gallery,
    ahead: Ahead,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(ahead_module, "_begin_process", os.abort)
    for _ in range(MOST_BROKEN):
        ahead.prepare([gallery.address(1)])
        assert ahead.take(gallery.address(1)) is None
    monkeypatch.setattr(ahead_module, "ProcessPoolExecutor", _never)
    ahead.prepare([gallery.address(1)])
    assert ahead.take(gallery.address(1)) is None
    assert caplog.text.count("are not prepared any more") == 1


ENDLESS = """
import sys, time
from workers.processes.ahead import Ahead
from workers.settings import WorkerSettings
if __name__ == "__main__":
    ahead = Ahead(WorkerSettings(prefetch=1, allowed_image_hosts="127.0.0.1"))
    ahead.prepare([sys.argv[1]])
    time.sleep(600)
"""


def test_they_end_with_a_worker_that_is_killed(gallery: Gallery, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(ENDLESS)
    gallery.held = {1}
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, str(program), gallery.address(1)], cwd=root, env={"PYTHONPATH": str(root)}
    ) as parent:
        gallery.wait(1)
        children = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
    assert children
    _, alive = psutil.wait_procs(children, WAIT_SECONDS)
    assert not alive


# ---- in a worker ----------------------------------------------------------------------------


class Slow(FakeSegmenter):
    """Does not come to an end before the next image was asked for."""

    def __init__(self, wait: Callable[[int], None], last: int) -> None:
        self._wait, self._last = wait, last

    def segment(self, picture: Any, labels: Any, batch: int, learnt: Any = None) -> Any:
        """See `FakeSegmenter`; the first label is the number of the image."""
        name = labels[0].name
        if name.isdigit() and int(name) < self._last:
            self._wait(int(name) + 1)
        return super().segment(picture, labels, batch, learnt)


@pytest.fixture
def work(redis: Redis, queue: Queue) -> Iterator[Callable[..., Workbench]]:
    """Work at all that waits in the queue, with a model and an `Ahead`."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    benches: list[Workbench] = []

    def worked(model: FakeSegmenter, ahead: Ahead) -> Workbench:
        pictures, _ = _pictures(ahead)
        bench = Workbench(model, pictures, redis, 7200, ahead=ahead)
        benches.append(bench)
        ModelWorker(queue, bench, "cpu").run(burst=True)
        return bench

    yield worked
    for bench in benches:
        bench.close()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _requests(gallery: Gallery, count: int) -> list[SegmentRequest]:
    return [request(str(n), image=gallery.address(n), task=str(n)) for n in range(count)]


def _segments(client: SegmentClient, asked: list[SegmentRequest]) -> list[object]:
    answers = client.look_up([each.key for each in asked])
    replies = [answers[each.key] for each in asked]
    assert all(isinstance(reply, SegmentReply) for reply in replies), replies
    return [(r.height, r.width, r.segments) for r in replies if isinstance(r, SegmentReply)]


def test_the_next_image_is_opened_while_the_model_works(
    redis: Redis, client: SegmentClient, gallery: Gallery, work: Callable[..., Workbench]
) -> None:
    asked = _requests(gallery, 6)
    client.submit(asked)
    work(Slow(gallery.wait, 5), Ahead(_settings()))
    meanwhile, order = _segments(client, asked), list(gallery.asked)
    assert sorted(order) == list(range(6))  # each once
    redis.flushall()
    client.submit(asked)
    work(FakeSegmenter(), Ahead(_settings(0)))
    assert _segments(client, asked) == meanwhile


def test_an_image_that_kills_whoever_opens_it_is_charged_to_nobody(
    redis: Redis, client: SegmentClient, gallery: Gallery, work: Callable[..., Workbench]
) -> None:
    def killed(number: int) -> None:
        if number <= 2:  # what was begun with it is lost with it
            gallery.wait(number)
        if number == 2:
            _signal_all(signal.SIGKILL)
            gallery.release()

    gallery.held = {2}
    asked = _requests(gallery, 5)
    client.submit(asked)
    attempts: dict[str, bytes | None] = {}
    model = Slow(killed, 4)
    answer = model.segment

    def noted(picture: Any, labels: Any, batch: int, learnt: Any = None) -> Any:
        for each in asked:
            if each.labels == tuple(labels):
                attempts[labels[0].name] = redis.get(f"dgl:attempts:{each.key}")
        return answer(picture, labels, batch, learnt)

    model.segment = noted  # type: ignore[method-assign]
    work(model, Ahead(_settings()))
    assert len(_segments(client, asked)) == 5
    assert attempts == {str(number): b"1" for number in range(5)}
    assert client.failures() == []


def test_an_image_that_is_not_there_fails_alone_and_in_words(
    client: SegmentClient, gallery: Gallery, work: Callable[..., Workbench]
) -> None:
    good = _requests(gallery, 2)
    gone = request("gone", image=gallery.address(100), task="100")
    client.submit([good[0], gone, good[1]])
    work(FakeSegmenter(), Ahead(_settings()))
    assert len(_segments(client, good)) == 2
    failure = client.look_up([gone.key])[gone.key]
    assert isinstance(failure, Failure)
    assert "404" in failure.message


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_device_answers_the_same_about_prepared_images(
    redis: Redis, client: SegmentClient, queue: Queue, gallery: Gallery, model_folder: Path
) -> None:
    answers = []
    for prefetch in (0, 2):
        settings = _settings(prefetch, device="cuda:0", model=str(model_folder))
        bench = load_bench(settings, redis)
        asked = [
            replace(each, model_version=bench.segmenter.model_version)
            for each in _requests(gallery, 5)
        ]
        client.submit(asked)
        worker = ModelWorker(queue, bench, "cuda:0")
        worker.warm_up()
        worker.run(burst=True)
        bench.close()
        answers.append(_segments(client, asked))
        redis.flushall()
    assert answers[0] == answers[1]


def test_a_job_that_was_cancelled_meanwhile_is_not_needed(
    client: SegmentClient, gallery: Gallery, queue: Queue, work: Callable[..., Workbench]
) -> None:
    asked = _requests(gallery, 3)
    client.submit(asked)

    def cancelled(number: int) -> None:
        gallery.wait(number)
        if number == 1:
            queue.remove(segment_job_id(asked[1].key))

    bench = work(Slow(cancelled, 1), Ahead(_settings()))
    assert len(_segments(client, [asked[0], asked[2]])) == 2
    assert bench.ahead is not None
    assert bench.ahead.take(gallery.address(1)) is None
