"""Weights are added in every form that training scripts and model hubs leave them in."""

import argparse
import functools
import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from dgl_rsis.clip.model import load_clip
from dgl_rsis.weights.architectures import build_clip, check
from dgl_rsis.weights.checkpoints import ModelError
from tests.backend.commands.command_line import dgl_rsis
from tests.small_model import CONFIG

DATA = Path(__file__).parent / "data" / "models-add-safetensors"
ARCHITECTURE = "cases-clip"
HUGGING_FACE = {
    "embed_dim": 12,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 24, "head_width": 8, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 2},
}
State = dict[str, torch.Tensor]


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> State:
    """Weights of a small architecture that open_clip lists for now."""
    folder = tmp_path_factory.mktemp("configs")
    (folder / f"{ARCHITECTURE}.json").write_text(json.dumps(CONFIG["model_cfg"]))
    (folder / "hugging-face.json").write_text(json.dumps(HUGGING_FACE))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    weights: State = build_clip(ARCHITECTURE).state_dict()
    return weights


class Settings:
    """As a script's own class is; whoever reads the file does not have it."""

    def __init__(self) -> None:
        self.rate = 1e-4


def prefixed(state: State, prefix: str) -> State:
    return {f"{prefix}{name}": value for name, value in state.items()}


def other(state: State) -> State:
    return {name: torch.zeros_like(value) for name, value in state.items()}


FORMS: dict[str, Callable[[State], Any]] = {
    "bare": lambda s: s,
    "half": lambda s: {name: value.half() for name, value in s.items()},
    "bfloat": lambda s: {name: value.bfloat16() for name, value in s.items()},
    "open_clip": lambda s: {
        "epoch": 3, "state_dict": prefixed(s, "module."), "optimizer": {"lr": 1e-4},
    },
    "numpy scalar": lambda s: {"best": np.float64(0.7), "state_dict": prefixed(s, "module.")},
    "numpy array": lambda s: {"curve": np.arange(3.0), "model": s},
    "namespace": lambda s: {"args": argparse.Namespace(lr=1), "state_dict": s},
    "plain data": lambda s: {
        "more": (types.SimpleNamespace(lr=1), {1, 2}, frozenset({1}), 1j, range(3), slice(1, 2)),
        "state_dict": s,
    },
    "path": lambda s: {"out": Path("runs/1"), "model_state_dict": s},
    "own class": lambda s: {"config": Settings(), "state_dict": s},
    "lightning": lambda s: {
        "state_dict": prefixed(s, "model.") | {"loss.weight": torch.ones(2)},
        "hyper_parameters": {"a": 1},
        "pytorch-lightning_version": "2",
    },
    "lightning ema": lambda s: {
        "state_dict": prefixed(other(s), "model.") | prefixed(s, "ema_model."),
    },
    "student": lambda s: {"state_dict": prefixed(s, "student.")},
    "student and teacher": lambda s: prefixed(other(s), "teacher.") | prefixed(s, "student."),
    "inside a wrapper": lambda s: {"state_dict": prefixed(s, "clip_model.")},
    "deep inside": lambda s: {"checkpoint": {"model": prefixed(s, "module.net.clip.")}},
    "ema beside model": lambda s: {"model": other(s), "model_ema": s},
    "ema of another form": lambda s: {"model": s, "ema": {"decay": torch.tensor(0.9)}},
    "pairs": lambda s: list(s.items()),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_found_in_what_scripts_save(state: State, tmp_path: Path, form: str) -> None:
    path = tmp_path / "mine.bin"
    torch.save(FORMS[form](state), path)
    check(path, "clip", ARCHITECTURE)
    model = load_clip(f"{ARCHITECTURE}:{path}").model
    for name, value in model.state_dict().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, state[name], atol=2e-2, rtol=1e-2)


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_safetensors_are_added_under_any_ending(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "models"))
    save_file(prefixed(state, "module."), tmp_path / f"mine.{ending}")
    options = ["--file", str(tmp_path / f"mine.{ending}"), "--arch", ARCHITECTURE]
    status, output = dgl_rsis("models", "add", "mine", *options)
    assert (status, output.splitlines()[-1]) == (0, "Use it with MODEL=mine")


@pytest.mark.parametrize("prefix", ["", "clip.", "module.model."])
def test_hugging_faces_layout_gives_its_own_answers(
    state: State, tmp_path: Path, prefix: str
) -> None:
    """The expected features are those of `transformers.CLIPModel` with these very weights."""
    path = tmp_path / "model.safetensors"
    save_file(prefixed(load_file(DATA / "hugging_face.safetensors"), prefix), path)
    check(path, "clip", "hugging-face")
    model = load_clip(f"hugging-face:{path}").model
    said = load_file(DATA / "hugging_face_said.safetensors")
    image = model.encode_image(said["pixels"], normalize=True)
    text = model.encode_text(said["ids"], normalize=True)
    torch.testing.assert_close(image, said["image"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(text, said["text"], atol=1e-5, rtol=1e-4)


def test_half_of_hugging_faces_layout_is_named_by_what_is_missing(
    state: State, tmp_path: Path
) -> None:
    path = tmp_path / "hf.bin"
    torch.save({"vision_model.embeddings.class_embedding": torch.zeros(24)}, path)
    with pytest.raises(ModelError, match="positional_embedding is missing"):
        check(path, "clip", "hugging-face")


class Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return (eval, ("print('code of a stranger')",))


def whole(state: State) -> Any:
    model = build_clip(ARCHITECTURE)
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize(
    ("content", "inside", "lines"),
    [
        (whole, "a whole pickled model open_clip.model.CLIP", "content.state_dict()"),
        (lambda s: {"state_dict": s, "hook": Runs()}, "namely eval", "content['state_dict']"),
        (
            lambda s: {"epoch": 3, "state_dict": s, "schedule": functools.partial(print)},
            "functools.partial, and code in files is not run. In it: epoch (int), state_dict",
            "content['state_dict']",
        ),
    ],
)
def test_a_file_with_code_says_what_is_in_it_and_how_to_strip_it(
    state: State, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    content: Callable[[State], Any], inside: str, lines: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "models"))
    path = tmp_path / "mine.pt"
    torch.save(content(state), path)
    status, output = dgl_rsis("models", "add", "mine", "--file", str(path), "--arch", ARCHITECTURE)
    assert status == 2
    assert inside in output
    assert f'  content = torch.load("{path}", weights_only=False)' in output
    assert f'  torch.save({lines}, "weights.pt")' in output
    assert "stranger" not in output + capfd.readouterr().out
    assert not [p.name for p in (tmp_path / "models").iterdir() if p.name.startswith("mine")]


def test_no_message_names_a_hidden_file(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "models"))
    path = tmp_path / "mine.safetensors"
    save_file(state, path)
    content = path.read_bytes()
    for part in (0, 7, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:part])
        status, output = dgl_rsis(
            "models", "add", "mine", "--file", str(path), "--arch", ARCHITECTURE
        )
        assert status == 2
        assert output.startswith(f"dgl-rsis: {path} cannot be loaded")
        assert ".new" not in output
