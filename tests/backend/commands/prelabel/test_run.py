"""Runs over the real queue with a fake worker in a thread or process, and over a fake studio."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from label_studio_sdk.label_interface import LabelInterface
from PIL import Image
from redis import Redis
from typer.testing import CliRunner

from backend.commands.demo.sample import sample_images
from backend.commands.prelabel import engines
from backend.commands.prelabel.command import prelabel
from tests.backend.studio.fake_studio import LEGACY_TOKEN, FakeStudio
from tests.workers import fake_worker
from tests.workers.fake_worker import VERSION
from workers.messages import SEGMENT_QUEUE
from workers.queue.client import SegmentClient
from workers.queue.connection import QueueError
from workers.queue.corrections import CorrectionsClient
from workers.queue.heartbeats import Announcement, announce, beats

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.workers.fake_worker"])
XML = (
    '<View><Image name="image" value="$image"/><BrushLabels name="mask" toName="image">'
    '<Label value="bright"/></BrushLabels></View>'
)

SAMPLES = str(sample_images()[0].parent)

app = typer.Typer()
app.command()(prelabel)


def run(*words: str | Path, **environment: str) -> tuple[int, str]:
    """Exit status and what was said."""
    runner = CliRunner(env=environment | {"COLUMNS": "200"})
    result = runner.invoke(app, [str(word) for word in words])
    return result.exit_code, result.output


@contextmanager
def worker(url: str, redis: Redis) -> Iterator[BaseProcess]:
    """A segment worker whose model is a few lines of NumPy; it reads no local files."""
    process = PROCESSES.Process(target=fake_worker.run, args=(url, 20.0), daemon=True)
    process.start()
    try:
        until(lambda: bool(beats(redis)))
        yield process
    finally:
        process.kill()
        process.join()


def until(ready: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Small pictures, each another one."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for number in range(12):
        pixels = rng.integers(0, 256, (8, 12, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def studio(studio: FakeStudio) -> FakeStudio:
    studio.label_config = XML
    return studio


def tasks(out: Path) -> list[Any]:
    files = sorted(out.glob("predictions-*.json"))
    return [task for file in files for task in json.loads(file.read_bytes())]


def test_a_folder_becomes_import_json_that_label_studio_takes(
    valkey: str, redis: Redis, images: Path, tmp_path: Path
) -> None:
    (images / "text.png").write_text("no image")
    out = tmp_path / "out"
    words = [images, "--labels", "bright", "--out", out, "--image-prefix", "https://host/"]
    with worker(valkey, redis):
        status, _ = run(*words, "--order", "uncertainty", REDIS_URL=valkey)
        assert status == 1  # the text is no image
        imported = tasks(out)
        assert run(*words, REDIS_URL=valkey)[0] == 2  # another --order does not mix
        assert run(*words, "--order", "uncertainty", REDIS_URL=valkey)[0] == 1
        assert tasks(out) == imported
    assert sorted(task["data"]["image"] for task in imported) == [
        f"https://host/{number:02}.png" for number in range(12)
    ]
    (failed,) = json.loads((out / "failed.json").read_text("utf-8"))
    assert failed["item"] == "https://host/text.png"
    assert "not an image of a known format" in failed["reason"]
    interface = LabelInterface(XML)
    for task in imported:
        assert interface.validate_task({"data": task["data"]})
        assert set(task) == {"data", "predictions"}
        (prediction,) = task["predictions"]
        assert interface.validate_prediction(prediction)
        assert prediction["model_version"] == VERSION
        assert prediction["score"] == 0.375  # the fake's margin, and not its confidence
        assert prediction["result"][0]["score"] == 0.75


def test_failed_items_are_taken_again_when_asked(
    valkey: str, redis: Redis, images: Path, tmp_path: Path
) -> None:
    good = (images / "03.png").read_bytes()
    (images / "03.png").write_text("no image")
    out = tmp_path / "out"
    words = [images, "--labels", "bright", "--out", out, "--image-prefix", "p/"]
    with worker(valkey, redis):
        assert run(*words, REDIS_URL=valkey)[0] == 1
        (images / "03.png").write_bytes(good)
        assert run(*words, REDIS_URL=valkey)[0] == 1
        assert len(tasks(out)) == 11
        status, said = run(*words, "--retry-failed", REDIS_URL=valkey)
    assert status == 0, said
    assert len({task["data"]["image"] for task in tasks(out)}) == len(tasks(out)) == 12
    assert not (out / "failed.json").exists()


def test_killed_and_resumed_nothing_is_lost_and_nothing_is_there_twice(
    valkey: str, redis: Redis, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = [str(images), "--labels", "bright", "--out", str(out), "--image-prefix", "p/"]
    announce(redis, Announcement(VERSION, "cpu", 0.0))
    with worker(valkey, redis) as process:
        os.kill(process.pid or 0, signal.SIGSTOP)
        command = subprocess.Popen(
            [sys.executable, "-m", "backend.commands.main", "prelabel", *words],
            env=os.environ | {"REDIS_URL": valkey},
        )
        until(lambda: len(redis.keys("rq:job:segment-*")) >= 12)
        command.kill()
        command.wait()
        os.kill(process.pid or 0, signal.SIGCONT)
        until(lambda: len(redis.keys("dgl:reply:*")) == 12)
        os.kill(process.pid or 0, signal.SIGSTOP)
        # The second run finds all answers in Redis: no job is made.
        assert run(*words, REDIS_URL=valkey)[0] == 0
        assert redis.llen(f"rq:queue:{SEGMENT_QUEUE}") == 0
        os.kill(process.pid or 0, signal.SIGCONT)
    assert len({task["data"]["image"] for task in tasks(out)}) == len(tasks(out)) == 12
    assert all(0 < redis.ttl(key) <= 600 for key in redis.keys("dgl:reply:*"))


def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(
    valkey: str, redis: Redis, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = [str(images), "--labels", "bright", "--out", str(out), "--image-prefix", "p/"]
    with worker(valkey, redis) as process:
        os.kill(process.pid or 0, signal.SIGSTOP)
        command = subprocess.Popen(
            [sys.executable, "-m", "backend.commands.main", "prelabel", *words],
            env=os.environ | {"REDIS_URL": valkey},
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: len(redis.keys("rq:job:segment-*")) >= 12)
        command.send_signal(signal.SIGINT)
        _, said = command.communicate(timeout=30)
        assert command.returncode == 130, said
        assert "the same command goes on" in said
        assert "Traceback" not in said
        os.kill(process.pid or 0, signal.SIGCONT)
        assert run(*words, REDIS_URL=valkey)[0] == 0
    assert len(tasks(out)) == 12


def test_the_tasks_of_a_project_get_their_predictions_once(
    valkey: str, redis: Redis, studio: FakeStudio, tmp_path: Path
) -> None:
    studio.tasks = {1, 2, 3, 4}
    studio.images = dict.fromkeys((1, 2, 3), fake_worker.picture()) | {4: "s3://bucket/x.png"}
    studio.add({"task": 2, "result": [], "score": 0.5, "model_version": VERSION})
    out = tmp_path / "out"
    access = {"LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": LEGACY_TOKEN}
    words = ["--project", "1", "--push", "--out", out]
    with worker(valkey, redis):
        for _ in range(2):
            status, said = run(*words, REDIS_URL=valkey, **access)
            assert status == 1, said
    assert sorted(p["task"] for p in studio.predictions) == [1, 2, 3]
    pushed = next(p for p in studio.predictions if p["task"] == 3)
    assert LabelInterface(XML).validate_prediction(pushed)
    (failed,) = json.loads((out / "failed.json").read_text("utf-8"))
    assert failed["item"] == "4"
    assert "'s3://bucket/x.png' of task 4 is to be had from Label Studio" in failed["reason"]
    assert not list(out.glob("predictions-*"))


def test_many_bad_items_in_a_row_do_not_end_the_run(
    valkey: str, redis: Redis, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "WINDOW", 4)
    lines = [f"missing {number}.png" for number in range(11)] + ["00.png", "01.png"]
    (images / "list.txt").write_text("\n".join(lines), "utf-8")
    out = tmp_path / "out"
    words = [images / "list.txt", "--labels", "bright", "--out", out, "--image-prefix", "p/"]
    with worker(valkey, redis):
        assert run(*words, REDIS_URL=valkey)[0] == 1
    assert len(json.loads((out / "failed.json").read_text("utf-8"))) == 11
    assert [task["data"]["image"] for task in tasks(out)] == ["p/00.png", "p/01.png"]


def test_without_a_worker_it_refuses(valkey: str, redis: Redis, images: Path) -> None:
    words = [images, "--labels", "bright", "--out", images / "out", "--image-prefix", "p/"]
    status, said = run(*words, REDIS_URL=valkey)
    assert (status, "no segment worker is alive" in said) == (2, True)
    announce(redis, Announcement(VERSION, "cpu", 0.0))
    assert run(*words, REDIS_URL=valkey)[0] == 2
    status, said = run(*words, REDIS_URL="redis://127.0.0.1:1")
    assert (status, "check that its server runs" in said) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give sources"),
        (["x", "--project", "1"], "or else --project"),
        (["x", "--push"], "--push goes with --project"),
        (["--project", "1", "--labels", "a"], "label config is that of the project"),
        (["--project", "1"], "set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY"),
        (["x"], "no labels"),
        (["x", "--labels", "a"], "x does not exist"),
        ([SAMPLES, "--labels", "a", "--image-prefix", "p/"], "REDIS_URL is not set"),
        (["x", "--labels", "a", "--root", "/"], "root of the file system"),
    ],
)
def test_what_does_not_go_together_is_refused(words: list[str], said: str, tmp_path: Path) -> None:
    status, output = run(*words, "--out", tmp_path / "out")
    assert status == 2
    assert said in output
    assert "Traceback" not in output


def test_jobs_that_a_server_lost_are_asked_for_again(
    valkey: str, redis: Redis, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "QUIET_SECONDS", 0.5)
    out = tmp_path / "out"
    words = [images, "--labels", "bright", "--out", out, "--image-prefix", "p/"]
    with worker(valkey, redis) as process:
        os.kill(process.pid or 0, signal.SIGSTOP)

        def lose() -> None:
            until(lambda: len(redis.keys("rq:job:segment-*")) >= 12)
            redis.delete(f"rq:queue:{SEGMENT_QUEUE}", *redis.keys("rq:job:segment-*"))
            os.kill(process.pid or 0, signal.SIGCONT)

        thread = threading.Thread(target=lose)
        thread.start()
        assert run(*words, REDIS_URL=valkey)[0] == 0
        thread.join()
    assert len(tasks(out)) == 12


def test_a_queue_that_is_away_for_a_while_is_waited_for(
    valkey: str,
    redis: Redis,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(engines, "LOST_PAUSE_SECONDS", 0.01)
    outages = ["look_up"] * 3 + ["submit"] * 2 + ["keep_briefly"]
    for name in set(outages):
        monkeypatch.setattr(SegmentClient, name, failing(name, outages))
    words = [images, "--labels", "bright", "--image-prefix", "p/"]
    with worker(valkey, redis):
        assert run(*words, "--out", tmp_path / "out", REDIS_URL=valkey)[0] == 0
        assert "waiting for it" in caplog.text
        assert outages == []
        monkeypatch.setattr(engines, "OUTAGE_SECONDS", 0.1)
        outages += ["look_up"] * 1000
        assert run(*words, "--out", tmp_path / "other", REDIS_URL=valkey)[0] == 1
    assert "the same command goes on from here" in caplog.text
    assert len(tasks(tmp_path / "out")) == 12


def failing(name: str, outages: list[str]) -> Callable[..., Any]:
    """A method of the client that fails as long as it stands in the list."""
    method = getattr(SegmentClient, name)

    def call(*arguments: Any, **options: Any) -> Any:
        if name in outages:
            outages.remove(name)
            raise QueueError("the queue does not answer")
        return method(*arguments, **options)

    return call


def test_a_long_run_keeps_to_what_the_project_knew_when_it_began(
    valkey: str, redis: Redis, studio: FakeStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt = iter(["1@aa", "1@bb"])
    monkeypatch.setattr(CorrectionsClient, "prototypes", lambda *_: next(learnt))
    studio.tasks = {1, 2}
    studio.images = dict.fromkeys((1, 2), fake_worker.picture())
    access = {"LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": LEGACY_TOKEN}
    words = ["--project", "1", "--push", "--out", tmp_path / "out"]
    with worker(valkey, redis):
        assert run(*words, REDIS_URL=valkey, **access)[0] == 0
        studio.tasks.add(3)
        studio.images[3] = fake_worker.picture()
        assert run(*words, REDIS_URL=valkey, **access)[0] == 0
        assert {p["model_version"] for p in studio.predictions} == {f"{VERSION}+paa"}
        assert len(studio.predictions) == 3
        words[-1] = tmp_path / "anew"
        assert run(*words, REDIS_URL=valkey, **access)[0] == 0
    assert len(studio.predictions) == 6


def test_another_model_in_the_middle_ends_the_run(
    valkey: str,
    redis: Redis,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(engines, "QUIET_SECONDS", 0.2)
    words = [images, "--labels", "bright", "--out", tmp_path / "out", "--image-prefix", "p/"]
    with worker(valkey, redis) as process:
        os.kill(process.pid or 0, signal.SIGSTOP)

        def exchange() -> None:
            until(lambda: len(redis.keys("rq:job:segment-*")) >= 12)
            announce(redis, Announcement("fake-2", "cpu", 0.0))

        thread = threading.Thread(target=exchange)
        thread.start()
        assert run(*words, REDIS_URL=valkey)[0] == 1
        thread.join()
    assert f"changed from {VERSION} to fake-2" in caplog.text


def test_local_works_without_queue(images: Path, model_folder: Path, tmp_path: Path) -> None:
    for file in sorted(images.glob("*.png"))[2:]:
        file.unlink()
    noise = np.random.default_rng(1).integers(0, 256, (48, 36, 3), np.uint8)
    Image.fromarray(noise).save(images / "00.png")
    (images / "01.png").write_text("no image")
    out = tmp_path / "out"
    words = [images, "--labels", "ship,tree", "--out", out, "--image-prefix", "p/", "--local"]
    status, said = run(*words, "--model", str(model_folder), "--order", "uncertainty")
    assert status == 1, said
    (task,) = tasks(out)
    assert task["data"] == {"image": "p/00.png"}
    assert 0 <= task["predictions"][0]["score"] <= 1
    assert len(json.loads((out / "failed.json").read_text("utf-8"))) == 1


def test_paths_are_looked_at_before_a_model_is_loaded(images: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    asked = ("--labels", "ship", "--image-prefix", "p/", "--local", "--model", "no such model")
    for source, out, words in (
        (images, tmp_path / "file" / "out", "a file is in its place"),
        (tmp_path / "gone", tmp_path / "out", "gone"),
        (images, tmp_path / "new", "no such model"),
    ):
        status, said = run(source, *asked, "--out", out)
        assert status == 2
        assert words in said
