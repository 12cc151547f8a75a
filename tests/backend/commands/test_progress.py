import logging
import re
import threading
import time

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


def said_meanwhile(caplog: pytest.LogCaptureFixture, words: str) -> str:
    """The first line with these words, which is said while nothing else happens."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        for record in caplog.records:
            if words in record.message:
                return record.message
        time.sleep(0.01)
    raise AssertionError(f"no {words!r} in {[record.message for record in caplog.records]}")


@pytest.fixture
def often(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.02)
    caplog.set_level(logging.INFO)


@pytest.mark.usefixtures("often")
def test_elsewhere_a_line_goes_to_the_log_now_and_then(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with Meter(2, terminal=False) as meter:
        meter.count(done=1)
        line = said_meanwhile(caplog, "1 of 2")
        meter.count(done=2)  # there are more than were known
        said_meanwhile(caplog, "3 of 3")
    assert re.fullmatch(r"Pre-labelling: 1 of 2, [\d.]+/s, 0:00:\d\d left", line)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("often")
def test_items_are_told_while_one_of_them_takes_long(caplog: pytest.LogCaptureFixture) -> None:
    for item in progress.track(["a", "b", "c"], "Segmenting"):
        if item == "c":
            line = said_meanwhile(caplog, "2 of 3")
    assert re.fullmatch(r"Segmenting: 2 of 3, [\d.]+/s, 0:00:\d\d left", line)
    for item in progress.track(iter("ab"), "Reading"):
        if item == "b":
            said_meanwhile(caplog, "Reading: 1 done")  # of how many nobody knows


@pytest.mark.usefixtures("often")
def test_bytes_pixels_and_names_are_told_in_their_units(caplog: pytest.LogCaptureFixture) -> None:
    with progress.downloading("sam") as show:
        show(5_000_000, 20_000_000)
        assert said_meanwhile(caplog, "sam: 5.0 of 20.0 MB").endswith(" left")
    with progress.scanning("a.tif") as show:
        show(1_000_000, 4_000_000)
        assert "Mpx/s" in said_meanwhile(caplog, "a.tif: 1.0 of 4.0 Mpx")
    with progress.counting("Dubai") as done:
        done("tile 6")
        assert said_meanwhile(caplog, "Dubai: 1 done").endswith("the last one tile 6")


@pytest.mark.usefixtures("often")
def test_nothing_is_told_after_the_end(caplog: pytest.LogCaptureFixture) -> None:
    before = threading.active_count()
    assert list(progress.track("ab", "Segmenting")) == ["a", "b"]
    assert threading.active_count() == before


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
