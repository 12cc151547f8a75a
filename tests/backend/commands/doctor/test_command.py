"""`dgl-rsis doctor` against a real Valkey, real beats and a stand-in for Label Studio."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from backend.commands.doctor import environment as settings_check
from backend.commands.doctor import machine, studio
from backend.commands.doctor.command import findings
from backend.commands.doctor.findings import Finding, State, examine
from backend.studio.webhooks import HEADER
from tests.backend.studio.fake_studio import LEGACY_TOKEN, FakeStudio, fake_studio, lead_here
from tests.file_server import file_server
from workers.messages import DELIVERY_QUEUE, INTERACTIVE_QUEUE, SEGMENT_QUEUE
from workers.queue.heartbeats import Heartbeat, beat
from workers.settings import WorkerSettings

XML = (
    '<View><Image name="i" value="$image"/><BrushLabels name="b" toName="i">'
    '<Label value="building"/></BrushLabels></View>'
)


@pytest.fixture
def label_studio(
    valkey: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeStudio]:
    """One that is connected to the queue of this test, which the environment names, too."""
    with fake_studio() as fake:
        lead_here(fake, redis, XML)
        monkeypatch.setenv("REDIS_URL", valkey)
        monkeypatch.setenv("LABEL_STUDIO_URL", fake.url)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", LEGACY_TOKEN)
        yield fake


def report(tmp_path: Path, *projects: int) -> list[Finding]:
    return list(findings(list(projects), "http://127.0.0.1:9", tmp_path))


def said(found: list[Finding], topic: str, state: State = State.WRONG) -> str:
    """What was found of a topic, with the ways out."""
    return "\n".join(
        f"{each.said} → {each.way_out}"
        for each in found
        if (each.topic, each.state) == (topic, state)
    )


def be_there(redis: Redis) -> None:
    for number, queue in enumerate((SEGMENT_QUEUE, INTERACTIVE_QUEUE, DELIVERY_QUEUE)):
        beat(redis, Heartbeat(str(number), "m", 1, queue, "cpu", "", time.time(), 1.0, "starter-1"))


def test_what_is_well_is_said_to_be(label_studio: FakeStudio, redis: Redis, tmp_path: Path) -> None:
    be_there(redis)
    label_studio.webhooks[0]["headers"] = {HEADER: "x"}
    found = report(tmp_path)
    assert {each.topic for each in found if each.state is State.WRONG} == {"web server"}
    assert "answers and takes the key (1.23.2)" in said(found, "Label Studio", State.GOOD)
    project = said(found, "project 1", State.GOOD)
    assert "connected as 'DGL-RSIS' at http://b:9090" in project
    assert "its webhook carries a secret" in project
    assert "1 labels: building" in project
    assert not [each for each in found if each.topic == "project 2"]
    assert "one makes masks: starter-1 on cpu" in said(found, "processes", State.GOOD)


def test_without_processes_no_mask_comes(label_studio: FakeStudio, tmp_path: Path) -> None:
    wrong = said(report(tmp_path), "processes")
    assert "none makes masks" in wrong
    assert "none delivers to Label Studio" in wrong
    assert "dgl-rsis up" in wrong


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"url": "http://elsewhere/hook"}, "add http://b:9090/webhook"),
        ({"is_active": False}, "its webhook is switched off"),
    ],
)
def test_a_webhook_that_teaches_nothing(
    label_studio: FakeStudio, tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    label_studio.webhooks[0] |= change
    assert expected in said(report(tmp_path), "project 1")


def test_how_a_project_is_set_up(label_studio: FakeStudio, tmp_path: Path) -> None:
    label_studio.backends[0] |= {"is_interactive": False, "error_message": "it was away"}
    label_studio.shown, label_studio.uses, label_studio.label_config = "other", False, "<View/>"
    found = report(tmp_path)
    wrong, notes = said(found, "project 1"), said(found, "project 1", State.NOTE)
    assert "no clicks and no sentences" in wrong
    assert "its label config: " in wrong
    assert "predictions of 'other', not of this backend" in notes
    assert "predictions are not shown to annotators" in notes
    assert "it was away" in notes
    assert "does not carry the secret yet" in notes


def test_a_backend_that_label_studio_does_not_reach(
    label_studio: FakeStudio, tmp_path: Path
) -> None:
    label_studio.answers = lambda _: 500
    wrong = said(report(tmp_path), "project 1")
    assert "Label Studio could not ask this backend" in wrong
    assert "ML_BLOCK_LOCAL_IP=false SSRF_PROTECTION_ENABLED=false" in wrong


def test_no_project_is_connected(label_studio: FakeStudio, tmp_path: Path) -> None:
    label_studio.backends.clear()
    found = report(tmp_path)
    assert "none of its 2 newest projects" in said(found, "Label Studio", State.NOTE)
    assert "SSRF_PROTECTION_ENABLED=false" in said(found, "Label Studio", State.NOTE)
    assert "not connected to this backend" in said(report(tmp_path, 1), "project 1")
    assert "answered 404" in said(report(tmp_path, 5), "Label Studio")


def test_a_key_that_is_not_taken(
    label_studio: FakeStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "f" * 40)
    assert "answered 401" in said(report(tmp_path), "Label Studio")


def test_label_studio_that_hangs_holds_up_nothing(
    label_studio: FakeStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studio, "SECONDS", 0.3)
    label_studio.delay = 1.0
    found = report(tmp_path)
    assert "gave no usable answer" in said(found, "Label Studio")
    assert found[-1].topic == "device"


@pytest.mark.parametrize("url", ["redis://127.0.0.1:9/0", "redis://:secret-word@127.0.0.1:9"])
def test_a_queue_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    found = report(tmp_path)
    assert "REDIS_URL" in said(found, "queue")
    assert "secret-word" not in str(found)


def test_another_program_at_the_port(tmp_path: Path) -> None:
    with file_server(health=b"hello", ready=b"hello") as other:
        found = list(findings([], other.url, tmp_path))
    assert "not as this product" in said(found, "web server")


def test_settings_that_are_wrong_or_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THREADS", "many")
    monkeypatch.setenv("LABEL_STUDIO_APIKEY", "x")
    found = list(settings_check.check())
    assert "THREADS: " in said(found, "settings")
    assert "LABEL_STUDIO_API_KEY is meant?" in said(found, "settings", State.NOTE)


@pytest.mark.parametrize(
    ("setting", "topic", "expected"),
    [
        ({"model": "remoteclip-vit-b-32"}, "weights", "models pull remoteclip-vit-b-32"),
        ({"model": "no-such-model"}, "weights", "no name and no file"),
        ({"proposals": "vit_b:/nowhere.pth"}, "weights", "there is no /nowhere.pth"),
        ({"device": "cuda:0"}, "device", "PyTorch sees no GPU"),
    ],
)
def test_a_machine_that_cannot_do_what_is_set(
    tmp_path: Path, setting: dict[str, str], topic: str, expected: str
) -> None:
    settings = WorkerSettings(models_dir=tmp_path, **setting)  # type: ignore[arg-type]
    assert expected in said(list(machine.check(settings, 1, tmp_path)), topic)


def test_images_that_memory_does_not_hold(tmp_path: Path) -> None:
    settings = WorkerSettings(max_image_pixels=10**12)
    assert "MAX_IMAGE_PIXELS" in said(
        list(machine.check(settings, 1, tmp_path)), "memory", State.NOTE
    )
    assert "INTERACTIVE_WORKERS=0" in said(list(machine.check(settings, 5000, tmp_path)), "memory")


def test_a_check_that_hangs_or_breaks() -> None:
    def hangs() -> Iterator[Finding]:
        yield Finding("t", State.GOOD, "first")
        time.sleep(5)

    def breaks() -> Iterator[Finding]:
        yield Finding("t", State.GOOD, "first")
        raise ZeroDivisionError("nobody foresaw it")

    first, last = examine("t", hangs, seconds=0.2)
    assert (first.said, last.said) == ("first", "no answer within 0 s")
    first, last = examine("t", breaks)
    assert last.said == "the check broke off: ZeroDivisionError: nobody foresaw it"


def test_the_command_ends_with_1_and_writes_json(tmp_path: Path) -> None:
    ours = ("REDIS_", "LABEL_STUDIO_", "BASIC_AUTH_")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    environment = inherited | {"REDIS_URL": "redis://:secret-word@127.0.0.1:9/0"}
    command = [sys.executable, "-m", "backend.commands.main", "doctor", "--json"]
    done = subprocess.run(
        [*command, "--backend", "http://127.0.0.1:9"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    topics = {each["topic"] for each in json.loads(done.stdout)}
    assert {"settings", "queue", "web server", "Label Studio", "memory", "device"} <= topics
    assert "secret-word" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
