"""What somebody has who installed the wheel, and no checkout."""

import json
import os
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from label_studio_sdk.label_interface import LabelInterface

from backend.commands.demo.sample import LABEL_CONFIG, sample_images
from tests.paths import ROOT
from tests.wheel import build, install

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`dgl-rsis` of the wheel."""
    return install(build(tmp_path_factory.mktemp("source")), tmp_path_factory.mktemp("venv"))


def test_the_wheel_works_beside_a_folder_named_backend(command: Path, tmp_path: Path) -> None:
    """One that breaks whoever imports it, in the working folder and first on PYTHONPATH."""
    for name in ("backend", "workers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong package')\n")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)}

    def dgl_rsis(*words: str) -> str:
        ran = subprocess.run(
            [command, *words], cwd=tmp_path, env=environment, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    assert dgl_rsis("--version") == f"dgl-rsis {PROJECT['version']}\n"
    image = shutil.copy(sample_images()[0], tmp_path)
    dgl_rsis("segment", str(image), "--labels", "building,road", "--out", "masks")
    assert (tmp_path / "masks" / f"{Path(image).stem}.classes.png").is_file()

    assert "building" in dgl_rsis("demo")
    assert (tmp_path / "demo" / "overlay.png").is_file()
    (task,) = json.loads((tmp_path / "demo" / "predictions.json").read_text())
    (prediction,) = task["predictions"]
    assert prediction["result"]
    faults = LabelInterface(LABEL_CONFIG).validate_prediction(prediction, return_errors=True)
    assert not faults


def test_versions_of_python_are_those_that_the_bounds_allow() -> None:
    bounds = set(PROJECT["requires-python"].split(","))
    minors = {
        int(line.rpartition(".")[2])
        for line in PROJECT["classifiers"]
        if line.startswith("Programming Language :: Python :: 3.")
    }
    assert bounds == {f">=3.{min(minors)}", f"<3.{max(minors) + 1}"}
    assert minors == set(range(min(minors), max(minors) + 1))


def test_every_extra_can_be_asked_for() -> None:
    """An extra of an extra is one of this distribution, and none is empty."""
    extras = PROJECT["optional-dependencies"]
    for needed in extras.values():
        assert needed
        for each in needed:
            if each.startswith("dgl-rsis["):
                assert set(each[len("dgl-rsis[") : -1].split(",")) <= set(extras)


def test_the_data_of_the_demo_is_small() -> None:
    folder = sample_images()[0].parent
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 1_000_000


def test_the_version_is_that_of_the_project() -> None:
    assert metadata.version("dgl-rsis") == PROJECT["version"]
