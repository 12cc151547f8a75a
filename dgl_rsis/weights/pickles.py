"""What `torch.save` wrote, read without running any code that is named in it [ours].

Training scripts save more than weights: their settings, NumPy numbers, whole models. torch's own
safe loader stops at the first foreign name. Here each such name stands for an inert object, which
takes whatever it is given and does nothing, so that what lies beside it can be read; names of the
standard library that do more than hold data are refused all the same.
"""

import re
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

SAFETENSORS = ".safetensors"
MOST_NAMES = 64  # foreign ones in a file
SHOWN = 6  # entries in a description
FOREIGN = re.compile(r"GLOBAL ([\w.]+) was")  # in torch's refusals
BLOCKED = re.compile(r"(?:GLOBAL|class|callable) ([\w.]+)")
# Of the standard library: modules whose classes hold data and do nothing, and classes that do so.
OF_DATA = frozenset(
    {"argparse", "collections", "copyreg", "datetime", "decimal", "enum", "pathlib"}
)
DATA = frozenset({"types.SimpleNamespace", "complex", "frozenset", "range", "set", "slice"})
MODULES = ("_modules", "_parameters")  # what every pickled torch.nn.Module has


Allowed = Callable[..., Any] | tuple[Callable[..., Any], str]  # as torch takes it


class ContentError(ValueError):
    """A file is whole and holds no weights. The message says what is in it, and the way out."""


class Foreign:
    """Stands for an object of a class that is not loaded; it has the state, and does nothing."""

    foreign_name = ""

    def __new__(cls, *_args: Any, **_named: Any) -> "Foreign":
        """Take whatever its class was made with."""
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, Mapping):
            self.__dict__.update({str(name): value for name, value in state.items()})


def unpickled(path: Path) -> Any:
    """What a file holds; objects that are not torch's own are `Foreign`.

    Raises:
        ContentError: it is a whole model, or names code of the standard library.
        UnpicklingError: it is damaged.
    """
    content, names = _read(path)
    if runs := sorted(name for name in names if _runs(name)):
        raise ContentError(
            f"it holds more than weights, namely {runs[0]}, and code in files is not run. In it: "
            f"{described(content)}. {_strip('state_dict')}"
        )
    if isinstance(content, Foreign):
        raise ContentError(
            f"it holds more than weights: a whole {described(content)}, and code in files is not "
            f"run. {_strip('')}"
        )
    return content


def described(content: Any) -> str:
    """What something is, for people: "state_dict (302 tensors), args (argparse.Namespace)"."""
    if isinstance(content, Mapping):
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return f"{len(content)} tensors"
        parts = [f"{key} ({_kind(value)})" for key, value in content.items()]
        more = f" and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
        return ", ".join(parts[:SHOWN]) + more
    return _kind(content)


def _kind(value: Any) -> str:
    if isinstance(value, Foreign):
        model = all(part in vars(value) for part in MODULES)
        return f"pickled model {value.foreign_name}" if model else value.foreign_name
    if isinstance(value, Mapping):
        tensors = sum(isinstance(each, Tensor) for each in value.values())
        return f"{tensors} tensors" if tensors else f"{len(value)} entries"
    return type(value).__name__


def _strip(key: str) -> str:
    """The lines that save the weights alone."""
    weights = f"content[{key!r}]" if key else "content.state_dict()"
    return (
        "Where it was made, and you trust it, this saves the weights alone:\n"
        "  import torch\n"
        '  content = torch.load("FILE", weights_only=False)\n'
        f'  torch.save({weights}, "weights.pt")'
    )


def _runs(name: str) -> bool:
    """Whether a name is of the standard library, and not of a class that holds data."""
    root, dot, _ = name.partition(".")
    if name in DATA or root in OF_DATA:
        return False
    return not dot or root in sys.stdlib_module_names


def _read(path: Path) -> tuple[Any, set[str]]:
    """The content, and the foreign names in it."""
    names: set[str] = set()
    while True:
        stand_ins: list[Allowed] = [
            (_stand_in(n), n if "." in n else f"builtins.{n}") for n in sorted(names)
        ]
        try:
            with torch.serialization.safe_globals(stand_ins):
                return _load(path), names
        except UnpicklingError as error:
            found = FOREIGN.search(str(error))
            if found is None or found[1] in names or len(names) == MOST_NAMES:
                raise _refusal(error) from None
            names.add(found[1])


def _load(path: Path) -> Any:
    """In the format of today, a zip archive, or in the older one."""
    if zipfile.is_zipfile(path) and path.suffix != SAFETENSORS:
        # Mapped into memory: a training checkpoint's optimiser state is never read.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    # Not by its path: torch would go by the ending of the name, whatever is in the file.
    with path.open("rb") as file:
        return torch.load(file, map_location="cpu", weights_only=True)


def _stand_in(name: str) -> type[Foreign]:
    return type("Foreign", (Foreign,), {"foreign_name": name})


def _refusal(error: UnpicklingError) -> Exception:
    """Why a pickle was refused; torch's own message tells how to run the code in the file."""
    blocked = BLOCKED.search(str(error))
    if blocked is None:
        return error
    return ContentError(
        f"it holds more than weights, namely {blocked[1]}, and code in files is not run. "
        f"{_strip('state_dict')}"
    )
