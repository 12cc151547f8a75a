"""The units: what can be said of them where systemd does not run."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from backend.commands.demo.processes import running
from backend.web.settings import Settings
from tests.docs.project import Project
from tests.paths import ROOT
from workers.settings import WorkerSettings

FOLDER = ROOT / "deploy" / "systemd"
UNITS = sorted(path.name for path in FOLDER.glob("*.service"))
COMMON = FOLDER / "dgl-rsis-.service.d" / "common.conf"
PROGRAM = "/opt/dgl-rsis/bin/dgl-rsis"
MOST_EXPOSED = 2.0  # of 10, as systemd counts; a service without measures has 9.6


def values(name: str | Path, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", (FOLDER / name).read_text(), flags=re.M)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units as they would be installed, with a program that is there."""
    folder: Path = tmp_path_factory.mktemp("units")
    shutil.copytree(FOLDER, folder, dirs_exist_ok=True)
    for unit in folder.glob("*.service"):
        unit.write_text(unit.read_text().replace(PROGRAM, "/bin/true"))
    return folder


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_accepts_a_unit_and_finds_little_exposed(unit: str, installed: Path):
    name = unit.replace("@.", "@cpu.")

    def analyze(*arguments: str) -> str:
        environment = os.environ | {"SYSTEMD_UNIT_PATH": f"{installed}:"}
        command = ["systemd-analyze", *arguments, name]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    assert unit.partition("@")[0].removesuffix(".service") not in analyze("verify", "--man=no")
    level = re.search(r"exposure level for \S+: ([\d.]+)", analyze("security", "--offline=yes"))
    assert level is not None
    assert float(level[1]) <= MOST_EXPOSED


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_calls_a_command_that_exists(unit: str):
    (line,) = values(unit, "ExecStart")
    program, *words = line.split()
    assert program == PROGRAM
    assert not Project(ROOT).refusal(words, whole=True)


@pytest.mark.parametrize("unit", [name for name in UNITS if "pull" not in name])
def test_what_ends_starts_again_but_not_with_refused_settings(unit: str):
    assert values(unit, "Restart") == ["always"]
    assert values(unit, "RestartPreventExitStatus") == ["2"]


def test_variables_are_settings():
    given = (FOLDER / "environment.example").read_text()
    lines = [given, *(line for unit in [*UNITS, COMMON] for line in values(unit, "Environment"))]
    names = {name for line in lines for name in re.findall(r"(?:^|\s)([A-Z_]+)=", line, flags=re.M)}
    fields = {name.upper() for kind in (Settings, WorkerSettings) for name in kind.model_fields}
    assert names - fields == {"HF_HUB_OFFLINE"}  # of Hugging Face's library


def test_a_delivery_tells_systemd_that_it_is_ready_and_lives(valkey: str, tmp_path: Path):
    unit = "dgl-rsis-delivery.service"
    assert values(unit, "Type") == ["notify"]
    (command,) = values(unit, "ExecStart")
    program = [sys.executable, "-m", "backend.commands.main", *command.split()[1:]]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        environment = os.environ | {
            "NOTIFY_SOCKET": str(tmp_path / "notify"), "REDIS_URL": valkey, "PYTHONPATH": str(ROOT),
            "LABEL_STUDIO_URL": "http://127.0.0.1:9", "LABEL_STUDIO_API_KEY": "0" * 40,
        }  # fmt: skip
        with running(program, environment, tmp_path / "log"):
            said = ""
            while "READY=1" not in said or "WATCHDOG=1" not in said:
                said += systemd.recv(1000).decode() + "\n"
    (seconds,) = values(unit, "WatchdogSec")
    assert float(seconds) > 10
