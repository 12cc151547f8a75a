"""The wheel, built from the checkout and installed into an environment of its own.

`python -m tests.wheel FOLDER` makes one, and prints the command in it: `make e2ewheel` runs the
end-to-end tests against that. The libraries are those of the environment that runs this: 6 GB are
not installed twice.
"""

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from tests.paths import ROOT

PACKAGES = ("backend", "dgl_rsis", "starter", "workers")
BUILD = "from setuptools import build_meta; build_meta.build_wheel('.')"


def build(folder: Path) -> Path:
    """Build the wheel in an empty folder, from a copy of what is under version control or may be.

    Returns:
        The wheel; the copy lies beside it.
    """
    made = shutil.ignore_patterns("__pycache__", "*.so")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=made)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, folder)
    subprocess.run([sys.executable, "-c", BUILD], cwd=folder, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """Install it into a new virtual environment that finds the libraries of this one.

    Returns:
        The command `dgl-rsis` there.
    """
    venv.create(folder, with_pip=False, clear=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    libraries = folder / "lib" / version / "site-packages" / "libraries.pth"
    libraries.write_text(sysconfig.get_path("purelib") + "\n")
    uv = Path(sys.executable).with_name("uv")
    command = [uv, "pip", "install", "--quiet", "--offline", "--no-deps"]
    python = folder / "bin" / "python"
    subprocess.run([*command, "--python", python, wheel], check=True, capture_output=True)
    return folder / "bin" / "dgl-rsis"


def main() -> None:
    """Command line."""
    folder = Path(sys.argv[1]).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    source = folder / "source"
    source.mkdir(parents=True)
    sys.stdout.write(f"{install(build(source), folder / 'environment')}\n")


if __name__ == "__main__":
    main()
