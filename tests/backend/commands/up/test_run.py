"""`dgl-rsis serve` and `dgl-rsis up` as processes, on a real Valkey."""

import re
import signal
import stat
import time
from pathlib import Path

import psutil
import pytest
import requests
from redis import Redis

from backend.commands.up.run import _commands, _environment
from backend.web.server import address_of, read_state, write_state
from backend.web.settings import Settings
from tests.backend.commands.up.processes import running, wait_for
from tests.backend.worker_end import VERSION, answer, predict_body, task
from workers.queue.heartbeats import Heartbeat, beat

MIB = 2**20


def test_serve(announced: Redis, valkey: str, tmp_path: Path) -> None:
    answer(announced, task(1))
    state = tmp_path / "web.json"
    arguments = ("serve", "--port", "0", "--state", str(state))
    with running(*arguments, REDIS_URL=valkey) as process:
        url = wait_for(state, process)["url"]
        assert requests.get(f"{url}/health", timeout=5).json()["status"] == "UP"
        reply = requests.post(f"{url}/predict", json=predict_body(task(1)), timeout=25).json()
        assert reply["results"][0]["model_version"] == VERSION
        webhook = requests.post(f"{url}/webhook", data=b"x" * MIB, timeout=5)
        assert webhook.status_code == 201
        main = psutil.Process(process.pid)
        for one in (main, *main.children()):
            assert one.memory_info().rss < 200 * MIB
            loaded = {Path(mapped.path).name for mapped in one.memory_maps()}
            assert not any("torch" in name for name in loaded)
        process.terminate()
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert f"listening at {url}" in output


def test_up_is_ready_writes_its_state_and_leaves_nothing_behind(
    redis: Redis, valkey: str, tmp_path: Path
) -> None:
    # A worker of another machine serves the same queue, so `up` is ready before its own is.
    now = time.time()
    far = Heartbeat("far", "far", 1, "segment", "cuda:0", "", now, now)
    state = tmp_path / "up.json"
    arguments = ("up", "--port", "0", "--state", str(state), "--data", str(tmp_path / "data"))
    with running(*arguments, REDIS_URL=valkey) as process:
        values = wait_for(state, process, lambda: beat(redis, far))
        beat(redis, far)
        assert values["redis_url"] == valkey
        assert values["pid"] == process.pid
        assert stat.S_IMODE(state.stat().st_mode) == 0o600
        assert requests.get(f"{values['url']}/ready", timeout=5).json()["ready"]
        children = psutil.Process(process.pid).children(recursive=True)
        names = {argument for one in children for argument in one.cmdline()}
        assert {"serve", "deliver", "worker"} <= names
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert not state.exists()
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
    assert f"up       | backend {values['url']}" in output
    assert output.index("web      | stopping") < output.index("worker   | stopping")


def test_up_starts_a_queue_of_its_own_and_stops_when_a_worker_refuses(tmp_path: Path) -> None:
    data = tmp_path / "da ta"
    arguments = ("up", "--port", "0", "--data", str(data))
    with running(*arguments, MODEL=str(tmp_path / "no model")) as process:
        output, _ = process.communicate(timeout=180)
    assert process.returncode == 1
    assert "embedded Valkey runs" in output
    assert "no model" in output
    assert re.search(r"(worker  |clicks  ) \| ended with status 2", output)  # whoever is first
    assert "Traceback" not in output
    assert (data / "appendonlydir").is_dir()


@pytest.mark.parametrize(
    ("name", "url"),
    [
        (("127.0.0.1", 9090), "http://127.0.0.1:9090"),
        (("0.0.0.0", 80), "http://127.0.0.1:80"),
        (("::", 80, 0, 0), "http://[::1]:80"),
        (("::1", 81, 0, 0), "http://[::1]:81"),
    ],
)
def test_addresses(name: tuple[str, int], url: str) -> None:
    assert address_of(name) == url


def test_a_state_file_is_replaced_at_once(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    write_state(state, url="http://a")
    write_state(state, url="http://b", pid=1)
    assert read_state(state) == {"url": "http://b", "pid": 1}
    assert list(tmp_path.iterdir()) == [state]


def test_reserved_workers_are_started_and_share_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CACHE_DIR", raising=False)
    none, two = (Settings.model_validate({"interactive_workers": n}) for n in (0, 2))
    assert [command.name for command in _commands(Settings(), tmp_path)][3:] == ["clicks"]
    assert [command.name for command in _commands(none, tmp_path)] == ["web", "deliver", "worker"]
    assert "CACHE_DIR" not in _environment(none, "redis://a", tmp_path)
    reserved = _commands(two, tmp_path)[3:]
    assert [command.name for command in reserved] == ["clicks", "clicks 2"]
    assert all(command.argv[-2:] == ("worker", "--interactive") for command in reserved)
    given = _environment(two, "redis://a", tmp_path)
    assert (given["CACHE_DIR"], given["REDIS_URL"]) == (str(tmp_path / "cache"), "redis://a")
    monkeypatch.setenv("CACHE_DIR", "/elsewhere")
    assert _environment(two, "redis://a", tmp_path)["CACHE_DIR"] == "/elsewhere"
