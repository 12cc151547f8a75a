"""The registry of models, its files and its lock."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.file_server import Shelf
from tests.loading import loads_none_of
from tests.workers.registry.shelves import SHA256, WEIGHTS, Opened, kept, pull, registry
from workers.registry.files import RegistryError
from workers.registry.models import Registry, open_registry
from workers.registry.names import resolve_clip, resolve_sam


def test_a_checkpoint_is_added(tmp_path: Path, shelf: Shelf) -> None:
    file = tmp_path / "Mine.SafeTensors"
    file.write_bytes(b"mine")
    models, check = registry(tmp_path / "models", shelf), Opened()
    path = models.add("mine", file, "vit_b", "sam", check)
    assert path.name == "mine.safetensors"
    assert path.read_bytes() == file.read_bytes()
    assert check.seen == [(b"mine", "sam", "vit_b")]
    assert resolve_sam("mine", models.folder) == ("vit_b", path)
    with pytest.raises(RegistryError, match="is here already"):
        models.add("mine", file, "vit_b", "sam", check)


@pytest.mark.parametrize("name", ["starter", "Mine", "a/b", "../a", "", "a:b", ".a"])
def test_names_that_cannot_be(tmp_path: Path, shelf: Shelf, name: str) -> None:
    with pytest.raises(RegistryError, match="cannot be called"):
        registry(tmp_path, shelf).add(name, Path(__file__), "vit_b", "sam", Opened())


def test_what_cannot_be_added(tmp_path: Path, shelf: Shelf) -> None:
    file, folder = tmp_path / "a.pt", tmp_path / "models"
    file.write_bytes(b"not m")
    models = registry(folder, shelf)
    with pytest.raises(RegistryError, match="there is no file"):
        models.add("a", tmp_path / "none.pt", "ViT-B-32", "clip", Opened())
    with pytest.raises(RegistryError, match="is a folder: give the checkpoint in it, or use"):
        models.add("a", tmp_path, "ViT-B-32", "clip", Opened())
    with pytest.raises(RegistryError, match=f"registered name m.*not the expected {SHA256}"):
        models.add("m", file, "ViT-B-32", "clip", Opened())
    with pytest.raises(ValueError, match="code of a stranger"):
        models.add("a", file, "ViT-B-32", "clip", Opened("code of a stranger"))
    assert kept(folder) == set()


def test_verify_sees_what_changed(tmp_path: Path, shelf: Shelf) -> None:
    models = registry(tmp_path, shelf)
    path = pull(models)
    path.write_bytes(WEIGHTS[::-1])
    assert "has changed since it came" in models.verify("m")["m"]
    path.write_bytes(WEIGHTS[:-1])
    assert "has 1,023,999 bytes, not 1,024,000" in models.verify()["m"]
    path.unlink()
    assert "is missing" in models.verify("m")["m"]
    with pytest.raises(RegistryError, match="no model 'other' is registered"):
        models.verify("other")


def test_a_truncated_file_is_not_installed(tmp_path: Path, shelf: Shelf) -> None:
    models = registry(tmp_path, shelf)
    path = pull(models)
    path.write_bytes(WEIGHTS[:-1])
    with pytest.raises(RegistryError, match="dgl-rsis models pull m"):
        models.resolve("m")
    assert pull(models).read_bytes() == WEIGHTS


@pytest.mark.parametrize("name", ["starter", "ViT-B-32:a.pt", "nothing-known"])
def test_names_that_mean_themselves(tmp_path: Path, name: str) -> None:
    assert resolve_clip(name, tmp_path) == name
    assert resolve_clip(str(tmp_path), tmp_path) == str(tmp_path)


def own_registry(folder: Path, shelf: Shelf, name: str, kind: str = "clip") -> Registry:
    """With an entry of the folder's own file, as for a mirror."""
    (folder / "models.toml").write_text(
        f'[[model]]\nname = "{name}"\nkind = "{kind}"\narchitecture = "ViT-B-32"\n'
        f'url = "{shelf.url}/m.pt"\nsha256 = "{SHA256}"\n'
    )
    return open_registry(folder)


def test_a_pulled_name_stands_for_architecture_and_file(tmp_path: Path, shelf: Shelf) -> None:
    models = own_registry(tmp_path, shelf, "remoteclip-vit-b-32")
    with pytest.raises(RegistryError, match="dgl-rsis models pull remoteclip-vit-b-32"):
        resolve_clip("remoteclip-vit-b-32", tmp_path)
    path = models.pull("remoteclip-vit-b-32", lambda _done, _total: None, Opened())
    assert resolve_clip("remoteclip-vit-b-32", tmp_path) == f"ViT-B-32:{path}"
    with pytest.raises(RegistryError, match="no Segment Anything"):
        resolve_sam("remoteclip-vit-b-32", tmp_path)


def test_a_sam_is_no_clip(tmp_path: Path, shelf: Shelf) -> None:
    own_registry(tmp_path, shelf, "sam-vit-b", "sam").pull(
        "sam-vit-b", lambda _done, _total: None, Opened()
    )
    with pytest.raises(RegistryError, match="knows no words"):
        resolve_clip("sam-vit-b", tmp_path)
    assert resolve_sam("vit_l:a.pth", tmp_path) == ("vit_l", Path("a.pth"))
    with pytest.raises(RegistryError, match="dgl-rsis models pull sam-vit-h"):
        resolve_sam("sam-vit-h", tmp_path)


@pytest.mark.parametrize(
    "text", ["model = 3", "[[model]]\nname = 'a'", "x", "[[model]]\nname='A b'\nkind='clip'\n"
             "architecture=''\nurl=''"],
)  # fmt: skip
def test_a_wrong_registry_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "models.toml").write_text(text)
    with pytest.raises(RegistryError, match=r"models\.toml"):
        open_registry(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"m": {"kind": 3}}'])
def test_a_wrong_lock_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "models.lock.json").write_text(text)
    with pytest.raises(RegistryError, match=r"models\.lock\.json cannot be read"):
        open_registry(tmp_path).installed()


def test_the_built_in_registry_is_sound(tmp_path: Path) -> None:
    entries = open_registry(tmp_path).entries
    assert len(entries) == 28
    for entry in entries.values():
        assert entry.url.startswith("https://")
        assert re.fullmatch(r"[0-9a-f]{64}|", entry.sha256)
        assert entry.licence
        assert entry.trained_on
        assert entry.source
        assert bool(entry.member) == entry.url.endswith(".zip")
        # A file behind an address that may change needs its hash, or its ETag, or a fixed version.
        assert "/main/" not in entry.url
        if entry.files:
            assert entry.architecture == "transformers" or entry.kind == "clip"
        else:
            assert entry.architecture != "transformers"
        if "openaipublic" in entry.url:
            assert entry.sha256 in entry.url
    shas = [entry.sha256 for entry in entries.values() if entry.sha256]
    assert len(set(shas)) == len(shas)


def test_the_lock_is_readable_json(tmp_path: Path, shelf: Shelf) -> None:
    pull(registry(tmp_path, shelf))
    assert json.loads((tmp_path / "models.lock.json").read_text()) == {
        "m": {
            "kind": "clip", "architecture": "ViT-B-32", "file": "m.pt", "bytes": len(WEIGHTS),
            "sha256": SHA256, "pulled": SHA256,
        }
    }  # fmt: skip


def test_the_registry_loads_no_torch() -> None:
    code = "import workers.registry.models\n" + loads_none_of("torch", "numpy", "open_clip")
    subprocess.run([sys.executable, "-c", code], check=True)
