import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from redis import Redis

from workers.processes.embedded import EmbeddedServerError, embedded_server, running_server

PARENT = """
import sys, time
from pathlib import Path
from workers.processes.embedded import embedded_server
with embedded_server(Path(sys.argv[1])):
    print("up", flush=True)
    time.sleep(60)
"""


def _servers(folder: Path) -> list[int]:
    running = psutil.process_iter(["name", "cwd"])
    return [
        process.pid
        for process in running
        if process.info["name"] == "valkey-server" and process.info["cwd"] == str(folder)
    ]


def test_data_outlive_the_server_and_no_process_does(tmp_path: Path) -> None:
    folder = tmp_path / "with a space"
    with embedded_server(folder) as url, Redis.from_url(url) as redis:
        redis.set("kept", "value")
        assert len(_servers(folder)) == 1
    assert _servers(folder) == []
    with embedded_server(folder) as url, Redis.from_url(url) as redis:
        assert redis.get("kept") == b"value"


def test_a_command_finds_the_server_of_its_folder_while_it_runs(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    assert running_server(folder) is None
    with embedded_server(folder) as url:
        assert running_server(folder) == url
    assert running_server(folder) is None
    (folder / "address").write_text("unix:///of/one/that/was/killed", "utf-8")
    assert running_server(folder) is None


def test_only_its_user_can_reach_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with embedded_server(folder) as url:
        socket = Path(url.removeprefix("unix://"))
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (pid,) = _servers(folder)
        listening = [c for c in psutil.Process(pid).net_connections("inet") if c.status == "LISTEN"]
        assert listening == []
    assert not socket.parent.exists()


def test_a_folder_has_one_server(tmp_path: Path) -> None:
    with (
        embedded_server(tmp_path),
        pytest.raises(EmbeddedServerError, match="in use by another"),
        embedded_server(tmp_path),
    ):
        pytest.fail("a second server started on the same data")


def test_damaged_data_are_reported_with_the_log(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").write_text("a file where a folder must be")
    with (
        pytest.raises(EmbeddedServerError, match=r"ended with status 1: see .*valkey\.log"),
        embedded_server(tmp_path),
    ):
        pytest.fail("the server started")


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_it_dies_with_a_killed_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"up\n"
            assert len(_servers(tmp_path)) == 1
        finally:
            parent.kill()
    deadline = time.monotonic() + 10
    while _servers(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _servers(tmp_path) == []
