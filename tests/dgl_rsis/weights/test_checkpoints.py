"""Checkpoints in the forms that the published weights have, with random weights in small models."""

import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from dgl_rsis.clip.model import load_clip
from dgl_rsis.weights import torchscript
from dgl_rsis.weights.architectures import build_clip, build_sam, check
from dgl_rsis.weights.checkpoints import ModelError, fill, load_state
from tests.dgl_rsis.weights.forms import (
    Evil,
    Save,
    archive,
    bare,
    legacy,
    safe,
    trained,
    wrapped,
)
from tests.small_model import CONFIG

TINY = "tiny-clip"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A small model of an architecture that open_clip lists for now."""
    path = tmp_path_factory.mktemp("configs") / f"{TINY}.json"
    path.write_text(json.dumps(CONFIG["model_cfg"]))
    wide = {**CONFIG["model_cfg"], "embed_dim": 48}
    (path.parent / "wide-clip.json").write_text(json.dumps(wide))
    open_clip.add_model_config(path.parent)
    torch.manual_seed(0)
    return build_clip(TINY)


@pytest.mark.parametrize(
    ("save", "suffix"),
    [
        (bare, ".pt"), (legacy, ".pt"), (trained, ".pt"), (wrapped, ".pth"),
        (safe, ".safetensors"), (archive, ".pt"),
    ],
)  # fmt: skip
def test_every_form_is_read(tiny: Any, tmp_path: Path, save: Save, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    expected = tiny.state_dict()
    save(expected, path)
    state = load_state(path)
    assert state.keys() == expected.keys()
    check(path, "clip", TINY)
    model = load_clip(f"{TINY}:{path}").model
    for name, value in model.state_dict().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected[name], atol=2e-3, rtol=1e-3)


def test_an_archive_is_read_as_torch_reads_it(tiny: Any, tmp_path: Path) -> None:
    path = tmp_path / "openai.pt"
    archive(tiny.state_dict(), path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = torch.jit.load(path).state_dict()
    weights = torchscript.read_weights(path)
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        assert weights[name].dtype == value.dtype
        assert torch.equal(weights[name], value)


def repickled(path: Path, content: bytes) -> None:
    """Replace what an archive says it holds."""
    with zipfile.ZipFile(path) as source:
        members = {name: source.read(name) for name in source.namelist()}
    with zipfile.ZipFile(path, "w") as target:
        for name, data in members.items():
            target.writestr(name, content if name.endswith("/data.pkl") else data)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Evil()),
        b"cos\nsystem\n(S'echo code of a stranger'\ntR.",
        b"c__torch__\nM\n)\x81}S'w'\nctorch._utils\n_rebuild_tensor_v2\n"
        b"((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nK\x01tQK\x00(I99999999\nt(K\x01ttRsb.",
        b"garbage",
        b"",
    ],
)
def test_an_archive_with_code_or_nonsense_in_it_runs_nothing(
    tiny: Any, tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "openai.pt"
    archive(tiny.state_dict(), path)
    repickled(path, content)
    with pytest.raises(ModelError, match="cannot be loaded"):
        check(path, "clip", TINY)
    assert "stranger" not in capfd.readouterr().out


@pytest.mark.filterwarnings("ignore:.*pickle:UserWarning")
@pytest.mark.parametrize("save", [lambda o, p: p.write_bytes(pickle.dumps(o)), torch.save])
def test_a_pickle_with_code_runs_nothing(
    tmp_path: Path, save: Callable[[Any, Path], None], capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "weights.pt"
    save({"state_dict": {"a": torch.zeros(1)}, "args": Evil()}, path)
    with pytest.raises(ModelError, match="it holds more than weights"):
        check(path, "clip", TINY)
    assert "stranger" not in capfd.readouterr().out


@pytest.mark.filterwarnings("ignore:.*pickle:UserWarning")
@pytest.mark.parametrize("save", [bare, legacy, safe, archive])
@pytest.mark.parametrize("part", [0.0, 0.5, 0.999])
def test_a_truncated_file(tiny: Any, tmp_path: Path, save: Save, part: float) -> None:
    path = tmp_path / ("weights.safetensors" if save is safe else "weights.pt")
    save(tiny.state_dict(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ModelError, match=r"cannot be loaded.*truncated"):
        check(path, "clip", TINY)


def test_another_architecture_is_told_by_its_shapes(tiny: Any, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    bare(tiny.state_dict(), path)
    words = r"as wide-clip, it is of another architecture: .* is \[.*\] instead of \["
    with pytest.raises(ModelError, match=words):
        check(path, "clip", "wide-clip")
    with pytest.raises(ModelError, match=words):
        load_clip(f"wide-clip:{path}")
    with pytest.raises(ModelError, match=r"\(and \d+ more\)"):
        check(path, "clip", "RN50")


def test_every_weight_must_be_there_and_no_other(tiny: Any, tmp_path: Path) -> None:
    path, state = tmp_path / "weights.pt", tiny.state_dict()
    scale = state.pop("logit_scale")
    bare(state, path)
    with pytest.raises(ModelError, match=r"architecture: logit_scale is missing$"):
        check(path, "clip", TINY)
    bare({**state, "logit_scale": scale, "extra": scale}, path)
    with pytest.raises(ModelError, match=r"architecture: extra is unknown to it$"):
        check(path, "clip", TINY)
    bare({**state, "logit_scale": scale.reshape(1)}, path)  # as some versions save it
    check(path, "clip", TINY)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "holds no weights"),
        ({}, "holds no weights"),
        ({"a": 1}, r"no weights, but a \(int\): give"),
    ],
)
def test_a_file_without_weights(tmp_path: Path, content: Any, words: str) -> None:
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    with pytest.raises(ModelError, match=words):
        load_state(path)


def test_what_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no weight file"):
        load_state(tmp_path / "none.pt")
    with pytest.raises(ModelError, match="no architecture 'ViT-Z-99'"):
        check(tmp_path / "none.pt", "clip", "ViT-Z-99")


def test_the_optimiser_is_not_read(tiny: Any, tmp_path: Path) -> None:
    """Weights of a training checkpoint stay on disk until they are copied."""
    path = tmp_path / "weights.pt"
    trained(tiny.state_dict(), path)
    state = load_state(path)
    assert str(path) in Path("/proc/self/maps").read_text()
    assert torch.equal(state["logit_scale"], tiny.logit_scale)


def test_open_clips_warning_of_random_weights_is_not_shown(
    tiny: Any, caplog: pytest.LogCaptureFixture
) -> None:
    build_clip(TINY, "meta")
    assert "pretrained" not in caplog.text


def test_published_shapes_cost_nothing(tmp_path: Path) -> None:
    """The largest model is compared without being made."""
    model = build_clip("ViT-H-14", "meta")
    assert all(weights.is_meta for weights in model.parameters())
    assert sum(weights.numel() for weights in model.parameters()) > 9e8


def test_segment_anything_is_checked(tmp_path: Path) -> None:
    pytest.importorskip("segment_anything")
    path = tmp_path / "sam.pth"
    shape = build_sam("vit_b", "meta").state_dict()
    # Expanded zeros: the true shapes, in a small file.
    torch.save({name: torch.zeros(()).expand(value.shape) for name, value in shape.items()}, path)
    assert path.stat().st_size < 1_000_000
    check(path, "sam", "vit_b")
    with pytest.raises(ModelError, match="as vit_l, it is of another architecture"):
        check(path, "sam", "vit_l")
    with pytest.raises(ModelError, match="no architecture 'vit_t'"):
        check(path, "sam", "vit_t")


def test_nothing_of_a_misfit_is_loaded(tiny: Any, tmp_path: Path) -> None:
    path, state = tmp_path / "weights.pt", tiny.state_dict()
    before = state["logit_scale"].clone()
    bare({**state, "logit_scale": before + 1, "extra": before}, path)
    with pytest.raises(ModelError, match="extra"):
        fill(tiny, path, TINY)
    assert torch.equal(tiny.logit_scale, before)
