"""The weights of a TorchScript archive, read without running the code in it [ours].

OpenAI's CLIP files are such archives: a zip of Python-like code, a pickle that describes the
objects, and one file a tensor. `torch.jit.load` compiles the code, and torch's own safe loader
refuses these files. Here the pickle is read with its objects kept inert, so that it can hold
nothing but numbers.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

import torch
from torch import Tensor

# Names of storages in the pickle → what they hold.
DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
DATA = "data.pkl"  # the member that describes the objects
LISTS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")


class _Module:
    """Stands for any object of the archive's own classes; only its attributes matter."""


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, by the names of its members."""
    if not is_zipfile(path):
        return False
    with ZipFile(path) as archive:
        members = {name.rpartition("/")[2] for name in archive.namelist()}
    return {"constants.pkl", DATA} <= members


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of an archive, by the names that its modules give them.

    Raises:
        pickle.UnpicklingError, zipfile.BadZipFile, KeyError, RuntimeError: it is damaged, or holds
            something else than modules, numbers and tensors.
    """
    with ZipFile(path) as archive:
        root = next(n for n in archive.namelist() if n.endswith(f"/{DATA}")).removesuffix(DATA)
        reader = _Reader(archive, f"{root}data/", archive.read(f"{root}{DATA}"))
        return dict(_weights(reader.load(), ""))


def _weights(module: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a module and of those inside it, by their dotted names."""
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, _Module):
            yield from _weights(value, f"{prefix}{name}.")


class _Reader(pickle.Unpickler):
    """An unpickler that knows these names and no others."""

    def __init__(self, archive: ZipFile, folder: str, content: bytes) -> None:
        super().__init__(BytesIO(content))
        self._archive, self._folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        """What a global name of the pickle stands for."""
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor()
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch.jit._pickle" and name in LISTS:
            return list
        if (module, name) == ("torch.jit._pickle", "restore_type_tag"):
            return lambda value, _type: value
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no weights need")

    def persistent_load(self, pid: Any) -> Tensor:
        """The numbers of a storage: (n,)."""
        kind, dtype, key, _device, _count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"it names a storage {pid!r}")
        content = self._archive.read(f"{self._folder}{key}")
        return torch.frombuffer(bytearray(content), dtype=dtype)


def _tensor() -> Callable[..., Tensor]:
    def rebuild(
        storage: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_rest: Any
    ) -> Tensor:
        return storage.as_strided(tuple(size), tuple(stride), offset)

    return rebuild
