"""One scene over several workers: the same bytes as of one process, whatever dies meanwhile."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from redis import Redis

from backend.commands.labels import read_config
from backend.commands.segment import scenes
from backend.commands.segment.images import LocalError
from backend.commands.segment.inputs import Inputs
from backend.commands.segment.queued import QueueLostError, SceneQueue
from backend.commands.segment.scene_work import LocalSceneSegmenter, SceneOptions
from backend.commands.segment.scenes import SceneRun
from dgl_rsis.scenes import pipeline
from dgl_rsis.scenes.reading import open_scene
from tests.queue_servers import server
from tests.small_scene import picture, write_scene
from tests.workers.scene_worker import scene_worker, supervised
from tests.workers.worker_processes import until
from workers.engine.loading import load_segmenter
from workers.queue import windows
from workers.queue.windows import WindowQueue
from workers.settings import WorkerSettings

CONFIG = read_config("ship,car,tree,field,water", None)
OPTIONS = SceneOptions(
    polygons="geojson", probability=True, window=208, overlap=64, regularize=False
)
SEED = 3


@pytest.fixture(scope="module")
def segmenter(model_folder: Path) -> LocalSceneSegmenter:
    torch.set_num_threads(1)  # as the workers: sums in another order may differ in the last bit
    return LocalSceneSegmenter(load_segmenter(WorkerSettings(model=str(model_folder))))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all share, with a scene of 4 × 5 windows."""
    root: Path = tmp_path_factory.mktemp("shared").resolve()
    (root / "2026").mkdir()
    write_scene(root / "2026" / "scene.tif", picture(500, 620, SEED))
    return root


@pytest.fixture(scope="module")
def local(root: Path, segmenter: LocalSceneSegmenter, tmp_path_factory) -> dict[str, bytes]:
    """Results of one process, without a queue."""
    out: Path = tmp_path_factory.mktemp("local")
    run = SceneRun([root / "2026" / "scene.tif"], CONFIG, out, OPTIONS)
    assert scenes.run(run, segmenter) == 0
    return contents(out)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server(tmp_path_factory.mktemp("queue")) as running:
        yield running.url


@pytest.fixture(scope="module")
def workers(url: str, model_folder: Path, root: Path) -> Iterator[None]:
    with scene_worker(url, model_folder, root), scene_worker(url, model_folder, root):
        yield


def ready(redis: Redis, segmenter: LocalSceneSegmenter, count: int) -> None:
    queue = WindowQueue(redis, segmenter.model_version)
    until(lambda: len(queue.workers()[0]) == count)


@pytest.fixture
def queue(url: str) -> Iterator[Redis]:
    with Redis.from_url(url) as client:
        yield client


def through(queue: Redis, root: Path, out: Path, *scene: Path) -> SceneRun:
    files = scene or (root / "2026" / "scene.tif",)
    return SceneRun(files, CONFIG, out, OPTIONS, queue=SceneQueue(queue, root))


@pytest.mark.usefixtures("workers")
def test_two_workers_give_the_bytes_of_one_process(
    queue: Redis, root: Path, segmenter: LocalSceneSegmenter, local: dict[str, bytes],
    tmp_path: Path,
) -> None:  # fmt: skip
    ready(queue, segmenter, 2)
    assert scenes.run(through(queue, root, tmp_path), segmenter) == 0
    assert contents(tmp_path) == local
    assert len(queue.keys("dgl:running:*")) == 2  # both took part
    assert queue.keys("dgl:window:*") == []  # nothing is left in the server
    assert windows.waiting(queue) == 0


