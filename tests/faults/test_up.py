"""Under `dgl-rsis up` the web server and the queue's server come back where they were."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import requests
from redis import Redis, RedisError

from tests.backend.commands.up.processes import running, wait_for
from tests.workers.worker_processes import until
from workers.processes.embedded import running_server
from workers.queue.heartbeats import Heartbeat, beat


def _processes(url: str) -> dict[str, dict[str, Any]]:
    told = requests.get(f"{url}/api/status", timeout=5).json()["processes"]
    return {each["name"]: each for each in told}


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=2).ok
    except requests.RequestException:
        return False


def _pings(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except RedisError:
        return False


def test_what_is_killed_is_back_and_nothing_else_is_touched(tmp_path: Path) -> None:
    data, state = tmp_path / "data", tmp_path / "up.json"
    arguments = ("up", "--port", "0", "--data", str(data), "--state", str(state))
    with running(*arguments, INTERACTIVE_WORKERS="0") as process:
        until(lambda: running_server(data))
        redis_url = running_server(data)
        assert redis_url is not None
        with Redis.from_url(redis_url) as redis:
            now = time.time()  # a worker elsewhere serves, so nobody waits for one to load here
            far = Heartbeat("far", "far", 1, "segment", "cuda:0", "", now, now)
            url = str(wait_for(state, process, lambda: beat(redis, far))["url"])
            until(lambda: {"queue", "web", "deliver", "worker"} <= _processes(url).keys())
            before = _processes(url)
            for each in psutil.Process(before["web"]["pid"]).children(recursive=True):
                each.kill()
            os.kill(before["web"]["pid"], signal.SIGKILL)
            os.kill(before["queue"]["pid"], signal.SIGKILL)
            until(lambda: _answers(url), 30)
            until(lambda: _pings(redis), 10)
            until(lambda: "web" in _processes(url))
            until(lambda: _processes(url)["web"]["ends"] and _processes(url)["queue"]["ends"])
            after = _processes(url)
        for name in ("web", "queue"):
            assert after[name]["status"] == -signal.SIGKILL
            assert after[name]["cause"] == "killed by SIGKILL"
        for name in ("deliver", "worker"):
            assert (after[name]["pid"], after[name]["ends"]) == (before[name]["pid"], 0)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
