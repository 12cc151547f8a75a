"""Files of weights in the forms that people have, and files that are none."""

import argparse
import collections
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

State = dict[str, torch.Tensor]
Save = Callable[[State, Path], None]


class Evil:
    def __reduce__(self):
        return (print, ("code of a stranger",))


class Half(nn.Module):
    """As OpenAI's archives are: half precision, nested modules, settings among the weights."""

    def __init__(self, state: State) -> None:
        super().__init__()
        for name, value in state.items():
            self._place(name.split("."), value)
        for name, value in (("input_resolution", 32), ("context_length", 24), ("vocab_size", 9)):
            self.register_buffer(name, torch.tensor(value))
        self.get_submodule("transformer.resblocks.0").register_buffer("attn_mask", torch.ones(2, 2))

    def _place(self, names: list[str], value: torch.Tensor) -> None:
        module: nn.Module = self
        for name in names[:-1]:
            if name not in dict(module.named_children()):
                module.add_module(name, nn.Module())
            module = module.get_submodule(name)
        module.register_parameter(names[-1], nn.Parameter(value, requires_grad=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.logit_scale


def archive(state: State, path: Path) -> None:
    """Save as `torch.jit.save` does."""
    halved = {n: v.half() if n != "logit_scale" else v for n, v in state.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather have people use torch.export
        torch.jit.save(torch.jit.trace(Half(halved), torch.zeros(1)), path)


def bare(state: State, path: Path) -> None:
    torch.save(collections.OrderedDict(state), path)


def legacy(state: State, path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


def trained(state: State, path: Path) -> None:
    """As open_clip's training saves, from several GPUs."""
    weights = {f"module.{name}": value for name, value in state.items()}
    step = {
        "state": {0: {"step": torch.tensor(3.0)}},
        "param_groups": [{"lr": 1e-9, "params": [0]}],
    }
    torch.save({"epoch": 20, "name": "sky", "state_dict": weights, "optimizer": step}, path)


def wrapped(state: State, path: Path) -> None:
    torch.save({"model": {f"model.{name}": value for name, value in state.items()}}, path)


def safe(state: State, path: Path) -> None:
    save_file(state, path)


def halved(state: State, path: Path) -> None:
    bare({name: value.half() for name, value in state.items()}, path)


def commented(state: State, path: Path) -> None:
    """As training scripts save: with their settings beside the weights."""
    torch.save({"state_dict": state, "args": argparse.Namespace(rate=1e-4)}, path)


def listed(state: State, path: Path) -> None:
    torch.save(list(state.items()), path)


def evil(state: State, path: Path) -> None:
    path.write_bytes(pickle.dumps(Evil()))


def text(state: State, path: Path) -> None:
    path.write_text("epoch 1\nloss 0.3\n")


def page(state: State, path: Path) -> None:
    path.write_text("\n<!DOCTYPE html><html>Please sign in</html>")


def pointer(state: State, path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 605208421\n")


def empty(state: State, path: Path) -> None:
    path.touch()


def binary(state: State, path: Path) -> None:
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))


def zipped(state: State, path: Path) -> None:
    """As some publish: the checkpoint in an archive."""
    with zipfile.ZipFile(path, "w") as content:
        content.writestr("folder/epoch_20.pt", b"weights")


def cut(save: Save) -> Save:
    """The first half of what another form writes."""

    def half(state: State, path: Path) -> None:
        save(state, path)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])

    half.__name__ = f"half-of-{save.__name__}"  # what pytest calls the case
    return half