@pytest.mark.usefixtures("workers")
def test_a_worker_that_is_killed_costs_no_window(
    queue: Redis, url: str, model_folder: Path, root: Path, segmenter: LocalSceneSegmenter,
    local: dict[str, bytes], tmp_path: Path,
) -> None:  # fmt: skip
    with scene_worker(url, model_folder, root) as third:
        ready(queue, segmenter, 3)
        version = segmenter.model_version
        judge = SceneQueue(queue, root).scene(OPTIONS, tmp_path / "windows", version)

        def kill(done: int, total: int) -> None:
            if done > total / 4 and third.is_alive():
                os.kill(third.pid, signal.SIGKILL)
                third.join(10)

        job = scenes.SceneJob(CONFIG.labels, CONFIG.colours, OPTIONS)
        segmenter.segment(root / "2026" / "scene.tif", tmp_path, job, kill, judge=judge)
    judge.spool.unlink()
    assert third.exitcode == -signal.SIGKILL
    assert contents(tmp_path) == local


@pytest.mark.usefixtures("workers")
def test_a_command_that_is_killed_goes_on(
    queue: Redis, url: str, model_folder: Path, root: Path, segmenter: LocalSceneSegmenter,
    local: dict[str, bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    ready(queue, segmenter, 2)
    spool, scene = tmp_path / "scene.windows", root / "2026" / "scene.tif"
    command = [sys.executable, "-c", "from backend.commands.main import app; app()", "segment"]
    command += [str(scene), "--out", str(tmp_path), "--queue", url, "--model", str(model_folder)]
    command += ["--labels", "ship,car,tree,field,water", "--polygons", "geojson", "--probability"]
    command += ["--window", "208", "--overlap", "64"]
    environment = os.environ | {"SCENES_ROOT": str(root)}
    with subprocess.Popen(command, env=environment) as process:
        until(lambda: spool.exists() and spool.stat().st_size > 30_000)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "scene.classes.tif").exists()
    caplog.set_level("INFO")
    assert scenes.run(through(queue, root, tmp_path), segmenter) == 0
    assert "windows were judged before" in caplog.text
    hidden = {name for name in contents(tmp_path) if name.startswith(".")}  # of the killed one
    assert {n: held for n, held in contents(tmp_path).items() if n not in hidden} == local


@pytest.mark.usefixtures("workers")
def test_what_waits_is_taken_back(
    queue: Redis, root: Path, segmenter: LocalSceneSegmenter, tmp_path: Path
) -> None:
    ready(queue, segmenter, 2)
    version = segmenter.model_version
    with open_scene(root / "2026" / "scene.tif") as scene:
        judge = SceneQueue(queue, root).scene(OPTIONS, tmp_path / "windows", version)
        work = prepared(scene, segmenter)
        coming = judge(work)
        assert next(coming) is not None
        coming.close()
    assert windows.waiting(queue) == 0
    until(lambda: queue.zcard(f"rq:wip:{windows.WINDOWS}{version}") == 0)


def prepared(scene: pipeline.Scene, segmenter: LocalSceneSegmenter) -> pipeline.SceneWork:
    model = segmenter._segmenter
    words = model.vocabulary(CONFIG.labels)
    return pipeline.prepare(scene, words, model.clip, model.parameters, OPTIONS.windows)


@pytest.mark.usefixtures("workers")
def test_another_file_at_the_path_is_refused(
    queue: Redis, segmenter: LocalSceneSegmenter, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    ready(queue, segmenter, 2)
    here = tmp_path / "root"
    (here / "2026").mkdir(parents=True)
    scene = write_scene(here / "2026" / "scene.tif", picture(500, 620, SEED + 1))
    assert scenes.run(through(queue, here, tmp_path / "out", scene), segmenter) == 1
    assert "no worker can read 2026/scene.tif: 2026/scene.tif is another file there" in caplog.text
    assert windows.waiting(queue) == 0


@pytest.mark.usefixtures("workers")
def test_a_missing_file_is_said(
    queue: Redis, segmenter: LocalSceneSegmenter, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    ready(queue, segmenter, 2)
    scene = write_scene(tmp_path / "only-here.tif", picture(300, 320))
    assert scenes.run(through(queue, tmp_path, tmp_path / "out", scene), segmenter) == 1
    assert "no worker can read only-here.tif: there is no file" in caplog.text


def test_one_worker_that_cannot_read_the_scene_leaves_it_to_the_others(
    model_folder: Path, root: Path, segmenter: LocalSceneSegmenter, local: dict[str, bytes],
    tmp_path: Path, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    with (
        server(tmp_path / "queue") as running,
        Redis.from_url(running.url) as redis,
        scene_worker(running.url, model_folder, None),
    ):
        ready(redis, segmenter, 1)
        assert scenes.run(through(redis, root, out), segmenter) == 1
        assert "no worker can read 2026/scene.tif: SCENES_ROOT is not set there" in caplog.text
        with scene_worker(running.url, model_folder, root):
            ready(redis, segmenter, 2)
            assert scenes.run(through(redis, root, out), segmenter) == 0
    assert contents(out) == local
    assert "takes no part: SCENES_ROOT is not set there" in caplog.text


@pytest.mark.usefixtures("workers")
def test_another_model_is_refused(
    queue: Redis, root: Path, segmenter: LocalSceneSegmenter, model_folder: Path, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    ready(queue, segmenter, 2)
    settings = WorkerSettings(model=str(model_folder), metres_per_pixel=0.7)
    other = LocalSceneSegmenter(load_segmenter(settings))
    assert scenes.run(through(queue, root, tmp_path), other) == 1
    assert (
        f"no worker has the model {other.model_version}; those that are alive have" in caplog.text
    )
    assert segmenter.model_version in caplog.text


def test_a_deadly_window_is_named_and_the_others_are_done(
    model_folder: Path, root: Path, segmenter: LocalSceneSegmenter, local: dict[str, bytes],
    tmp_path: Path, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    with server(tmp_path / "queue") as running, Redis.from_url(running.url) as redis:
        with supervised(running.url, model_folder, root, (1, 2)) as ends:
            ready(redis, segmenter, 1)
            assert scenes.run(through(redis, root, out), segmenter) == 1
        assert ends.count(-signal.SIGKILL) == 3
        assert "the worker process died 3 times while it judged this window" in caplog.text
        assert "1 windows are missing in its results" in caplog.text
        assert contents(out)["scene.classes.tif"] != local["scene.classes.tif"]
        with scene_worker(running.url, model_folder, root):  # one that it does not kill
            ready(redis, segmenter, 1)
            assert scenes.run(through(redis, root, out), segmenter) == 0
        assert contents(out) == local


def test_nobody_there(
    queue: Redis, root: Path, segmenter: LocalSceneSegmenter, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    with server(tmp_path / "queue") as running, Redis.from_url(running.url) as redis:
        assert scenes.run(through(redis, root, tmp_path / "out"), segmenter) == 1
    assert "no segment worker is alive: start some with `dgl-rsis worker`" in caplog.text


def test_a_scene_outside_of_the_shared_folder(
    queue: Redis, root: Path, segmenter: LocalSceneSegmenter, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    scene = write_scene(tmp_path / "elsewhere.tif", picture(300, 320))
    assert scenes.run(through(queue, root, tmp_path / "out", scene), segmenter) == 1
    assert f"does not lie below SCENES_ROOT ({root})" in caplog.text


def test_photos_do_not_go_to_the_queue(queue: Redis, root: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(picture(64, 64)).save(photo)
    inputs, settings = Inputs((photo,), many=False), WorkerSettings()
    with pytest.raises(LocalError, match=r"photo\.png is no scene, and --queue is for scenes"):
        scenes.segment_classes(
            inputs, CONFIG, tmp_path, SceneOptions(), settings, SceneQueue(queue, root)
        )


def test_a_queue_needs_a_shared_folder() -> None:
    with pytest.raises(QueueLostError, match="SCENES_ROOT is not set: name the folder"):
        SceneQueue.from_settings(WorkerSettings(), "redis://127.0.0.1:1")
