"""`python -m dgl_rsis`, and what `dgl-rsis` starts: the command line, of these packages alone.

`backend` and `workers` are names that others give to packages, too: a folder of the caller's on
PYTHONPATH, or a distribution in the same environment. This package's name is its own, so that the
command begins here and takes those that lie beside it.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

BESIDE = {  # package → how the docstring of ours begins
    "backend": '"""HTTP and Label Studio',
    "workers": '"""Both ends of the queue',
    "starter": '"""Small weights that come with the project',
}
WAY_OUT = "install dgl-rsis in an environment of its own, as pipx does"


class ForeignPackageError(ImportError):
    """A package of that name from elsewhere lies where ours belongs; the message says where."""


def claim(home: Path) -> None:
    """Import the packages of `BESIDE` from one folder, whatever the path of imports says.

    Args:
        home: the folder that this package lies in.

    Raises:
        ForeignPackageError: a package there is missing, or somebody else's.
    """
    for name, beginning in BESIDE.items():
        file = home / name / "__init__.py"
        if not file.is_file():
            raise ForeignPackageError(f"{file} is gone: {WAY_OUT}")
        if not file.read_text("utf-8").startswith(beginning):
            raise ForeignPackageError(
                f"{file} is not of dgl-rsis but of another distribution, which has a package "
                f"`{name}`, too: {WAY_OUT}"
            )
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None  # of a file that ends in .py
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)


def main() -> None:
    """Entry point of the command."""
    try:
        claim(Path(__file__).resolve().parents[1])
    except ForeignPackageError as error:
        sys.stderr.write(f"dgl-rsis: {error}\n")
        sys.exit(2)
    importlib.import_module("backend.commands.main").main()


if __name__ == "__main__":
    main()
