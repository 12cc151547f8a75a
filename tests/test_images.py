"""The images: what the Dockerfile says of them, without a builder."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.containers import STAGES, build_context, instruction
from tests.paths import ROOT
from tests.wheel import PACKAGES, build

LOCKS = {"web": ["web"], "worker": ["torch", "worker", "hf"]}


def test_the_base_is_pinned_to_a_full_version():
    base = re.search(r"^ARG PYTHON=(\S+)$", (ROOT / "Dockerfile").read_text(), flags=re.M)
    assert base is not None
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", base[1])


@pytest.mark.parametrize(("stage", "command"), [("web", "serve"), ("worker", "worker")])
def test_final_images_hold_an_environment_and_nothing_to_build_with(stage: str, command: str):
    assert [line for line in STAGES[stage] if line.startswith("COPY")] == [
        "COPY LICENSE NOTICE /usr/share/doc/dgl-rsis/",
        f"COPY --from={stage}-environment /opt/dgl-rsis /opt/dgl-rsis",
    ]
    runs = [line for line in STAGES[stage] if line.startswith("RUN")]
    assert len(runs) == 1
    assert runs[0].startswith("RUN useradd ")
    assert instruction(stage, "ENTRYPOINT") == '["dgl-rsis"]'
    assert instruction(stage, "CMD") == f'["{command}"]'
    assert any("PYTHONUNBUFFERED=1" in line for line in STAGES[stage])


@pytest.mark.parametrize("stage", LOCKS)
def test_packages_are_installed_by_their_hashes(stage: str):
    runs = [line for line in STAGES[f"{stage}-environment"] if line.startswith("RUN")]
    locks = re.findall(r"(\S+ )-r requirements/(\w+)\.txt", " ".join(runs))
    assert [name for _, name in locks] == ["uv", *LOCKS[stage]]
    assert {option for option, _ in locks} == {"--require-hashes "}
    assert all("--no-build --no-deps" in run for run in runs[1:] if " -r " in run)


def test_another_pytorch_has_the_versions_of_the_lock():
    (run,) = [line for line in STAGES["worker-environment"] if "--index-url" in line]
    (command,) = re.findall(r"\$\((grep .*)\)", run)
    found = subprocess.run(["sh", "-c", command], cwd=ROOT, check=True, capture_output=True)
    names = [line.split("==")[0] for line in found.stdout.decode().split()]
    assert names == ["torch", "torchvision"]


def test_the_locks_of_an_image_share_nothing_and_leave_out_what_is_unused():
    def names(lock: str) -> set[str]:
        text = (ROOT / "requirements" / f"{lock}.txt").read_text()
        return set(re.findall(r"^([a-z0-9][\w.-]*)", text, flags=re.M))

    torch, worker, hf = (names(lock) for lock in LOCKS["worker"])
    assert not (torch & (worker | hf))
    assert not worker & hf
    assert "transformers" in hf
    assert not [name for name in worker | hf if name.startswith(("torch", "nvidia-", "triton"))]
    assert not names("unused") & (torch | worker | hf)
    assert names("unused") - {"hf-xet"} <= names("all")
    assert not {"torch", "label-studio-sdk", "pandas"} & names("web")


def test_no_lock_names_an_index():
    locks = (ROOT / "requirements").glob("*.txt")
    assert [lock.name for lock in locks if "://" in lock.read_text()] == []


def test_the_build_sees_what_it_needs_and_no_more():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = project["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {name.rstrip("*") for name in included}
    locks = [f"requirements/{name}.txt" for name in ("uv", *LOCKS["web"], *LOCKS["worker"])]
    about = {project["project"]["readme"], *project["project"]["license-files"]}
    needed = {"pyproject.toml", "setup.py", *about, *packages, *locks}
    assert next(line for line in lines if not line.startswith("#")) == "*"
    assert {str(path) for path in build_context()} == needed


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
    licences = {path.name for path in installed.rglob("*.dist-info/licenses/*")}
    assert licences == {"LICENSE", "NOTICE"}
