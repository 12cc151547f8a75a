"""`make studio`, from its start to Ctrl-C."""

import os
import re
import shutil
import signal
import socket
import sys
from pathlib import Path

import pytest
import requests

from samples.processes import LOOPBACK, free_port, running
from samples.servers import ROOT
from samples.studio import sample_images

pytestmark = pytest.mark.e2e


def test_the_demo_can_be_logged_in_to_and_stops_on_ctrl_c(
    first_start: Path, tmp_path: Path
) -> None:
    shutil.copytree(first_start, tmp_path / "data")
    ports = {"--port": free_port(0), "--backend-port": free_port(0)}
    command = [sys.executable, "-m", "samples.studio", "--data-dir", str(tmp_path / "data")]
    command += [str(part) for option in ports.items() for part in option]
    log = tmp_path / "log.txt"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    with running(command, environment, log) as program:
        program.wait_until(lambda: "Ctrl-C" in log.read_text(), seconds=300)
        told = log.read_text()
        assert tasks_seen_by(told) == len(sample_images())

        program.process.send_signal(signal.SIGINT)
        assert program.process.wait(60) == 0
    for port in ports.values():
        with socket.socket() as probe:
            assert probe.connect_ex((LOOPBACK, port)) != 0, f"port {port} still answers"


def tasks_seen_by(told: str) -> int:
    """Log in as the printed text says, and count the tasks of the project that it names."""
    address = re.search(r"(http\S+)/projects/(\d+)/data", told)
    user, password = re.search(r"user +(\S+)", told), re.search(r"password +(\S+)", told)
    assert address
    assert user
    assert password
    base_url, project = address.groups()
    with requests.Session() as session:
        login = f"{base_url}/user/login/"
        session.get(login, timeout=30)
        form = {"email": user[1], "password": password[1]}
        form["csrfmiddlewaretoken"] = session.cookies["csrftoken"]
        assert session.post(login, data=form, timeout=30).ok
        answer = session.get(f"{base_url}/api/projects/{project}/", timeout=30)
        return int(answer.json()["task_number"])
