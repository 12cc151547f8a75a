import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from backend.commands import options
from backend.commands.running import Running, leaving_word, running
from workers.settings import SharedSettings

DEAD = "unix:///nowhere/valkey.sock"


@pytest.fixture
def here(valkey: str) -> Running:
    return Running(os.getpid(), valkey, "/data/one")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runtime" / "dgl-rsis"


def test_word_is_left_for_this_user_alone_and_taken_back(here: Running, folder: Path) -> None:
    with leaving_word(here):
        assert running() == [here]
        (file,) = folder.iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert running() == []
    assert list(folder.iterdir()) == []


def test_without_a_runtime_folder_it_is_in_that_of_states(
    here: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    with leaving_word(here):
        assert (tmp_path / "state" / "dgl-rsis" / f"up-{here.pid}.json").exists()
        assert running() == [here]


def test_one_that_cron_started_is_seen_from_a_desktop(
    here: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    with leaving_word(here):
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
        assert running() == [here]
    assert running() == []


def test_one_whose_process_is_gone_does_not_count(valkey: str) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with leaving_word(Running(gone.pid, valkey, "/data")):
        assert running() == []


def test_one_whose_queue_does_not_answer_does_not_count() -> None:
    with leaving_word(Running(os.getpid(), DEAD, "/data")):
        assert running() == []


@pytest.mark.parametrize("content", ["", "[]", '{"pid": "x"}', '{"pid": 1e400}', '{"pid": -1}'])
def test_a_damaged_file_does_not_count(content: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "up-1.json").write_text(content)
    assert running() == []


def test_where_word_cannot_be_left_up_runs_all_the_same(
    here: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "file"))
    with leaving_word(here):
        assert running() == []


def test_the_only_one_is_taken_and_of_several_none(
    here: Running, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"{here.redis_url}?db=1"
    other = {"pid": os.getppid(), "redis_url": url, "folder": "/data/two"}
    with leaving_word(here):
        assert options.queue_url(SharedSettings()) == here.redis_url
        (folder / f"up-{os.getppid()}.json").write_text(json.dumps(other))
        with pytest.raises(typer.Exit):
            options.queue_url(SharedSettings())
    said = capsys.readouterr().err
    assert f"REDIS_URL={here.shown_url}  # /data/one" in said
    assert f"REDIS_URL={url}  # /data/two" in said


def test_a_given_address_goes_first(here: Running) -> None:
    with leaving_word(here):
        assert options.queue_url(SharedSettings(redis_url="redis://x")) == "redis://x"


def test_a_password_is_not_shown() -> None:
    assert Running(1, "redis://me:word@host:6379/0", "").shown_url == "redis://host:6379/0"
