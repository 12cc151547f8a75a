"""`dgl-rsis models` as a user types it: a real server, small checkpoints in the published forms."""

import hashlib
import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from backend.commands import models
from tests.dgl_rsis.weights import forms
from tests.file_server import Shelf, file_server
from tests.loading import loads_none_of
from tests.small_model import CONFIG

TINY = "tiny-pulled"


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("code of a stranger",))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """As RemoteCLIP is: a bare state dict, of an architecture that open_clip lists."""
    import open_clip

    from dgl_rsis.weights.architectures import build_clip

    path = tmp_path_factory.mktemp("configs") / f"{TINY}.json"
    path.write_text(json.dumps(CONFIG["model_cfg"]))
    open_clip.add_model_config(path)
    content = io.BytesIO()
    torch.save(build_clip(TINY).state_dict(), content)
    return content.getvalue()


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    with file_server() as shelf:
        yield shelf


@pytest.fixture
def register(tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Serve a file, and register it in the models folder."""
    folder = tmp_path / "models"
    monkeypatch.setenv("MODELS_DIR", str(folder))
    monkeypatch.setenv("COLUMNS", "200")
    folder.mkdir()

    def register(content: bytes, name: str = "m", **fields: str) -> None:
        shelf.files[f"/{name}"] = content
        row = {
            "name": name, "kind": "clip", "architecture": TINY, "url": f"{shelf.url}/{name}",
            "sha256": hashlib.sha256(content).hexdigest(), "licence": "MIT", "note": "Mind it.",
        } | fields  # fmt: skip
        lines = [f"{key} = {json.dumps(value)}" for key, value in row.items()]
        (folder / "models.toml").write_text("\n".join(["[[model]]", *lines]))

    return register


def run(*arguments: str) -> Result:
    return CliRunner().invoke(models.app, arguments)


def kept(folder: Path) -> set[str]:
    return {
        p.name for p in folder.iterdir() if not p.name.endswith(("lock", ".toml", ".lock.json"))
    }


def test_a_model_is_pulled_listed_verified_and_used(
    register: Callable[..., None], checkpoint: bytes, tmp_path: Path
) -> None:
    from dgl_rsis.clip.model import load_clip
    from workers.registry.names import resolve_clip

    register(checkpoint)
    assert " no " in next(line for line in run("list").stdout.splitlines() if line[:2] == "m ")
    pulled = run("pull", "m")
    path = tmp_path / "models" / "m.pt"
    assert pulled.exit_code == 0, pulled.output
    assert pulled.stdout == f"{path}\nNote: Mind it.\nUse it with MODEL=m\n"
    row = next(line for line in run("list").stdout.splitlines() if line[:2] == "m ")
    assert row.split()[:6] == ["m", "clip", TINY, "yes", f"{len(checkpoint) / 1e6:.0f}", "MB"]
    assert run("verify").stdout == "m: as it came\n"
    assert load_clip(resolve_clip("m", path.parent)).crop_side == 32


def test_all_published_models_are_listed(register: Callable[..., None], checkpoint: bytes) -> None:
    register(checkpoint)
    listed = [line.split() for line in run("list").stdout.splitlines()]
    names = {words[0] for words in listed if words}
    assert names > {"openai-vit-b-16", "remoteclip-rn50", "georsclip-vit-h-14", "skyclip-vit-l-14"}
    assert "siglip2-b-16-256" in names
    shown = next(words for words in listed if words[:1] == ["sam-vit-h"])
    assert shown[1:7] == ["sam", "vit_h", "no", "2.56", "GB", "Apache-2.0"]


def test_an_archive_with_a_training_checkpoint(
    register: Callable[..., None], checkpoint: bytes, tmp_path: Path
) -> None:
    """As SkyCLIP is."""
    state = torch.load(io.BytesIO(checkpoint), weights_only=True)
    trained, zipped = io.BytesIO(), io.BytesIO()
    weights = {f"module.{name}": value for name, value in state.items()}
    torch.save({"epoch": 20, "state_dict": weights}, trained)
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("SkyCLIP_ViT_B32_top50pct/epoch_20.pt", trained.getvalue())
    register(zipped.getvalue(), sha256="", member="epoch_20.pt")
    assert run("pull", "m").exit_code == 0
    assert (tmp_path / "models" / "m.pt").read_bytes() == trained.getvalue()


@pytest.mark.filterwarnings("ignore:.*pickle:UserWarning")
@pytest.mark.parametrize(
    ("content", "fields", "words"),
    [
        (None, {"sha256": "00" * 32}, "not the expected 0000"),
        (None, {"architecture": "RN50"}, "cannot be loaded as RN50, it is of another architecture"),
        (None, {"url": "http://127.0.0.1:9/m"}, "broke off at 0 bytes"),
        (pickle.dumps(Evil()), {}, "holds more than weights"),
        (b"PK\x03\x04 truncated", {}, "it may be truncated"),
    ],
)
def test_what_is_unfit_is_refused_and_not_kept(
    register: Callable[..., None], checkpoint: bytes, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, content: bytes | None, fields: dict[str, str], words: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("workers.registry.download.time.sleep", lambda _seconds: None)
    register(checkpoint if content is None else content, **fields)
    pulled = run("pull", "m")
    assert pulled.exit_code == 2
    assert words in pulled.stderr
    assert "Traceback" not in pulled.output
    assert "stranger" not in pulled.stdout
    assert kept(tmp_path / "models") == set()


def test_a_checkpoint_of_ones_own(
    register: Callable[..., None], checkpoint: bytes, tmp_path: Path
) -> None:
    register(checkpoint)
    file = tmp_path / "mine.pt"
    file.write_bytes(checkpoint)
    assert "give its architecture with --arch" in run("add", "mine", "--file", str(file)).stderr
    added = run("add", "mine", "--file", str(file), "--arch", TINY)
    assert added.stdout.endswith("Use it with MODEL=mine\n")
    assert "added by hand" in run("list").stdout
    assert "is here already" in run("add", "mine", "--file", str(file), "--arch", TINY).stderr
    assert run("add", "m", "--file", str(file)).exit_code == 0  # registered: its own architecture
    refused = run("add", "sam", "--file", str(file), "--arch", "vit_b")
    assert refused.exit_code == 2
    assert kept(tmp_path / "models") == {"mine.pt", "m.pt"}


@pytest.mark.parametrize(
    ("save", "file"),
    [
        (forms.bare, "w.pt"), (forms.legacy, "w.safetensors"), (forms.trained, "w.ckpt"),
        (forms.wrapped, "w.pth"), (forms.halved, "w.safetensors"), (forms.safe, "w.safetensors"),
        (forms.safe, "w.pt"), (forms.archive, "w"), (forms.commented, "w.pt"),
        (forms.listed, "w.pt"),
    ],
)  # fmt: skip
def test_what_model_loads_is_added(
    register: Callable[..., None], checkpoint: bytes, tmp_path: Path, save: forms.Save, file: str
) -> None:
    """The content tells the format, and the name does not."""
    from dgl_rsis.clip.model import load_clip
    from workers.registry.names import resolve_clip

    register(checkpoint)
    path = tmp_path / file
    save(torch.load(io.BytesIO(checkpoint), weights_only=True), path)
    named = load_clip(f"{TINY}:{path}")
    told = run("add", "mine", "--file", str(path), "--arch", TINY)
    assert told.exit_code == 0, told.output
    assert load_clip(resolve_clip("mine", tmp_path / "models")).fingerprint == named.fingerprint


@pytest.mark.filterwarnings("ignore:.*pickle:UserWarning")
@pytest.mark.parametrize(
    ("save", "reason"),
    [
        (forms.evil, "it holds more than weights, or it was damaged"),
        (forms.text, "it is text that begins with 'epoch 1': give a checkpoint that PyTorch"),
        (forms.page, "it is a web page or XML: sign in or accept the licence there"),
        (forms.pointer, "it is a Git LFS pointer to the file: fetch that by `git lfs pull`"),
        (forms.empty, "it is empty, as a truncated download is: fetch it again"),
        (forms.binary, "it begins with the bytes 89 48 44 46 0d 0a 1a 0a, as no known format does"),
        (forms.zipped, "it is a zip archive of folder/epoch_20.pt: unpack it"),
        (forms.cut(forms.bare), "it may be truncated: it begins as a zip archive and lacks"),
        (forms.cut(forms.legacy), "it may be truncated"),
        (forms.cut(forms.safe), "it may be truncated"),
        (forms.cut(forms.archive), "it may be truncated: it begins as a zip archive and lacks"),
    ],
)
def test_what_model_refuses_is_not_added_for_the_same_reason(
    register: Callable[..., None], checkpoint: bytes, tmp_path: Path, save: forms.Save, reason: str
) -> None:
    from dgl_rsis.clip.model import load_clip
    from dgl_rsis.weights.checkpoints import ModelError

    register(checkpoint)
    path = tmp_path / "mine.pt"
    save(torch.load(io.BytesIO(checkpoint), weights_only=True), path)
    with pytest.raises(ModelError) as refused:
        load_clip(f"{TINY}:{path}")
    told = run("add", "mine", "--file", str(path), "--arch", TINY)
    assert told.exit_code == 2
    assert told.stderr == f"dgl-rsis: {refused.value}\n"
    assert str(refused.value).startswith(f"{path} cannot be loaded")
    assert reason in told.stderr
    assert "stranger" not in told.output
    assert kept(tmp_path / "models") == set()


@pytest.mark.parametrize(
    ("architecture", "reason"),
    [
        ("ViT-Z-99", "open_clip knows no architecture 'ViT-Z-99'"),
        ("resnet-tower", "has the image tower TimmModel of ResNet, whose way to pool is not known"),
        ("foreign-words", "'foreign-words' cannot be built"),
    ],
)
def test_what_model_cannot_build_is_not_added(
    register: Callable[..., None], checkpoint: bytes, tmp_path: Path, architecture: str, reason: str
) -> None:
    import open_clip

    from dgl_rsis.clip.model import load_clip
    from dgl_rsis.weights.checkpoints import ModelError

    for name, part, changes in (
        ("resnet-tower", "vision_cfg", {"timm_model_name": "resnet10t", "timm_pool": "rot_attn"}),
        ("foreign-words", "text_cfg", {"hf_tokenizer_name": str(tmp_path / "no-tokenizer")}),
    ):
        config = CONFIG["model_cfg"]
        changed = {**config, part: {**config[part], **changes}}
        (tmp_path / f"{name}.json").write_text(json.dumps(changed))
        open_clip.add_model_config(tmp_path / f"{name}.json")
    register(checkpoint)
    path = tmp_path / "mine.pt"
    path.write_bytes(checkpoint)
    with pytest.raises(ModelError, match=reason):
        load_clip(f"{architecture}:{path}")
    assert reason in run("add", "mine", "--file", str(path), "--arch", architecture).stderr


def test_a_folder_is_no_architecture_of_an_added_model(
    register: Callable[..., None], checkpoint: bytes, tmp_path: Path
) -> None:
    """`MODEL` could not name it."""
    register(checkpoint)
    path = tmp_path / "mine.pt"
    path.write_bytes(checkpoint)
    told = run("add", "mine", "--file", str(path), "--arch", f"local-dir:{tmp_path}")
    assert "open_clip knows no architecture 'local-dir:" in told.stderr


def test_what_comes_from_an_address_is_named_by_it(
    register: Callable[..., None], shelf: Shelf, tmp_path: Path
) -> None:
    register(b"<html>", sha256="")
    told = run("pull", "m").stderr
    assert f"what came from {shelf.url}/m cannot be loaded: it is a web page" in told
    assert kept(tmp_path / "models") == set()


def test_a_changed_file_is_told(
    register: Callable[..., None], checkpoint: bytes, tmp_path: Path
) -> None:
    register(checkpoint)
    run("pull", "m")
    (tmp_path / "models" / "m.pt").write_bytes(checkpoint[::-1])
    verified = run("verify", "m")
    assert verified.exit_code == 1
    assert "has changed since it came" in verified.stdout


def test_unknown_names_are_refused(register: Callable[..., None], checkpoint: bytes) -> None:
    register(checkpoint)
    assert (
        "no model 'nothing' is registered: choose one of openai-" in run("pull", "nothing").stderr
    )
    assert run("verify", "sam-vit-b").exit_code == 2


def test_without_torch_the_hash_must_do(
    register: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda _name: None)
    register(b"unread")
    assert run("pull", "m").exit_code == 0
    assert "torch is not installed here" in caplog.text


def test_the_command_loads_no_torch_by_itself() -> None:
    code = "import backend.commands.models\n" + loads_none_of("torch", "numpy", "open_clip")
    subprocess.run([sys.executable, "-c", code], check=True)
