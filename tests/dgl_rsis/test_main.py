"""`python -m dgl_rsis`: the packages that lie beside it, or a message."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dgl_rsis.__main__ import BESIDE
from tests.paths import ROOT


def installed(folder: Path) -> Path:
    """As in site-packages: enough of the packages for the command to begin."""
    (folder / "dgl_rsis").mkdir()
    for name in ("__init__.py", "__main__.py"):
        shutil.copy(ROOT / "dgl_rsis" / name, folder / "dgl_rsis")
    for name in BESIDE:
        (folder / name).mkdir()
        shutil.copy(ROOT / name / "__init__.py", folder / name)
    (folder / "backend" / "commands").mkdir()
    main = "import backend, workers\ndef main(): print(backend.__file__, workers.__file__)\n"
    (folder / "backend" / "commands" / "main.py").write_text(main)
    return folder


def start(folder: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(1, {str(folder)!r})\n"
    code += "from dgl_rsis.__main__ import main\nmain()"
    command = [sys.executable, "-S", "-c", code]  # which puts the working folder first
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_a_foreign_backend_before_ours_is_not_imported(tmp_path: Path) -> None:
    ours = installed(tmp_path)
    foreign = tmp_path / "caller"
    for name in BESIDE:
        (foreign / name).mkdir(parents=True)
        (foreign / name / "__init__.py").write_text("raise SystemExit('the wrong one')\n")
    ran = start(ours, foreign)
    assert ran.stdout.split() == [str(ours / n / "__init__.py") for n in ("backend", "workers")]


@pytest.mark.parametrize("name", sorted(BESIDE))
def test_a_package_of_another_distribution_in_our_place_is_named(name: str, tmp_path: Path) -> None:
    ours = installed(tmp_path)
    (ours / name / "__init__.py").write_text('"""Somebody\'s."""\n')
    ran = start(ours, ours)
    assert ran.returncode == 2
    assert f"{ours / name / '__init__.py'} is not of dgl-rsis" in ran.stderr
    assert "an environment of its own" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_package_that_is_gone_is_named(tmp_path: Path) -> None:
    ours = installed(tmp_path)
    shutil.rmtree(ours / "workers")  # as another distribution's uninstallation leaves it
    ran = start(ours, ours)
    assert (ran.returncode, "is gone" in ran.stderr) == (2, True)


def test_the_packages_of_the_checkout_are_ours() -> None:
    for name, beginning in BESIDE.items():
        assert (ROOT / name / "__init__.py").read_text("utf-8").startswith(beginning)
