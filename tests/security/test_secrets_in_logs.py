"""No secret of the settings or of a request is written: not to a log, not to an answer."""

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from redis import Redis
from rq.serializers import JSONSerializer

from tests.backend.worker_end import predict_body, task
from tests.queue_servers import HOST, server
from workers import logs
from workers.queue.connection import AllowedJob, open_queue

CANARIES = {
    "REDIS_URL": "canary-of-the-queue",
    "LABEL_STUDIO_API_KEY": "canary0123456789of0label0studio",
    "BASIC_AUTH_PASS": "canary-of-the-login",
}
SENT = ("canary-token-of-setup", "canary-login-of-predict", "canary-password-of-predict")


@contextmanager
def serving(folder: Path, form: str, port: int, wrong: str = "") -> Iterator[tuple[str, Path]]:
    """A real web server; its address, and the file with all that it writes."""
    state, output = folder / "web.json", folder / "output"
    environment = {name: value for name, value in os.environ.items() if "URL" not in name}
    environment |= {
        "REDIS_URL": f"redis://:{wrong or CANARIES['REDIS_URL']}@{HOST}:{port}/0",
        "LABEL_STUDIO_URL": "http://127.0.0.1:9",
        "LABEL_STUDIO_API_KEY": CANARIES["LABEL_STUDIO_API_KEY"],
        "BASIC_AUTH_USER": "me",
        "BASIC_AUTH_PASS": CANARIES["BASIC_AUTH_PASS"],
        "SINGLE_TASK_SECONDS": "0.1",
        "LOG_FORMAT": form,
        "LOG_LEVEL": "DEBUG",
        "PORT": "0",
    }
    command = [sys.executable, "-m", "backend.commands.main", "serve", "--state", str(state)]
    with output.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + 30
        while not state.exists():
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield str(json.loads(state.read_text())["url"]), output
    finally:
        process.terminate()
        process.wait(15)


def ask(url: str) -> str:
    """Some calls with secrets in them; all that comes back."""
    login = ("me", CANARIES["BASIC_AUTH_PASS"])
    body = predict_body(task(1), task(2))
    body["params"] |= {"login": SENT[1], "password": SENT[2]}
    answers = [
        requests.get(f"{url}/ready", timeout=5),
        requests.get(f"{url}/status", auth=("me", SENT[2]), timeout=5),
        requests.post(
            f"{url}/setup",
            json={"project": "1.2", "schema": "<View/>", "access_token": SENT[0]},
            auth=login,
            timeout=5,
        ),
        requests.post(
            f"{url}/predict", json=body, auth=login, headers={"X-Request-ID": "r-1"}, timeout=10
        ),
        requests.post(f"{url}/predict", data=SENT[1], auth=login, timeout=5),
        requests.post(
            f"{url}/webhook", json={"action": "X", "project": {"token": SENT[0]}}, auth=login
        ),
        *(
            requests.get(f"{url}{page}", auth=login, timeout=5)
            for page in ("/", "/status", "/api/status", "/metrics", "/ready", f"/x?token={SENT[0]}")
        ),
    ]
    return "".join(answer.text + str(answer.headers) for answer in answers)


def hidden(text: str) -> None:
    login = base64.b64encode(f"me:{CANARIES['BASIC_AUTH_PASS']}".encode()).decode()
    for secret in (*CANARIES.values(), *SENT, login):
        assert secret not in text


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_server_writes_and_answers_no_secret(tmp_path: Path, form: str) -> None:
    with (
        server(tmp_path / "queue", password=CANARIES["REDIS_URL"]) as at,
        Redis(port=at.port, password=CANARIES["REDIS_URL"]) as redis,
    ):
        model = {"model_version": "m", "device": "cpu", "at": 0.0}
        redis.set("dgl:model", json.dumps(model))
        with serving(tmp_path, form, at.port) as (url, output):
            answered = ask(url)
        jobs = [redis.hgetall(name) for name in redis.scan_iter("rq:job:*", _type="hash")]
    hidden(answered)
    written = output.read_text()
    hidden(written)
    hidden(str(jobs))
    assert "r-1" in {json.loads(job[b"meta"])["request"] for job in jobs}
    assert "Traceback" not in answered
    lines = written.splitlines()
    if form == "json":
        told = [json.loads(line) for line in lines]
        assert {"r-1"} <= {each.get("request") for each in told}
        assert all(each["time"].endswith("Z") for each in told)
    else:
        assert any("[request=r-1 project=1]" in line for line in lines)


def test_a_refused_login_of_the_queue_is_said_without_it(tmp_path: Path) -> None:
    with (
        server(tmp_path / "queue", password="another") as at,
        serving(tmp_path, "text", at.port) as (url, output),
    ):
        answered = ask(url)
    hidden(answered + output.read_text())
    assert "refuses the login" in answered


def test_the_id_of_a_request_reaches_whoever_works_on_it(redis: Redis) -> None:
    logs.begin(request="r-7")
    made = open_queue("segment", redis).enqueue("workers.processes.jobs.segment", {})
    logs.begin()
    fetched = AllowedJob.fetch(made.id, redis, JSONSerializer)
    assert fetched.request_id == "r-7"
    fetched.meta["request"] = "not an\nid"
    assert fetched.request_id == ""
