"""`dgl-rsis connect` and `dgl-rsis doctor` with a real Label Studio, as docs/CONNECT.md says."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from backend.commands.demo.processes import free_port
from backend.studio.webhooks import HEADER
from samples.servers import Studio, dgl_rsis, program_path
from samples.studio import LABEL_CONFIG, create_project, import_images, sample_images
from tests.e2e.predictions import retrieve, wait_for_predictions
from tests.e2e.projects import Project, connection_of, wait_until, webhook

pytestmark = pytest.mark.e2e


def test_a_project_is_connected_examined_and_served(studio: Studio, tmp_path: Path) -> None:
    number = create_project(studio, "by command", LABEL_CONFIG)
    project = Project(number, import_images(studio, number, sample_images()[:1]))
    environment = connection_of(studio, studio.account.personal_token)
    with dgl_rsis(tmp_path, free_port(0), environment) as backend:

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [program_path(), *arguments], env=os.environ | environment, cwd=tmp_path,
                capture_output=True, text=True, timeout=120,
            )  # fmt: skip

        connected = run("connect", str(number), "--backend", backend.base_url)
        assert connected.stdout == f"project {number}: connected to {backend.base_url}\n"
        (listed,) = studio.api("GET", "/api/ml/", params={"project": number})
        assert (listed["url"], listed["is_interactive"]) == (backend.base_url, True)
        again = run("connect", str(number), "--backend", backend.base_url)
        assert again.stdout == f"project {number}: is connected to {backend.base_url}\n"
        retrieve(studio, project)
        wait_for_predictions(studio, project)
        place = ("--backend", backend.base_url, "--data", str(tmp_path / "queue"))
        examined = run("doctor", "--project", str(number), "--json", *place)
        wrong = [each for each in json.loads(examined.stdout) if each["state"] == "wrong"]
        assert (wrong, examined.returncode) == ([], 0)
        # An open that answered with the masks comes before the job that sees to the webhook.
        wait_until(lambda: HEADER in webhook(studio, number)["headers"])
        examined = run("doctor", "--project", str(number), "--json", *place)
        assert "its webhook carries a secret of this product" in said(examined.stdout, number)
        assert studio.account.personal_token not in examined.stdout
        made = webhook(studio, number)["id"]
        studio.api("PATCH", f"/api/webhooks/{made}/", json={"is_active": False})
        ill = run("doctor", "--project", str(number), "--json", *place)
        assert ill.returncode == 1
        assert "its webhook is switched off" in said(ill.stdout, number)


def said(report: str, project: int) -> list[str]:
    """What was found of a project, without what follows from it."""
    found: list[dict[str, str]] = json.loads(report)
    return [
        each["said"].split(", so ")[0] for each in found if each["topic"] == f"project {project}"
    ]
