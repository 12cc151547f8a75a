from pathlib import Path

import pytest

from backend.commands.segment.spool import Spool, SpoolError

ABOUT = {"model": "v1", "scene": "s"}


def test_what_was_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "windows"
    with Spool(path, ABOUT) as spool:
        spool.write((0, 1), b"one\n{}\n")
        spool.write((2, 0), b"")
    with Spool(path, ABOUT) as spool:
        assert len(spool) == 2
        assert (0, 1) in spool
        assert (1, 1) not in spool
        assert spool.read((0, 1)) == b"one\n{}\n"
        assert spool.read((2, 0)) == b""
        spool.write((1, 1), b"two")
        assert spool.read((1, 1)) == b"two"


@pytest.mark.parametrize("torn", range(1, 60))
def test_a_torn_end_is_cut_off(tmp_path: Path, torn: int) -> None:
    path = tmp_path / "windows"
    with Spool(path, ABOUT) as spool:
        spool.write((0, 0), b"first")
        whole = path.stat().st_size
        spool.write((0, 1), b"second window")
    data = path.read_bytes()
    path.write_bytes(data[:-torn])
    with Spool(path, ABOUT) as spool:
        assert len(spool) == 1
        assert path.stat().st_size == whole
        spool.write((0, 1), b"again")
    with Spool(path, ABOUT) as spool:
        assert [spool.read((0, 0)), spool.read((0, 1))] == [b"first", b"again"]


def test_a_file_without_a_whole_first_line_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "windows"
    path.write_bytes(b'{"model"')
    with Spool(path, ABOUT) as spool:
        assert len(spool) == 0
        spool.write((0, 0), b"x")
    with Spool(path, ABOUT) as spool:
        assert spool.read((0, 0)) == b"x"


def test_a_damaged_window_is_as_good_as_none(tmp_path: Path) -> None:
    path = tmp_path / "windows"
    with Spool(path, ABOUT) as spool:
        spool.write((0, 0), b"sound")
    path.write_bytes(path.read_bytes().replace(b"sound", b"wound"))
    with Spool(path, ABOUT) as spool:
        assert spool.read((0, 0)) is None
        assert (0, 0) not in spool


def test_windows_of_another_run_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "windows"
    Spool(path, ABOUT).__exit__()
    with pytest.raises(SpoolError, match=r"of another run \(another model\): remove it, or give"):
        Spool(path, ABOUT | {"model": "v2"})


def test_two_runs_do_not_share_a_file(tmp_path: Path) -> None:
    with (
        Spool(tmp_path / "windows", ABOUT),
        pytest.raises(SpoolError, match="another run works on"),
    ):
        Spool(tmp_path / "windows", ABOUT)
