import errno
import os
from pathlib import Path

import pytest

from backend.commands import main
from backend.commands.refusals import DISK, told
from backend.commands.segment import images
from dgl_rsis.weights.architectures import require_device
from dgl_rsis.weights.checkpoints import ModelError


@pytest.mark.parametrize("number", DISK)
def test_what_a_disk_refuses_is_one_line_with_the_way_out(number: int) -> None:
    said = told(OSError(number, os.strerror(number), "/out/a.png"))
    assert said == f"/out/a.png cannot be used, {DISK[number]}"
    assert "a result cannot be used" in told(OSError(number, os.strerror(number)))


def test_other_errors_are_told_as_they_are() -> None:
    assert told(ValueError("no labels")) == "no labels"
    assert "No such file" in told(FileNotFoundError(errno.ENOENT, "No such file", "x"))


def test_a_disk_that_fills_up_ends_a_command_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fills(**_named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(main, "app", fills)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        "dgl-rsis: a result cannot be used, the disk is full: make room, or write elsewhere\n"
    )


def test_a_full_disk_is_not_blamed_on_the_picture(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def work(path: Path) -> None:
        if path.name == "a.png":
            raise OSError(errno.ENOSPC, "No space left on device")
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    assert images._each([tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out", work) == 1
    assert "a.png: a result cannot be used, the disk is full" in caplog.text
    assert "b.png: cannot be read: Permission denied" in caplog.text


@pytest.mark.parametrize(
    ("built", "answers", "why"),
    [
        (None, False, "this PyTorch was built without CUDA"),
        ("12.8", False, "no driver answers"),
        ("12.8", True, "there are 2, counted from cuda:0"),
    ],
)
def test_a_device_that_is_not_here_says_why(
    monkeypatch: pytest.MonkeyPatch, built: str | None, answers: bool, why: str
) -> None:
    monkeypatch.setattr("torch.version.cuda", built)
    monkeypatch.setattr("torch.cuda.is_available", lambda: answers)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(ModelError, match=why):
        require_device("cuda:2")
    require_device("cpu")
    if answers:
        require_device("cuda:1")
