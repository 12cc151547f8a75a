import logging

import pytest
from rich.progress import Progress

from backend.commands import progress
from backend.commands.progress import Meter


def test_a_terminal_gets_a_bar_with_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("backend.commands.progress.time.monotonic", lambda: now)
    with Meter(100, terminal=True) as meter:
        meter.count(before=40)
        now = 110.0
        meter.count(done=19, failed=1)
        assert meter.rate == 2.0
    said = capsys.readouterr().err
    assert "60 of 100, 2.0/s, 0:00:20 left, 1 failed" in said
    assert "Pre-labelling" in said


def test_elsewhere_a_line_goes_to_the_log_now_and_then(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    with caplog.at_level(logging.INFO), Meter(2, terminal=False) as meter:
        meter.count(done=1)
        meter.count(done=2)  # there are more than were known
    assert [record.message.partition(",")[0] for record in caplog.records] == ["1 of 2", "3 of 3"]
    assert capsys.readouterr().err == ""


def test_a_scene_has_its_bar_on_a_terminal_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with progress.scanning("dubai[1].tif") as show:
        show(1_000_000, 4_000_000)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress.scanning("dubai[1].tif") as show:
        show(1_000_000, 4_000_000)
    out, err = capsys.readouterr()
    assert out == ""
    assert "dubai[1].tif" in err
    assert "25%" in err


def test_speed_of_a_scene_is_in_megapixels() -> None:
    now = 0.0
    bars = Progress(get_time=lambda: now)
    bar = bars.add_task("scene", total=9_000_000)
    speed = progress._PixelSpeed()
    assert str(speed.render(bars.tasks[0])) == ""
    for seconds in (1.0, 2.0):
        now = seconds
        bars.update(bar, advance=3_000_000)
    assert str(speed.render(bars.tasks[0])) == "3.00 Mpx/s"
