"""The images' own environments, built without a builder, do what Compose asks of them."""

import http.client
import re
import subprocess
from contextlib import ExitStack, closing, suppress
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

from backend.commands.demo.processes import free_port, running
from tests.containers import GIVEN, compose, health_command
from tests.file_server import file_server
from tests.paths import ROOT
from tests.rehearsal import Image, Rehearsal

SERVICES = compose(GIVEN)["services"]
START_SECONDS = 120.0
NOBODY = "http://127.0.0.1:9"  # no Label Studio is needed to start


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image]:
    """The images of the services, for processors."""
    arguments = SERVICES["worker"]["build"]["args"]
    rehearsal = Rehearsal(tmp_path_factory.mktemp("images"), **arguments)
    targets = {name: SERVICES[name]["build"]["target"] for name in ("backend", "worker")}
    built = {target: rehearsal.build(target) for target in targets.values()}
    return {name: built[target] for name, target in targets.items()} | {"delivery": built["web"]}


def run(image: Image, service: dict[str, Any], *command: str, **changed: str) -> str:
    """What a container of a service says that runs another command."""
    environment = image.environment(service, **changed)
    program = image.command(service | {"command": list(command)})
    done = subprocess.run(
        program, env=environment, cwd="/", capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def is_healthy(image: Image, service: dict[str, Any], environment: dict[str, str]) -> bool:
    """Whether the health check of a service passes, with the interpreter of its image."""
    program, *arguments = health_command(service)
    path = image.root / "opt/dgl-rsis/bin" / program
    done = subprocess.run(
        [path, *arguments], env=environment, cwd="/", capture_output=True, timeout=30, check=False
    )
    return done.returncode == 0


def test_the_services_start_find_each_other_and_are_ready(
    images: dict[str, Image], valkey: str, tmp_path: Path
):
    port = free_port(0)
    changed = {"REDIS_URL": valkey, "LABEL_STUDIO_URL": NOBODY}
    changed |= {"HOST": "127.0.0.1", "PORT": str(port)}  # published on loopback alone
    with ExitStack() as stack:
        environments = {
            name: images[name].environment(SERVICES[name], **changed) for name in images
        }
        for name, environment in environments.items():
            command = images[name].command(SERVICES[name])
            program = running(command, environment, tmp_path / f"{name}.log")
            started = stack.enter_context(program)
        started.wait_until(lambda: _is_ready(port), START_SECONDS)
        for name, environment in environments.items():
            assert is_healthy(images[name], SERVICES[name], environment)
    assert not [log.name for log in tmp_path.glob("*.log") if "Traceback" in log.read_text()]


def _is_ready(port: int) -> bool:
    """Whether the web server answers, and sees a worker whose model passed its self-test."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with closing(connection), suppress(ConnectionError):
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    return False


def test_a_worker_pulls_weights_into_the_volume_that_all_see(images: dict[str, Image]):
    worker = SERVICES["worker"]
    with file_server() as shelf:
        for name in ("config.json", "model.safetensors"):
            shelf.files[f"/sam2.1-tiny/{name}"] = b"{}"
        pull = ("models", "pull", "sam2.1-tiny")
        said = run(images["worker"], worker, *pull, DGL_RSIS_MODELS_URL=shelf.url)
    assert "PROPOSALS=sam2.1-tiny" in said
    listed = run(images["worker"], worker, "models", "list")
    assert re.search(r"^sam2\.1-tiny .* yes ", listed, flags=re.M)
    assert (images["worker"].root / "models" / "sam2.1-tiny" / "config.json").is_file()


def test_images_hold_their_licences_and_those_of_what_they_bundle(images: dict[str, Image]):
    unlicensed = set()
    for image in images.values():
        texts = {path.name for path in (image.root / "usr/share/doc/dgl-rsis").iterdir()}
        assert texts == {"LICENSE", "NOTICE"}
        (site,) = (image.root / "opt/dgl-rsis").glob("lib/python*/site-packages")
        for each in distributions(path=[str(site)]):
            names = [path.name.lower() for path in each.files or []]
            if not any(re.match(r"licen[cs]e|copying|notice", name) for name in names):
                unlicensed.add(each.name)
    notice = (ROOT / "NOTICE").read_text("utf-8").partition("Container images\n")[2]
    assert {name for name in unlicensed if name not in notice} == set()
